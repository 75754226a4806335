"""Random weights for any prototxt, as a caffemodel: every architecture can be converted and checked without downloads.

Convolutions keep the size of their signal (MSRA), statistics and factors are random, and the heads are then scaled by
what they give on a noise picture, so that a few hundred boxes pass the threshold and NMS has something to do.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import numpy as np
from caffe_shapes import net_shapes

from tools.caffe_converter.net import Layer, Net, read_net
from tools.caffe_converter.schema import message_class, net_parameter

BATCH_NORM_FACTOR = 999.98  # what a long training leaves in the third blob
_HEAD_STD = {"loc": 0.7, "conf": 1.5}
_BACKGROUND = 2.5  # added to the background's score
_SIGMOID_SHIFT = -3.0  # added to every score where there is no background to win
_PASSES = ("Concat", "Flatten", "Permute", "Reshape", "Softmax", "Sigmoid", "Split")
_TYPES = {"f4": ("<f4", 1), "f8": ("<f8", 0), "f2": ("<f2", 2)}
_V1_TYPES = {
    "Convolution": "CONVOLUTION",
    "InnerProduct": "INNER_PRODUCT",
    "Deconvolution": "DECONVOLUTION",
    "ReLU": "RELU",
}

Weights = list[tuple[str, str, list[np.ndarray]]]


def write_random_caffemodel(
    prototxt: str | os.PathLike,
    out: str | os.PathLike,
    seed: int,
    *,
    data_shape: tuple[int, int] | None = None,
    **form,
) -> Weights:
    """Write random weights for a net.

    Args:
        prototxt: of the net.
        out: the caffemodel to write.
        seed: of the weights.
        data_shape: (height, width) of the picture, where the file's is not wanted.
        **form: see `write_caffemodel`.

    Returns:
        (name, type, blobs) of every layer that has weights.
    """
    net = read_net(prototxt, data_shape=data_shape)
    rng = np.random.default_rng(seed)
    weights = [
        (layer.name, layer.type, _random_blobs(layer, shapes, rng))
        for layer, shapes in net_shapes(net)[0]
        if shapes
    ]
    write_caffemodel(out, weights, net.name)
    heads = _find_heads(net)
    if heads:
        _scale_heads(prototxt, out, net, heads, weights, rng)
    write_caffemodel(out, weights, net.name, **form)
    return weights


def write_caffemodel(
    path: str | os.PathLike,
    layers: Weights,
    name: str = "",
    *,
    v1: bool = False,
    values: str = "f4",
    chunk: int | None = None,
) -> None:
    """Write a caffemodel.

    Args:
        path: the file.
        layers: (name, type, blobs).
        name: of the net.
        v1: write the older form: `layers`, shapes of four numbers.
        values: "f4", "f8" (double_data), or "raw_f2", "raw_f4", "raw_f8" (OpenCV's raw_data).
        chunk: bytes after which the values of a blob go on in another field; None keeps them whole.
    """
    net = net_parameter()(name=name)
    for layer_name, kind, blobs in layers:
        if v1:
            layer = net.layers.add(name=layer_name)
            layer.type = layer.LayerType.Value(_V1_TYPES[kind])
        else:
            layer = net.layer.add(name=layer_name, type=kind)
        for array in blobs:
            layer.blobs.append(_blob(array, v1=v1, values=values, chunk=chunk))
    with open(path, "wb") as stream:
        stream.write(net.SerializeToString())


def _blob(array: np.ndarray, *, v1: bool, values: str, chunk: int | None):
    """Return an array as a BlobProto."""
    blob = message_class("BlobProto")()
    if v1:
        blob.num, blob.channels, blob.height, blob.width = (1,) * (4 - array.ndim) + array.shape
    else:
        blob.shape.dim.extend(array.shape)
        blob.shape.SetInParent()
    dtype, number = _TYPES[values[-2:]]
    data = array.astype(dtype).tobytes()
    if values.startswith("raw"):
        blob.raw_data_type, blob.raw_data = number, data
    else:
        field = blob.double_data if values == "f8" else blob.data
        field.extend(
            data[start : start + (chunk or len(data))] for start in range(0, len(data), chunk or len(data))
        )
    return blob


def _random_blobs(layer, shapes, rng: np.random.Generator) -> list[np.ndarray]:
    """Draw the weights of one layer."""
    kind = layer.type
    if kind == "BatchNorm":
        channels = shapes[0]
        mean, variance = rng.normal(0, 0.3, channels), rng.uniform(1.5, 3.0, channels)
        blobs = [mean * BATCH_NORM_FACTOR, variance * BATCH_NORM_FACTOR, [BATCH_NORM_FACTOR]]
    elif kind in ("Convolution", "InnerProduct", "Deconvolution"):
        inputs = math.prod(shapes[0][1:])
        blobs = [rng.normal(0, math.sqrt(2 / inputs), shapes[0])]
        blobs += [rng.normal(0, 0.1, shape) for shape in shapes[1:]]
    elif kind == "Normalize":
        blobs = [rng.uniform(10, 20, shapes[0])]
    elif kind == "PReLU":
        blobs = [rng.uniform(0.05, 0.4, shapes[0])]
    elif kind == "Bias":
        blobs = [rng.normal(0, 0.3, shapes[0])]
    else:
        blobs = [rng.uniform(0.7, 1.3, shapes[0])] + [rng.normal(0, 0.2, shape) for shape in shapes[1:]]
    return [np.asarray(blob, np.float32).reshape(shape) for blob, shape in zip(blobs, shapes)]


def _find_heads(net: Net) -> dict[str, list[Layer]]:
    """Return the layers that make locations ("loc") and scores ("conf") of a DetectionOutput."""
    output = next((layer for layer in net.layers if layer.type == "DetectionOutput"), None)
    if output is None:
        return {}
    makers = {top: layer for layer in net.layers for top in layer.tops}
    return {kind: _trace(makers, blob) for kind, blob in zip(("loc", "conf"), output.bottoms)}


def _trace(makers: dict[str, Layer], blob: str) -> list[Layer]:
    """Return the layers with weights that a blob comes from, through layers that only move values."""
    layer = makers[blob]
    if layer.type in _PASSES:
        return [maker for bottom in layer.bottoms for maker in _trace(makers, bottom)]
    return [layer]


def _scale_heads(prototxt, caffemodel, net: Net, heads: dict, weights: Weights, rng) -> None:
    """Scale the heads' weights in place by what OpenCV computes with them on a noise picture.

    OpenCV calls a layer by its blob where the two names differ.
    """
    import cv2

    judge = cv2.dnn.readNetFromCaffe(str(prototxt), str(caffemodel))
    judge.enableFusion(False)
    for blob, shape in net.inputs.items():
        judge.setInput(noise_pictures(shape, int(rng.integers(1 << 30))), blob)
    tops = [layer.tops[0] for layers in heads.values() for layer in layers]
    found = dict(zip(tops, judge.forward(tops)))
    blobs = {name: arrays for name, _, arrays in weights}
    shift = _score_shift(net)
    for kind, layers in heads.items():
        for layer in layers:
            values, arrays = found[layer.tops[0]], blobs[layer.name]
            spread = max(float(values.std()), float(np.abs(values - values.mean()).max()) / 5, 1e-6)
            factor = np.float32(_HEAD_STD[kind] / spread)
            for array in arrays:
                array *= factor
            if len(arrays) > 1:
                arrays[1] -= values.mean() * factor
                arrays[1] += shift(len(arrays[1])) if kind == "conf" else 0


def _score_shift(net: Net):
    """Return the function that gives what to add to the biases of `count` score channels."""
    output = next(layer for layer in net.layers if layer.type == "DetectionOutput").message
    classes = output.detection_output_param.num_classes
    background = output.detection_output_param.background_label_id
    if any(layer.type == "Sigmoid" for layer in net.layers):
        return lambda count: np.float32(_SIGMOID_SHIFT)
    return lambda count: np.where(np.arange(count) % classes == background, _BACKGROUND, 0).astype(np.float32)


def noise_pictures(shape: Sequence[int], seed: int) -> np.ndarray:
    """Return pictures for a net: soft blots, float32 BGR about 0, of shape (N, C, H, W)."""
    import cv2

    rng = np.random.default_rng(seed)
    count, channels, height, width = shape
    coarse = rng.normal(0, 60, (count, max(2, height // 16), max(2, width // 16), channels))
    pictures = [
        cv2.resize(each.astype(np.float32), (width, height)).reshape(height, width, channels)
        for each in coarse
    ]
    return np.ascontiguousarray(np.transpose(pictures, (0, 3, 1, 2)))
