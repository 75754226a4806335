"""Parameter files: what is written comes back, old layouts load, and parameters are held to their graph."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest

from common.errors import CheckpointError
from common.mx import mx
from model.graph import inference_symbol
from model.parameter_layout import LayoutError, check_layout
from model.parameters import check_fit, join_params, load_arrays, save_arrays, split_params
from symbol.detection import DetectionConfig
from symbol.network import heads
from symbol.presets import network_config

TYPES = ("float32", "float64", "float16", "uint8", "int32", "int8", "int64")


def test_arrays_of_every_type_and_their_hash_come_back(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {f"arg:{t}": mx.nd.array(rng.integers(0, 9, (2, 3, 4)), dtype=t) for t in TYPES}
    arrays["aux:größe"] = mx.nd.array(rng.normal(size=5))
    digest = save_arrays(tmp_path / "new" / "a.params", arrays)
    assert digest == hashlib.sha256((tmp_path / "new" / "a.params").read_bytes()).hexdigest()
    found = load_arrays(tmp_path / "new" / "a.params", digest)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name].asnumpy(), array.asnumpy())


@pytest.mark.parametrize("version", ["before 1.0", "1.0"])
def test_layouts_of_old_mxnet_load(tmp_path, version):
    values, name = np.arange(6, dtype="<f4").reshape(2, 3), b"arg:fc_weight"
    shape = struct.pack("<III", 2, 2, 3)
    if version == "1.0":
        shape = struct.pack("<Iiqq", 0xF993FAC8, 2, 2, 3)
    data = struct.pack("<QQQ", 0x112, 0, 1) + shape + struct.pack("<iii", 2, 0, 0) + values.tobytes()
    (tmp_path / "a.params").write_bytes(data + struct.pack("<QQ", 1, len(name)) + name)
    np.testing.assert_array_equal(load_arrays(tmp_path / "a.params")["arg:fc_weight"].asnumpy(), values)


@pytest.mark.parametrize(
    ("begin", "form", "value", "reason"),
    [
        (0, "<Q", 0x113, "begin"),
        (16, "<Q", 2, "shape"),
        (16, "<Q", 2**63, "more bytes"),
        (28, "<i", 1, "sparse"),
        (32, "<i", 0, "0 dimensions"),
        (32, "<i", 2**30, "dimensions"),
        (36, "<q", 2**60, "more bytes"),
        (36, "<q", -1, "shape"),
        (36, "<q", 0, "shape"),
        (52, "<i", 77, "device 77"),
        (56, "<i", 2**20, "device 1:1048576"),
        (60, "<i", 77, "type 77"),
        (-13, "<Q", 2**40, "more bytes"),
    ],
)
def test_every_length_is_held_to_the_file(tmp_path, begin, form, value, reason):
    path = tmp_path / "a.params"
    mx.nd.save(str(path), {"arg:x": mx.nd.ones((2, 3))})
    data = bytearray(path.read_bytes())
    check_layout(path)
    begin = begin if begin >= 0 else len(data) + begin
    struct.pack_into(form, data, begin, value)
    path.write_bytes(data)
    with pytest.raises(LayoutError, match=reason):
        check_layout(path)
    with pytest.raises(CheckpointError, match=r"a\.params: (not an|cut short or damaged)"):
        load_arrays(path)


def test_bytes_after_the_end_and_names_that_are_no_text_are_damage(tmp_path):
    path = tmp_path / "a.params"
    mx.nd.save(str(path), {"arg:x": mx.nd.ones((2, 3))})
    data = path.read_bytes()
    for changed in (data + b"\0", data[:-1] + b"\xff"):
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match=r"a\.params: cut short or damaged"):
            load_arrays(path)


def test_arrays_without_names_are_refused(tmp_path):
    mx.nd.save(str(tmp_path / "a.params"), [mx.nd.ones(3)])
    with pytest.raises(CheckpointError, match=r"a\.params"):
        load_arrays(tmp_path / "a.params")


def test_params_split_and_join(small):
    params = small.params()
    joined = join_params(*params)
    assert {name.partition(":")[0] for name in joined} == {"arg", "aux"}
    assert split_params(joined, "x") == params


@pytest.mark.parametrize("key", ["conv1_weight", "arg:", "foo:conv1_weight", ""])
def test_names_of_something_else_are_refused(key):
    with pytest.raises(CheckpointError, match=r"x\.params: parameter .*begins with arg: or aux:"):
        split_params({key: mx.nd.ones(3)}, "x.params")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["arg:conv1_weight", "aux:bn1_moving_var"])
def test_values_that_are_not_finite_are_refused_by_name(small, name, value):
    joined = join_params(*small.params())
    array = joined[name].asnumpy()
    array.flat[-1] = value
    joined[name] = mx.nd.array(array)
    with pytest.raises(
        CheckpointError, match=rf"x\.params: parameter {name[4:]} holds values that are not finite"
    ):
        split_params(joined, "x.params")


@pytest.fixture
def graph(small):
    return inference_symbol(small.training_graph(), 3, (0.1, 0.1, 0.2, 0.2), DetectionConfig(), "g")


def test_parameters_of_the_graph_fit(graph, small):
    check_fit(graph, *small.params(), (32, 32), "x")


def test_parameters_for_other_classes_name_both_shapes(graph, small):
    with pytest.raises(
        CheckpointError,
        match=r"x: parameter classes_(weight|bias) has the shape \(18.*expected \(12.*number of classes",
    ):
        check_fit(graph, *small.params(num_classes=5), (32, 32), "x")


def test_parameters_of_another_network_are_named(graph, small):
    args, states = small.params()
    without = {name: array for name, array in args.items() if name != "conv1_bias"}
    with pytest.raises(
        CheckpointError, match=r"parameter conv1_bias of shape \(4,\) is missing.*another network"
    ):
        check_fit(graph, without, states, (32, 32), "x")
    with pytest.raises(CheckpointError, match=r"auxiliary state bn1_moving_mean of shape \(4,\) is missing"):
        check_fit(graph, args, {}, (32, 32), "x")
    with pytest.raises(
        CheckpointError, match=r"conv1_weight has the shape \(8, 3, 3, 3\), expected \(4, 3, 3, 3\)"
    ):
        check_fit(graph, *small.params(filters=8), (32, 32), "x")


def test_parameters_for_other_classes_say_both_numbers():
    graphs = {classes: heads(network_config("ssd7", (64, 64), classes)) for classes in (2, 5)}
    arguments, _, states = graphs[2].infer_shape(data=(1, 3, 64, 64))
    params = (
        {n: mx.nd.zeros(s) for n, s in zip(graphs[2].list_arguments(), arguments) if n != "data"},
        {n: mx.nd.zeros(s) for n, s in zip(graphs[2].list_auxiliary_states(), states)},
    )
    check_fit(graphs[2], *params, (64, 64), "x")
    with pytest.raises(
        CheckpointError, match="the file is of a detector of 2 classes, the graph of one of 5: check"
    ):
        check_fit(graphs[5], *params, (64, 64), "x")


def test_parameters_of_another_network_say_how_many_are_there(graph, small):
    args, states = small.params()
    del args["conv1_bias"], args["boxes_bias"]
    with pytest.raises(
        CheckpointError, match=f"{len(args)} of the graph's {len(args) + 2} parameters are in it"
    ):
        check_fit(graph, args, states, (32, 32), "x")


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32"])
def test_parameters_of_another_type_are_named(graph, small, dtype):
    args, states = small.params()
    args["conv1_weight"] = args["conv1_weight"].astype(dtype)
    with pytest.raises(CheckpointError, match=rf"conv1_weight has the type {dtype}, expected float32"):
        check_fit(graph, args, states, (32, 32), "x")


@pytest.mark.filterwarnings("ignore:Cannot decide shape")
def test_input_that_the_graph_does_not_take_is_an_error_without_noise(graph, small, capfd):
    with pytest.raises(CheckpointError, match=r"x: the graph does not take an input of \(4, 4\): .*pool1"):
        check_fit(graph, *small.params(), (4, 4), "x")
    more = mx.sym.broadcast_add(graph, mx.sym.Variable("extra"))
    with pytest.raises(CheckpointError, match="needs more inputs than an image"):
        check_fit(more, *small.params(), (32, 32), "x")
    assert capfd.readouterr() == ("", "")
