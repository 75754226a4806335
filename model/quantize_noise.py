"""How much each layer's quantisation alone disturbs the heads: which layers to leave in float first.

Second step of quantisation, where int8 loses too much. One graph for each layer has that layer in int8 and all others
in float; it runs over the calibration's sample, and its heads are compared with the float graph's. The noise of several
layers adds up nearly, so that the ranking holds for many at once too.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from model.quantize_calibration import Calibration, Runner
from model.quantize_graph import FloatGraph, quantised_graph

_PREDICTIONS = 2  # loc_pred and cls_pred; the default boxes behind them are the same in all graphs


def noise_of_layers(
    graph: FloatGraph, calibration: Calibration, mode: str, in_float: Collection[str] = ()
) -> dict[str, float]:
    """Return how much noise each layer's quantisation brings to the heads.

    Args:
        graph: the float graph.
        calibration: of it.
        mode: whose ranges are taken.
        in_float: layers that stay in float anyhow, and are left out.

    Returns:
        layer -> noise over signal, the larger of the two heads; in the order of the graph. inf where a head is not
        finite any more.
    """
    signal = _predictions(graph.symbol, graph.params, calibration.sample)
    noise = {}
    for layer in graph.layers:
        if layer not in in_float:
            others = [other for other in graph.layers if other != layer]
            found = _predictions(
                *quantised_graph(graph, calibration.ranges[mode], others), calibration.sample
            )
            noise[layer] = max(map(noise_over_signal, found, signal))
    return noise


def noise_over_signal(found: np.ndarray, signal: np.ndarray) -> float:
    """Return the energy of the difference over the energy of the signal (its spread, without its mean)."""
    if not np.isfinite(found).all():
        return float("inf")
    energy = float(np.square(signal - signal.mean(), dtype=np.float64).sum())
    noise = float(np.square(found - signal, dtype=np.float64).sum())
    return noise / energy if energy else (float("inf") if noise else 0.0)


def _predictions(symbol, params: tuple[dict, dict], sample: np.ndarray) -> list[np.ndarray]:
    """Return loc_pred and cls_pred of the sample, one image after the other: outputs of all layers are kept."""
    runner = Runner(symbol, params)
    outputs = [runner.run(sample[i : i + 1])[:_PREDICTIONS] for i in range(len(sample))]
    return [np.concatenate(parts) for parts in zip(*outputs)]
