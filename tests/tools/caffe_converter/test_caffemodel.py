import numpy as np
import pytest
from random_model import write_caffemodel

from common.errors import ConversionError
from tools.caffe_converter.caffemodel import read_caffemodel
from tools.caffe_converter.schema import message_class, net_parameter


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


LAYERS = [
    ("conv", "Convolution", [draw(4, 3, 3, 3), draw(4, seed=1)]),
    ("ip", "InnerProduct", [draw(5, 8, seed=2), draw(5, seed=3)]),
]


def equal(found, expected, tolerance=0.0):
    assert list(found) == [name for name, _, _ in expected]
    for name, _, blobs in expected:
        assert len(found[name]) == len(blobs)
        for array, blob in zip(found[name], blobs):
            assert (array.shape, array.dtype) == (blob.shape, np.float32)
            np.testing.assert_allclose(array, blob, rtol=tolerance, atol=0)


@pytest.mark.parametrize(
    ("form", "tolerance"),
    [
        ({}, 0),
        ({"chunk": 12}, 0),  # several fields of whole values
        ({"chunk": 7}, 0),  # cut within values
        ({"values": "f8"}, 0),
        ({"values": "raw_f4"}, 0),
        ({"values": "raw_f8"}, 0),
        ({"values": "raw_f2"}, 1e-3),
    ],
)
def test_every_form_of_values_is_read(tmp_path, form, tolerance):
    write_caffemodel(tmp_path / "x.caffemodel", LAYERS, "net", **form)
    equal(read_caffemodel(tmp_path / "x.caffemodel"), LAYERS, tolerance)


def test_older_form_keeps_its_four_axes(tmp_path):
    write_caffemodel(tmp_path / "x.caffemodel", LAYERS, v1=True)
    found = read_caffemodel(tmp_path / "x.caffemodel")
    assert [blob.shape for blob in found["conv"]] == [(4, 3, 3, 3), (1, 1, 1, 4)]
    assert [blob.shape for blob in found["ip"]] == [(1, 1, 5, 8), (1, 1, 1, 5)]
    assert np.array_equal(found["ip"][0][0, 0], LAYERS[1][2][0])


def test_scalars_and_layers_without_blobs(tmp_path):
    write_caffemodel(
        tmp_path / "x", [("relu", "ReLU", []), ("norm", "Normalize", [np.float32(20).reshape(())])]
    )
    found = read_caffemodel(tmp_path / "x")
    assert list(found) == ["norm"]
    assert (found["norm"][0].shape, float(found["norm"][0])) == ((), 20.0)


def test_values_are_views_of_the_file_not_copies(tmp_path):
    write_caffemodel(tmp_path / "x", LAYERS)
    assert all(not blob.flags.owndata for blobs in read_caffemodel(tmp_path / "x").values() for blob in blobs)


def test_unknown_fields_gradients_and_other_layer_fields_are_passed_over(tmp_path):
    net = net_parameter()(name="n")
    layer = net.layer.add(name="a", type="Convolution", bottom=["x"], top=["y"])
    layer.convolution_param.num_output = 3
    layer.blobs.add(data=[draw(3).tobytes()], diff=[b"123"]).shape.dim.append(3)
    unknown = (
        b"\xc2\x3e\x02hi" + b"\xc5\x3e1234" + b"\xc1\x3e12345678" + b"\xc0\x3e\x05"
    )  # number 1000, each type
    (tmp_path / "x").write_bytes(unknown + net.SerializeToString())
    assert np.array_equal(read_caffemodel(tmp_path / "x")["a"][0], draw(3))


def test_a_layer_that_is_there_twice_must_be_the_same(tmp_path):
    first, other = ("a", "Convolution", [draw(3)]), ("a", "Convolution", [draw(3, seed=9)])
    write_caffemodel(tmp_path / "x", [first, ("a", "Slice", []), first])
    equal(read_caffemodel(tmp_path / "x"), [first])
    write_caffemodel(tmp_path / "x", [first, other])
    with pytest.raises(ConversionError, match="layer a is there twice with different weights"):
        read_caffemodel(tmp_path / "x")


def test_real_model_is_what_opencv_reads(shared_data, tmp_path):
    import cv2

    prefix = str(shared_data / "caffe" / "yufacedetectnet-open-v1")
    judge = cv2.dnn.readNetFromCaffe(prefix + ".prototxt", prefix + ".caffemodel")
    found = read_caffemodel(prefix + ".caffemodel")
    assert len(found) == 28
    for name, blobs in found.items():
        for ours, theirs in zip(blobs, judge.getLayer(name).blobs):
            assert np.array_equal(ours.ravel(), theirs.ravel())
    small = str(tmp_path / "half.caffemodel")
    cv2.dnn.shrinkCaffeModel(prefix + ".caffemodel", small)
    for name, blobs in read_caffemodel(small).items():
        for half, whole in zip(blobs, found[name]):
            # shrinkCaffeModel leaves convolutions' biases whole and halves the rest
            assert np.array_equal(half, whole.astype(np.float16).astype(np.float32)) or np.array_equal(
                half, whole
            )


