"""The table of layers: what each computes, and totals that are those of the network."""

import pytest

from common.mx import mx
from symbol.counts import layers
from symbol.layer_table import describe, layer_table
from symbol.network import heads
from symbol.presets import network_config
from symbol.summary import figures

DATA = mx.sym.Variable("data")


def described(symbol):
    return describe(layers(symbol, data=(1, 4, 16, 16))[-1])


@pytest.mark.parametrize(
    ("symbol", "text"),
    [
        (mx.sym.Convolution(DATA, num_filter=4, kernel=(3, 3)), "Convolution 3x3"),
        (mx.sym.Convolution(DATA, num_filter=4, kernel=(3, 1), stride=(2, 2)), "Convolution 3x1/2"),
        (mx.sym.Convolution(DATA, num_filter=4, kernel=(3, 3), dilate=(6, 6), pad=(6, 6)), "Convolution 3x3 dilated 6"),
        (mx.sym.Convolution(DATA, num_filter=4, kernel=(3, 3), num_group=4), "Convolution 3x3, 4 groups"),
        (mx.sym.Pooling(DATA, kernel=(2, 2), stride=(2, 2), pool_type="max"), "max pooling 2x2/2"),
        (mx.sym.Pooling(DATA, kernel=(1, 1), global_pool=True, pool_type="avg"), "global avg pooling"),
        (mx.sym.Activation(DATA, act_type="relu"), "relu"),
        (mx.sym.LeakyReLU(DATA, act_type="elu"), "elu"),
        (mx.sym.contrib.MultiBoxPrior(DATA, sizes=(0.1,)), "MultiBoxPrior"),
        (DATA + DATA, "elemwise_add"),
    ],
)  # fmt: skip
def test_operator_is_told_from_its_like(symbol, text):
    assert described(symbol) == text


def test_totals_are_the_network_s():
    config = network_config("ssd7", (64, 96), 3)
    lines = layer_table(layers(heads(config), data=(1, 3, 64, 96))).splitlines()
    found = figures(config)
    assert lines[-1].split() == ["total", f"{found.parameters:,}", f"{found.multiply_adds:,}"]
    numbers = [row.split() for row in lines[2:-2]]
    # 5x5 over three channels at every pixel.
    assert ["conv1", "Convolution", "5x5", "1x32x64x96", "2,400", f"{64 * 96 * 2400:,}"] in numbers
    work = [int(row[-1].replace(",", "")) for row in numbers if row[1] == "Convolution"]
    assert sum(work) == found.multiply_adds
