"""The choice among int8 graphs: what is tried, what is left in float, what is kept."""

from __future__ import annotations

import json

import numpy as np
import pytest

from common.errors import CheckpointError, ConfigError
from common.mx import mx
from model.graph import HEADS, heads, inference_symbol
from model.parameters import check_fit
from model.quantize import Judges, QuantizeSettings, quantize
from model.quantize_calibration import ENTROPY, NAIVE, calibrate
from model.quantize_graph import float_graph, is_quantised, quantised_graph
from model.quantize_noise import noise_of_layers
from symbol.detection import DetectionConfig
from tests.model.quantising import LAYERS, batches, network, outputs, params, with_outlier

VARIANCES = (0.1, 0.1, 0.2, 0.2)


def int8_layers(symbol) -> set[str]:
    """Return the layers that a graph computes in int8, by its own JSON."""
    nodes = json.loads(symbol.tojson())["nodes"]
    quantised = [node for node in nodes if node.get("attrs", {}).get("quantized") in ("True", "true", "1")]
    inside = [part for node in quantised for graph in node["subgraphs"] for part in graph["nodes"]]
    return {part["name"] for part in inside if part["op"] in ("Convolution", "FullyConnected")}


def by_layers_in_float(scores: dict[int, float], otherwise: float):
    """Return a score of graphs that depends on how many layers are not in int8."""

    def score(graph) -> float:
        if not is_quantised(graph[0]):
            return 0.8
        return scores.get(len(LAYERS) - len(int8_layers(graph[0])), otherwise)

    return score


def equally_fast(graphs) -> list[float]:
    return [0.01] * len(graphs)


@pytest.fixture
def source():
    symbol = network()
    return symbol, params(symbol)


@pytest.mark.parametrize("mode", [NAIVE, ENTROPY])
def test_int8_follows_float(source, mode):
    graph = float_graph(*source, "net")
    made, weights = quantised_graph(graph, calibrate(graph, batches()).ranges[mode], ())
    assert int8_layers(made) == set(LAYERS) == set(graph.layers)
    batch = np.concatenate(batches())
    for found, expected in zip(outputs(made, weights, batch), outputs(*source, batch)):
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.995


def test_heads_keep_their_names_and_a_tail_goes_on(source):
    graph = float_graph(*source, "net")
    made, weights = quantised_graph(graph, calibrate(graph, batches()).ranges[NAIVE], ())
    assert [head.list_outputs()[0] for head in heads(made, "net")] == list(HEADS)
    symbol = inference_symbol(made, 3, VARIANCES, DetectionConfig(score_threshold=0.1))
    check_fit(symbol, *weights, (64, 64), "net")
    rows = outputs(symbol, weights, np.concatenate(batches()))[0]
    plain = inference_symbol(source[0], 3, VARIANCES, DetectionConfig(score_threshold=0.1))
    expected = outputs(plain, source[1], np.concatenate(batches()))[0]
    assert rows.shape == expected.shape
    assert (expected[:, 0, 0] >= 0).all()
    np.testing.assert_allclose(rows[:, 0, 1], expected[:, 0, 1], atol=0.05)


def test_layers_left_in_float_are_not_in_int8(source):
    graph = float_graph(*source, "net")
    made, _ = quantised_graph(graph, calibrate(graph, batches()).ranges[NAIVE], ("conv1", "boxes"))
    assert int8_layers(made) == {"conv2", "conv3", "conv4", "classes"}


def test_saved_and_loaded_again_gives_equal_bytes(source, tmp_path):
    graph = float_graph(*source, "net")
    made, weights = quantised_graph(graph, calibrate(graph, batches()).ranges[ENTROPY], ("conv2",))
    mx.nd.save(str(tmp_path / "p"), weights[0])
    again = mx.sym.load_json(made.tojson())
    batch = np.concatenate(batches())
    found = outputs(again, (mx.nd.load(str(tmp_path / "p")), {}), batch)
    assert [values.tobytes() for values in found] == [
        values.tobytes() for values in outputs(made, weights, batch)
    ]


def test_layer_made_bad_is_found_and_left_in_float(source):
    """One channel's outlier spoils the range of conv2's output, which conv3 takes."""
    bad = source[0], with_outlier(source[1])
    graph = float_graph(*bad, "net")
    noise = noise_of_layers(graph, calibrate(graph, batches(), (NAIVE,)), NAIVE)
    assert set(sorted(noise, key=noise.get)[-2:]) == {"conv2", "conv3"}
    batch = np.concatenate(batches())
    truth = outputs(*bad, batch)

    def score(graph) -> float:
        found = outputs(*graph, batch)
        return float(min(np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(found[:2], truth[:2])))

    choice = quantize(bad, batches(), Judges(score, equally_fast), QuantizeSettings((NAIVE,), max_drop=0.02))
    assert choice.tried[0].in_float == ()
    assert choice.tried[0].score < 0.9
    assert "conv2" in choice.best.in_float
    assert choice.best.score >= 0.98
    assert int8_layers(choice.best.graph[0]) == set(LAYERS) - set(choice.best.in_float)