def blob_bytes(**fields):
    """Return a caffemodel of one layer "a" with one blob of these fields."""
    shape = fields.pop("dims", None)
    blob = message_class("BlobProto")(**fields)
    if shape is not None:
        blob.shape.dim.extend(shape)
    net = net_parameter()()
    net.layer.add(name="a", type="Convolution").blobs.append(blob)
    return net.SerializeToString()


FOUR = np.arange(4, dtype=np.float32).tobytes()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (blob_bytes(dims=[3], data=[FOUR]), r"layer a, blob 0: shape \(3,\) has 3 values, .*there are: 4"),
        (blob_bytes(dims=[2, 3], data=[FOUR]), "has 6 values"),
        (blob_bytes(dims=[4], data=[FOUR[:-1]]), r"there are: 3.75"),
        (blob_bytes(dims=[4]), "has 4 values, expected as many as there are: 0"),
        (blob_bytes(), r"shape \(\) has 1 values, .*: 0"),
        (blob_bytes(dims=[1 << 40, 1 << 40], data=[FOUR]), f"has {1 << 80} values"),
        (
            blob_bytes(dims=[(1 << 62) + 1, 4], data=[FOUR]),
            "expected as many as there are: 4",
        ),  # 4 modulo 2**64
        (blob_bytes(dims=[-2, -2], data=[FOUR]), "positive sizes"),
        (blob_bytes(dims=[0, 4], data=[FOUR]), "positive sizes"),
        (blob_bytes(dims=[1] * 40, data=[FOUR]), "up to 32 positive sizes"),
        (blob_bytes(dims=[1] * 5000, data=[FOUR]), "bytes beside the values"),
        (blob_bytes(num=4, data=[FOUR]), r"shape \(4, 0, 0, 0\)"),
        (blob_bytes(dims=[4], raw_data=FOUR, raw_data_type=3), "raw_data_type 3"),
        (blob_bytes(dims=[4], raw_data=FOUR, raw_data_type=2), "there are: 8"),
        (blob_bytes(dims=[1], data=[b"\0\0\xc0\x7f"]), "not finite"),
        (blob_bytes(dims=[1], double_data=[np.float64(1e300).tobytes()]), "not finite"),
        (b"\xa2\x06\x0e\x0a\x01a:\x09:\x01\x01" + b"-\0\0\x80?" + b"\0" * 0, "caffemodel|packed"),
        (b"\xa2\x06\x0a\x0a\x01a:\x05-\0\0\x80?", "blob 0: data is not packed"),
        (blob_bytes(dims=[4], data=[FOUR])[:-1], "cut short or damaged"),
        (b"\xa2\x06\x03\x0a\x01a", "no layer with weights"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "cut short or damaged"),
        (b"\xa3\x06", "wire type 3"),
        (b"\xa2\x06\0" * 120_000, "more than 100000 fields"),
    ],
)
def test_damaged_models_are_refused_before_anything_is_made(tmp_path, data, message):
    (tmp_path / "x.caffemodel").write_bytes(data)
    with pytest.raises(ConversionError, match=message) as caught:
        read_caffemodel(tmp_path / "x.caffemodel")
    assert "\n" not in str(caught.value)


def read_or_message(path):
    """Read a model; return the message of the one error that may arise in its place."""
    try:
        return read_caffemodel(path)
    except ConversionError as error:
        return str(error)


def test_every_cut_of_a_model_is_refused_or_loses_whole_layers(tmp_path):
    write_caffemodel(tmp_path / "x", LAYERS, "net")
    data, whole = (tmp_path / "x").read_bytes(), []
    for length in range(len(data)):
        (tmp_path / "cut").write_bytes(data[:length])
        outcome = read_or_message(tmp_path / "cut")
        if isinstance(outcome, str):
            assert "\n" not in outcome
        else:
            equal(outcome, LAYERS[:1])
            whole.append(length)
    assert len(whole) == 1  # the one cut that falls between two layers


def test_a_model_of_105_megabytes_is_read_in_a_second(tmp_path):
    import time

    layers = [
        (f"conv{index}", "Convolution", [np.full((512, 512, 3, 3), 0.5, np.float32)]) for index in range(11)
    ]
    write_caffemodel(tmp_path / "x", layers)
    assert (tmp_path / "x").stat().st_size > 100e6
    started = time.perf_counter()
    found = read_caffemodel(tmp_path / "x")
    assert len(found) == 11
    assert time.perf_counter() - started < 2  # 0.1 s measured; a second, and room for a busy machine
