"""mxnet-ssd's params without anything beside them: named network, names by MXNet's counter, leftovers, old json."""

from __future__ import annotations

import argparse
import json
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from common.errors import CheckpointError, ConfigError
from common.mx import mx
from deploy.command import main as deploy_main
from detect.detector import Detector
from detect.flags import add_detection_flags, add_device_flags, add_model_flags, find_prefix, open_detector
from model.card import read_card
from model.graph import anchors_in_graph, heads, load_symbol
from model.old_files import completed, renamed
from model.saved import load, params_path, require_card, symbol_path
from symbol.network import heads as network_heads
from symbol.presets import network_config, network_names

_OLD = runpy.run_path(str(Path(__file__).parent.parent / "deploy" / "conftest.py"))
NAMES = tuple(f"class{number:02d}" for number in range(20))
SMALL = 128
_HIDDEN = re.compile(r"__(lr_mult|wd_mult)__")  # before MXNet 0.9 these stood without the lines
IMAGES = [np.random.default_rng(seed).integers(0, 256, (90, 120, 3), dtype=np.uint8) for seed in (1, 2)]


def write_params(prefix: Path, arguments: dict, states: dict) -> str:
    """Write a params file alone, as the releases are: name -> array."""
    arrays = {f"arg:{name}": mx.nd.array(value) for name, value in arguments.items()}
    arrays.update({f"aux:{name}": mx.nd.array(value) for name, value in states.items()})
    mx.nd.save(str(params_path(prefix, 0)), arrays)
    return str(prefix)


def golden_arrays(shapes: dict) -> dict:
    inputs = ("data", "label")
    return {
        name: _OLD["golden_array"](name, tuple(shape)) for name, shape in shapes.items() if name not in inputs
    }


def counted_on(arrays: dict, first: int) -> dict:
    """Return arrays as a network leaves them that was built after others in its process."""
    return {
        re.sub(r"^_plus(\d+)", lambda n: f"_plus{int(n.group(1)) + first}", name): a
        for name, a in arrays.items()
    }


def forward(symbol, saved, data: np.ndarray) -> list[np.ndarray]:
    arguments = {name: saved.arg_params[name] for name in symbol.list_arguments() if name != "data"}
    executor = symbol.bind(
        mx.cpu(), {**arguments, "data": mx.nd.array(data)}, grad_req="null", aux_states=saved.aux_params
    )
    return [output.asnumpy() for output in executor.forward(is_train=False)]


def resnet_params(shape=SMALL, first: int = 0) -> tuple[dict, dict]:
    """Return resnet50's parameters by the golden recipe, the sums' names counted on from `first`."""
    parts = network_heads(network_config("resnet50", (shape, shape), len(NAMES)))
    args, states = _OLD["golden_params"](parts, (shape, shape))
    as_numpy = [{name: array.asnumpy() for name, array in part.items()} for part in (args, states)]
    return counted_on(as_numpy[0], first), as_numpy[1]


@pytest.fixture(scope="module")
def resnet(tmp_path_factory) -> str:
    """A resnet50's params file alone, of the second network in its process."""
    return write_params(tmp_path_factory.mktemp("old") / f"ssd_resnet50_{SMALL}", *resnet_params(first=33))


def stated(network="resnet50", names=NAMES, side=SMALL) -> dict:
    return {"network": network, "data_shape": (side, side), "class_names": names}


@pytest.mark.parametrize(
    ("network", "side"),
    [
        ("vgg16_reduced", 300),
        ("resnet50", 512),
        ("mobilenet", 512),
        ("inceptionv3", 512),
        ("densenet121", 512),
        ("resnet101", 512),
    ],
)
def test_release_file_gives_mxnet_ssds_values(network, side, shared_golden, tmp_path):
    """The file is made from the golden list of names and shapes, not from a graph of this project."""
    if network not in network_names():
        pytest.skip(f"no network {network} here")
    golden = json.loads((shared_golden / "networks" / f"{network}_{side}.json").read_text())
    arguments, states = (golden_arrays(golden[key]) for key in ("arguments", "auxiliary_states"))
    prefix = write_params(tmp_path / f"ssd_{network}_{side}", arguments, states)
    saved = completed(load(prefix, 0, need_graph=False), stated(network, side=side))
    loc_pred, cls_pred, anchors = heads(saved.symbol, prefix)
    graph = mx.sym.Group([loc_pred, mx.sym.softmax(cls_pred, axis=1), anchors])
    data = np.random.RandomState(7).standard_normal((1, 3, side, side)).astype("float32") * 64
    values = np.load(shared_golden / "networks" / f"{network}_{side}.npz")
    for name, found in zip(("loc_pred", "cls_prob", "anchors"), forward(graph, saved, data)):
        expected = values[name]
        assert np.abs(found.reshape(-1)[::101] - expected).max() <= 1e-4 * np.abs(expected).max()


def test_params_alone_find_what_mxnets_executor_finds_on_the_old_graph(resnet):
    parts = network_heads(network_config("resnet50", (SMALL, SMALL), len(NAMES)))
    old_graph = _OLD["old_deployed_graph"](parts)
    args, states = resnet_params()
    arrays = {name: mx.nd.array(value) for name, value in args.items()}
    detector = Detector(
        resnet, 0, context=mx.cpu(), nms_mode="multibox", keep_topk=-1, nms_threshold=0.5, **stated()
    )
    pixels = np.stack([np.asarray(image[:SMALL, :SMALL]) for image in [np.tile(IMAGES[0], (2, 2, 1))] * 2])
    inputs = pixels.transpose(0, 3, 1, 2) - np.array((123, 117, 104), np.float32).reshape(1, 3, 1, 1)
    executor = old_graph.bind(
        mx.cpu(),
        {**arrays, "data": mx.nd.array(inputs)},
        grad_req="null",
        aux_states={name: mx.nd.array(value) for name, value in states.items()},
    )
    expected = executor.forward(is_train=False)[0].asnumpy()[0]
    expected = expected[expected[:, 0] >= 0]
    found = detector.detect(pixels[0], normalised=True)
    rows = np.column_stack([found.class_id, found.score, found.boxes])
    assert len(rows) > 10
    order, other = (np.lexsort(np.round(table, 4).T[::-1]) for table in (rows, expected))
    np.testing.assert_allclose(rows[order], expected[other], atol=2e-5)


def test_sums_named_by_another_count_mean_the_same(resnet, tmp_path):
    plain = write_params(tmp_path / "plain", *resnet_params())
    found, expected = (
        Detector(prefix, 0, context=mx.cpu(), **stated()).detect(IMAGES, normalised=True)
        for prefix in (resnet, plain)
    )
    assert sum(map(len, expected)) > 10
    for one, two in zip(found, expected):
        np.testing.assert_array_equal(one.boxes, two.boxes)
        np.testing.assert_array_equal(one.score, two.score)


def test_names_that_overlap_are_moved_by_their_order():
    params = {"_plus9_loc_pred_conv_bias": 1, "_plus12_loc_pred_conv_bias": 2, "_plus9x": 3, "relu7_scale": 4}
    wanted = ["_plus12_loc_pred_conv_bias", "_plus105_loc_pred_conv_bias", "relu8_scale"]
    assert renamed(params, wanted) == {
        "_plus12_loc_pred_conv_bias": 1,
        "_plus105_loc_pred_conv_bias": 2,
        "_plus9x": 3,
        "relu7_scale": 4,
    }


def test_another_number_of_counted_names_is_left_as_it_is():
    params = {"_plus9_a": 1, "_plus12_a": 2}
    assert renamed(params, ["_plus3_a"]) == params


def test_graph_and_params_of_different_counts_fit(tmp_path, resnet):
    """A symbol.json that was written again, beside the params of an earlier process."""
    parts = network_heads(network_config("resnet50", (SMALL, SMALL), len(NAMES)))
    prefix = write_params(tmp_path / "mixed", *resnet_params(first=33))
    symbol_path(prefix).write_text(_OLD["old_training_graph"](parts).tojson())
    known = {name: value for name, value in stated().items() if name != "network"}
    found = Detector(prefix, 0, context=mx.cpu(), **known).detect(IMAGES[0], normalised=True)
    expected = Detector(resnet, 0, context=mx.cpu(), **stated()).detect(IMAGES[0], normalised=True)
    assert len(found) > 5
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-5)


def test_classifier_left_in_the_file_is_left_out_and_told(tmp_path, caplog):
    args, states = resnet_params()
    args = {**args, "fc1_weight": np.zeros((1000, 8)), "fc1_bias": np.zeros(1000)}
    prefix = write_params(tmp_path / "ssd", args, states)
    Detector(prefix, 0, context=mx.cpu(), **stated())
    assert "2 parameters are not the network's and are left out: fc1_weight, fc1_bias" in caplog.text


def test_missing_parameter_names_network_and_flags(tmp_path):
    args, states = resnet_params()
    del args["stage2_unit1_conv2_weight"]
    prefix = write_params(tmp_path / "ssd", args, states)
    with pytest.raises(CheckpointError) as caught:
        Detector(prefix, 0, context=mx.cpu(), **stated())
    message = str(caught.value)
    assert "stage2_unit1_conv2_weight of shape (128, 128, 3, 3) is missing" in message
    assert "--network resnet50 at 128x128 with 20 classes" in message
    assert "check --network, --data-shape and --class-names" in message


def test_other_number_of_classes_says_both(resnet):
    with pytest.raises(CheckpointError, match="made for 20 classes, there are 3 names: mend --class-names"):
        Detector(resnet, 0, context=mx.cpu(), **stated(names=("a", "b", "c")))


def test_other_network_says_which_was_asked_for(resnet):
    with pytest.raises(CheckpointError, match="is missing.*--network mobilenet at 128x128"):
        Detector(resnet, 0, context=mx.cpu(), **stated("mobilenet"))


def test_unknown_network_gets_the_closest_name(resnet):
    with pytest.raises(ConfigError, match="did you mean .*resnet50"):
        Detector(resnet, 0, context=mx.cpu(), **stated("resnet5O"))


@pytest.mark.parametrize("left_out", ["network", "data_shape", "class_names"])
def test_params_alone_ask_for_what_builds_the_graph(resnet, left_out):
    known = {name: value for name, value in stated().items() if name != left_out}
    with pytest.raises(CheckpointError, match=f"the graph must be built.*--{left_out.replace('_', '-')}"):
        Detector(resnet, 0, context=mx.cpu(), **known)


def test_params_of_another_network_than_the_graph_are_refused(tmp_path):
    args, states = resnet_params()
    parts = network_heads(network_config("mobilenet", (SMALL, SMALL), len(NAMES)))
    prefix = write_params(tmp_path / "ssd", args, states)
    symbol_path(prefix).write_text(_OLD["old_deployed_graph"](parts).tojson())
    known = {name: value for name, value in stated().items() if name != "network"}
    with pytest.raises(
        CheckpointError, match=r"parameters of the graph ssd-symbol.json are missing.*conv_1_conv2d_weight"
    ):
        Detector(prefix, 0, context=mx.cpu(), **known)


def test_graph_of_another_network_than_stated_is_told_and_taken_as_it_is(tmp_path, resnet, caplog):
    parts = network_heads(network_config("resnet50", (SMALL, SMALL), len(NAMES)))
    prefix = write_params(tmp_path / "ssd", *resnet_params(first=33))
    symbol_path(prefix).write_text(_OLD["old_training_graph"](parts).tojson())
    assert Detector(prefix, 0, context=mx.cpu(), **stated()).card.network == "resnet50"
    assert not caplog.text
    other = Detector(prefix, 0, context=mx.cpu(), **stated("resnet101"))
    assert other.card.network == ""
    parameters = 17 * (3 + 3 * 4)  # units more: convolutions, and BatchNorms of four
    assert (
        f"--network resnet101: it lacks {parameters} parameters (stage3_unit10_bn1_beta, ...)" in caplog.text
    )
    found, expected = (
        d.detect(IMAGES[0]) for d in (other, Detector(resnet, 0, context=mx.cpu(), **stated()))
    )
    np.testing.assert_array_equal(found.boxes, expected.boxes)


def test_class_names_that_are_missing_are_all_that_is_told(tmp_path, caplog):
    parts = network_heads(network_config("resnet50", (SMALL, SMALL), len(NAMES)))
    prefix = write_params(tmp_path / "ssd", *resnet_params())
    symbol_path(prefix).write_text(_OLD["old_training_graph"](parts).tojson())
    with pytest.raises(CheckpointError, match="give --class-names by hand"):
        Detector(prefix, 0, context=mx.cpu(), **stated(names=None))
    assert not caplog.text


def test_files_without_card_have_the_network_s_default_boxes_and_variances(tmp_path):
    config = network_config("ssd7_keras", (96, 64), len(NAMES))
    args, states = _OLD["golden_params"](network_heads(config), (96, 64))
    prefix = write_params(tmp_path / "ssd", args, states)
    symbol_path(prefix).write_text(network_heads(config).tojson())
    known = {**stated("ssd7_keras"), "data_shape": (96, 64), "anchors": None}
    found = require_card(load(prefix, 0), known)
    assert found.anchors == config.anchors
    assert found.anchors.variances == (1, 1, 1, 1)  # which neither the heads nor the operator's default say
    symbol_path(prefix).unlink()
    alone = completed(load(prefix, 0, need_graph=False), known)
    assert require_card(alone, known).anchors == config.anchors


def flags(*argv: str):
    parser = argparse.ArgumentParser()
    add_model_flags(parser)
    add_detection_flags(parser)
    add_device_flags(parser, 1)
    return parser.parse_args([str(arg) for arg in argv])


@pytest.mark.parametrize("shape", [("--data-shape", SMALL), ()])
def test_prefix_that_ends_in_an_underscore_finds_params_alone(resnet, shape):
    folder = Path(resnet).parent
    assert find_prefix(flags("--prefix", folder / "ssd_", "--network", "resnet50", *shape)) == resnet


