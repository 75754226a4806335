"""An int8 detector out of a float one: which calibration, and which layers stay in float, is found by trying.

deploy.py's `--quantize int8`. One calibration (model/quantize_calibration.py) gives the ranges of both modes. Where a
mode with every layer in int8 keeps the mean average precision, nothing else is tried. Where none does, layers are
ranked by the noise that each one's quantisation alone brings to the heads (model/quantize_noise.py), and the worst are
left in float: 1, 2, 4, ... of them until the score is kept, then by halving the least number that still keeps it. Of
what keeps the score the fastest is taken.

Neither records nor Detectors are known here: deploy/ hands over inputs and functions that score and time.
Source of the rule: "left in float by sensitivity" is what NNCF and Intel's Neural Compressor do as well; the order of
trials is this project's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from common.errors import ConfigError, did_you_mean
from model.quantize_calibration import MODES, Calibration, calibrate
from model.quantize_graph import FloatGraph, float_graph, quantised_graph
from model.quantize_noise import noise_of_layers

_EQUALLY_FAST = 1.03  # what a short timing cannot tell apart


@dataclass(frozen=True)
class QuantizeSettings:
    """How a detector is quantised.

    Attributes:
        modes: calibrations to try, of "naive" and "entropy".
        max_drop: how much of the score (mAP, 0 to 1) may be lost.
        exclude: regular expression of layers that stay in float, "" for none; it is searched for in their names.
    """

    modes: tuple[str, ...] = MODES
    max_drop: float = 0.005
    exclude: str = ""

    def __post_init__(self):
        for mode in self.modes or ("",):
            if mode not in MODES:
                raise ConfigError(f"modes is {self.modes!r}{did_you_mean(mode, MODES)}")
        if not 0 <= self.max_drop <= 1:
            raise ConfigError(f"max_drop is {self.max_drop!r}, expected a number from 0 to 1")
        try:
            re.compile(self.exclude)
        except re.error as error:
            raise ConfigError(f"exclude is {self.exclude!r}, no regular expression: {error}") from error


@dataclass(frozen=True)
class Candidate:
    """A quantised graph that was tried.

    Attributes:
        mode: of its calibration.
        in_float: the layers left in float, the most harmful first, the user's own before them.
        graph: (symbol, (arg_params, aux_params)), data -> loc_pred, cls_pred, anchors.
        score: what it reached.
    """

    mode: str
    in_float: tuple[str, ...]
    graph: tuple = field(repr=False)
    score: float


@dataclass(frozen=True)
class Choice:
    """What came of the trials.

    Attributes:
        best: the fastest of those that keep the score; None where none does.
        tried: all, in the order of the trials.
        float_score: of the float detector.
        seconds: for one image, of the float detector and of the best; () where there is none.
        layers: how many layers could be quantised.
        images: calibrated on.
    """

    best: Candidate | None
    tried: tuple[Candidate, ...]
    float_score: float
    seconds: tuple[float, ...]
    layers: int
    images: int


@dataclass(frozen=True)
class Judges:
    """What tells good from bad: functions that take a graph as `Candidate.graph` is one.

    Attributes:
        score: the higher the better, 0 to 1.
        seconds: of several graphs, for one image each, measured in turn.
        tell: called with each Candidate as soon as it is scored.
    """

    score: Callable[[tuple], float]
    seconds: Callable[[list[tuple]], list[float]]
    tell: Callable[[Candidate], None] = lambda candidate: None


def quantize(
    source: tuple,
    batches: Iterable[np.ndarray],
    judges: Judges,
    settings: QuantizeSettings | None = None,
    *,
    name: str = "graph",
) -> Choice:
    """Find the fastest int8 graph of a detector that keeps its score.

    Args:
        source: (symbol, (arg_params, aux_params)) of a float detector, with the heads.
        batches: (B, 3, H, W) float32 each, inputs to calibrate on.
        judges: score and time graphs.
        settings: what to try, and what may be lost.
        name: of the detector, for messages.

    Raises:
        CheckpointError: the graph has no heads, or is quantised already.
        ConfigError: there is nothing to calibrate on, or nothing is left to quantise.
    """
    settings = settings or QuantizeSettings()
    graph = float_graph(*source, name)
    excluded = _excluded(graph, settings.exclude)
    trials = _Trials(graph, calibrate(graph, batches, settings.modes), judges, judges.score(source), excluded)
    kept = [found for found in map(trials.of, settings.modes) if trials.keeps(found, settings.max_drop)]
    if not kept:
        kept = [trials.search(mode, settings.max_drop) for mode in settings.modes]
    best, seconds = _fastest(source, [found for found in kept if found], judges)
    return Choice(
        best,
        tuple(trials.tried.values()),
        trials.float_score,
        seconds,
        len(graph.layers),
        trials.calibration.images,
    )


def _excluded(graph: FloatGraph, exclude: str) -> tuple[str, ...]:
    """Return the layers that the user wants in float.

    Raises:
        ConfigError: they are none, or all.
    """
    found = tuple(layer for layer in graph.layers if exclude and re.search(exclude, layer))
    if exclude and not found:
        raise ConfigError(
            f"exclude {exclude}: no layer of {graph.name} has such a name{did_you_mean(exclude, graph.layers)}"
        )
    if len(found) == len(graph.layers):
        raise ConfigError(f"exclude {exclude}: leaves no layer of {graph.name} to quantise: name fewer")
    return found


@dataclass
class _Trials:
    """Makes and scores candidates, each once."""

    graph: FloatGraph
    calibration: Calibration
    judges: Judges
    float_score: float
    excluded: tuple[str, ...]
    tried: dict[tuple, Candidate] = field(default_factory=dict)

    def of(self, mode: str, in_float: tuple[str, ...] = ()) -> Candidate:
        """Return the candidate that leaves these layers, and the user's, in float."""
        key = mode, (*self.excluded, *in_float)
        if key not in self.tried:
            made = quantised_graph(self.graph, self.calibration.ranges[mode], key[1])
            self.tried[key] = Candidate(*key, made, self.judges.score(made))
            self.judges.tell(self.tried[key])
        return self.tried[key]

    def keeps(self, found: Candidate, max_drop: float) -> bool:
        """Tell whether a candidate loses no more than it may."""
        return found.score >= self.float_score - max_drop - 1e-9  # 0.85 - 0.845 is a little above 0.005

    def search(self, mode: str, max_drop: float) -> Candidate | None:
        """Return the candidate of a mode that keeps the score with the fewest layers in float, if one does.

        More layers in float need not score better, so what comes out is a number beside which one less does not do.
        """
        noise = noise_of_layers(self.graph, self.calibration, mode, self.excluded)
        ranked = tuple(sorted(noise, key=noise.get, reverse=True))  # equals stay in the order of the graph
        fails, count = 0, 1
        while count < len(ranked) and not self.keeps(self.of(mode, ranked[:count]), max_drop):
            fails, count = count, 2 * count
        if count >= len(ranked):  # one layer at least is to be quantised
            count = len(ranked) - 1
            if count <= fails or not self.keeps(self.of(mode, ranked[:count]), max_drop):
                return None
        while count - fails > 1:
            middle = (count + fails) // 2
            if self.keeps(self.of(mode, ranked[:middle]), max_drop):
                count = middle
            else:
                fails = middle
        return self.of(mode, ranked[:count])


def _fastest(source: tuple, kept: list[Candidate], judges: Judges) -> tuple[Candidate | None, tuple]:
    """Return the fastest candidate, of equally fast ones the best, and the seconds of the float graph and its own."""
    if not kept:
        return None, ()
    float_seconds, *seconds = judges.seconds([source, *(found.graph for found in kept)])
    fast = [pair for pair in zip(kept, seconds) if pair[1] <= min(seconds) * _EQUALLY_FAST]
    best, its_seconds = max(fast, key=lambda pair: pair[0].score)
    return best, (float_seconds, its_seconds)
