"""Each kind of layer on its own, with its options, against OpenCV's DNN module, or numpy where that is wrong."""

from __future__ import annotations

import re

import numpy as np
import pytest
from caffe_shapes import net_shapes
from random_model import write_random_caffemodel

from common.errors import ConversionError
from tools.caffe_converter.compare_command import compare, forward
from tools.caffe_converter.convert import convert_graph, convert_model
from tools.caffe_converter.net import read_net
from tools.caffe_converter.opencv import OpenCVNet

# Between the image and the layer: eight channels, some below 0.
HEAD = """
layer {{ name: "data" type: "Input" top: "data"
  input_param {{ shape {{ dim: 1 dim: 3 dim: {height} dim: {width} }} }} }}
layer {{ name: "first" type: "Convolution" bottom: "data" top: "first"
  convolution_param {{ num_output: 8 kernel_size: 1 }} }}
"""


def write(tmp_path, layers, size=(11, 14)):
    """Write a net that ends in the layers given; the first one's bottom is "first", the last one's top "out"."""
    path = tmp_path / "net.prototxt"
    path.write_text(HEAD.format(height=size[0], width=size[1]) + layers)
    return path


def layer(kind, params="", bottom="first", top="out", name="it"):
    bottoms = " ".join(f'bottom: "{blob}"' for blob in bottom.split())
    tops = " ".join(f'top: "{blob}"' for blob in top.split())
    return f'layer {{ name: "{name}" type: "{kind}" {bottoms} {tops} {params} }}\n'


def converted(tmp_path, layers, size=(11, 14)):
    path = write(tmp_path, layers, size)
    weights = tmp_path / "net.caffemodel"
    write_random_caffemodel(path, weights, 3)
    return convert_model(path, weights), path, weights


def image(size=(11, 14), batch=1, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (batch, 3, *size)).astype(np.float32)


def assert_equals_opencv(tmp_path, layers, size=(11, 14), tolerance=5e-6):
    model, path, weights = converted(tmp_path, layers, size)
    rows = compare(model, OpenCVNet(path, weights), image(size))
    for row in rows:
        assert row["difference"] <= tolerance * max(1, row["greatest"]), row
    return model


POOLS = [
    f"pool: {pool} kernel_size: {kernel} stride: {stride} pad: {pad}"
    for pool in ("MAX", "AVE")
    for kernel, stride, pad in (
        (2, 2, 0),
        (3, 2, 0),
        (3, 2, 1),
        (3, 1, 1),
        (2, 3, 0),
        (2, 1, 0),
        (5, 2, 2),
        (3, 3, 1),
    )
]
PLAIN = [
    ("ReLU", ""),
    ("ReLU", "relu_param { negative_slope: 0.1 }"),
    ("ReLU6", ""),
    ("PReLU", ""),
    ("ELU", ""),
    ("Sigmoid", ""),
    ("TanH", ""),
    ("AbsVal", ""),
    ("Exp", "exp_param { scale: 0.3 shift: 0.2 }"),
    ("Power", "power_param { power: 2 scale: 0.5 shift: 3 }"),
    ("Power", "power_param { scale: 2 }"),
    ("Power", "power_param { }"),
    ("Dropout", "dropout_param { dropout_ratio: 0.5 }"),
    ("Convolution", "convolution_param { num_output: 6 kernel_size: 3 pad: 1 stride: 2 bias_term: false }"),
    ("Convolution", "convolution_param { num_output: 8 kernel_h: 3 kernel_w: 1 pad_h: 1 pad_w: 0 group: 2 }"),
    ("Convolution", "convolution_param { num_output: 8 kernel_size: 3 dilation: 3 pad: 3 group: 8 }"),
    ("Convolution", "convolution_param { num_output: 4 kernel_size: 3 kernel_size: 5 stride: 2 stride: 1 }"),
    ("Deconvolution", "convolution_param { num_output: 4 kernel_size: 4 stride: 2 pad: 1 }"),
    (
        "Deconvolution",
        "convolution_param { num_output: 8 kernel_size: 2 stride: 2 group: 8 bias_term: false }",
    ),
    ("InnerProduct", "inner_product_param { num_output: 5 }"),
    ("InnerProduct", "inner_product_param { num_output: 5 bias_term: false }"),
    *[("Pooling", f"pooling_param {{ {params} }}") for params in POOLS],
    ("Pooling", "pooling_param { pool: AVE global_pooling: true }"),
    ("Pooling", "pooling_param { pool: MAX kernel_h: 2 kernel_w: 3 stride_h: 2 stride_w: 1 }"),
    ("LRN", "lrn_param { local_size: 5 alpha: 0.1 beta: 0.75 }"),
    ("BatchNorm", ""),
    ("BatchNorm", "batch_norm_param { eps: 0.001 }"),
    ("Scale", "scale_param { bias_term: true }"),
    ("Scale", ""),
    ("Normalize", "norm_param { across_spatial: false channel_shared: false scale_filler { value: 20 } }"),
    ("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }"),
    ("Flatten", ""),
    ("Flatten", "flatten_param { axis: 2 }"),
    ("Flatten", "flatten_param { axis: 1 end_axis: 2 }"),
    ("Flatten", "flatten_param { axis: -3 end_axis: -2 }"),
    ("Reshape", "reshape_param { shape { dim: 0 dim: -1 dim: 4 } }"),
    ("Reshape", "reshape_param { shape { dim: 1 dim: 4 dim: 2 dim: -1 } }"),
    ("Reshape", "reshape_param { shape { dim: 2 dim: 4 } axis: 1 num_axes: 1 }"),
    ("Softmax", ""),
    ("Softmax", "softmax_param { axis: 2 }"),
    ("Softmax", "softmax_param { axis: -1 }"),
]


