"""What goes into a Caffe net: `input` fields, Input layers, and data layers of the test phase, with their sizes.

Stands beside net.py, which asks it for the inputs of the layers that are left for the test phase. A data layer becomes
an input of the size that it would resize or crop pictures to; what else it gives (labels) is not there in a detector.

Source: Caffe's Net::Init (inputs), DataTransformer of the SSD branch (a crop comes after the resizing).
"""

from __future__ import annotations

from collections.abc import Sequence

from common.errors import ConversionError
from tools.caffe_converter.prototxt import shown

DATA_TYPES = frozenset(
    ("Data", "AnnotatedData", "ImageData", "VideoData", "HDF5Data", "MemoryData", "WindowData", "DummyData")
)
MAX_SIDE = 1 << 14
MAX_VALUES = 1 << 28  # of one input, 1 GB as float32
_UNKNOWN = 0  # a size that the file does not tell


def declared_inputs(message, layers: Sequence, path: str) -> dict[str, tuple[int, ...]]:
    """Collect the inputs that a net declares: fields of the net first, then Input layers.

    Args:
        message: the NetParameter.
        layers: those of the test phase.
        path: of the prototxt, for messages.

    Returns:
        blob -> shape as stated; empty where none is.

    Raises:
        ConversionError: the number of shapes is not that of the inputs, or two inputs have one name.
    """
    inputs = {}
    for blob, shape in zip(message.input, _field_shapes(message, path)):
        _add(inputs, blob, shape, f"{shown(path)}: input")
    for layer in layers:
        if layer.type == "Input":
            shapes = [tuple(shape.dim) for shape in layer.message.input_param.shape]
            if len(shapes) not in (0, 1, len(layer.tops)):
                raise ConversionError(
                    f"{layer.where}: {len(shapes)} shapes, expected one or as many as tops ({len(layer.tops)})"
                )
            shapes = (shapes or [()]) * (len(layer.tops) if len(shapes) < 2 else 1)
            for blob, shape in zip(layer.tops, shapes):
                _add(inputs, blob, shape, layer.where)
    return inputs


def data_layer_shape(layer) -> tuple[int, ...]:
    """Return the shape of what a data layer gives, with 0 for a size that it does not tell.

    Args:
        layer: a net.Layer of one of `DATA_TYPES`.
    """
    message = layer.message
    memory, dummy = message.memory_data_param, message.dummy_data_param
    if layer.type == "MemoryData":
        return 1, memory.channels, memory.height, memory.width
    if layer.type == "DummyData":
        stated = [tuple(shape.dim) for shape in dummy.shape] or list(
            zip(dummy.num, dummy.channels, dummy.height, dummy.width)
        )
        return stated[0] if stated else ()
    grey = message.transform_param.force_gray or (
        layer.type == "ImageData" and not message.image_data_param.is_color
    )
    return (1, 1 if grey else 3, *_picture_size(message))


def settle_shapes(
    inputs: dict[str, tuple[int, ...]], data_shape: tuple[int, int] | None, path: str
) -> dict[str, tuple[int, ...]]:
    """Give every input a batch of one and a size: the stated one, or `data_shape` for the picture.

    Args:
        inputs: blob -> shape as stated.
        data_shape: (height, width) in pixels of the picture; None keeps what the file says.
        path: of the prototxt, for messages.

    Raises:
        ConversionError: a size is unknown or cannot be, or `data_shape` has no picture to be of.
    """
    # An input without any shape is taken for a colour picture: `input: "data"` alone is a habit of OpenCV's users.
    shapes = {blob: shape or (1, 3, _UNKNOWN, _UNKNOWN) for blob, shape in inputs.items()}
    pictures = [blob for blob, shape in shapes.items() if len(shape) == 4]
    picture = "data" if "data" in pictures else next(iter(pictures), None)
    if data_shape is not None:
        if picture is None:
            raise ConversionError(f"{shown(path)}: --data-shape is given, but no input has four axes")
        shapes[picture] = (*shapes[picture][:2], *(int(side) for side in data_shape))
    for blob, shape in shapes.items():
        _check_shape(shape, f"{shown(path)}: input {shown(blob)}", is_picture=blob == picture)
    return {blob: (1, *shape[1:]) for blob, shape in shapes.items()}


def _field_shapes(message, path: str) -> list[tuple[int, ...]]:
    """Return the shapes of a net's `input` fields, in their order; () where none is stated."""
    count, dims = len(message.input), list(message.input_dim)
    if dims and len(message.input_shape):
        raise ConversionError(f"{shown(path)}: has both input_shape and input_dim: keep one of them")
    if not dims and not len(message.input_shape):
        return [()] * count
    shapes = [tuple(shape.dim) for shape in message.input_shape] or [
        tuple(dims[start : start + 4]) for start in range(0, len(dims), 4)
    ]
    if len(shapes) != count or len(dims) % 4:
        stated = f"{len(dims)} input_dim (four to an input)" if dims else f"{len(shapes)} input_shape"
        raise ConversionError(f"{shown(path)}: {stated} for {count} inputs: expected a shape for each")
    return shapes


def _add(inputs: dict, blob: str, shape: tuple[int, ...], where: str) -> None:
    """Add an input under a name that must be new."""
    if blob in inputs:
        raise ConversionError(f"{where}: a second input {shown(blob)!r}: rename one of them")
    inputs[blob] = shape


def _picture_size(message) -> tuple[int, int]:
    """Return (height, width) of the pictures of a data layer; 0 where it does not tell."""
    transform, resize = message.transform_param, message.transform_param.resize_param
    crop = transform.crop_size or next(
        (
            part.crop_size
            for part in (message.data_param, message.image_data_param, message.window_data_param)
            if part.crop_size
        ),
        _UNKNOWN,
    )
    if crop or (transform.crop_h and transform.crop_w):
        return transform.crop_h or crop, transform.crop_w or crop
    if resize.height and resize.width and resize.resize_mode != resize.FIT_SMALL_SIZE:
        return resize.height, resize.width
    return message.image_data_param.new_height, message.image_data_param.new_width


def _check_shape(shape: tuple[int, ...], where: str, *, is_picture: bool) -> None:
    """Hold a shape to what an input can be; the first number, the batch, is not looked at.

    Raises:
        ConversionError: a size is missing, not positive, or beyond all measure.
    """
    stated = shown(" x ".join(str(side) for side in shape))
    if is_picture and any(side <= _UNKNOWN for side in shape[2:]):
        raise ConversionError(f"{where} is {stated}, without a size: give it by --data-shape HEIGHT,WIDTH")
    if any(not 1 <= side <= MAX_SIDE for side in shape[1:]):
        raise ConversionError(f"{where} is {stated}, expected sizes from 1 to {MAX_SIDE}")
    values = 1
    for side in shape[1:]:
        values *= side
    if values > MAX_VALUES or len(shape) > 8:
        raise ConversionError(f"{where} is {stated}, too large: expected at most {MAX_VALUES} values")
