"""evaluate.py's flags, and which of them cannot stand together."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from common.command import CommandParser, add_switch
from common.errors import ConfigError
from common.files import check_place, read_json
from detect.flags import add_detection_flags, add_device_flags, add_model_flags
from evaluate.coco import library
from evaluate.voc import METRICS, check_rule


def build_parser() -> CommandParser:
    """Return the parser of the command's flags."""
    parser = CommandParser(
        prog="evaluate.py",
        description="Measure the average precision of a detector on packed records, or of a results file.",
    )
    group = parser.add_argument_group("data")
    group.add_argument("--rec-path", default="data/val.rec", metavar="FILE.rec", help="packed records")
    group.add_argument("--list-path", help=argparse.SUPPRESS)  # of mxnet-ssd; the .idx serves
    group.add_argument("--num-class", type=int, metavar="N", help="check the model for that many classes")
    group.add_argument(
        "--from-results",
        metavar="PATH",
        help="score what a file holds, without a network: COCO's results (.json), or a folder of VOC's",
    )
    add_model_flags(parser)
    add_detection_flags(parser)
    parser.add_argument(
        "--thresh", type=float, metavar="X", help="count detections above this score (default: the card's)"
    )
    _add_metric_flags(parser)
    _add_output_flags(parser)
    add_device_flags(parser, batch_size=8)
    parser.add_argument("--frequent", help=argparse.SUPPRESS)  # of mxnet-ssd; there is a progress bar
    return parser


def _add_metric_flags(parser: CommandParser) -> None:
    """Add the flags that choose what is measured."""
    group = parser.add_argument_group("metric")
    group.add_argument(
        "--metric",
        choices=(*METRICS, "coco"),
        help="VOC's area under the curve, its 11 points, or COCO's twelve numbers (default: voc, or as --voc07)",
    )
    add_switch(
        group,
        "--voc07",
        default=None,
        help="11 points of VOC 2007; mxnet-ssd had this on, here the default is the area",
    )
    group.add_argument(
        "--overlap",
        type=float,
        default=0.5,
        metavar="X",
        help="IoU that a detection needs, above 0 to 1; COCO's numbers take ten of their own, and only precision,"
        " recall and F1 go by this one",
    )
    add_switch(
        group,
        "--use-difficult",
        default=False,
        help="count difficult objects too (pycocotools counts them when it reads NAME.gt.json)",
    )


def _add_output_flags(parser: CommandParser) -> None:
    """Add the flags that choose what is written."""
    group = parser.add_argument_group("output")
    group.add_argument("--save-json", metavar="FILE", help="write the figures there as well")
    group.add_argument(
        "--save-results",
        action="append",
        metavar="PATH",
        help="write the detections: FILE.json in COCO's form, any other name is a folder of VOC's"
        " comp4_det_<set>_<class>.txt; earlier results there are replaced; may be given several times",
    )
    group.add_argument(
        "--report",
        metavar="DIR",
        help="write a page of curves, mistakes and pictures, and thresholds for demo.py",
    )


def metric_of(args: argparse.Namespace) -> str:
    """Return the metric that flags mean: "voc", "voc07" or "coco".

    Raises:
        ConfigError: two flags say different things.
    """
    if args.metric and args.voc07 is not None and args.voc07 != (args.metric == "voc07"):
        says = "--voc07" if args.voc07 else "--no-voc07"
        raise ConfigError(f"--metric {args.metric} and {says} contradict each other: leave one of them out")
    return args.metric or ("voc07" if args.voc07 else "voc")


def check_flags(args: argparse.Namespace) -> None:
    """Refuse what cannot be, before the work.

    Raises:
        ConfigError: flags contradict each other, or a place cannot be written.
        DependencyError: a library that they need is missing.
    """
    metric = metric_of(args)
    check_rule(args.overlap, "voc" if metric == "coco" else metric)
    if args.from_results:
        _check_no_model(args)
        if args.thresh is not None and not math.isfinite(args.thresh):
            raise ConfigError(f"--thresh {args.thresh}: expected a number")
    if metric == "coco" or args.report:
        library()
    _check_places(args)


def _check_no_model(args: argparse.Namespace) -> None:
    """Refuse flags of the network where none is run: they would change nothing, and that silently."""
    parser = argparse.ArgumentParser(add_help=False)
    add_model_flags(parser)
    add_detection_flags(parser)
    for action in parser._actions:
        if action.dest != "class_names" and getattr(args, action.dest) != action.default:
            raise ConfigError(
                f"{action.option_strings[0]} is for a network, and --from-results {args.from_results} runs none:"
                " leave one of them out"
            )


def _check_places(args: argparse.Namespace) -> None:
    """Refuse places that cannot be written, that hold something else, or that two flags name."""
    places = [
        ("--from-results", args.from_results),
        ("--report", args.report),
        ("--save-json", args.save_json),
    ]
    places += [("--save-results", path) for path in args.save_results or ()]
    taken: dict[Path, str] = {}
    for flag, path in places:
        if path and Path(path).resolve() in taken:
            raise ConfigError(
                f"{flag} {path}: {taken[Path(path).resolve()]} names the same place: give another"
            )
        if path:
            taken[Path(path).resolve()] = flag
    if args.save_json:
        _check_figures_place(Path(args.save_json))
    if args.report:
        from evaluate.report import check_report_folder

        check_report_folder(args.report)


def _check_figures_place(path: Path) -> None:
    """Refuse to write figures over anything but earlier figures."""
    check_place(path)
    if not path.exists() or not path.stat().st_size:
        return
    try:
        there = read_json(path, "file of figures", ConfigError)
    except ConfigError:
        there = None
    if not (isinstance(there, dict) and {"metric", "mAP", "classes"} <= set(there)):
        raise ConfigError(f"{path}: is there already and holds no figures: choose another name (--save-json)")
