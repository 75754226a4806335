"""evaluate.py: the average precision of a saved detector on packed records, or of a results file."""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.command import command, read_class_names
from common.errors import ConfigError
from common.files import write_json
from dataset.records import RecordDataset
from detect.flags import open_detector
from evaluate.coco import COCOResult, evaluate_coco
from evaluate.console import as_values, class_table
from evaluate.findings import Findings
from evaluate.flags import build_parser, check_flags, metric_of
from evaluate.results import check_results_place, load_results, save_results
from evaluate.run import decode_record, find, score, truth_of
from evaluate.voc import VOCResult

__all__ = ["build_parser", "main"]


@dataclass(frozen=True)
class _Run:
    """What was found, and how.

    Attributes:
        findings: truth and detections.
        line: about it, for the console.
        origin: what --save-json tells of it.
        about: what the report tells of it.
    """

    findings: Findings
    line: str
    origin: dict
    about: dict[str, str]


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Print the table of classes, the mean and the speed; write what was asked for."""
    args = build_parser().parse_args(argv)
    check_flags(args)
    metric = metric_of(args)
    with RecordDataset(args.rec_path) as dataset:
        run = _load(args, dataset) if args.from_results else _detect(args, dataset)
        rule = {"iou_threshold": args.overlap, "use_difficult": args.use_difficult}
        voc = score(run.findings, metric="voc" if metric == "coco" else metric, **rule)
        coco = None
        if metric == "coco" or args.report:
            coco = evaluate_coco(run.findings, use_difficult=args.use_difficult)
        print(class_table(voc, coco if metric == "coco" else None))
        print(coco.summary() if metric == "coco" else voc.summary())
        print(run.line)
        for path in args.save_results or ():
            save_results(path, run.findings)
            print(f"written: {path}")
        if args.save_json:
            write_json(args.save_json, {**run.origin, **as_values(voc, coco, metric)})
            print(f"written: {args.save_json}")
        if args.report:
            for path in _write_report(args, run, dataset, voc, coco):
                print(f"written: {path}")
    return 0


def _detect(args: argparse.Namespace, dataset: RecordDataset) -> _Run:
    """Run the detector that flags describe over the records."""
    detector = open_detector(args, class_names=dataset.class_names, score_threshold=args.thresh)
    _check_count(args, detector.class_names, "model")
    _check_results_places(args, dataset, detector.class_names)
    started = time.perf_counter()
    findings = find(detector, dataset, progress=True)
    seconds = time.perf_counter() - started
    speed = f"{len(dataset) / seconds:.1f} images/s"
    origin = {
        "model": detector.prefix,
        "epoch": detector.epoch,
        "records": str(args.rec_path),
        "seconds": seconds,
    }
    about = {
        "prefix": str(detector.prefix),
        "epoch": str(detector.epoch),
        "score above": f"{detector.card.detection.score_threshold:g}",
        "speed": speed,
    }
    return _Run(
        findings, f"{len(dataset)} images in {seconds:.1f} s, {speed} ({detector.name})", origin, about
    )


def _load(args: argparse.Namespace, dataset: RecordDataset) -> _Run:
    """Read the results that flags name."""
    names = read_class_names(args.class_names) if args.class_names else dataset.class_names
    if not names:
        raise ConfigError(f"{args.rec_path}: its records have no class names: give --class-names")
    _check_count(args, names, "data set")
    _check_results_places(args, dataset, names)
    findings = load_results(args.from_results, truth_of(dataset, names))
    if args.thresh is not None:
        findings = findings.with_detections([found.above(args.thresh) for found in findings.detections])
    count, empty = sum(map(len, findings.detections)), sum(not len(found) for found in findings.detections)
    origin = {"results": str(args.from_results), "records": str(args.rec_path)}
    about = {"results": str(args.from_results)}
    if args.thresh is not None:
        about["score above"] = f"{args.thresh:g}"
    return _Run(
        findings,
        f"{len(dataset)} images, {empty} of them without a detection, {count} detections from {args.from_results}",
        origin,
        about,
    )


def _check_count(args: argparse.Namespace, class_names: Sequence[str], whose: str) -> None:
    """Hold the number of classes to the flag, where it is given."""
    if args.num_class not in (None, len(class_names)):
        instead = "--prefix" if whose == "model" else "--rec-path"
        raise ConfigError(
            f"--num-class {args.num_class}: the {whose} has {len(class_names)} classes: leave the flag out, or give"
            f" another {instead}"
        )


def _check_results_places(args: argparse.Namespace, dataset: RecordDataset, class_names: tuple) -> None:
    """Refuse places for results that cannot be written, before the work."""
    truth = truth_of(dataset, class_names) if args.save_results else None
    for path in args.save_results or ():
        check_results_place(path, truth)


def _write_report(
    args: argparse.Namespace, run: _Run, dataset: RecordDataset, voc: VOCResult, coco: COCOResult
) -> tuple[Path, Path]:
    """Write the report and return the paths of its page and of the thresholds."""
    from evaluate.report import THRESHOLDS, write_report

    about = {
        **run.about,
        "records": str(args.rec_path),
        "difficult objects": "counted" if args.use_difficult else "neutral",
    }
    pixels = functools.partial(decode_record, dataset)
    page = write_report(
        args.report, run.findings, voc=voc, coco=coco, pixels=pixels, about=about, metric=metric_of(args)
    )
    return page, page.parent / THRESHOLDS
