"""Weights of a Caffe model: the blobs of each layer as numpy arrays, straight from the file's bytes.

The second file of a model. Layer parameters in it are passed over: the prototxt tells what the net is. wire.py finds
layers and blobs without copying; the head of a blob (its shape) is parsed with the schema, its values are viewed where
they lie. Halves and doubles become float32.

Source: Caffe's BlobProto and Net::CopyTrainedLayersFrom (weights go by layer name).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

import numpy as np

from common.errors import ConversionError
from common.files import describe
from tools.caffe_converter.prototxt import one_line, shown
from tools.caffe_converter.schema import field_number, message_class
from tools.caffe_converter.wire import BYTES, FIXED32, FIXED64, Field, Walker, WireError

MAX_BYTES = 600 << 20  # VGG-SSD has 105 MB, VGG16 with its full head 553 MB
MAX_VALUES = MAX_BYTES // 4  # of all blobs: halves take twice their room as float32
_MAX_HEAD = 4096  # bytes of a blob other than values; a shape takes less than 100
_MAX_AXES = 32  # Caffe's own kMaxBlobAxes
_RAW_TYPES = {0: "<f8", 1: "<f4", 2: "<f2"}  # raw_data_type: DOUBLE, FLOAT, FLOAT16
_AGAIN = "get the file again"


def read_caffemodel(path: str | os.PathLike) -> dict[str, list[np.ndarray]]:
    """Read the weights of a model.

    Args:
        path: the caffemodel, of any generation of the format.

    Returns:
        layer name -> its blobs in order, float32, mostly read-only views of one buffer; layers without blobs are
        absent. Shapes are the file's: those of older files have four axes, with ones in front (a bias is
        (1, 1, 1, N), the matrix of an InnerProduct (1, 1, N, K)).

    Raises:
        ConversionError: the file cannot be read, is something else, is cut short, holds no weights, or a blob's size
            is not that of its values.
    """
    data, name = _read(path), shown(path)
    if not data or _is_foreign(data):
        raise ConversionError(f"{name}: not a caffemodel: it is {describe(data)}: {_AGAIN}")
    try:
        layers = _collect(data, name)
    except WireError as error:
        raise ConversionError(
            f"{name}: not a caffemodel, cut short or damaged ({len(data)} bytes, {error}):"
            f" it is {describe(data)}: {_AGAIN}"
        ) from error
    if not layers:
        raise ConversionError(
            f"{name}: no layer with weights in it ({describe(data)}): give the trained model"
        )
    return layers


def _read(path: str | os.PathLike) -> bytes:
    """Read a file whole, unless it is too large."""
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > MAX_BYTES:
                raise ConversionError(
                    f"{shown(path)}: {size} bytes, expected at most {MAX_BYTES}: not an SSD's caffemodel"
                )
            return stream.read(MAX_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConversionError(f"{shown(path)}: caffemodel cannot be read ({reason})") from error


def _is_foreign(data: bytes) -> bool:
    """Tell whether a file begins as text, HDF5 or an archive does; a model begins with a tag and a length."""
    start = data[:512]
    if start.startswith((b"\x89HDF", b"PK\x03\x04", b"\x1f\x8b", b"version https://git-lfs")):
        return True
    text = all(
        byte in b"\t\r\n" or byte >= 32 for byte in start
    )  # a length below 32 stands early in any model
    return text and not start.startswith(b"\n")  # a model with a name begins with a line feed


def _collect(data: bytes, name: str) -> dict[str, list[np.ndarray]]:
    """Read every layer that has blobs.

    Raises:
        ConversionError: two layers of one name have different weights.
    """
    walker, layers, total = Walker(data), {}, 0
    for layer_name, blobs in _layers(walker):
        where = f"{name}: layer {shown(layer_name)}"
        arrays = []
        for index, blob in enumerate(blobs):
            arrays.append(_read_blob(walker, blob, f"{where}, blob {index}", MAX_VALUES - total))
            total += arrays[-1].size
        known = layers.get(layer_name)
        if known and not _equal(known, arrays):
            raise ConversionError(
                f"{where} is there twice with different weights: rename one of them, as Caffe cannot tell them apart"
            )
        layers[layer_name] = arrays
    return layers


def _layers(walker: Walker) -> Iterator[tuple[str, list[Field]]]:
    """Give name and blobs of each layer that has blobs, of either generation of the format."""
    kinds = {}
    for field, message in (("layer", "LayerParameter"), ("layers", "V1LayerParameter")):
        numbers = (field_number(message, "name"), field_number(message, "blobs"))
        kinds[field_number("NetParameter", field)] = numbers
    for part in walker.fields(0, len(walker.data)):
        if part.number in kinds and part.kind == BYTES:
            name_number, blobs_number = kinds[part.number]
            name, blobs = b"", []
            for field in walker.fields(part.start, part.end):
                if field.kind == BYTES and field.number == name_number:
                    name = walker.data[field.start : field.end]
                elif field.kind == BYTES and field.number == blobs_number:
                    blobs.append(field)
            if blobs:
                yield name.decode("utf-8", "replace"), blobs


def _equal(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    """Tell whether two layers have the same weights, bit by bit."""
    return len(first) == len(second) and all(
        a.shape == b.shape and np.array_equal(a.view(np.uint32), b.view(np.uint32))
        for a, b in zip(first, second)
    )


def _read_blob(walker: Walker, blob: Field, where: str, most: int) -> np.ndarray:
    """Read one blob as float32 of its shape, of at most so many values.

    Raises:
        ConversionError: no values, values of another number than the shape has, too many, or a shape that cannot be.
    """
    head, chunks = _split_blob(walker, blob, where)
    dtype, values = _values(head, chunks, where)
    shape = _shape(head, where)
    size, length = math.prod(shape), sum(field.end - field.start for field in values)
    if size * np.dtype(dtype).itemsize != length:
        raise ConversionError(
            f"{where}: shape {shape} has {size} values, expected as many as there are:"
            f" {length / np.dtype(dtype).itemsize:g}: {_AGAIN}"
        )
    if size > most:
        raise ConversionError(f"{where}: more than {MAX_VALUES} values in the file: not an SSD's caffemodel")
    if len(values) == 1:
        flat = np.frombuffer(walker.data, dtype, size, values[0].start)
    else:
        joined = b"".join(walker.data[field.start : field.end] for field in values)
        flat = np.frombuffer(joined, dtype)
    with np.errstate(over="ignore"):  # a double beyond float32 is found with what else is not finite
        array = flat.astype(np.float32, copy=False).reshape(shape)
    if not np.isfinite(array).all():
        raise ConversionError(
            f"{where}: holds values that are not finite: take another snapshot of the model"
        )
    return array


def _split_blob(walker: Walker, blob: Field, where: str) -> tuple[object, dict[str, list[Field]]]:
    """Part a blob into its head, parsed, and where its values lie.

    Returns:
        The BlobProto without values, and data, double_data, raw_data -> their fields in order.
    """
    from google.protobuf.message import DecodeError

    names = ("data", "diff", "double_data", "double_diff", "raw_data")
    numbers = {field_number("BlobProto", name): name for name in names}
    chunks, head = {name: [] for name in names}, []
    for field in walker.fields(blob.start, blob.end):
        name = numbers.get(field.number)
        if name and field.kind == BYTES:
            chunks[name].append(field)
        elif name and field.kind in (FIXED32, FIXED64):
            raise ConversionError(
                f"{where}: {name} is not packed (one value to a field), which Caffe never writes:"
                " save the model by Caffe"
            )
        else:
            head.append(walker.data[field.tag : field.end])
    if sum(map(len, head)) > _MAX_HEAD:
        raise ConversionError(f"{where}: {sum(map(len, head))} bytes beside the values: damaged: {_AGAIN}")
    try:
        return message_class("BlobProto").FromString(b"".join(head)), chunks
    except (DecodeError, ValueError, RecursionError) as error:
        raise ConversionError(f"{where}: its shape cannot be read ({one_line(error)}): {_AGAIN}") from error


def _values(head, chunks: dict[str, list[Field]], where: str) -> tuple[str, list[Field]]:
    """Return the type of a blob's values and where they lie; Caffe takes doubles where there are some."""
    if chunks["double_data"]:
        return "<f8", chunks["double_data"]
    if chunks["data"]:
        return "<f4", chunks["data"]
    if not chunks["raw_data"]:
        return "<f4", []
    if head.raw_data_type not in _RAW_TYPES:
        raise ConversionError(
            f"{where}: raw_data_type {head.raw_data_type}, expected 0, 1 or 2 (f64, f32, f16)"
        )
    return _RAW_TYPES[head.raw_data_type], chunks["raw_data"][-1:]


def _shape(head, where: str) -> tuple[int, ...]:
    """Return the shape of a blob as it is stated.

    Raises:
        ConversionError: a size is not positive, or there are too many.
    """
    if any(
        head.HasField(name) for name in ("num", "channels", "height", "width")
    ):  # these first, as in Caffe
        shape = (head.num, head.channels, head.height, head.width)
    else:
        shape = tuple(head.shape.dim)
    if len(shape) > _MAX_AXES or any(side < 1 for side in shape):
        raise ConversionError(
            f"{where}: shape {shape[:8]}, expected up to {_MAX_AXES} positive sizes: {_AGAIN}"
        )
    return shape