@pytest.mark.parametrize(("kind", "params"), PLAIN, ids=lambda value: re.sub(r"\W+", "_", value))
def test_layer_equals_opencv(tmp_path, kind, params):
    model = assert_equals_opencv(tmp_path, layer(kind, params))
    assert [tuple(shape) for shape in model.converted.symbol.infer_shape(data=(1, 3, 11, 14))[1]] == [
        tuple(model.converted.graph.blobs["out"].shape)
    ]


@pytest.mark.parametrize(("kind", "params"), PLAIN, ids=lambda value: re.sub(r"\W+", "_", value))
def test_batch_is_free(tmp_path, kind, params):
    model, *_ = converted(tmp_path, layer(kind, params))
    pictures = image(batch=3)
    (together,) = forward(model.converted.symbol, model.params, pictures)
    apart = [forward(model.converted.symbol, model.params, pictures[i : i + 1])[0] for i in range(3)]
    np.testing.assert_allclose(together, np.concatenate(apart), rtol=1e-4, atol=1e-5)


def test_shapes_are_those_of_another_implementation_of_caffes_rules(tmp_path):
    for index, (kind, params) in enumerate(PLAIN):
        folder = tmp_path / str(index)
        folder.mkdir()
        path = write(folder, layer(kind, params))
        blobs = net_shapes(read_net(path))[1]
        assert tuple(blobs["out"]) == convert_graph(path).graph.blobs["out"].shape, (kind, params)


def test_last_window_in_the_padding_is_dropped(tmp_path):
    """Caffe's rule, which neither OpenCV nor MXNet knows: kernel 2, stride 3, pad 1 on 11 rows makes 4 windows."""
    model, *_ = converted(
        tmp_path, layer("Pooling", "pooling_param { kernel_size: 2 stride: 3 pad: 1 }"), (12, 12)
    )
    (rows,) = forward(model.converted.symbol, model.params, image((12, 12)))
    assert rows.shape == (1, 8, 5, 5)
    model, *_ = converted(
        tmp_path, layer("Pooling", "pooling_param { kernel_size: 2 stride: 3 pad: 1 }"), (11, 11)
    )
    assert forward(model.converted.symbol, model.params, image((11, 11)))[0].shape == (1, 8, 4, 4)


