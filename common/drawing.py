"""Boxes and labels drawn on a picture, to be looked at: in any size of image, in any number of colours.

Used by the demo and by the reports on data sets, whose boxes are in pixels. Line and letters grow with the image, a
label stays inside it and goes, where it can, to a place where no other label stands.
The letters are DejaVu Sans, which comes with matplotlib, because Pillow's own scalable font knows ASCII only.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple  # (red, green, blue), each 0..255

_LETTER_HEIGHT, _LINE_WIDTH = 0.03, 0.0045  # of the geometric mean of the image's width and height
_SMALLEST_LETTERS = 10  # pixels; below that digits cannot be told apart
_FIRST_IDEOGRAPH = 0x2E80  # Unicode: from here on Chinese, Japanese and Korean, which DejaVu Sans lacks
_IDEOGRAPH_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "msyh.ttc",
    "PingFang.ttc",
    "Arial Unicode.ttf",
)


def _lab(rgb: np.ndarray) -> np.ndarray:
    """Turn colours (N, 3) in 0..255 into CIELAB (N, 3), where distance is roughly difference to the eye."""
    linear = (rgb / 255.0) ** 2.2
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = np.cbrt(linear @ to_xyz.T / np.array([0.9505, 1.0, 1.089]))
    x, y, z = xyz.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


@functools.lru_cache(maxsize=1)
def _palette() -> tuple[Colour, ...]:
    """Order a grid of vivid colours so that each is as far as can be from all before it; red comes first."""
    levels = np.linspace(0, 255, 10)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = _lab(grid)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    vivid = (lab[:, 0] > 35) & (lab[:, 0] < 90) & (chroma > 35) & (chroma < 105)
    grid, lab = grid[vivid], lab[vivid]
    chosen = [int(np.argmin(np.abs(grid - np.array([230, 30, 60])).sum(axis=1)))]
    distance = np.linalg.norm(lab - lab[chosen[0]], axis=1)
    while distance.max() > 0:
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
    return tuple(tuple(int(round(v)) for v in grid[index]) for index in chosen)


def class_colours(count: int) -> list[Colour]:
    """Return a colour for each class: told apart easily, and the same for class i whatever the number of classes.

    Args:
        count: of classes; past some hundreds the colours come again.

    Returns:
        `count` tuples (red, green, blue), each 0..255.
    """
    palette = _palette()
    return [palette[index % len(palette)] for index in range(count)]


def text_colour(background: Colour) -> Colour:
    """Return black or white, whichever stands out more from a colour.

    Source: WCAG 2.1, contrast ratio of relative luminances; black wins above a luminance of 0.179.
    """
    luminance = float(
        (np.asarray(background, np.float64) / 255.0) ** 2.2 @ np.array([0.2126, 0.7152, 0.0722])
    )
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)


@functools.lru_cache(maxsize=32)
def _font(size: int, ideographs: bool) -> ImageFont.FreeTypeFont:
    """Return a font of that letter height in pixels; Pillow's own where none is found."""
    package = importlib.util.find_spec("matplotlib")
    folder = Path(package.origin).parent if package and package.origin else Path()
    dejavu = str(folder / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")
    for name in (*_IDEOGRAPH_FONTS, dejavu) if ideographs else (dejavu,):
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def _font_for(texts: list[str], width: int, height: int) -> ImageFont.FreeTypeFont:
    """Return the font for an image of that size: it grows with the image and a label is never higher than that."""
    size = max(_SMALLEST_LETTERS, round(_LETTER_HEIGHT * (width * height) ** 0.5))
    ideographs = any(ord(letter) >= _FIRST_IDEOGRAPH for text in texts for letter in text)
    return _font(max(1, min(size, int(height / 1.5))), ideographs)


def _shorten(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Cut a text with an ellipsis until it is at most that many pixels wide."""
    if font.getlength(text) <= width:
        return text
    fits = [end for end in range(len(text)) if font.getlength(text[:end] + "…") <= width]
    return text[: fits[-1]] + "…" if fits else ""


def _label_places(box: np.ndarray, size: tuple[int, int], image_size: tuple[int, int]) -> np.ndarray:
    """Return where a label may stand, best first: above, inside, below its box; left, right, middle.

    Args:
        box: (4,) corner form in pixels.
        size: (width, height) of the label in pixels.
        image_size: (width, height) in pixels.

    Returns:
        (12, 4) corner form in pixels, all inside the image if the label is no larger than that.
    """
    width, height = size
    lefts = (box[0], box[2] - width, (box[0] + box[2] - width) / 2)
    tops = (box[1] - height, box[1], box[3], box[3] - height)
    corners = np.array([(x, y) for x in lefts for y in tops])
    limit = np.maximum(np.array(image_size) - np.array(size), 0)
    corners = np.clip(np.floor(corners), 0, limit)
    return np.concatenate([corners, corners + np.array(size)], axis=1)


def _free_place(places: np.ndarray, taken: list[np.ndarray]) -> np.ndarray:
    """Return the first of the places that covers the least of the boxes taken: (P, 4), list of (4,) -> (4,)."""
    if not taken:
        return places[0]
    other = np.stack(taken)[None]  # (1, T, 4)
    sides = np.minimum(places[:, None, 2:], other[..., 2:]) - np.maximum(places[:, None, :2], other[..., :2])
    covered = np.prod(np.clip(sides, 0, None), axis=-1).sum(axis=1)  # (P, T) -> (P,)
    return places[int(np.argmin(covered))]


def _inside(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Round boxes to whole pixels, at least one wide and high, inside the image: (N, 4) -> (N, 4) int64."""
    limits = np.array([width, height, width, height])
    boxes = np.clip(np.round(np.nan_to_num(boxes, posinf=1e9, neginf=-1e9)), 0, limits).astype(np.int64)
    low = np.minimum(np.minimum(boxes[:, :2], boxes[:, 2:]), limits[:2] - 1)
    high = np.maximum(np.maximum(boxes[:, :2], boxes[:, 2:]), low + 1)
    return np.concatenate([low, high], axis=1)


def draw_boxes(image: np.ndarray, boxes: np.ndarray, labels: list[str], colours: list[Colour]) -> np.ndarray:
    """Draw boxes and their labels on a copy of an image.

    Args:
        image: (height, width, 3) uint8 RGB; it is not changed.
        boxes: (N, 4) corner form in pixels, 0-based and half-open; what lies outside the image is cut off. The first
            is drawn on top and its label is placed first: give the best first.
        labels: N texts; an empty one draws no label.
        colours: N colours (red, green, blue).

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ValueError: the arguments differ in length, or the image is not uint8 RGB.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"expected an image (height, width, 3) uint8, found {image.shape} {image.dtype}")
    if not len(boxes) == len(labels) == len(colours):
        raise ValueError(f"{len(boxes)} boxes, {len(labels)} labels and {len(colours)} colours")
    picture = Image.fromarray(image.copy())
    if not len(boxes) or not image.size:
        return np.array(picture)
    width, height = picture.size
    boxes = _inside(boxes, width, height)
    pen = ImageDraw.Draw(picture)
    line = max(1, round(_LINE_WIDTH * (width * height) ** 0.5))
    for index in reversed(range(len(boxes))):
        xmin, ymin, xmax, ymax = (int(v) for v in boxes[index])
        pen.rectangle((xmin, ymin, xmax - 1, ymax - 1), outline=tuple(colours[index]), width=line)
    _draw_labels(pen, boxes, labels, colours)
    return np.array(picture)


def _draw_labels(
    pen: ImageDraw.ImageDraw, boxes: np.ndarray, labels: list[str], colours: list[Colour]
) -> None:
    """Draw the labels of boxes (N, 4) on a picture, each filled with its class's colour."""
    image_size = pen.im.size
    texts = [" ".join(label.split()) for label in labels]
    font = _font_for(texts, *image_size)
    height, margin = sum(font.getmetrics()), max(1, font.getmetrics()[0] // 5)
    placed = []
    for box, text, colour in zip(boxes, texts, colours):
        text = _shorten(text, font, image_size[0] - 2 * margin)
        if text:
            size = (int(np.ceil(font.getlength(text))) + 2 * margin, height)
            places = _label_places(box, size, image_size)
            placed.append((_free_place(places, [place for place, _, _ in placed]), text, tuple(colour)))
    for place, text, colour in reversed(placed):  # the best last, on top where places ran out
        xmin, ymin, xmax, ymax = (int(v) for v in place)
        pen.rectangle((xmin, ymin, xmax - 1, ymax - 1), fill=colour)
        pen.text((xmin + margin, ymin), text, fill=text_colour(colour), font=font, anchor="la")
