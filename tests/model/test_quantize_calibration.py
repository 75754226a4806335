"""Calibration: the ranges are those of the plain graph's outputs, whatever order and size the values come in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import CheckpointError, ConfigError
from common.mx import mx
from model.quantize_calibration import ENTROPY, NAIVE, _Histogram, calibrate
from model.quantize_graph import float_graph, quantised_graph
from tests.model.quantising import batches, network, outputs, params


def test_naive_ranges_are_those_of_the_plain_graph():
    symbol = network()
    weights = params(symbol)
    found = calibrate(float_graph(symbol, weights, "net"), batches(5, 2)).ranges[NAIVE]
    internals = symbol.get_internals()
    images = np.concatenate(batches(5, 2))
    assert found["data"] == (images.min(), images.max())
    for name in ("pool_output",):
        values = outputs(internals[name], weights, images)[0]
        np.testing.assert_allclose(found[name], (values.min(), values.max()), rtol=1e-5)
    fused = float_graph(symbol, weights, "net").layers["conv2"]
    values = outputs(internals["conv2_relu_output"], weights, images)[0]
    np.testing.assert_allclose(found[f"{fused}_output"], (values.min(), values.max()), rtol=1e-5, atol=1e-7)


def test_batch_size_changes_nothing_and_the_first_images_are_kept():
    symbol = network()
    graph = float_graph(symbol, params(symbol), "net")
    one, three = calibrate(graph, batches(7, 1)), calibrate(graph, batches(7, 3))
    assert one.images == three.images == 7
    for mode in (NAIVE, ENTROPY):
        for name, found in one.ranges[mode].items():
            np.testing.assert_allclose(found, three.ranges[mode][name], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(
        calibrate(graph, batches(7, 3), sample=4).sample, np.concatenate(batches(7))[:4]
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20), min_size=1, max_size=6))
def test_histogram_counts_every_value_near_its_place(parts):
    histogram = _Histogram()
    for part in parts:
        histogram.add(np.array(part, np.float32))
    values = np.concatenate([np.array(part, np.float32) for part in parts])
    assert histogram.counts.sum() == len(values)
    assert histogram.counts.shape == (8001,)
    assert histogram.limit >= np.abs(values).max()
    assert (histogram.lowest, histogram.highest) == (values.min(), values.max())
    width = 2 * histogram.limit / 8001
    centres = (np.arange(8001) - 4000) * width
    # Each widening moves a value by one of the narrower bins at most.
    np.testing.assert_allclose(
        np.repeat(centres, histogram.counts), np.sort(values), atol=width * 1.01, rtol=1e-6
    )


def test_entropy_cuts_off_rare_large_values_and_naive_does_not():
    histogram, rng = _Histogram(), np.random.default_rng(0)
    histogram.add(np.append(rng.normal(0, 1, 200_000), 60).astype(np.float32))
    assert histogram.seen()[1] == 60
    low, high = histogram.most_telling()
    assert 2 < high < 20
    assert low == -high


def test_entropy_of_values_without_a_sign_begins_at_zero():
    histogram, rng = _Histogram(), np.random.default_rng(0)
    histogram.add(np.abs(rng.normal(0, 1, 100_000)).astype(np.float32))
    low, high = histogram.most_telling()
    assert low == 0
    assert 2 < high <= histogram.highest


def test_layer_that_gives_nothing_but_zeros_stays_finite():
    symbol = network()
    weights = params(symbol)
    for name in ("conv3_weight", "conv3_bias", "boxes_weight"):
        weights[0][name] = mx.nd.zeros(weights[0][name].shape)
    graph = float_graph(symbol, weights, "net")
    ranges = calibrate(graph, batches()).ranges
    truth = outputs(symbol, weights, batches()[0])
    for mode in (NAIVE, ENTROPY):
        assert all(low < high for low, high in ranges[mode].values())
        for found, expected in zip(outputs(*quantised_graph(graph, ranges[mode], ()), batches()[0]), truth):
            assert np.isfinite(found).all()
            if mode == NAIVE:  # entropy cuts off some of the few values that a layer without weights gives
                np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


def test_weights_that_are_not_finite_are_named():
    symbol = network()
    weights = params(symbol)
    weights[0]["conv2_bias"][:] = np.inf
    with pytest.raises(CheckpointError, match="net: gives values that are not finite at"):
        calibrate(float_graph(symbol, weights, "net"), batches())


def test_no_images_are_refused():
    symbol = network()
    with pytest.raises(ConfigError, match="no images to calibrate on"):
        calibrate(float_graph(symbol, params(symbol), "net"), [])
