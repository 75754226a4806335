"""evaluate.py: the mean average precision of a saved detector on packed records."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from common.command import CommandParser, add_switch, command
from common.errors import ConfigError
from common.files import check_place, write_json
from dataset.records import RecordDataset
from detect.flags import add_detection_flags, add_device_flags, add_model_flags, open_detector
from evaluate.run import evaluate_records
from evaluate.voc import METRICS


def build_parser() -> CommandParser:
    """Return the parser of the command's flags."""
    parser = CommandParser(
        prog="evaluate.py", description="Measure the mean average precision of a detector on packed records."
    )
    group = parser.add_argument_group("data")
    group.add_argument("--rec-path", default="data/val.rec", metavar="FILE.rec", help="packed records")
    group.add_argument("--list-path", help=argparse.SUPPRESS)  # of mxnet-ssd; the .idx serves
    group.add_argument("--num-class", type=int, metavar="N", help="check the model for that many classes")
    add_model_flags(parser)
    add_detection_flags(parser)
    parser.add_argument(
        "--thresh", type=float, metavar="X", help="count detections above this score (default: the card's)"
    )
    group = parser.add_argument_group("metric")
    group.add_argument(
        "--metric", choices=METRICS, help="area under the curve, or 11 points (default: voc, or as --voc07)"
    )
    add_switch(
        group,
        "--voc07",
        default=False,
        help="11 points of VOC 2007; mxnet-ssd had this on, here the default is the area",
    )
    group.add_argument(
        "--overlap", type=float, default=0.5, metavar="X", help="IoU that a detection needs, above 0 to 1"
    )
    add_switch(group, "--use-difficult", default=False, help="count difficult objects too")
    group.add_argument("--save-json", metavar="FILE", help="write the results there as well")
    add_device_flags(parser, batch_size=8)
    parser.add_argument("--frequent", help=argparse.SUPPRESS)  # of mxnet-ssd; there is a progress bar
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Print the table of classes, the mAP and the speed."""
    args = build_parser().parse_args(argv)
    if args.save_json:
        check_place(args.save_json)
    with RecordDataset(args.rec_path) as dataset:
        detector = open_detector(args, class_names=dataset.class_names, score_threshold=args.thresh)
        if args.num_class not in (None, len(detector.class_names)):
            raise ConfigError(
                f"--num-class {args.num_class}: the model has {len(detector.class_names)} classes"
            )
        started = time.perf_counter()
        result = evaluate_records(
            detector,
            dataset,
            metric=args.metric or ("voc07" if args.voc07 else "voc"),
            iou_threshold=args.overlap,
            use_difficult=args.use_difficult,
            progress=True,
        )
        seconds = time.perf_counter() - started
        print(result.table())
        print(
            f"{len(dataset)} images in {seconds:.1f} s, {len(dataset) / seconds:.1f} images/s ({detector.name})"
        )
    if args.save_json:
        run = {
            "model": detector.prefix,
            "epoch": detector.epoch,
            "records": str(args.rec_path),
            "seconds": seconds,
        }
        write_json(args.save_json, {**run, **result.as_dict()})
        print(f"written: {args.save_json}")
    return 0
