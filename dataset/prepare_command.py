"""`tools/prepare_dataset.py`: images with annotations in, packed records out.

mxnet-ssd's flags keep working. Deviations: --class-names also takes a text file, --shuffle has a seed, images without
objects are kept as negatives unless --no-true-negative is given, and what is left out is counted and listed.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from common.command import CommandParser, add_switch, command, read_class_names
from common.errors import ConfigError
from dataset.annotations import AnnotationSet
from dataset.coco import read_coco
from dataset.coco_layout import set_of
from dataset.manifest import check_target, record_paths
from dataset.pack import pack
from dataset.prepare_image import PackOptions
from dataset.voc import read_voc

_log = logging.getLogger(__name__)
_MOST_CLASSES = 20  # that the summary tells one by one


def build_parser() -> CommandParser:
    """Return the command's parser."""
    parser = CommandParser(
        prog="prepare_dataset.py",
        description="Check images with annotations and pack them into records (.rec .idx .lst .json .gt.json).",
    )
    _add_source_flags(parser)
    target = parser.add_argument_group("what to write")
    target.add_argument("--target", required=True, help="NAME.lst; the other files are named after it")
    target.add_argument(
        "--overwrite", action="store_true", help="write over files that this command did not write"
    )
    _add_packing_flags(parser)
    return parser


def _add_source_flags(parser: CommandParser) -> None:
    """Add the flags that tell what to read."""
    group = parser.add_argument_group("what to read")
    group.add_argument(
        "--dataset",
        choices=("voc", "pascal", "coco"),
        default="voc",
        help="form of the data: VOC's (also named pascal) or COCO's instances",
    )
    group.add_argument(
        "--root",
        help="folder VOCdevkit, or one with Annotations in it (default for voc: data/VOCdevkit); for coco the one"
        " with annotations/ and the folders of images (default: data/coco)",
    )
    group.add_argument(
        "--year", default="", help="voc: comma list, for a VOCdevkit, as 2007,2012; goes with --set"
    )
    group.add_argument(
        "--set",
        dest="image_set",
        help="comma list of image sets (default for voc: trainval); for coco as train2017, the annotations are then"
        " ROOT/annotations/instances_train2017.json and the images ROOT/train2017",
    )
    group.add_argument(
        "--annotations", help="coco: the instances file itself; --set then names the folder of the images"
    )
    group.add_argument(
        "--class-names",
        help="comma list or text file, in the order of the ids; without it all names: voc's sorted, coco's by"
        " category id",
    )


def _add_packing_flags(parser: CommandParser) -> None:
    """Add the flags that become PackOptions."""
    group = parser.add_argument_group("how to pack")
    preset = PackOptions()
    add_switch(group, "--shuffle", default=preset.shuffle, help="pack in an order drawn from --seed")
    group.add_argument("--seed", type=int, default=preset.seed, help="of the order")
    group.add_argument(
        "--resize-short",
        type=int,
        default=preset.resize_short,
        help="shrink images whose shorter side has more pixels; 0: never",
    )
    group.add_argument(
        "--quality", type=int, default=preset.quality, help="of JPEGs that must be encoded again, 1-100"
    )
    add_switch(group, "--true-negative", default=preset.true_negative, help="keep images without objects")
    add_switch(
        group,
        "--keep-difficult",
        default=preset.keep_difficult,
        help="put difficult objects in the labels; evaluation always knows them",
    )
    add_switch(group, "--strict", default=preset.strict, help="stop at the first thing that is wrong")
    group.add_argument(
        "--workers", type=int, default=preset.workers, help="decoding threads; 0: one for each core"
    )


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = build_parser().parse_args(argv)
    packing = PackOptions(
        shuffle=options.shuffle,
        seed=options.seed,
        resize_short=options.resize_short,
        quality=options.quality,
        true_negative=options.true_negative,
        keep_difficult=options.keep_difficult,
        strict=options.strict,
        workers=options.workers,
    )
    paths = record_paths(options.target)
    check_target(paths, options.overwrite, quiet=True)  # before the long part
    started = time.perf_counter()
    annotations = _read(options)
    manifest = pack(
        annotations,
        options.target,
        options=packing,
        made_by=_made_by(options, annotations),
        overwrite=options.overwrite,
        progress=sys.stderr.isatty(),
    )
    _print_summary(manifest, paths.rec, time.perf_counter() - started)
    return 0


def _read(options: argparse.Namespace) -> AnnotationSet:
    """Read the annotations that the flags name."""
    class_names = read_class_names(options.class_names) if options.class_names else None
    if options.dataset != "coco":
        if options.annotations:
            raise ConfigError(f"--annotations {options.annotations}: it goes with --dataset coco")
        sets = _split(_image_set(options), "--set")
        return read_voc(options.root or "data/VOCdevkit", sets, _split(options.year), class_names)
    if options.year:
        _log.warning("--year %s: left aside, COCO's sets hold the year in their names", options.year)
    sets = [] if options.image_set is None else _split(options.image_set, "--set")
    return read_coco(options.root or "data/coco", sets, class_names, annotations=options.annotations)


def _image_set(options: argparse.Namespace) -> str:
    """Return the image sets as the flags name them, for COCO's file alone by the file."""
    if options.image_set is not None:
        return options.image_set
    return "trainval" if options.dataset != "coco" else set_of(Path(options.annotations))


def _split(text: str, flag: str = "") -> list[str]:
    """Split a comma list; with a flag, an empty one is an error that names it."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if flag and not parts:
        raise ConfigError(f"{flag} {text!r}: name at least one")
    return parts


def _made_by(options: argparse.Namespace, annotations: AnnotationSet) -> dict:
    """Return the options that decide what is packed: no paths, no number of threads."""
    chosen = {
        "command": "tools/prepare_dataset.py",
        "dataset": "coco" if options.dataset == "coco" else "voc",
        "year": options.year,
        "set": _image_set(options),
        "annotations": Path(options.annotations).name if options.annotations else None,
        "class_names": list(annotations.class_names) if options.class_names else None,
    }
    names = ("shuffle", "seed", "resize_short", "quality", "true_negative", "keep_difficult", "strict")
    return {**chosen, **{name: getattr(options, name) for name in names}}


def _counts(counts: dict[str, int]) -> str:
    """Return counts by name as part of a line, the first ones where there are many."""
    told = [f"{name} {count}" for name, count in counts.items()]
    more = len(told) - _MOST_CLASSES
    return ", ".join(told[:_MOST_CLASSES]) + (f" and {more} classes more" if more > 0 else "")


def _print_summary(manifest: dict, rec: Path, seconds: float) -> None:
    """Print what was packed and what was not."""
    print(
        f"{rec}: {manifest['images']} images ({manifest['images_without_objects']} without objects),"
        f" {manifest['objects']} objects: {_counts(manifest['objects_by_class'])}"
    )
    skipped, listed = manifest["skipped"], record_paths(rec).skipped
    if skipped["reasons"]:
        reasons = _counts(skipped["reasons"])
        print(
            f"left out {skipped['images']} images and {skipped['objects']} objects: {reasons}; listed in {listed}"
        )
    if skipped["kept"]:
        print(f"kept, but not as stated: {_counts(skipped['kept'])}; listed in {listed}")
    size = manifest["files"]["rec"]["bytes"] / 1e6
    print(f"{size:.1f} MB in {seconds:.1f} s, {manifest['images'] / max(seconds, 1e-9):.0f} images/s")
