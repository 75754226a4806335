"""Residual networks without golden values, held to those of MXNet's Gluon model zoo."""

import numpy as np
import pytest

from common.mx import mx
from symbol.backbones import resnet
from symbol.network import feature_shapes, heads
from symbol.presets import network_config

# Gluon's first unit of 18 and 34 layers has no convolution in its shortcut, for the shapes are equal there.
SHORTCUT = "stage1_unit1_sc_weight"


def zoo_body(num_layers, rng):
    """Return Gluon's network up to its last sum, with scales and shifts that are not 1 and 0."""
    from mxnet.gluon.model_zoo import vision

    network = vision.get_model(f"resnet{num_layers}_v2")
    network.initialize(mx.init.Xavier(), ctx=mx.cpu())
    body = network.features[:9]  # BatchNorm, convolution, BatchNorm, ReLU, pooling, four stages
    body(mx.nd.zeros((1, 3, 64, 64)))  # settles the shapes
    for parameter in body.collect_params().values():
        if parameter.grad_req != "null" and len(parameter.shape) == 1:
            parameter.set_data(mx.nd.array(rng.uniform(0.3, 0.8, parameter.shape)))
    return body


def make_first_norm_an_identity(body):
    """Let the first unit's BatchNorm and ReLU hand on what they get: the pooled ReLU, which is not below 0."""
    for name, parameter in body.collect_params(".*stage1_batchnorm0_(gamma|beta)").items():
        parameter.set_data(mx.nd.ones(64) if name.endswith("gamma") else mx.nd.zeros(64))


@pytest.mark.parametrize("num_layers", [18, 34, 152])
def test_outputs_equal_gluon_s(num_layers):
    rng = np.random.default_rng(num_layers)
    body = zoo_body(num_layers, rng)
    symbol = resnet.backbone(mx.sym.Variable("data"), num_layers=num_layers)
    values = {"data": mx.nd.array(rng.normal(0, 1, (1, 3, 64, 96)))}
    if SHORTCUT in symbol.list_arguments() and num_layers < resnet.FIRST_BOTTLENECK:
        make_first_norm_an_identity(body)
        values[SHORTCUT] = mx.nd.array(np.eye(64)[:, :, None, None])
    names = [name for name in symbol.list_inputs() if name not in values]
    arrays = [parameter.data() for parameter in body.collect_params().values()]
    assert len(names) == len(arrays)  # both go layer by layer
    values.update(zip(names, arrays))
    states = {name: values.pop(name) for name in symbol.list_auxiliary_states()}
    found = symbol.bind(mx.cpu(), values, aux_states=states, grad_req="null").forward(is_train=False)[0]
    expected = body(values["data"]).asnumpy()
    assert np.abs(found.asnumpy() - expected).max() <= 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("network", "layers"), [("resnet18", (5, 7)), ("resnet34", (12, 15)), ("resnet152", (46, 49))]
)
def test_heads_read_the_sums_at_the_ends_of_the_last_two_stages(network, layers):
    config = network_config(network, (512, 512), 20)
    arguments = heads(config).list_arguments()
    for number in layers:
        assert f"_plus{number}_cls_pred_conv_weight" in arguments
    assert feature_shapes(config) == [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2), (1, 1)]


def test_small_networks_have_basic_units_and_deep_ones_bottlenecks():
    shapes = {}
    for network in ("resnet18", "resnet152"):
        symbol = heads(network_config(network, (300, 300), 20))
        found, _, _ = symbol.infer_shape(data=(1, 3, 300, 300))
        shapes[network] = dict(zip(symbol.list_arguments(), found))
    assert shapes["resnet18"]["stage4_unit1_conv1_weight"] == (512, 256, 3, 3)
    assert shapes["resnet18"]["stage1_unit1_sc_weight"] == (64, 64, 1, 1)
    assert "stage1_unit1_conv3_weight" not in shapes["resnet18"]
    assert shapes["resnet152"]["stage3_unit36_conv3_weight"] == (1024, 256, 1, 1)
