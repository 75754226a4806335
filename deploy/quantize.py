"""deploy.py --quantize: hands records, scores and times to model/quantize.py, and says what came out.

A detector is scored as evaluate.py scores it, by VOC's mAP (area, IoU 0.5), and timed as a user calls it: one image in
memory through `Detector.detect`, the detectors in turn, so that a change in the machine's speed meets all of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

import numpy as np

import detect.flags as detector_flags
from common.errors import ConfigError
from common.mx import mx, num_threads
from common.settings import naming_flags
from dataset.records import RecordDataset
from deploy.chosen_records import ChosenRecords
from deploy.processor import computes_bfloat16, processor_flags, word_on_int8
from deploy.quantize_flags import CALIBRATION_IMAGES, SCORED_IMAGES
from detect.detector import Detector
from detect.preprocess import network_input
from evaluate.run import decode_record, evaluate_records
from model.bfloat16 import BFLOAT16, try_bfloat16
from model.card import Card
from model.graph import inference_symbol
from model.quantize import Candidate, Choice, Judges, QuantizeSettings, quantize
from model.saved import SavedDetector

log = logging.getLogger(__name__)

_ROUNDS = 7
_TURN = 0.25  # seconds of each detector in each round


@dataclass(frozen=True)
class Quantised:
    """An int8 or bfloat16 detector, ready to be written.

    Attributes:
        symbol: data -> detection.
        params: (arg_params, aux_params).
        card: with what was done in `quantization`.
    """

    symbol: object
    params: tuple[dict, dict]
    card: Card


def quantize_detector(args: argparse.Namespace, saved: SavedDetector, settings: QuantizeSettings):
    """Quantise a detector as flags say, and print what was tried and what it gained.

    Args:
        args: parsed flags.
        saved: a float detector, image in, detections out, with its card.
        settings: of the flags.

    Returns:
        The quantised detector, or None where every one that was tried loses too much.

    Raises:
        RecordError: records are damaged, or of other classes than the detector.
        ConfigError: there is nothing to score on.
    """
    if saved.card.quantization:
        raise ConfigError(
            f"{saved.prefix}: is quantised already: give the float detector that it was made from"
        )
    with ExitStack() as stack:
        calibration, scored = _open_records(args, stack)
        bench = _Bench(saved, scored)
        judges = Judges(bench.score, bench.seconds, bench.tell)
        source = saved.symbol, (saved.arg_params, saved.aux_params)
        if args.quantize == BFLOAT16:
            choice = try_bfloat16(source, judges, settings.max_drop, name=saved.prefix)
        else:
            with naming_flags({"exclude": "--quantize-exclude"}):
                choice = quantize(
                    source, _inputs(calibration, saved.card), judges, settings, name=saved.prefix
                )
        if choice.best is None:
            print(_failure(choice, args.quantize, settings, scored))
            return None
        print(_gain(choice, args.quantize, saved, calibration))
        return _finished(choice, args.quantize, saved, scored)


def prepare_process(kind: str) -> None:
    """Choose the engine that other commands detect with, and look at the processor; before MXNet computes anything.

    What the processor lacks for int8 is said; bfloat16 is refused where nothing could be measured.

    Args:
        kind: "int8" or "bfloat16".

    Raises:
        ConfigError: bfloat16 is asked for, and the processor is not known to have it.
    """
    detector_flags.use_synchronous_engine([mx.cpu()])
    flags = processor_flags()
    word = word_on_int8(flags)
    if kind == BFLOAT16 and not computes_bfloat16(flags):
        raise ConfigError(
            f"--quantize {BFLOAT16}: this processor is not known to compute with it (avx512_bf16, amx_bf16): give"
            " --quantize int8, or leave it out"
        )
    if kind != BFLOAT16 and word:
        log.warning(word)


def _open_records(args: argparse.Namespace, stack: ExitStack) -> tuple[ChosenRecords, ChosenRecords]:
    """Return the records to calibrate on (bfloat16 is not) and those to score on; `stack` closes them."""
    files = {
        path: stack.enter_context(RecordDataset(path)) for path in {args.calib_path, args.val_path} if path
    }
    calibration = ChosenRecords(
        files[args.calib_path or args.val_path], args.calib_images or CALIBRATION_IMAGES
    )
    scored = ChosenRecords(files[args.val_path or args.calib_path], args.val_images or SCORED_IMAGES)
    return calibration, scored


def _inputs(records: ChosenRecords, card: Card) -> Iterator[np.ndarray]:
    """Yield the network's input for each record, (1, 3, H, W) float32."""
    for index in range(len(records)):
        pixels = decode_record(records, index)
        yield network_input(pixels, card.data_shape, card.mean, card.std)[None]


