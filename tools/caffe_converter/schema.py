"""Caffe's message classes, from the compiled schema that lies beside this file (caffe.proto, caffe.descriptor).

The classes live in a pool of their own: nothing is generated, and a process that also imports pycaffe, which brings
messages of the same names, sees no clash. Lowest step of the converter's readers.
"""

from __future__ import annotations

import functools
from pathlib import Path

from common.errors import ConversionError
from common.files import describe

DESCRIPTOR_PATH = Path(__file__).resolve().with_name("caffe.descriptor")


def net_parameter() -> type:
    """Return the class of a prototxt and of a caffemodel."""
    return message_class("NetParameter")


def label_map() -> type:
    """Return the class of a labelmap.prototxt."""
    return message_class("LabelMap")


@functools.cache
def message_class(name: str) -> type:
    """Return a message class of the schema.

    Args:
        name: as caffe.proto has it, without the package: "LayerParameter", "BlobProto".

    Raises:
        KeyError: the schema has no such message.
        ConversionError: the compiled schema is missing or damaged.
    """
    from google.protobuf import message_factory

    descriptor = _pool().FindMessageTypeByName(f"caffe.{name}")
    if hasattr(message_factory, "GetMessageClass"):  # protobuf 4.22 and newer
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(_pool()).GetPrototype(descriptor)


def field_number(message: str, field: str) -> int:
    """Return the number by which a field stands in binary files."""
    return message_class(message).DESCRIPTOR.fields_by_name[field].number


@functools.cache
def _pool():
    """Load the compiled schema once."""
    from google.protobuf import descriptor_pb2, descriptor_pool
    from google.protobuf.message import DecodeError

    data = b""
    try:
        data = DESCRIPTOR_PATH.read_bytes()
        files = descriptor_pb2.FileDescriptorSet.FromString(data)
    except (OSError, DecodeError) as error:
        raise ConversionError(
            f"{DESCRIPTOR_PATH}: the schema of Caffe's files cannot be read (it is {describe(data)}):"
            " restore it from the repository"
        ) from error
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool
