"""--amp: the graph's types as MXNet finds them, gradients that scaling does not change, batches that are skipped.

No GPU runs here. A graph whose "half" precision is float32 has the casts and the scaled gradients, and must train to
the same bytes; the types of the real one are MXNet's own inference.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from common.errors import ConfigError
from common.mx import mx
from symbol.loss import LossConfig, training_symbol
from symbol.network import heads
from symbol.presets import network_config
from tests.train.test_devices import BATCHES, CLASSES, LOSS, SHAPES, VARIANCES, toy_heads, values
from train.amp import LossScaler, check_devices, mixed_symbol
from train.devices import DeviceGroup
from train.start import initial_params

NETWORKS = ("ssd7", "mobilenet", "resnet50", "densenet121")


def real_graph(network):
    config = network_config(network, (128, 128), 3)
    return training_symbol(heads(config), 3, config.anchors.variances, LossConfig())


def types(symbol):
    """Return name -> type of every output of every layer, by MXNet, where all arguments are float32."""
    layers = symbol.get_internals()
    known = dict.fromkeys(symbol.list_arguments(), "float32")
    arguments, outputs, statistics = layers.infer_type(**known)
    assert {np.dtype(kind).name for kind in [*arguments, *statistics]} == {"float32"}
    return {name: np.dtype(kind).name for name, kind in zip(layers.list_outputs(), outputs)}


@pytest.mark.parametrize("network", NETWORKS)
def test_convolutions_are_half_and_boxes_and_losses_are_not(network):
    plain = real_graph(network)
    mixed = mixed_symbol(plain)
    assert mixed.list_arguments() == plain.list_arguments()
    assert mixed.list_auxiliary_states() == plain.list_auxiliary_states()
    assert mixed.list_outputs() == plain.list_outputs()
    found = types(mixed)
    found = {
        name: kind for name, kind in found.items() if not name.startswith("loss_transpose")
    }  # moves numbers
    nodes = [node for node in json.loads(mixed.tojson())["nodes"] if node["op"] != "null"]
    half_ops = {node["op"] for node in nodes if found.get(f"{node['name']}_output") == "float16"}
    for node in nodes:
        kind = found.get(f"{node['name']}_output")
        if node["op"] == "Convolution":
            assert kind == "float16", node["name"]
        elif node["op"].startswith("_contrib_MultiBox") or node["name"].startswith("loss_"):
            assert kind in ("float32", "int32", None), node["name"]
    assert not half_ops & {
        "L2Normalization",
        "log_softmax",
        "smooth_l1",
        "sum",
        "_contrib_MultiBoxPrior",
        "pick",
    }
    assert [found[name] for name in mixed.list_outputs()] == ["float32"] * 4


def test_conversion_leaves_the_graph_as_it_is_and_gives_the_same_text_twice():
    graph = real_graph("ssd7")
    text = graph.tojson()
    first, second = mixed_symbol(graph).tojson(), mixed_symbol(graph).tojson()
    assert first == second
    assert graph.tojson() == text


def toy(contexts, *, mixed, normalised=True):
    symbol = training_symbol(toy_heads(normalised), CLASSES, VARIANCES, LOSS)
    params = initial_params(symbol, SHAPES, 3)
    graph = mixed_symbol(symbol, "float32") if mixed else symbol
    return DeviceGroup(graph, [mx.cpu(i) for i in range(contexts)], SHAPES, *params)


def begin(group, scaler=None, states=None, updates_done=0, optimizer="adam"):
    settings = {"momentum": 0.9, "wd": 0.01, "clip": 1.0, "updates_done": updates_done}
    group.init_optimizer(optimizer, states, scaler=scaler, **settings)
    return group


def train(group, batches=BATCHES):
    for inputs in batches:
        loss = group.forward_backward(inputs)
        group.update(0.01, loss.normaliser(LOSS.negative_ratio))
    return {**values(group), **{name: array.asnumpy() for name, array in group.states().items()}}


def as_bytes(arrays):
    return {name: array.tobytes() for name, array in arrays.items() if not name.startswith("amp/")}


@pytest.mark.parametrize("contexts", [1, 2])
def test_scaled_gradients_train_to_the_same_bytes(contexts):
    """Powers of two change no digit; the scale grows on the way."""
    scaler = LossScaler(scale=2.0**10, grow_after=2)
    mixed = train(begin(toy(contexts, mixed=True), scaler))
    plain = train(begin(toy(contexts, mixed=False)))
    assert scaler.scale == 2.0**13
    assert as_bytes(mixed) == as_bytes(plain)


@pytest.mark.parametrize("contexts", [1, 2])
def test_batch_with_gradients_that_overflow_is_skipped_and_the_scale_halved(contexts):
    """Gradients times the scale are beyond float32; halved often enough they are not, and the update is the usual."""
    large = {**BATCHES[0], "data": BATCHES[0]["data"] * 1e4}
    scaler = LossScaler(scale=2.0**120, most=2.0**120)
    group = begin(toy(contexts, mixed=True, normalised=False), scaler)
    before = values(group)
    while scaler.good == 0:
        scale = scaler.scale
        train(group, [large])
        if scaler.good == 0:
            assert scaler.scale == scale / 2
            assert as_bytes(values(group)) == as_bytes(before)
    assert scaler.skipped > 0
    plain = train(begin(toy(contexts, mixed=False, normalised=False)), [large])
    for name, array in values(group).items():
        np.testing.assert_allclose(array, plain[name], rtol=1e-5, atol=1e-7, err_msg=name)


def test_resumed_run_goes_on_with_scale_and_update_count():
    """Adam's step depends on how many updates were made: a skipped batch is none."""

    def scaler():
        return LossScaler(scale=2.0**10, grow_after=3)

    whole, first = (begin(toy(1, mixed=True), scaler()) for _ in range(2))
    for group in (whole, first):
        group._scaler.after(finite=False)  # a batch that was skipped
    expected = train(whole)
    train(first, BATCHES[:3])
    states, params = first.states(), first.params()
    second = toy(1, mixed=True)
    second.set_params(*params)
    begin(second, LossScaler(grow_after=3), states, updates_done=4)
    found = train(second, BATCHES[3:])
    assert found["amp/0"].tolist() == expected["amp/0"].tolist()
    assert found["amp/0"][2] == 1
    assert as_bytes(found) == as_bytes(expected)


@pytest.mark.parametrize(
    ("finite", "expected"),
    [
        ((True,) * 3, (8.0, 0, 0)),  # doubled after the third
        ((True, True, False), (2.0, 0, 1)),
        ((False, True, True, True), (4.0, 0, 1)),
        ((False,) * 5, (1.0, 0, 5)),  # not below the least
        ((True,) * 9, (16.0, 0, 0)),  # not above the most
        ((True,) * 4, (8.0, 1, 0)),
    ],
)
def test_scale_halves_on_overflow_and_doubles_after_enough_good_batches(finite, expected):
    scaler = LossScaler(scale=4.0, grow_after=3, least=1.0, most=16.0)
    assert [scaler.after(finite=each) for each in finite] == list(finite)
    assert (scaler.scale, scaler.good, scaler.skipped) == expected


def test_cpus_are_refused(trainer, capsys):
    with pytest.raises(ConfigError, match="--amp: wants NVIDIA GPUs"):
        check_devices([mx.cpu()])
    check_devices([mx.gpu()])
    assert trainer.new("run", "--amp") == 2
    assert (
        "--amp: wants NVIDIA GPUs; MXNet 1.9.1 cannot train in half precision on a CPU"
        in capsys.readouterr().err
    )
    assert not list((trainer.folder / "run").glob("*.json"))
