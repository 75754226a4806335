"""Drawn scenes: a data set that needs no download, to try the whole chain on and to test that training learns.

Five kinds of object lie on cluttered backgrounds, turned, stretched, overlapping and cut by the image's edge.
Only the shape tells the kind: colour, texture and border are chosen without knowing it (`dataset.scene_shapes`).
The truth is fair: everything drawn is in it, at least half of each object is to be seen, and two boxes
overlap by less than half of the smaller one. A box holds the whole object, also where another hides part of it,
clipped to the image. Stands beside the readers: `write_scenes` writes a Pascal VOC folder for prepare_dataset.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from common import boxes as box_ops
from common.errors import ConfigError
from common.files import read_json, write_json, write_text
from common.images import encode_jpeg
from dataset.scene_backgrounds import draw_background
from dataset.scene_shapes import CLASS_NAMES, Stamp, outline, paint, place_outline, stamp

__all__ = ["CLASS_NAMES", "draw_scene", "write_scenes"]

MINIMUM_SIDE = 64  # pixels; a smaller image leaves objects of a few pixels
EMPTY_SHARE = 0.03

_VERSION = 1  # of the drawing: the same seed gives the same scene as long as it stays
_MOST_OBJECTS = 6
_SIDES = (0.15, 0.42)  # an object's size, as a share of the image's shorter side
_OUTSIDE = 0.12  # the largest share of an object's width or height that the image's edge may cut off
_LEAST_VISIBLE = 0.5  # of each object's pixels in the image
_MOST_OVERLAP = 0.45  # of the smaller of two boxes, so that NMS at IoU 0.45 never merges two true objects
_TRIES = 20
_LEAST_CONTRAST = 75.0  # distance in RGB between an object's mean colour and that of what it covers
_MANIFEST = "scenes.json"
_NEW_MANIFEST = {"written_by": "make_scenes", "sets": {}}


def draw_scene(
    seed: int | Sequence[int], size: tuple[int, int] = (256, 256), *, empty_share: float = EMPTY_SHARE
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw one scene with its ground truth.

    Args:
        seed: one or several whole numbers, none negative; the same ones give the same scene in every process.
        size: (width, height) in pixels, each at least 64.
        empty_share: probability of a scene without objects, in [0, 1].

    Returns:
        (height, width, 3) uint8 RGB; (N, 4) float64 corner form in pixels, 0-based and half-open, N from 0 to 6;
        (N,) int64 ids into `CLASS_NAMES`. Later objects lie on top of earlier ones.

    Raises:
        ConfigError: the size is too small or the share is no probability.
    """
    _check(size, empty_share)
    rng = np.random.default_rng(seed)
    image = draw_background(rng, size)
    count = 0 if rng.random() < empty_share else int(rng.integers(1, _MOST_OBJECTS + 1))
    stamps, class_ids = _arrange(rng, size, count)
    for part in stamps:
        _draw_object(rng, image, part)
    boxes = np.array([part.box() for part in stamps], np.float64).reshape(-1, 4)
    return image, boxes, np.array(class_ids, np.int64)


def _check(size: tuple[int, int], empty_share: float) -> None:
    """Refuse settings that no scene can have."""
    if min(size) < MINIMUM_SIDE:
        raise ConfigError(f"scene size {size[0]},{size[1]}: each side must be at least {MINIMUM_SIDE} pixels")
    if not 0 <= empty_share <= 1:
        raise ConfigError(f"share of empty scenes {empty_share}: must be between 0 and 1")


def _arrange(rng: np.random.Generator, size: tuple[int, int], count: int) -> tuple[list[Stamp], list[int]]:
    """Choose kinds, sizes and places of up to `count` objects; one that fits nowhere is left out."""
    stamps, class_ids = [], []
    on_top = np.full((size[1], size[0]), -1, np.int8)  # (height, width): which object is seen at each pixel
    for _ in range(count):
        class_id = int(rng.integers(len(CLASS_NAMES)))
        side = rng.uniform(*_SIDES) * min(size)
        contours = place_outline(outline(CLASS_NAMES[class_id], rng), rng, side=side)
        border_width = int(rng.integers(1, 4) * max(1.0, min(size) / 256)) if rng.random() < 0.4 else 0
        for _ in range(_TRIES):
            part = stamp(contours, _somewhere(rng, size, contours), border_width=border_width).clipped(*size)
            if _fits(part, stamps, on_top):
                on_top[part.region()][part.covered()] = len(stamps)
                stamps.append(part)
                class_ids.append(class_id)
                break
    return stamps, class_ids


def _somewhere(rng: np.random.Generator, size: tuple[int, int], contours: list[np.ndarray]) -> tuple:
    """Choose a centre (x, y) in pixels that leaves most of the object inside the image."""
    margin = np.ptp(contours[0], axis=0) * (0.5 - _OUTSIDE)
    return tuple(rng.uniform(margin, size - margin))