@pytest.mark.parametrize(
    "layers",
    [
        layer("Eltwise", bottom="first first"),
        layer("Eltwise", "eltwise_param { operation: PROD }", bottom="first first"),
        layer("ReLU", top="b") + layer("Eltwise", "eltwise_param { operation: MAX }", "first b", name="e"),
        layer("ReLU", top="b")
        + layer("Eltwise", "eltwise_param { operation: SUM coeff: 0.5 coeff: -2 }", "first b", name="e"),
        layer("ReLU", top="b") + layer("Concat", "", "first b", name="c"),
        layer("ReLU", top="b") + layer("Concat", "concat_param { axis: -1 }", "first b first", name="c"),
        layer("Slice", "slice_param { axis: 1 slice_point: 2 slice_point: 5 }", top="a b c")
        + layer("Concat", "", "c a b", name="d"),
        layer("Slice", "slice_param { axis: 2 slice_point: 3 }", top="a out"),
        layer("Slice", top="a b") + layer("Concat", "", "b a", name="c"),
        layer("Split", top="a b") + layer("ReLU", bottom="a", top="r", name="r") + layer("Concat", "", "r b", name="c"),
        layer("ReLU", top="first") + layer("Sigmoid", top="out", name="s"),
        layer("BatchNorm", top="first") + layer("Scale", "scale_param { bias_term: true }", top="out", name="s"),
        layer("BatchNorm", top="n") + layer("Scale", "", "n", "n", name="s") + layer("ReLU", "", "n", "out", name="r"),
        layer("BatchNorm", top="n") + layer("Scale", "", "n", "s", name="s") + layer("Concat", "", "n s", name="c"),
    ],
)  # fmt: skip
def test_layers_together_equal_opencv(tmp_path, layers):
    assert_equals_opencv(tmp_path, layers)


def test_scale_behind_a_batch_norm_becomes_part_of_it(tmp_path):
    norm, factor = layer("BatchNorm", top="n"), layer("Scale", "", "n", "s", name="s")
    alone = converted(tmp_path, norm + factor)[0].converted.symbol
    assert "broadcast_mul" not in alone.tojson()
    used_twice = converted(tmp_path, norm + factor + layer("Concat", "", "n s", name="c"))[0].converted.symbol
    assert "broadcast_mul" in used_twice.tojson()


def run_numpy(tmp_path, layers):
    """Return (the first blob, the net's output) of a net on a picture."""
    model, *_ = converted(tmp_path, layers)
    first = model.converted.graph.blobs["first"].symbol
    picture = image()
    return (
        forward(first, model.params, picture)[0],
        forward(model.converted.symbol, model.params, picture)[0],
        model,
    )


def test_what_opencv_lacks_equals_numpy(tmp_path):
    first, out, _ = run_numpy(tmp_path, layer("BNLL"))
    np.testing.assert_allclose(out, np.log1p(np.exp(first)), rtol=1e-5, atol=1e-6)
    first, out, _ = run_numpy(tmp_path, layer("Log", "log_param { base: 2 scale: 0.1 shift: 9 }"))
    np.testing.assert_allclose(out, np.log2(9 + 0.1 * first), rtol=1e-5)
    first, out, _ = run_numpy(tmp_path, layer("Exp", "exp_param { base: 2 scale: 0.5 shift: 1 }"))
    np.testing.assert_allclose(out, 2 ** (1 + 0.5 * first), rtol=1e-5)
    first, out, model = run_numpy(tmp_path, layer("PReLU", "prelu_param { channel_shared: true }"))
    slope = model.params[0]["it_gamma"].asnumpy()
    assert len(set(slope)) == 1
    np.testing.assert_allclose(out, np.where(first > 0, first, slope[0] * first), rtol=1e-5)
    shared = "norm_param { across_spatial: false channel_shared: true }"
    first, out, model = run_numpy(tmp_path, layer("Normalize", shared))
    factor = model.params[0]["it_scale"].asnumpy().ravel()
    expected = factor * first / np.sqrt((first**2).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-6)
    first, out, _ = run_numpy(tmp_path, layer("Permute", "permute_param { order: 0 order: 3 }"))
    np.testing.assert_array_equal(out, first.transpose(0, 3, 1, 2))
    first, out, model = run_numpy(tmp_path, layer("Bias"))
    np.testing.assert_allclose(out, first + model.params[0]["it_beta"].asnumpy(), rtol=1e-5, atol=1e-6)
    first, out, _ = run_numpy(tmp_path, layer("LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.6 k: 2 }"))
    padded = np.pad(first**2, ((0, 0), (1, 1), (0, 0), (0, 0)))
    around = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    np.testing.assert_allclose(out, first / (2 + 0.5 / 3 * around) ** 0.6, rtol=1e-4, atol=1e-6)
    first, out, model = run_numpy(
        tmp_path, layer("InnerProduct", "inner_product_param { num_output: 3 transpose: true }")
    )
    weight, bias = (model.params[0][f"it_{kind}"].asnumpy() for kind in ("weight", "bias"))
    np.testing.assert_allclose(out, first.reshape(1, -1) @ weight.T + bias, rtol=1e-3, atol=1e-4)
    first, out, model = run_numpy(
        tmp_path, layer("Normalize", "norm_param { across_spatial: true channel_shared: false }")
    )
    scale = model.params[0]["it_scale"].asnumpy()
    np.testing.assert_allclose(out, scale * first / np.sqrt((first**2).sum()), rtol=1e-4, atol=1e-6)


