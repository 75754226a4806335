"""`tools/inspect_records.py`: what packed records hold, whether they are whole, and what they look like.

Reads what prepare_dataset wrote, or old records of mxnet-ssd.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common import boxes as box_ops
from common import images
from common.command import CommandParser, add_switch, command, parse_shape
from common.errors import ConfigError, RecordError
from common.files import write_bytes
from dataset.augmentation import RECIPES, recipe
from dataset.preview import preview_batches
from dataset.records import RecordDataset
from dataset.verify import VerifyReport, verify

_QUARTILES = (0, 25, 50, 75, 100)


def build_parser() -> CommandParser:
    """Return the command's parser."""
    parser = CommandParser(
        prog="inspect_records.py", description="Report on packed records: contents, damage, pictures."
    )
    parser.add_argument("records", help="the .rec file")
    parser.add_argument(
        "--data-shape",
        type=parse_shape,
        default=(300, 300),
        help="network input HEIGHT or HEIGHT,WIDTH in pixels, that box sizes and augmented pictures are for",
    )
    check = parser.add_argument_group("damage")
    add_switch(check, "--verify", default=False, help="check hashes, every record and every image")
    draw = parser.add_argument_group("pictures")
    draw.add_argument(
        "--draw", type=int, default=0, help="how many images to draw, before and after augmentation"
    )
    draw.add_argument(
        "--augment", default="ssd", metavar="NAME", help=f"recipe, as train.py takes it: {', '.join(RECIPES)}"
    )
    draw.add_argument("--out", default="output/inspect", help="folder for them")
    draw.add_argument("--seed", type=int, default=0, help="of the choice of images and of the augmentation")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = build_parser().parse_args(argv)
    if options.draw < 0:
        raise ConfigError(f"--draw {options.draw}: expected 0 or more")
    recipe(options.augment)  # an unknown one is told now
    dataset = RecordDataset(options.records)
    if options.verify:
        _print_verification(dataset)
    _print_contents(dataset)
    _print_box_sizes(dataset, options.data_shape)
    if options.draw:
        folder = Path(options.out)
        drawn = draw_after(
            dataset,
            folder,
            count=options.draw,
            seed=options.seed,
            data_shape=options.data_shape,
            augment=options.augment,
        )
        draw_before(dataset, folder, drawn)
        print(f"{2 * len(drawn)} pictures in {folder}")
    return 0


def _print_verification(dataset: RecordDataset) -> None:
    """Verify and print the damage.

    Raises:
        RecordError: there is damage.
    """
    report = verify(dataset, progress=sys.stderr.isatty())
    for key, reason in report.damaged:
        print(f"record {key} ({dataset.name_of(key)}): {reason}")
    for name, reason in report.files:
        print(f"{name}: {reason}")
    if not report.is_whole:
        raise RecordError(f"{dataset.path}: {_damage(report)}: copy the files again, or pack the data again")
    seen = "and all hashes" if report.has_hashes else "(no manifest: a changed byte may go unseen)"
    print(f"whole: {report.records} records {seen}")


def _damage(report: VerifyReport) -> str:
    """Return the damage as part of a line."""
    parts = [f"{name} {reason}" for name, reason in report.files]
    if report.damaged:
        keys = ", ".join(str(key) for key, _ in report.damaged[:10])
        more = ", ..." if len(report.damaged) > 10 else ""
        parts.insert(
            0, f"{len(report.damaged)} of {report.records} records are damaged (numbers {keys}{more})"
        )
    return "; ".join(parts)


def _print_contents(dataset: RecordDataset) -> None:
    """Print how many images and objects there are, by class."""
    scan = dataset.scan()
    ids, difficult = scan.objects[:, 0].astype(int), scan.objects[:, 5] > 0
    count = max(len(dataset.class_names), int(ids.max(initial=-1)) + 1)
    names = dataset.class_names or [f"class {index}" for index in range(count)]
    print(f"{dataset.path}: {len(dataset)} images, {int((scan.counts == 0).sum())} of them without objects")
    print(
        f"{len(ids)} objects, at most {scan.counts.max()} in an image; {scan.object_width} numbers an object"
    )
    width = max([len(name) for name in names] + [len("class")])
    print(f"  {'id':>4}  {'class':<{width}} {'objects':>9} {'difficult':>9} {'images':>9}")
    image_of = np.repeat(np.arange(len(dataset)), scan.counts)
    for index, name in enumerate(names):
        mine = ids == index
        row = (int(mine.sum()), int((mine & difficult).sum()), len(np.unique(image_of[mine])))
        print(f"  {index:>4}  {name:<{width}} {row[0]:>9} {row[1]:>9} {row[2]:>9}")
    if dataset.manifest:
        _print_manifest(dataset.manifest)


