"""The pictures of a run's folder: the first augmented batches, the best epoch's validation, the curves of results.csv.

An observer of the loop. Drawing takes at most a hundredth of the run's time: what would take more waits, and is drawn
at the end of the run at the latest. Nothing of it changes the run.
"""

from __future__ import annotations

import dataclasses
import glob
import logging
import time
from pathlib import Path

import numpy as np

from common import images
from common.drawing import class_colours, draw_boxes
from common.errors import SSDError
from common.files import remove_half_written, write_bytes
from common.mx import cv2
from detect.pictures import annotate
from model.card import Card
from train.observers import BatchDone, EpochDone, Observer
from train.plots import draw_results
from train.validation import Validated

log = logging.getLogger(__name__)

_SHARE = 0.01  # of the run's time
_FIRST_BATCHES = 3
_MOST_TILES = 16  # images of a batch that are drawn
_VALIDATION_PICTURES = 8
_LONGEST_SIDE = 640  # of a picture, in pixels
_THRESHOLD = 0.5  # from which demo.py draws too
_GAP = 6  # pixels between truth and detections


class RunPictures(Observer):
    """Draws into a run's folder, beside its results.csv.

    Args:
        table: path of results.csv, or NAME-results.csv; the pictures' names begin alike.
        card: of the run.
    """

    def __init__(self, table: Path, card: Card):
        self._card = card
        self._plot = table.with_suffix(".png")
        self._stem = table.name[: -len("results.csv")]
        self._folder = table.parent
        self._started, self._spent = time.perf_counter(), 0.0
        self._rows: tuple[dict, ...] = ()
        self._best: EpochDone | None = None
        self._broken = False
        remove_half_written(self._folder, glob.escape(self._plot.name))
        remove_half_written(self._folder, f"{glob.escape(self._stem)}batch-*.jpg")
        remove_half_written(self._folder / f"{self._stem}validation", "*.jpg")

    def after_batch(self, done: BatchDone) -> None:
        """Draw the first batches as the network saw them."""
        if done.step < _FIRST_BATCHES:
            path = self._folder / f"{self._stem}batch-{done.step + 1}.jpg"
            self._draw(lambda: write_bytes(path, images.encode_jpeg(batch_picture(done.batch, self._card))))

    def after_epoch(self, done: EpochDone) -> None:
        """Remember what there is to draw, and draw it if the time for it is there."""
        self._rows = done.rows
        if done.best:
            self._best = done
        if self._spent <= _SHARE * (time.perf_counter() - self._started):
            self._draw_pending()

    def close(self) -> None:
        """Draw what waits."""
        self._draw_pending()

    def _draw_pending(self) -> None:
        rows, best, self._rows, self._best = self._rows, self._best, (), None
        if rows:
            self._draw(lambda: draw_results(self._plot, rows, f"{self._card.network}, {self._plot.parent}"))
        if best is not None:
            self._draw(lambda: self._draw_validation(best.validated))

    def _draw_validation(self, validated: Validated) -> None:
        """Write a picture for each of some validation images: truth on the left, detections on the right."""
        for number, index in enumerate(spread(len(validated.findings), _VALIDATION_PICTURES), start=1):
            path = self._folder / f"{self._stem}validation" / f"{number}.jpg"
            write_bytes(path, images.encode_jpeg(validation_picture(validated, index)))

    def _draw(self, work) -> None:
        """Do some drawing; where that fails (a full disk) say so once and go on training."""
        if self._broken:
            return
        started = time.perf_counter()
        try:
            work()
        except (OSError, SSDError) as error:
            self._broken = True
            log.warning(f"the run's pictures are not drawn any more: {error}")
        self._spent += time.perf_counter() - started


def spread(count: int, most: int) -> list[int]:
    """Return at most `most` indices below `count`, spread evenly: the same ones at every call."""
    return sorted(
        {int(position) for position in np.linspace(0, count - 1, min(count, most))} if count else ()
    )


def shrink(pixels: np.ndarray, longest: int = _LONGEST_SIDE) -> np.ndarray:
    """Return an image, (H, W, 3) uint8, no larger than `longest` pixels on its longer side."""
    height, width = pixels.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def scaled_boxes(boxes: np.ndarray, size: tuple[int, int], pixels: np.ndarray) -> np.ndarray:
    """Return boxes in pixels of an image of `size` (width, height) in those of the image at hand: (N, 4)."""
    factors = pixels.shape[1] / size[0], pixels.shape[0] / size[1]
    return boxes * np.array([*factors, *factors])


def batch_picture(batch, card: Card) -> np.ndarray:
    """Return a batch's images with their labels, side by side, as the network saw them.

    Args:
        batch: of the training iterator.
        card: class names, mean and std.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    palette, tiles = class_colours(card.num_classes), []
    planes = batch.data[:_MOST_TILES].asnumpy().transpose(0, 2, 3, 1)  # (B, 3, H, W) -> (B, H, W, 3)
    pixels = np.clip(np.round(planes * np.array(card.std) + np.array(card.mean)), 0, 255).astype(np.uint8)
    for image, rows in zip(pixels, batch.label[:_MOST_TILES].asnumpy()):
        rows = rows[rows[:, 0] >= 0]
        ids = rows[:, 0].astype(int)
        boxes = scaled_boxes(rows[:, 1:5], (1, 1), image)
        names = [card.class_names[i] for i in ids]
        tiles.append(draw_boxes(image, boxes, names, [palette[i] for i in ids]))
    return _grid(tiles)


def _grid(tiles: list[np.ndarray]) -> np.ndarray:
    """Lay out images of one size in rows, as square as may be."""
    columns = int(np.ceil(np.sqrt(len(tiles))))
    blank = np.zeros_like(tiles[0])
    tiles = tiles + [blank] * (-len(tiles) % columns)
    return np.concatenate(
        [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    )


def validation_picture(validated: Validated, index: int, threshold: float = _THRESHOLD) -> np.ndarray:
    """Return a validation image twice: with its ground truth, and with what was found above the threshold.

    Args:
        validated: of one validation.
        index: of the image.
        threshold: of the score.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    pixels = shrink(images.decode(validated.dataset.read_parts(index).image, validated.dataset.where(index)))
    truth, palette = validated.findings.truths[index], class_colours(len(validated.findings.class_names))
    names = [validated.findings.class_names[i] for i in truth.class_ids]
    boxes = scaled_boxes(truth.boxes, truth.size, pixels)
    left = draw_boxes(pixels, boxes, names, [palette[i] for i in truth.class_ids])
    found = validated.findings.detections[index].above(threshold)
    if len(found):
        found = dataclasses.replace(found, boxes=scaled_boxes(found.boxes, found.size, pixels))
    gap = np.full((pixels.shape[0], _GAP, 3), 255, np.uint8)
    return np.concatenate([left, gap, annotate(pixels, found)], axis=1)