def test_nothing_is_left_in_float_where_int8_keeps_the_score(source):
    told = []
    judges = Judges(by_layers_in_float({0: 0.796}, 0.0), equally_fast, told.append)
    choice = quantize(source, batches(), judges)
    assert [(candidate.mode, candidate.in_float) for candidate in told] == [(NAIVE, ()), (ENTROPY, ())]
    assert choice.tried == tuple(told)
    assert (choice.best.in_float, choice.best.score, choice.float_score) == ((), 0.796, 0.8)
    assert (choice.layers, choice.images) == (6, 6)


@pytest.mark.parametrize(
    ("needed", "tried"), [(1, [0, 1]), (2, [0, 1, 2]), (3, [0, 1, 2, 4, 3]), (4, [0, 1, 2, 4, 3])]
)
def test_number_left_in_float_is_doubled_then_halved(source, needed, tried):
    told = []
    scores = dict.fromkeys(range(needed), 0.7)
    judges = Judges(by_layers_in_float(scores, 0.8), equally_fast, told.append)
    choice = quantize(source, batches(), judges, QuantizeSettings((NAIVE,)))
    assert [len(candidate.in_float) for candidate in told] == tried
    assert len(choice.best.in_float) == needed


def test_drop_of_zero_takes_nothing_less(source):
    settings = QuantizeSettings((NAIVE,), max_drop=0)
    judges = Judges(by_layers_in_float({0: 0.7999, 1: 0.7999}, 0.8), equally_fast)
    assert len(quantize(source, batches(), judges, settings).best.in_float) == 2
    better = Judges(by_layers_in_float({0: 0.81}, 0.0), equally_fast)
    assert quantize(source, batches(), better, settings).best.in_float == ()


def test_none_is_chosen_where_none_keeps_the_score(source):
    judges = Judges(by_layers_in_float({}, 0.1), equally_fast)
    choice = quantize(source, batches(), judges)
    assert (choice.best, choice.seconds) == (None, ())
    assert {candidate.mode for candidate in choice.tried} == {NAIVE, ENTROPY}
    assert max(len(candidate.in_float) for candidate in choice.tried) == len(LAYERS) - 1


def test_fastest_is_kept_and_of_equally_fast_ones_the_best(source):
    scores = iter([0.8, 0.797, 0.799, 0.8, 0.797, 0.799])
    judges = Judges(lambda graph: next(scores), lambda graphs: [0.02, 0.01, 0.0101])
    choice = quantize(source, batches(), judges)
    assert (choice.best.mode, choice.seconds) == (ENTROPY, (0.02, 0.0101))
    judges = Judges(lambda graph: next(scores), lambda graphs: [0.02, 0.01, 0.012])
    choice = quantize(source, batches(), judges)
    assert (choice.best.mode, choice.seconds) == (NAIVE, (0.02, 0.01))


def test_excluded_layers_stay_in_float_and_others_come_on_top(source):
    judges = Judges(by_layers_in_float({2: 0.7}, 0.8), equally_fast)
    choice = quantize(source, batches(), judges, QuantizeSettings((NAIVE,), exclude="conv1$|^boxes"))
    assert choice.tried[0].in_float == ("conv1", "boxes")
    assert choice.best.in_float[:2] == ("conv1", "boxes")
    assert len(choice.best.in_float) == 3


@pytest.mark.parametrize(("exclude", "words"), [("convv1", "did you mean conv1"), (".", "leaves no layer")])
def test_exclusion_of_none_or_all_is_refused(source, exclude, words):
    judges = Judges(by_layers_in_float({}, 0.8), equally_fast)
    with pytest.raises(ConfigError, match=words):
        quantize(source, batches(), judges, QuantizeSettings(exclude=exclude))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_drop": -0.1}, "max_drop is -0.1"),
        ({"max_drop": float("nan")}, "max_drop is nan"),
        ({"modes": ("naiv",)}, "did you mean naive"),
        ({"modes": ()}, "modes is"),
        ({"exclude": "("}, "no regular expression"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        QuantizeSettings(**settings)


def test_quantised_graph_is_not_quantised_again(source):
    graph = float_graph(*source, "net")
    made, weights = quantised_graph(graph, calibrate(graph, batches()).ranges[NAIVE], ())
    assert not is_quantised(source[0])
    with pytest.raises(CheckpointError, match="net: is quantised already"):
        float_graph(made, weights, "net")