class _Bench:
    """Scores and times graphs as detectors.

    Args:
        saved: the float detector that they are made from.
        records: to score on.
    """

    def __init__(self, saved: SavedDetector, records: ChosenRecords):
        self._saved, self._records = saved, records
        self._float_score: float | None = None

    def score(self, graph: tuple) -> float:
        """Return a graph's mAP; of the first, the float one, it is printed.

        Raises:
            ConfigError: no object counts.
        """
        found = evaluate_records(self._detector(graph), self._records, progress=True).mean
        if found is None:
            raise ConfigError(
                f"{self._records.path}: no object there counts, so that mAP says nothing: give other records by"
                " --val-path"
            )
        if self._float_score is None:
            self._float_score = found
            print(f"float32: mAP {found:.4f} on {self._records}", flush=True)
        return found

    def tell(self, candidate: Candidate) -> None:
        """Print how a candidate scored."""
        left = f"{len(candidate.in_float)} layers in float" if candidate.in_float else "all layers in int8"
        left = "" if candidate.mode == BFLOAT16 else f", {left}"
        drop = candidate.score - self._float_score
        print(f"{candidate.mode}{left}: mAP {candidate.score:.4f} ({drop:+.4f})", flush=True)

    def seconds(self, graphs: list[tuple]) -> list[float]:
        """Return the median seconds of one image, of each graph."""
        pixels = decode_record(self._records, 0)
        calls = [functools.partial(self._detector(graph).detect, pixels, 1) for graph in graphs]
        for call in calls:
            call()
            call()
        measured = [[_seconds_of(call) for call in calls] for _ in range(_ROUNDS)]
        return [median(column) for column in zip(*measured)]

    def _detector(self, graph: tuple) -> Detector:
        symbol, (arg_params, aux_params) = graph
        made = dataclasses.replace(self._saved, symbol=symbol, arg_params=arg_params, aux_params=aux_params)
        return Detector.from_saved(made, context=mx.cpu())


def _seconds_of(call) -> float:
    """Return the seconds of a call, over as many as fit into a turn."""
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < _TURN:
        call()
        count += 1
    return (time.perf_counter() - begin) / count


def _finished(choice: Choice, kind: str, saved: SavedDetector, scored: ChosenRecords) -> Quantised:
    """Put the detection tail on, and say in the card what was done."""
    card, (heads, params) = saved.card, choice.best.graph
    symbol = inference_symbol(heads, card.num_classes, card.anchors.variances, card.detection, saved.prefix)
    done = {
        "dtype": kind,
        **({} if kind == BFLOAT16 else _how(choice)),
        "mAP_before": choice.float_score,
        "mAP_after": choice.best.score,
        "mAP_on": {"file": scored.path.name, "images": len(scored)},
    }
    return Quantised(symbol, params, dataclasses.replace(card, quantization=done))


def _how(choice: Choice) -> dict:
    """Return what the card says of how a detector came into int8."""
    best = choice.best
    return {"calib_mode": best.mode, "images": choice.images, "left_in_float": list(best.in_float)}


def _gain(choice: Choice, kind: str, saved: SavedDetector, calibration: ChosenRecords) -> str:
    """Return the lines that say what quantisation brought."""
    best, (before, after) = choice.best, choice.seconds
    left = f"{len(best.in_float)} of {choice.layers} layers left in float"
    left += f" ({', '.join(best.in_float)})" if best.in_float else ""
    how = f"{kind}: {best.mode} calibration on {calibration}; {left}\n" if kind != BFLOAT16 else ""
    slower = "" if after < before else ": slower than float32 on this machine"
    sizes = [_megabytes(params) for params in ((saved.arg_params, saved.aux_params), best.graph[1])]
    return (
        f"{how}{kind}: mAP {choice.float_score:.4f} -> {best.score:.4f}, {1 / before:.1f} -> {1 / after:.1f} frames/s"
        f" ({before / after:.2f} times, one image at a time, {num_threads} threads{slower}),"
        f" {sizes[0]:.1f} -> {sizes[1]:.1f} MB"
    )


def _megabytes(params: tuple[dict, dict]) -> float:
    """Return the size of parameters in 10**6 bytes."""
    arrays = [array for part in params for array in part.values()]
    return sum(array.size * np.dtype(array.dtype).itemsize for array in arrays) / 1e6


def _failure(choice: Choice, kind: str, settings: QuantizeSettings, scored: ChosenRecords) -> str:
    """Return the line that says that nothing is good enough, and how far off it is."""
    best = max(choice.tried, key=lambda candidate: candidate.score)
    lost = f"loses {choice.float_score - best.score:.4f} ({choice.float_score:.4f} -> {best.score:.4f})"
    if kind == BFLOAT16:
        before, after = (1 / seconds for seconds in choice.seconds)
        return (
            f"bfloat16 {lost} mAP on {scored}, and runs at {after:.1f} in place of {before:.1f} frames/s; nothing is"
            f" written: it must be faster and lose at most {settings.max_drop:g} (--max-drop)"
        )
    return (
        f"no int8 detector loses at most {settings.max_drop:g} mAP on {scored}: the best, {best.mode} with"
        f" {len(best.in_float)} of {choice.layers} layers in float, {lost}; nothing is written: allow more by"
        " --max-drop, or give more --calib-images"
    )