def _print_manifest(manifest: dict) -> None:
    """Print what only the manifest knows: image sizes, what was left out."""
    for side in ("width", "height"):
        spread = manifest[f"image_{side}"]
        print(f"image {side} in pixels: {spread['min']} to {spread['max']}, median {spread['median']:g}")
    skipped = manifest["skipped"]
    reasons = ", ".join(f"{reason} {count}" for reason, count in skipped["reasons"].items()) or "nothing"
    print(f"left out when packed: {skipped['images']} images, {skipped['objects']} objects: {reasons}")


def box_sizes(objects: np.ndarray, data_shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return the sizes of boxes as an anchor's are told: relative to the input's height.

    Args:
        objects: (N, 6) of (class, xmin, ymin, xmax, ymax, difficult), normalised.
        data_shape: (height, width) of the network's input.

    Returns:
        size (square root of the area), width, height: (N,), 1 is the input's height; aspect: (N,) width / height.
    """
    height, width = data_shape
    boxes = objects[:, 1:5].astype(np.float64)
    boxes = boxes[box_ops.area(boxes) > 0]
    wide, high = (boxes[:, 2] - boxes[:, 0]) * width / height, boxes[:, 3] - boxes[:, 1]
    return {"size": np.sqrt(wide * high), "width": wide, "height": high, "aspect": wide / high}


def _print_box_sizes(dataset: RecordDataset, data_shape: tuple[int, int]) -> None:
    """Print the quartiles of the boxes' sizes, for the choice of anchors."""
    sizes = box_sizes(dataset.scan().objects, data_shape)
    if not len(sizes["size"]):
        return
    print(f"boxes in an input of {data_shape[0]}x{data_shape[1]} (1 is its height, as for anchor sizes):")
    print(" " * 10 + "".join(f"{head:>9}" for head in ("min", "25 %", "median", "75 %", "max")))
    for name, values in sizes.items():
        print(f"  {name:<8}" + "".join(f"{value:>9.3f}" for value in np.percentile(values, _QUARTILES)))


def draw_before(dataset: RecordDataset, folder: Path, chosen: Sequence[int]) -> None:
    """Draw records as they are packed.

    Args:
        dataset: the records.
        folder: for before-KEY.jpg.
        chosen: positions of the records.
    """
    for index in chosen:
        record = dataset.read(index)
        pixels = images.decode(record.image, dataset.where(index))
        name = f"before-{record.key:06d}.jpg"
        write_bytes(folder / name, images.encode_jpeg(_draw(pixels, record.label, dataset.class_names)))


def draw_after(
    dataset: RecordDataset,
    folder: Path,
    *,
    count: int,
    seed: int,
    data_shape: tuple[int, int],
    augment: str = "ssd",
) -> list[int]:
    """Draw images as training sees them, augmented.

    Args:
        dataset: the records.
        folder: for after-KEY.jpg.
        count: how many.
        seed: of the choice and the augmentation.
        data_shape: (height, width) of the network's input.
        augment: name of the recipe.

    Returns:
        Positions of the records that were drawn.
    """
    samples = preview_batches(dataset.path, data_shape, count, seed, augment)
    for index, pixels, label in samples:
        drawn = _draw(pixels, label, dataset.class_names)
        write_bytes(folder / f"after-{dataset.keys[index]:06d}.jpg", images.encode_jpeg(drawn))
    return [index for index, _, _ in samples]


def _draw(pixels: np.ndarray, label: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Draw a label's boxes: (H, W, 3) uint8, (N, 5 or 6) normalised -> (H, W, 3) uint8."""
    from common.drawing import class_colours, draw_boxes

    label = np.asarray(label)[np.asarray(label)[:, 0] >= 0]
    ids = label[:, 0].astype(int)
    names = [class_names[index] if index < len(class_names) else str(index) for index in ids]
    difficult = label[:, 5] > 0 if label.shape[1] > 5 else np.zeros(len(label), bool)
    texts = [f"{name} (difficult)" if flag else name for name, flag in zip(names, difficult)]
    colours = class_colours(int(ids.max(initial=0)) + 1)
    boxes = box_ops.to_pixels(label[:, 1:5], pixels.shape[1], pixels.shape[0])
    return draw_boxes(pixels, boxes, texts, [colours[index] for index in ids])
