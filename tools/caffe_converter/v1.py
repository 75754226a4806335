"""Nets of the older form (`layers { type: CONVOLUTION }`, 2013 to 2014) as layers of today's form.

The fields have the same names in both; the type was a number of an enum, and weights were shared and weighted by
fields that a detector does not need. Stands between prototxt.py and net.py.

Source: Caffe's V1LayerParameter; each type is today's layer of that name.
"""

from __future__ import annotations

from common.errors import ConversionError
from tools.caffe_converter.prototxt import shown
from tools.caffe_converter.schema import message_class

_IRREGULAR = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "IM2COL": "Im2col",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
_CHANGED = {"type", "param", "blob_share_mode", "blobs_lr", "weight_decay"}


def upgrade_layer(old, name: str):
    """Translate a layer of the older form.

    Args:
        old: a V1LayerParameter; it stays as it is.
        name: of the file, for messages.

    Returns:
        The LayerParameter.

    Raises:
        ConversionError: the layer has no type.
    """
    kind = old.DESCRIPTOR.enum_types_by_name["LayerType"].values_by_number[old.type].name
    if kind == "NONE":
        raise ConversionError(
            f"{shown(name)}: layer {shown(old.name)!r} has no type: add one to the prototxt"
        )
    layer = message_class("LayerParameter")()
    layer.type = _IRREGULAR.get(kind) or kind.title().replace("_", "")
    for field, value in old.ListFields():
        if field.name not in _CHANGED:
            _copy(layer, field, value)
    for shared in old.param:
        layer.param.add(name=shared)
    return layer


def _copy(layer, field, value) -> None:
    """Copy one field of the older message into the field of the same name."""
    if field.label == field.LABEL_REPEATED:
        getattr(layer, field.name).extend(value)
    elif field.message_type is not None:
        getattr(layer, field.name).CopyFrom(value)
    else:
        setattr(layer, field.name, value)
