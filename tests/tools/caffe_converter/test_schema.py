"""The compiled schema against its source, and against fields whose numbers other programs fix."""

import re

import pytest

from common.errors import ConversionError
from tools.caffe_converter import schema

FIELD = re.compile(r"(optional|repeated|required) ([\w.]+) (\w+) = (\d+)")
ENUM = re.compile(r"enum (\w+) \{(.*?)\}", re.DOTALL)


def source_messages():
    """Parse caffe.proto: message -> {field: (number, type)}, message -> {enum: {value: number}}; "" is the file."""
    text = re.sub(r"//[^\n]*", "", schema.DESCRIPTOR_PATH.with_suffix(".proto").read_text())
    fields, enums = {}, {"": {}}
    for name, body in re.findall(r"message (\w+) \{(.*?)\n\}", text, re.DOTALL):
        enums[name] = {enum: values(part) for enum, part in ENUM.findall(body)}
        fields[name] = {field: (int(number), kind) for _, kind, field, number in FIELD.findall(body)}
    outside = re.sub(r"message (\w+) \{(.*?)\n\}", "", text, flags=re.DOTALL)
    enums[""] = {enum: values(part) for enum, part in ENUM.findall(outside)}
    return fields, enums


def values(body):
    return {name: int(number) for name, number in re.findall(r"(\w+) = (\d+);", body)}


def test_descriptor_is_compiled_from_the_proto():
    fields, enums = source_messages()
    file = schema.net_parameter().DESCRIPTOR.file
    assert set(file.message_types_by_name) == set(fields)
    assert set(file.enum_types_by_name) == set(enums[""])
    for name, descriptor in file.message_types_by_name.items():
        kinds = {field.name: field.message_type or field.enum_type for field in descriptor.fields}
        assert {field.name: field.number for field in descriptor.fields} == {
            field: number for field, (number, _) in fields[name].items()
        }, name
        for field, (_, kind) in fields[name].items():
            assert kinds[field] is None or kinds[field].name == kind.split(".")[-1], (name, field)
        compiled = {
            enum: {value.name: value.number for value in kind.values}
            for enum, kind in descriptor.enum_types_by_name.items()
        }
        assert compiled == enums[name], name


@pytest.mark.parametrize(
    ("message", "field", "number"),
    [
        ("NetParameter", "layers", 2),
        ("NetParameter", "layer", 100),
        ("LayerParameter", "blobs", 7),
        ("LayerParameter", "permute_param", 202),
        ("LayerParameter", "prior_box_param", 203),
        ("LayerParameter", "detection_output_param", 204),
        ("LayerParameter", "norm_param", 206),
        ("V1LayerParameter", "blobs", 6),
        ("BlobProto", "data", 5),
        ("BlobProto", "shape", 7),
        ("BlobProto", "raw_data", 12),
        ("LabelMapItem", "display_name", 3),
    ],
)
def test_numbers_are_those_of_the_format(message, field, number):
    assert schema.field_number(message, field) == number


def test_schema_leaves_the_default_pool_alone():
    from google.protobuf import descriptor_pool

    schema.net_parameter()
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("caffe.NetParameter")


def test_missing_schema_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr(schema, "DESCRIPTOR_PATH", tmp_path / "caffe.descriptor")
    schema._pool.cache_clear()
    try:
        with pytest.raises(ConversionError, match="restore it from the repository"):
            schema._pool()
    finally:
        schema._pool.cache_clear()
