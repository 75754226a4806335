"""The objects of drawn scenes: their outlines by kind, their masks, and paint that knows nothing of the kind.

Used by `dataset.scenes`. The kind decides the outline alone. Paint takes no kind, so that colour, shading,
texture and border cannot tell it. Coordinates are pixels with the origin at the image's top left corner,
so that the first pixel's centre is (0.5, 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.mx import cv2

CLASS_NAMES = ("disc", "ring", "square", "star", "triangle")

_STRETCH = (
    0.18  # natural logarithm of the largest ratio between the sides, as "square" should stay a fair name
)
_FRACTION_BITS = 4  # OpenCV draws at sixteenths of a pixel


@dataclass(frozen=True)
class Stamp:
    """An object's coverage of the pixels around it.

    Attributes:
        x: column of the image where the mask's first column lies; may be negative.
        y: row of the image where the mask's first row lies; may be negative.
        mask: (h, w) uint8, 255 where the object covers the pixel, less along its edge.
        border: (h, w) uint8, the part of the mask that lies along the outline.
    """

    x: int
    y: int
    mask: np.ndarray
    border: np.ndarray

    def clipped(self, width: int, height: int) -> Stamp:
        """Return the part of the stamp inside an image of that size."""
        rows = slice(max(0, -self.y), max(0, height - self.y))
        columns = slice(max(0, -self.x), max(0, width - self.x))
        return Stamp(max(0, self.x), max(0, self.y), self.mask[rows, columns], self.border[rows, columns])

    def region(self) -> tuple[slice, slice]:
        """Return the rows and columns of the image that a clipped stamp lies on."""
        return slice(self.y, self.y + self.mask.shape[0]), slice(self.x, self.x + self.mask.shape[1])

    def covered(self) -> np.ndarray:
        """Return (h, w) bool: the pixels that are at least half covered."""
        return self.mask >= 128

    def box(self) -> np.ndarray:
        """Return (4,) float64, corner form in pixels: the smallest box around the pixels at least half covered."""
        columns, rows = np.flatnonzero(self.covered().any(axis=0)), np.flatnonzero(self.covered().any(axis=1))
        corners = self.x + columns[0], self.y + rows[0], self.x + columns[-1] + 1, self.y + rows[-1] + 1
        return np.array(corners, np.float64)


def _spokes(radii: np.ndarray) -> np.ndarray:
    """Return points at even angles around the origin: (P,) radii -> (P, 2)."""
    angles = np.arange(len(radii)) * (2 * np.pi / len(radii)) - np.pi / 2
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.asarray(radii)[:, None]


def outline(kind: str, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the closed contours of a kind, upright, of about unit size around the origin.

    Args:
        kind: one of `CLASS_NAMES`.
        rng: varies the proportions (a ring's width, how deep a star is cut).

    Returns:
        Contours, each (P, 2) float64 (x, y); a second contour is a hole.
    """
    if kind == "square":
        # Sides along the axes, so that stretching gives a rectangle and not a rhombus.
        return [np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])]
    if kind == "triangle":
        return [_spokes(np.ones(3))]
    if kind == "star":
        return [_spokes(np.tile([1.0, rng.uniform(0.40, 0.50)], 5))]
    disc = _spokes(np.ones(48))
    return [disc, disc * rng.uniform(0.45, 0.62)] if kind == "ring" else [disc]


def place_outline(contours: list[np.ndarray], rng: np.random.Generator, *, side: float) -> list[np.ndarray]:
    """Stretch, turn and scale contours at random.

    Args:
        contours: from `outline`.
        rng: chooses the stretch and the angle.
        side: the square root of the area of the box around the result, in pixels.

    Returns:
        The contours, centred: the box around them has its centre at the origin.
    """
    angle, stretch = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(-_STRETCH, _STRETCH) / 2)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned = [(contour * [stretch, 1 / stretch]) @ turn for contour in contours]
    low, high = turned[0].min(axis=0), turned[0].max(axis=0)
    return [(contour - (low + high) / 2) * (side / np.sqrt(np.prod(high - low))) for contour in turned]


def stamp(contours: list[np.ndarray], centre: tuple[float, float], *, border_width: int) -> Stamp:
    """Rasterise contours with soft edges.

    OpenCV's soft edge reaches about half a pixel beyond the outline; the truth is therefore taken from the mask.

    Args:
        contours: from `place_outline`.
        centre: (x, y) in pixels.
        border_width: thickness of the border mask in pixels; half of it lies inside the outline. 0 is none.
    """
    origin = np.floor(contours[0].min(axis=0) + centre).astype(int) - 2
    size = np.ceil(contours[0].max(axis=0) + centre).astype(int) + 2 - origin
    # OpenCV's integer coordinates are the centres of pixels, ours are their corners: hence the half.
    scaled = [(contour + centre - origin - 0.5) * 2**_FRACTION_BITS for contour in contours]
    points = [np.round(contour).astype(np.int32) for contour in scaled]
    mask, border = np.zeros((2, size[1], size[0]), np.uint8)
    cv2.fillPoly(mask, points, 255, cv2.LINE_AA, _FRACTION_BITS)
    if border_width:
        cv2.polylines(border, points, True, 255, border_width, cv2.LINE_AA, _FRACTION_BITS)
    return Stamp(int(origin[0]), int(origin[1]), mask, np.minimum(mask, border))


def any_colour(rng: np.random.Generator) -> np.ndarray:
    """Return a colour, (3,) float32 in [0, 255]: even in hue, from pale to full, from dark to bright."""
    hue, saturation, value = rng.uniform(0, 360), rng.uniform(0.1, 1.0), rng.uniform(0.25, 1.0)
    rgb = cv2.cvtColor(np.array([[[hue, saturation, value]]], np.float32), cv2.COLOR_HSV2RGB)
    return rgb[0, 0] * 255


def _pattern(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return how the second colour mixes in: (height, width) float32 in [0, 1]."""
    choice = rng.integers(4)
    if choice == 0:
        return np.zeros((height, width), np.float32)
    if choice == 1:
        grains = rng.random((rng.integers(4, 14), rng.integers(4, 14)), np.float32)
        return np.clip(cv2.resize(grains, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
    along = columns * np.float32(np.cos(angle)) + rows * np.float32(np.sin(angle))  # (height, width)
    if choice == 2:
        return (along - along.min()) / max(float(np.ptp(along)), 1.0)
    return 0.5 + 0.5 * np.sin(along * np.float32(2 * np.pi / (max(height, width) * rng.uniform(0.1, 0.3))))


def paint(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose the paint of one object, whatever it is: plain, grained, shaded or striped, and its border's colour.

    Returns:
        (height, width, 3) float32 in [0, 255] and (3,) float32 in [0, 255].
    """
    first = any_colour(rng)
    second = first + rng.uniform(-80, 80) + rng.uniform(-25, 25, 3)
    mix = _pattern(rng, height, width)[:, :, None]
    border = (
        first * rng.uniform(0.2, 0.6) if rng.random() < 0.5 else 255 - (255 - first) * rng.uniform(0.2, 0.6)
    )
    colours = first.astype(np.float32) + mix * (second - first).astype(np.float32)
    return np.clip(colours, 0, 255), border.astype(np.float32)