def _fits(part: Stamp, stamps: list[Stamp], on_top: np.ndarray) -> bool:
    """Tell whether an object may be laid over the others: whether enough of each can still be seen."""
    box = part.box()
    for index, other in enumerate(stamps):
        if _overlap(box, other.box()) > _MOST_OVERLAP:
            return False
        seen = np.count_nonzero(on_top == index)
        hidden = np.count_nonzero(on_top[part.region()][part.covered()] == index)
        if seen - hidden < _LEAST_VISIBLE * np.count_nonzero(other.covered()):
            return False
    return True


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Return the intersection of two boxes, (4,) each, over the area of the smaller one."""
    shared = box_ops.area(
        np.concatenate([np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])])
    )
    return float(shared[0] / min(box_ops.area(first)[0], box_ops.area(second)[0]))


def _draw_object(rng: np.random.Generator, image: np.ndarray, part: Stamp) -> None:
    """Paint an object onto the image, in place, in a colour that stands out a little from what it covers."""
    region, covered = image[part.region()], part.covered()
    beneath = region[covered].mean(axis=0)
    for _ in range(_TRIES):
        colours, border = paint(rng, *covered.shape)
        if np.linalg.norm(colours[covered].mean(axis=0) - beneath) >= _LEAST_CONTRAST:
            break
    alpha = part.border[:, :, None].astype(np.float32) / 255  # (h, w, 1)
    colours += alpha * (border - colours)
    alpha = part.mask[:, :, None].astype(np.float32) / 255
    region[...] = np.round(region + alpha * (colours - region)).astype(np.uint8)


def write_scenes(
    root: str | Path,
    count: int,
    *,
    seed: int = 0,
    size: tuple[int, int] = (256, 256),
    set_name: str = "train",
    empty_share: float = EMPTY_SHARE,
) -> None:
    """Write scenes as a set of a Pascal VOC folder: Annotations/*.xml, JPEGImages/*.jpg, ImageSets/Main/<set>.txt.

    Sets of other names never share a scene, whatever the seed. The list of the set is written last and makes it
    complete; for that reason, and for speed, the images before it are not flushed one by one.

    Args:
        root: the folder; empty, missing, or written by this function (to which a set is added, or the same again).
        count: number of scenes.
        seed: a whole number, not negative.
        size: (width, height) in pixels.
        set_name: for example "train" or "test".
        empty_share: probability of a scene without objects.

    Raises:
        ConfigError: the folder holds other files, or a set of that name with other settings, or is not writable.
    """
    _check(size, empty_share)
    root = Path(root)
    settings = {
        "count": count,
        "seed": seed,
        "size": list(size),
        "empty_share": empty_share,
        "version": _VERSION,
    }
    try:
        _claim(root, set_name, settings)
        names = [f"{set_name}_{index:06d}" for index in range(count)]
        for index, name in enumerate(names):
            scene = draw_scene((seed, zlib.crc32(set_name.encode()), index), size, empty_share=empty_share)
            (root / "JPEGImages" / f"{name}.jpg").write_bytes(encode_jpeg(scene[0], quality=90))
            (root / "Annotations" / f"{name}.xml").write_text(_annotation(name, *scene), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{root}: scenes cannot be written ({error.strerror or error})") from error
    write_text(root / "ImageSets" / "Main" / f"{set_name}.txt", "".join(f"{name}\n" for name in names))


def _claim(root: Path, set_name: str, settings: dict) -> None:
    """Note in the folder what is about to be written; refuse a folder that holds anything else."""
    path = root / _MANIFEST
    if not path.exists() and root.is_dir() and any(root.iterdir()):
        raise ConfigError(f"{root}: not empty and not written by make_scenes: choose another --root")
    manifest = read_json(path, "list of scenes", ConfigError) if path.exists() else {**_NEW_MANIFEST}
    if not isinstance(manifest, dict) or manifest.get("written_by") != _NEW_MANIFEST["written_by"]:
        raise ConfigError(f"{path}: not written by make_scenes: choose another --root")
    sets = manifest["sets"]
    if sets.get(set_name, settings) != settings:
        raise ConfigError(
            f"{root}: its set {set_name!r} has other settings ({sets[set_name]}): choose another --root"
            " or delete the folder"
        )
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    write_json(path, {**manifest, "sets": {**sets, set_name: settings}})


def _annotation(name: str, image: np.ndarray, boxes: np.ndarray, class_ids: np.ndarray) -> str:
    """Return a scene's truth as Pascal VOC's XML (1-based, inclusive)."""
    height, width = image.shape[:2]
    lines = ["<annotation>", "\t<folder>scenes</folder>", f"\t<filename>{escape(name)}.jpg</filename>"]
    lines.append(f"\t<size><width>{width}</width><height>{height}</height><depth>3</depth></size>")
    lines.append("\t<segmented>0</segmented>")
    for box, voc, class_id in zip(boxes, box_ops.to_voc(boxes).astype(int), class_ids):
        truncated = int(min(box[0], box[1], width - box[2], height - box[3]) <= 0)
        corners = "".join(f"<{tag}>{v}</{tag}>" for tag, v in zip(("xmin", "ymin", "xmax", "ymax"), voc))
        lines.append(f"\t<object><name>{CLASS_NAMES[class_id]}</name><pose>Unspecified</pose>")
        lines.append(f"\t\t<truncated>{truncated}</truncated><difficult>0</difficult>")
        lines.append(f"\t\t<bndbox>{corners}</bndbox></object>")
    return "\n".join([*lines, "</annotation>", ""])
