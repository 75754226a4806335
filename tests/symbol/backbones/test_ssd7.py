"""The seven-convolution backbone: layout, and that its feature maps cover the image."""

import pytest

from symbol.network import feature_shapes, heads
from symbol.presets import network_config


def test_layers_have_the_stated_filters_and_no_bias_before_a_batch_norm():
    symbol = heads(network_config("ssd7", (300, 300), 3))
    shapes, _, _ = symbol.infer_shape(data=(1, 3, 300, 300))
    arguments = dict(zip(symbol.list_arguments(), shapes))
    weights = [arguments[f"conv{number}_weight"] for number in range(1, 8)]
    assert [shape[0] for shape in weights] == [32, 48, 64, 64, 48, 48, 32]
    assert [shape[2:] for shape in weights] == [(5, 5)] + [(3, 3)] * 6
    assert not [name for name in arguments if name.startswith("conv") and name.endswith("bias")]
    assert {"bn1_gamma", "bn7_beta", "relu4_loc_pred_conv_weight", "relu7_cls_pred_conv_bias"} <= set(
        arguments
    )


@pytest.mark.parametrize("shape", [(300, 300), (300, 400), (256, 256), (333, 517)])
def test_cells_of_every_map_cover_the_image(shape):
    maps = feature_shapes(network_config("ssd7", shape, 3))
    for stride, cells in zip((8, 16, 32, 64), maps):
        for side, count in zip(shape, cells):
            assert (count - 1) * stride < side <= count * stride