def test_crop_takes_the_sides_of_its_second_bottom(tmp_path):
    layers = layer("Pooling", "pooling_param { kernel_size: 3 stride: 2 }", top="small", name="p")
    layers += layer("Crop", "crop_param { axis: 2 offset: 2 offset: 3 }", "first small", name="c")
    first, out, _ = run_numpy(tmp_path, layers)
    np.testing.assert_array_equal(out, first[:, :, 2:7, 3:10])


def test_scale_by_a_second_bottom(tmp_path):
    pool = layer("Pooling", "pooling_param { pool: AVE global_pooling: true }", top="g", name="g")
    flat = layer("Flatten", "", "g", "w", name="w")
    first, out, _ = run_numpy(tmp_path, pool + flat + layer("Scale", "scale_param { axis: 0 }", "first w"))
    np.testing.assert_allclose(out, first * first.mean(axis=(2, 3), keepdims=True), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (layer("Interp"), "layer it (Interp): layers of this type are not supported"),
        (layer("Convolution", "convolution_param { num_output: 8 }"), "kernel_size has 0 numbers"),
        (layer("Convolution", "convolution_param { num_output: 8 kernel_size: 30 }"), "would give the shape"),
        (layer("Convolution", "convolution_param { num_output: 7 kernel_size: 1 group: 2 }"), "multiples of group"),
        (layer("Convolution", "convolution_param { kernel_size: 1 }"), "num_output 0"),
        (layer("Convolution", "convolution_param { num_output: 1 kernel_size: 1 stride: 0 }"), "stride is 0x0"),
        (layer("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }"), "STOCHASTIC"),
        (layer("LRN", "lrn_param { norm_region: WITHIN_CHANNEL }"), "WITHIN_CHANNEL"),
        (layer("Reshape", "reshape_param { shape { dim: 0 dim: 5 dim: -1 } }"), "cannot reshape"),
        (layer("Concat", "concat_param { axis: 4 }"), "axis 4: the blob has 4 axes"),
        (layer("Slice", "slice_param { axis: 1 slice_point: 9 }", top="a b"), "cannot be cut"),
        (layer("Permute", "permute_param { order: 1 order: 0 }"), "batch, axis 0, to stay first"),
        (layer("Eltwise", bottom="first"), "has 1 bottoms, expected 2"),
        (layer("Softmax", "softmax_param { axis: 5 }"), "axis 5"),
        (layer("Softmax", "softmax_param { axis: 0 }"), "axis 0, the batch"),
        (layer("BatchNorm", "batch_norm_param { use_global_stats: false }"), "use_global_stats false"),
        (layer("Convolution", "convolution_param { num_output: 3 kernel_size: 1 group: 3 }", "data"), "the image"),
        (layer("Eltwise", bottom="data data"), "takes the image itself"),
        (layer("PriorBox", "prior_box_param { min_size: 30 }", "first"), "has 1 bottoms, expected 2"),
        (layer("PriorBox", "prior_box_param { max_size: 30 }", "first data"), "min_size []"),
        (layer("PriorBox", "prior_box_param { min_size: 30 max_size: 20 }", "first data"), "max_size [20.0]"),
        (layer("PriorBox", "prior_box_param { min_size: 30 variance: 0.1 variance: 1 }", "first data"), "variance"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_an_error_with_its_place(tmp_path, layers, words):
    path = write(tmp_path, layers)
    with pytest.raises(ConversionError) as caught:
        convert_graph(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}:6: layer it")
    assert "\n" not in str(caught.value)


def test_layers_of_one_name_are_compared_each(tmp_path):
    """OpenCV numbers them; MobileNetV2's slices are called alike."""
    layers = layer("ReLU", top="a") + layer("Sigmoid", bottom="a", top="b") + layer("TanH", bottom="b")
    model, path, weights = converted(tmp_path, layers)
    rows = compare(model, OpenCVNet(path, weights), image())
    assert [row["type"] for row in rows] == ["Convolution", "ReLU", "Sigmoid", "TanH"]
    assert max(row["difference"] for row in rows) < 1e-5
