"""Every preset through MXNet's own int8 quantiser, detection tail included: nothing in our graphs stands in its way."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from common.mx import mx
from model.graph import heads, inference_symbol
from symbol.detection import DetectionConfig
from symbol.presets import network_names
from tests.symbol.test_every_network import BATCH, CLASSES, Bench

# A quantised product in front of a convolution (h-swish) gives that a wrong order of inputs in MXNet 1.9.1.
LEFT_IN_FLOAT = ["elemwise_mul"]


def settled(network: str) -> Bench:
    """Return a network with random weights whose BatchNorms have seen enough to have statistics."""
    bench = Bench(network)
    for _ in range(20):
        bench.devices.forward_backward(bench.batch)
    return bench


def outputs(symbol, arg_params: dict, aux_params: dict, data) -> list[np.ndarray]:
    """Return what a graph gives for a batch."""
    arguments = {name: arg_params[name] for name in symbol.list_arguments() if name != "data"}
    states = {name: aux_params[name] for name in symbol.list_auxiliary_states()}
    executor = symbol.bind(mx.cpu(), {**arguments, "data": data}, aux_states=states, grad_req="null")
    return [output.asnumpy() for output in executor.forward(is_train=False)]


@pytest.mark.slow
@pytest.mark.parametrize("network", network_names())
def test_int8_runs_and_follows_float(network):
    from mxnet.contrib.quantization import quantize_model_mkldnn

    bench = settled(network)
    params, variances = bench.devices.params(), bench.config.anchors.variances
    detection = inference_symbol(bench.symbol, len(CLASSES), variances, DetectionConfig())
    symbol = mx.sym.Group([detection, *heads(bench.symbol, network)[:2]])
    data = mx.nd.array(bench.batch["data"])
    small, *small_params = quantize_model_mkldnn(
        symbol,
        *params,
        ctx=mx.cpu(),
        excluded_op_names=LEFT_IN_FLOAT,
        calib_mode="naive",
        calib_data=mx.io.NDArrayIter(data=data, batch_size=BATCH),
        num_calib_examples=BATCH,
        quantized_dtype="auto",
        logger=logging.getLogger(__name__),
    )
    operators = [node["op"] for node in json.loads(small.tojson())["nodes"]]
    assert sum("quantize" in name for name in operators) >= 4
    found, *pairs = zip(outputs(small, *small_params, data), outputs(symbol, *params, data))
    assert np.isfinite(found[0]).all()
    for int8, full in pairs:
        # Random weights are the worst case: MobileNetV2's channels differ so much that 0.65 is left of it.
        assert np.corrcoef(int8.ravel(), full.ravel())[0, 1] > 0.5