def test_demo_and_evaluate_open_params_alone(resnet):
    argv = ("--prefix", Path(resnet).parent / "ssd_", "--network", "resnet50", "--data-shape", SMALL, "--cpu")
    detector = open_detector(flags(*argv, "--epoch", "0", "--class-names", ",".join(NAMES)))
    assert (detector.card.network, detector.card.data_shape) == ("resnet50", (SMALL, SMALL))
    assert len(detector.detect(IMAGES[0])) > 0


def test_deploy_writes_a_detector_from_params_alone(resnet, tmp_path, capfd):
    out = tmp_path / "out"
    argv = [
        "--prefix",
        resnet,
        "--epoch",
        "0",
        "--network",
        "resnet50",
        "--data-shape",
        str(SMALL),
        "--no-optimize",
    ]
    assert deploy_main([*argv, "--class-names", ",".join(NAMES), "--out", str(out)]) == 0
    card = read_card(out)
    assert (card.network, card.mean, card.class_names) == ("resnet50", (123.0, 117.0, 104.0), NAMES)
    found = Detector(out, context=mx.cpu()).detect(IMAGES[0], normalised=True)
    expected = Detector(resnet, 0, context=mx.cpu(), **stated()).detect(IMAGES[0], normalised=True)
    assert len(found) > 5
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-5)
    assert deploy_main(argv) == 2
    assert "give --class-names" in capfd.readouterr().err


def old_json(graph: dict, spelling: str) -> dict:
    """Return a graph as an old version of MXNet would have written it."""
    for node in graph["nodes"]:
        attrs = node.pop("attrs", {})
        node["inputs"] = [entry[:2] if spelling == "param" else entry for entry in node["inputs"]]
        if spelling == "attr" and attrs:
            node["attr"] = attrs  # 0.9 to 1.0
        elif spelling == "param":  # 0.8 and before
            own = {key: value for key, value in attrs.items() if not key.startswith("__")}
            node["param"] = own if node["op"] != "null" else {}
            if len(own) < len(attrs):
                node["attr"] = {_HIDDEN.sub(r"\1", key): attrs[key] for key in attrs.keys() - own.keys()}
            node["backward_source_id"] = -1
            node["op"] = node["op"].replace("_contrib_MultiBox", "MultiBox")
    if spelling == "param":
        del graph["attrs"], graph["node_row_ptr"]
        graph["heads"] = [entry[:2] for entry in graph["heads"]]
        graph["nodes"] = [
            {**node, "inputs": [e for e in node["inputs"] if not _is_state(graph["nodes"][e[0]]["name"])]}
            for node in graph["nodes"]
        ]
    else:
        graph["attrs"] = {"mxnet_version": ["int", 1100]}
    return graph


def _is_state(name: str) -> bool:
    return name.endswith(("_moving_mean", "_moving_var"))


@pytest.mark.parametrize("spelling", ["attr", "param"])
@pytest.mark.parametrize(("network", "side"), [("vgg16_reduced", 300), ("resnet50", SMALL)])
def test_training_graph_of_old_mxnet_is_read(tmp_path, network, side, spelling):
    parts = network_heads(network_config(network, (side, side), len(NAMES)))
    graph = _OLD["old_training_graph"](parts)
    path = tmp_path / "old-symbol.json"
    path.write_text(json.dumps(old_json(json.loads(graph.tojson()), spelling)))
    read = load_symbol(path)
    assert sorted(read.list_arguments()) == sorted(graph.list_arguments())
    assert sorted(read.list_auxiliary_states()) == sorted(graph.list_auxiliary_states())
    assert read.list_outputs() == graph.list_outputs()
    assert anchors_in_graph(read) == anchors_in_graph(graph)
    shapes = mx.sym.Group(list(heads(read, "old"))).infer_shape(data=(1, 3, side, side))[1]
    assert shapes == parts.infer_shape(data=(1, 3, side, side))[1]


@pytest.mark.parametrize("spelling", ["attr", "param"])
def test_detector_of_old_mxnet_finds_what_it_found(tmp_path, resnet, spelling):
    parts = network_heads(network_config("resnet50", (SMALL, SMALL), len(NAMES)))
    prefix = write_params(tmp_path / "ssd", *resnet_params())
    graph = old_json(json.loads(_OLD["old_training_graph"](parts).tojson()), spelling)
    symbol_path(prefix).write_text(json.dumps(graph))
    known = {name: value for name, value in stated().items() if name != "network"}
    found = Detector(prefix, 0, context=mx.cpu(), **known).detect(IMAGES[0], normalised=True)
    expected = Detector(resnet, 0, context=mx.cpu(), **stated()).detect(IMAGES[0], normalised=True)
    assert len(found) == len(expected) > 5
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-5)
