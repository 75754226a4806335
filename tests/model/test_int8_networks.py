"""Every preset through the int8 quantiser: nothing in our graphs stands in its way."""

from __future__ import annotations

import numpy as np
import pytest

from common.mx import mx
from model.graph import heads, inference_symbol
from model.parameters import check_fit
from model.quantize_calibration import NAIVE, calibrate
from model.quantize_graph import float_graph, quantised_graph
from symbol.detection import DetectionConfig
from symbol.presets import network_names
from tests.model.quantising import outputs
from tests.symbol.test_every_network import CLASSES, QUICK, Bench


def settled(network: str) -> Bench:
    """Return a network with random weights whose BatchNorms have seen enough to have statistics."""
    bench = Bench(network)
    for _ in range(20):
        bench.devices.forward_backward(bench.batch)
    return bench


@pytest.mark.parametrize(
    "network", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in network_names()]
)
def test_int8_runs_and_follows_float(network):
    bench = settled(network)
    params, variances = bench.devices.params(), bench.config.anchors.variances
    graph = float_graph(bench.symbol, params, network)
    data = bench.batch["data"]
    calibration = calibrate(graph, [data[:1], data[1:]], (NAIVE,))
    made, small_params = quantised_graph(graph, calibration.ranges[NAIVE], ())
    symbol = inference_symbol(made, len(CLASSES), variances, DetectionConfig())
    check_fit(symbol, *small_params, bench.config.data_shape, network)
    assert np.isfinite(outputs(symbol, small_params, data)[0]).all()
    plain = mx.sym.Group(list(heads(bench.symbol, network)))
    for int8, full in zip(outputs(made, small_params, data)[:2], outputs(plain, params, data)):
        # Random weights are the worst case: MobileNetV2's channels differ so much that 0.65 is left of it.
        assert np.corrcoef(int8.ravel(), full.ravel())[0, 1] > 0.5
