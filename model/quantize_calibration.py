"""Which range of values each layer gives on real images: what int8's 255 steps are laid over.

First step of quantisation. The float graph runs once over the calibration images; lowest value, highest value and a
histogram of every output that a quantised layer may take or give are kept, and both modes are made from them:
`naive` holds every value seen, `entropy` cuts off rare large values where that loses less information (the range with
the least Kullback-Leibler divergence; the operator is MXNet's `calibrate_entropy`).

Deviation from MXNet's collectors: their histogram grows with the range, without limit where the first image gives small
values; here the bins widen, so that it never has more than 8001.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from common.errors import CheckpointError, ConfigError
from common.mx import mx
from model.quantize_graph import FloatGraph

NAIVE, ENTROPY = "naive", "entropy"
MODES = (NAIVE, ENTROPY)
_BINS = 8001  # odd, so that 0 lies in the middle of one, and a multiple of 3 (see `_Histogram.widen`)
_COUNTED = 65_536  # of an output's values in a batch, at least where it has as many
_SMALLEST = (
    1e-4  # a layer of zeros needs a range too, else its scale is infinite; graphs keep six decimals of it
)


@dataclass
class _Histogram:
    """How often an output has which value.

    Attributes:
        lowest: value seen.
        highest: value seen.
        limit: the bins reach from -limit to limit.
        counts: (_BINS,) int64.
    """

    lowest: float = np.inf
    highest: float = -np.inf
    limit: float = _SMALLEST
    counts: np.ndarray = field(default_factory=lambda: np.zeros(_BINS, np.int64))

    def add(self, values: np.ndarray) -> None:
        """Count values, (...) float32; of many values evenly spread ones, which tell as much."""
        self.lowest = min(self.lowest, float(values.min()))
        self.highest = max(self.highest, float(values.max()))
        values = values.ravel()[:: values.size // _COUNTED | 1]  # odd, so that it meets every column of a map
        while self.limit < self.largest():
            self.widen()
        places = np.rint(values * (_BINS / (2 * self.limit))).astype(np.intp) + _BINS // 2
        self.counts += np.bincount(np.clip(places, 0, _BINS - 1), minlength=_BINS)

    def widen(self) -> None:
        """Let the bins reach three times as far: three become one, and 0 stays in the middle of its own."""
        inner = self.counts.reshape(-1, 3).sum(axis=1)
        outer = (_BINS - len(inner)) // 2
        self.counts = np.pad(inner, outer)
        self.limit *= 3

    def largest(self) -> float:
        """Return the largest absolute value seen."""
        return max(-self.lowest, self.highest)

    def seen(self) -> tuple[float, float]:
        """Return the range of all values."""
        if self.largest() > _SMALLEST:
            return self.lowest, self.highest
        return (0.0 if self.lowest >= 0 else -_SMALLEST), _SMALLEST

    def most_telling(self) -> tuple[float, float]:
        """Return the range that, laid over int8's steps, keeps the distribution best."""
        if self.largest() <= _SMALLEST:
            return self.seen()
        width = 2 * self.limit / _BINS
        reach = min(
            int(self.largest() / width + 0.5), _BINS // 2
        )  # bins from the middle one to the last that counts
        counts = self.counts[_BINS // 2 - reach : _BINS // 2 + reach + 1]
        unsigned = self.lowest >= 0  # after a ReLU: uint8, whose steps all lie on one side
        threshold, _ = mx.nd.contrib.calibrate_entropy(
            hist=mx.nd.array(counts),
            hist_edges=mx.nd.array((np.arange(len(counts) + 1) - len(counts) / 2) * width),
            num_quantized_bins=511 if unsigned else 255,
        )
        found = min(float(threshold.asscalar()), self.largest())
        return (0.0, found) if unsigned else (-found, found)


@dataclass(frozen=True)
class Calibration:
    """What was seen on the calibration images.

    Attributes:
        images: how many there were.
        ranges: mode -> output -> (lowest, highest) value that int8 is to hold.
        sample: the first images, (B, 3, H, W) float32, to compare graphs on.
    """

    images: int
    ranges: dict[str, dict[str, tuple[float, float]]]
    sample: np.ndarray


def calibrate(
    graph: FloatGraph, batches: Iterable[np.ndarray], modes: tuple[str, ...] = MODES, *, sample: int = 8
) -> Calibration:
    """Run a float graph over images and note the range of every output that a quantised graph may ask for.

    Args:
        graph: the float graph.
        batches: (B, 3, H, W) float32 each, the network's inputs; small batches, since all outputs are kept.
        modes: for which to make ranges, of `MODES`.
        sample: how many images to keep.

    Raises:
        ConfigError: there are no images.
        CheckpointError: an output is not finite.
    """
    seen = {output: _Histogram() for output in graph.ranged}
    kept, images, runner = [], 0, Runner(graph.symbol, graph.params, graph.ranged)
    for batch in batches:
        for name, values in zip(seen, runner.run(batch)):
            if not np.isfinite([values.min(), values.max()]).all():
                raise CheckpointError(
                    f"{graph.name}: gives values that are not finite at {name}: take another epoch"
                )
            seen[name].add(values)
        kept += list(batch[: max(0, sample - len(kept))])
        images += len(batch)
    if not images:
        raise ConfigError("no images to calibrate on: give records that hold some")
    make = {NAIVE: _Histogram.seen, ENTROPY: _Histogram.most_telling}
    ranges = {mode: {name: make[mode](found) for name, found in seen.items()} for mode in modes}
    return Calibration(images, ranges, np.stack(kept))


class Runner:
    """Runs a graph on batches of any size, node by node as it stands.

    An executor would fuse a normalisation with the activation behind it also where both are outputs, and then give
    wrong values; MXNet's CachedOp fuses nothing.

    Args:
        symbol: a graph with the input `data`.
        params: (arg_params, aux_params).
        outputs: names of its internal outputs to return in place of its own, () for its own.
    """

    def __init__(self, symbol, params: tuple[dict, dict], outputs: tuple[str, ...] = ()):
        internals = symbol.get_internals() if outputs else None
        graph = mx.sym.Group([internals[name] for name in outputs]) if outputs else symbol
        self._inputs = [{**params[0], **params[1]}.get(name) for name in graph.list_inputs()]
        self._data = graph.list_inputs().index("data")
        self._operator = mx.nd.CachedOp(graph)

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        """Return the outputs for a batch (B, 3, H, W) float32."""
        inputs = list(self._inputs)
        inputs[self._data] = mx.nd.array(batch)
        found = self._operator(*inputs)
        return [output.asnumpy() for output in (found if isinstance(found, list) else [found])]
