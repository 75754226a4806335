"""A zoo of wrong files for every reader: each is one ConversionError of one line, in little time."""

import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prototxts import everything
from random_model import write_random_caffemodel

from common.errors import ConversionError
from tools.caffe_converter.caffemodel import read_caffemodel
from tools.caffe_converter.labelmap import read_label_map
from tools.caffe_converter.net import read_net
from tools.caffe_converter.prototxt import read_prototxt

READERS = {
    "prototxt": read_prototxt,
    "net": read_net,
    "caffemodel": read_caffemodel,
    "labels": read_label_map,
}
ZOO = {
    "empty": b"",
    "blank": b"\n\n \n",
    "one byte": b"\0",
    "HTML page": b"<!DOCTYPE html>\n<html><body>404</body></html>",
    "HTML after blank lines": b"\n\n  <html><body>404</body></html>" * 20,
    "git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 23147564\n",
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(600),
    "JSON": b'{"name": "net", "layers": []}',
    "comment": b"# Move to https://example.org/\n",
    "sentence": b"This file has moved.\n",
    "zip": b"PK\x03\x04" + bytes(100),
    "gzip": b"\x1f\x8b\x08" + bytes(range(100)),
    "picture": b"\xff\xd8\xff\xe0" + bytes(range(100)),
    "MXNet parameters": b"\x12\x01\0\0\0\0\0\0" + bytes(100),
    "zeros": bytes(1000),
    "noise": np.random.default_rng(0).bytes(2000),
    "UTF-16": "layer { }".encode("utf-16"),
    "open brackets": b"layer {" * 10_000,
    "groups": b"\x0b" * 10_000,
    "XML": b"<?xml version='1.0'?><a/>",
    "pickle": b"\x80\x04\x95" + bytes(50),
}


def read_or_message(read, path):
    """Read a file; return the line of the one error that may arise, or None."""
    started = time.perf_counter()
    try:
        read(path)
        message = None
    except ConversionError as error:
        message = str(error)
        assert "\n" not in message
        assert len(message) < 3000
    assert time.perf_counter() - started < 5
    return message


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ZOO)
def test_foreign_files_are_one_line(tmp_path, reader, kind):
    path = tmp_path / "file"
    path.write_bytes(ZOO[kind])
    assert str(path) in read_or_message(READERS[reader], path)


@pytest.mark.parametrize("reader", READERS)
def test_missing_files_and_folders_are_one_line(tmp_path, reader):
    for path in (tmp_path, tmp_path / "none", tmp_path / "a\nb", tmp_path / ("x" * 300), tmp_path / "nul\0"):
        assert "cannot be read" in read_or_message(READERS[reader], path)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small net as text and weights, in bytes."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "x.prototxt").write_text(everything())
    write_random_caffemodel(folder / "x.prototxt", folder / "x.caffemodel", 0)
    return {kind: (folder / f"x.{kind}").read_bytes() for kind in ("prototxt", "caffemodel")}


def test_files_given_in_each_others_place(tmp_path, model):
    path = tmp_path / "file"
    path.write_bytes(model["prototxt"])
    assert "not a caffemodel: it is text beginning 'name: " in read_or_message(read_caffemodel, path)
    path.write_bytes(model["caffemodel"])
    assert "caffemodel given in its place" in read_or_message(read_net, path)
    assert "binary" in read_or_message(read_label_map, path)


@pytest.mark.parametrize(
    "text",
    [
        'input: "data" layer { type: "X" ' + 'bottom: "data" ' * 60_000 + 'top: "x" }',
        'input: "data" layer { type: "X" bottom: "data" '
        + "".join(f'top: "{i}" ' for i in range(60_000))
        + "}",
        "".join(f'input: "{i}" ' for i in range(60_000)) + 'layer { type: "X" bottom: "1" top: "x" }',
        "layer{}" * 149_000,
        "layer{include{}}" * 65_000,
        'state{stage:"a"}layer{' + 'include{stage:"b"}' * 50_000 + "}",
        'name: "' + "a" * 1_000_000 + '"',
        "#" * 1_000_000,
        'name: "' + "\\\\" * 500_000,
    ],
)
def test_nets_made_to_be_slow_are_not(tmp_path, text):
    path = tmp_path / "file"
    path.write_text(text)
    assert read_or_message(read_net, path)


def mutate(data, edits):
    """Apply (place in [0, 1), bytes to drop, bytes to put there) to a file."""
    for place, drop, put in edits:
        at = int(place * len(data))
        data = data[:at] + put + data[at + drop :]
    return data


EDITS = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 40), st.binary(max_size=8)),
    min_size=1,
    max_size=4,
)
FUZZ = settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FUZZ
@given(edits=EDITS)
def test_mutated_caffemodels_are_read_or_refused(tmp_path, model, edits):
    path = tmp_path / "file"
    path.write_bytes(mutate(model["caffemodel"], edits))
    read_or_message(read_caffemodel, path)


TEXT = st.sampled_from(
    [
        b"{",
        b"}",
        b'"',
        b"-1",
        b"0",
        b"1e39",
        b"nan",
        b"4294967295",
        b"99999999999",
        b"data",
        b'top: "x" ',
        b"#",
        b"\n",
    ]
    + [
        b'type: "Input" ',
        b"include { phase: TRAIN } ",
        b"layer {} ",
        b'bottom: "data" ',
        b"input_dim: 1 ",
        b"\0",
        b"\xff",
    ]
)
TEXT_EDITS = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 12), TEXT), min_size=1, max_size=3
)


@FUZZ
@given(edits=TEXT_EDITS)
def test_mutated_prototxts_are_read_or_refused(tmp_path, model, edits):
    path = tmp_path / "file"
    path.write_bytes(mutate(model["prototxt"], edits))
    read_or_message(read_net, path)


@FUZZ
@given(data=st.data())
def test_well_formed_models_with_wrong_fields_are_read_or_refused(tmp_path, model, data):
    from tools.caffe_converter.schema import net_parameter

    net = net_parameter().FromString(model["caffemodel"])
    sizes = st.one_of(st.integers(-3, 9), st.sampled_from([1 << 31, 1 << 62, -(1 << 63), (1 << 63) - 1]))
    for layer in data.draw(st.lists(st.sampled_from(list(net.layer)), min_size=1, max_size=3)):
        layer.name = data.draw(st.sampled_from([layer.name, "first", "", "a\nb"]))
        for blob in layer.blobs:
            blob.shape.dim[:] = data.draw(
                st.one_of(st.just(list(blob.shape.dim)), st.lists(sizes, max_size=5))
            )
            blob.data.extend(data.draw(st.lists(st.binary(max_size=8), max_size=2)))
            if data.draw(st.booleans()):
                blob.raw_data_type = data.draw(st.integers(0, 4))
    path = tmp_path / "file"
    path.write_bytes(net.SerializeToString())
    read_or_message(read_caffemodel, path)
