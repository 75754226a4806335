"""What is derived for a bare backbone: which layers are read, extra blocks, scales, ratios; graphs written by hand."""

from __future__ import annotations

import pytest

from common.mx import mx
from symbol.feature_choice import has_normalisation, map_shapes, stage_layers, trunk
from symbol.presets.derived import extra_blocks, ratios, scales
from symbol.presets.preset import RATIOS_3, RATIOS_5


@pytest.mark.parametrize(
    ("count", "shape", "expected"),
    [
        (6, (300, 300), (0.1, 0.2, 0.375, 0.55, 0.725, 0.9, 1.05)),
        (
            7,
            (512, 512),
            (0.075, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.05),
        ),  # the paper's for 512, but for rounding
        (6, (300, 900), (0.1, 0.2, 0.375, 0.55, 0.725, 0.9, 1.05)),
        (4, (600, 300), (0.05, 0.1, 0.275, 0.45, 0.525)),  # relative to the height, of the shorter side
        (3, (300, 300), (0.2, 0.55, 0.9, 1.05)),
        (2, (300, 300), (0.2, 0.9, 1.05)),
        (1, (300, 300), (0.55, 1.05)),
    ],
)
def test_scales_are_the_paper_s(count, shape, expected):
    assert scales(count, shape) == pytest.approx(expected)


def test_first_map_and_last_two_have_three_ratios():
    assert ratios(6) == (RATIOS_3, RATIOS_5, RATIOS_5, RATIOS_5, RATIOS_3, RATIOS_3)
    assert ratios(2) == (RATIOS_5, RATIOS_5)


@pytest.mark.parametrize(
    ("last", "count", "expected"),
    [
        ((2048, 10, 10), None, (512, 256, 256, 128)),  # 5, 3, 2, 1
        ((256, 10, 10), None, (256, 256, 256, 128)),  # none wider than what it reads
        ((64, 4, 4), None, (128, 128)),
        ((512, 1, 3), None, ()),
        ((512, 1, 7), None, (512, 256)),  # 1x4, 1x2
        ((512, 2, 2), None, (512,)),
        ((512, 10, 10), 1, (512,)),
        ((512, 10, 10), 0, ()),
    ],
)
def test_extra_blocks_halve_the_map_down_to_a_row_or_column(last, count, expected):
    blocks = extra_blocks(last, count)
    assert tuple(filters for filters, _, _ in blocks) == expected
    assert {(stride, pad) for _, stride, pad in blocks} <= {(2, 1)}


def convolution(data, name, stride=1):
    return mx.sym.Convolution(
        data, num_filter=8, kernel=(3, 3), stride=(stride, stride), pad=(1, 1), no_bias=True, name=name
    )


def relu(data, name):
    return mx.sym.Activation(data, act_type="relu", name=name)


def stem(strides: int):
    """Return the input behind convolutions and ReLUs that halve it so often."""
    body = mx.sym.Variable("data")
    for number in range(strides):
        body = relu(convolution(body, f"stem{number}", 2), f"stem{number}_relu")
    return body


def classified(body):
    body = mx.sym.Pooling(body, global_pool=True, pool_type="avg", kernel=(1, 1), name="pool")
    return mx.sym.FullyConnected(body, num_hidden=10, name="fc")


def test_activation_behind_a_sum_is_read_and_not_the_branch_that_begins_the_next_stage():
    body = stem(3)
    sum_relu = relu(body + convolution(body, "branch"), "sum_relu")
    inner = relu(convolution(sum_relu, "next_1x1"), "inner_relu")  # still at stride 8
    body = convolution(inner, "next_3x3", 2) + convolution(sum_relu, "shortcut", 2)
    body = relu(body, "end")
    assert stage_layers(classified(body), 256, 2) == ("sum_relu", "end")


def test_expansion_before_a_stride_without_shortcut_is_read():
    body = relu(convolution(stem(3), "linear"), "expanded")
    body = relu(convolution(body, "depthwise", 2), "end")
    assert stage_layers(classified(body), 256, 2) == ("expanded", "end")


def test_raw_convolution_after_the_last_activation_is_not_read():
    body = relu(convolution(stem(3), "a"), "before")
    body = mx.sym.Pooling(
        convolution(body, "transition"), kernel=(2, 2), stride=(2, 2), pool_type="avg", name="half"
    )
    body = relu(convolution(body, "b"), "end")
    assert stage_layers(classified(body), 256, 2) == ("before", "end")


def test_pooling_in_front_of_the_classifier_is_no_stage():
    body = mx.sym.Pooling(stem(4), kernel=(2, 2), stride=(2, 2), pool_type="max", name="last")
    assert stage_layers(mx.sym.FullyConnected(body, num_hidden=10, name="fc"), 256, 2) == (
        "stem2_relu",
        "stem3_relu",
    )


def test_branches_side_by_side_give_their_last_join():
    body = stem(2)
    fine = relu(convolution(body, "down0", 2), "fine")
    coarse = relu(convolution(convolution(body, "down1", 2), "down2", 2), "coarse")
    joined = mx.sym.elemwise_add(relu(convolution(fine, "c"), "fine_relu"), fine, name="joined")
    body = mx.sym.elemwise_add(convolution(joined, "down3", 2), coarse, name="end")
    assert stage_layers(classified(body), 256, 2) == ("joined", "end")


def test_classifier_that_reads_every_stage_is_cut_off_first():
    body, pooled = stem(3), []
    for number in range(2):
        body = relu(convolution(body, f"stage{number}", 2), f"stage{number}_relu")
        pooled.append(
            mx.sym.Flatten(mx.sym.Pooling(body, global_pool=True, kernel=(1, 1), name=f"pool{number}"))
        )
    symbol = mx.sym.FullyConnected(mx.sym.concat(*pooled, dim=1), num_hidden=10, name="fc")
    assert stage_layers(symbol, 256, 2) == ("stage0_relu", "stage1_relu")
    assert trunk(symbol, 256).list_outputs() == ["stage1_relu_output"]


def test_gates_and_global_pools_are_no_maps_of_a_stride():
    body = stem(3)
    gate = mx.sym.Pooling(body, global_pool=True, pool_type="avg", kernel=(1, 1), name="squeeze")
    gate = mx.sym.Activation(
        mx.sym.Convolution(gate, num_filter=8, kernel=(1, 1), name="gate"), act_type="sigmoid"
    )
    body = mx.sym.broadcast_mul(body, gate, name="scaled")
    assert stage_layers(classified(body), 1024, 3) == ("scaled",)


def test_network_of_small_strides_gives_its_coarsest_stage():
    assert stage_layers(classified(stem(2)), 256, 2) == ("stem1_relu",)


def test_input_that_does_not_fit_gives_no_shapes(capfd):
    body = mx.sym.Convolution(mx.sym.Variable("data"), num_filter=8, kernel=(9, 9), name="large")
    assert map_shapes(body, 8) is None
    assert map_shapes(body, 9)["large"] == (8, 1, 1)
    assert capfd.readouterr().out == ""


def test_normalising_layers_are_seen():
    assert not has_normalisation(stem(2))
    assert has_normalisation(mx.sym.BatchNorm(stem(2), name="bn"))
