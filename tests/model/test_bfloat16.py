"""bfloat16 graphs: within the rounding of 8 bits of float32, on disk as well; the casts are part of the file."""

from __future__ import annotations

import numpy as np
import pytest

from common.mx import mx
from deploy.processor import computes_bfloat16, processor_flags
from model.bfloat16 import bfloat16_graph, try_bfloat16
from model.graph import HEADS, heads, inference_symbol
from model.parameters import check_fit
from model.quantize import Judges
from model.saved import load, save
from symbol.detection import DetectionConfig
from symbol.presets import network_names
from tests.model.quantising import SIDE, batches, network, outputs, params
from tests.model.test_int8_networks import settled
from tests.symbol.test_every_network import CLASSES, QUICK

pytestmark = pytest.mark.skipif(
    not computes_bfloat16(processor_flags()), reason="this processor does not compute with bfloat16"
)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in network_names()]
)
def test_every_network_follows_float(name):
    bench = settled(name)
    weights, data = bench.devices.params(), bench.batch["data"]
    made, small = bfloat16_graph(bench.symbol, weights, name)
    assert [head.list_outputs()[0] for head in heads(made, name)] == list(HEADS)
    symbol = inference_symbol(made, len(CLASSES), bench.config.anchors.variances, DetectionConfig())
    check_fit(symbol, *small, bench.config.data_shape, name)
    assert np.isfinite(outputs(symbol, small, data)[0]).all()
    plain = mx.sym.Group(list(heads(bench.symbol, name)))
    for found, full in zip(outputs(made, small, data)[:2], outputs(plain, weights, data)):
        assert found.dtype == np.float32
        # 0.99 and more but for random MobileNets, whose depthwise channels differ most.
        assert np.corrcoef(found.ravel(), full.ravel())[0, 1] > 0.8


def test_saved_and_loaded_again_gives_equal_bytes(tmp_path, small):
    source = network()
    made, weights = bfloat16_graph(source, params(source), "net")
    card = small.card(data_shape=(SIDE, SIDE), quantization={"dtype": "bfloat16"})
    save(tmp_path / "net", 1, made, weights, card)
    again = load(tmp_path / "net")
    assert {np.dtype(array.dtype).itemsize for array in again.arg_params.values()} == {2}
    batch = np.concatenate(batches())
    found = outputs(again.symbol, (again.arg_params, again.aux_params), batch)
    assert [values.tobytes() for values in found] == [
        values.tobytes() for values in outputs(made, weights, batch)
    ]


def test_parameters_given_stay_as_they_were():
    source = network()
    weights = params(source)
    before = {name: array.asnumpy().tobytes() for name, array in weights[0].items()}
    bfloat16_graph(source, weights, "net")
    assert {name: array.asnumpy().tobytes() for name, array in weights[0].items()} == before


@pytest.mark.parametrize(
    ("scores", "seconds", "taken"),
    [
        ((0.8, 0.7951), (2.0, 1.0), True),
        ((0.8, 0.7949), (2.0, 1.0), False),
        ((0.8, 0.81), (1.0, 1.0), False),
    ],
)
def test_it_is_taken_where_it_is_faster_and_keeps_the_score(scores, seconds, taken):
    source, given = network(), iter(scores)
    judges = Judges(lambda graph: next(given), lambda graphs: list(seconds))
    choice = try_bfloat16((source, params(source)), judges, 0.005, name="net")
    assert (choice.best is not None) == taken
    assert (choice.float_score, choice.tried[0].score, choice.seconds) == (*scores, seconds)
