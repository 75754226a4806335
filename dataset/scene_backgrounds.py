"""The backgrounds of drawn scenes: gradients, grain, strokes and blobs, none of which is one of the objects' kinds.

Used by `dataset.scenes`. Strokes are open, blobs are curved and dented: nothing here is closed and regular.
"""

from __future__ import annotations

import numpy as np

from common.mx import cv2
from dataset.scene_shapes import any_colour

_FRACTION_BITS = 4


def draw_background(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Draw a cluttered background.

    Args:
        rng: chooses everything.
        size: (width, height) in pixels.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    base = any_colour(rng)
    image = _gradient(rng, size, base)
    clutter = image.copy()
    for _ in range(rng.integers(3, 10)):
        draw = (_draw_stroke, _draw_hatching, _draw_blob)[rng.choice(3, p=(0.4, 0.2, 0.4))]
        draw(rng, clutter, _near(rng, base, 90))
    if rng.random() < 0.6:
        clutter = cv2.GaussianBlur(clutter, (0, 0), rng.uniform(0.6, 0.012 * min(size) + 0.6))
    strength = rng.uniform(0.35, 0.85)
    image = cv2.addWeighted(clutter, strength, image, 1 - strength, 0)
    return _add_grain(rng, image)


def _near(rng: np.random.Generator, colour: np.ndarray, reach: float) -> tuple[float, ...]:
    """Return a colour within `reach` of another in every channel, as OpenCV's drawing takes it."""
    return tuple(float(v) for v in np.clip(colour + rng.uniform(-reach, reach, 3), 0, 255))


def _gradient(rng: np.random.Generator, size: tuple[int, int], base: np.ndarray) -> np.ndarray:
    """Return a smooth field of a few neighbouring colours, (height, width, 3) uint8."""
    rows, columns = rng.integers(2, 5, 2)
    corners = base + rng.uniform(-60, 60, (rows, columns, 1)) + rng.uniform(-30, 30, (rows, columns, 3))
    field = cv2.resize(np.clip(corners, 0, 255).astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return np.clip(field, 0, 255).astype(np.uint8)


def _fixed(points: np.ndarray) -> np.ndarray:
    """Return points as OpenCV's fixed-point integers: (P, 2) float -> (P, 2) int32."""
    return np.round(points * 2**_FRACTION_BITS).astype(np.int32)


def _draw_stroke(rng: np.random.Generator, image: np.ndarray, colour: tuple) -> None:
    """Draw a straight, wavy or jagged line across part of the image, in place."""
    height, width = image.shape[:2]
    along = np.linspace(0, 1, 40)
    wave = np.sin(along * 2 * np.pi * rng.uniform(1, 5) + rng.uniform(0, 2 * np.pi))
    sway = (0 * along, wave, np.arcsin(wave))[rng.integers(3)] * rng.uniform(0.02, 0.08) * min(height, width)
    start, end = rng.uniform(-0.1, 1.1, (2, 2)) * [width, height]
    direction = (end - start) / max(float(np.hypot(*(end - start))), 1.0)
    points = start + along[:, None] * (end - start) + sway[:, None] * (direction[::-1] * [-1, 1])
    thickness = max(1, round(rng.uniform(0.003, 0.03) * min(height, width)))
    cv2.polylines(image, [_fixed(points)], False, colour, thickness, cv2.LINE_AA, _FRACTION_BITS)


def _draw_hatching(rng: np.random.Generator, image: np.ndarray, colour: tuple) -> None:
    """Draw a few parallel lines of uneven length, in place."""
    height, width = image.shape[:2]
    side, count = min(height, width), rng.integers(4, 10)
    angle = rng.uniform(0, np.pi)
    direction = np.array([np.cos(angle), np.sin(angle)])
    middle = rng.uniform(0, 1, 2) * [width, height]
    steps = (
        (np.arange(count) - count / 2)[:, None] * rng.uniform(0.03, 0.06) * side * direction[::-1] * [-1, 1]
    )
    reach = rng.uniform(0.05, 0.3, (2, count, 1)) * side * direction
    lines = np.stack([middle + steps - reach[0], middle + steps + reach[1]], axis=1)  # (count, 2, 2)
    thickness = max(1, round(rng.uniform(0.003, 0.012) * side))
    cv2.polylines(image, list(_fixed(lines)), False, colour, thickness, cv2.LINE_AA, _FRACTION_BITS)


def _draw_blob(rng: np.random.Generator, image: np.ndarray, colour: tuple) -> None:
    """Fill a dented, lopsided, drawn-out patch, in place."""
    height, width = image.shape[:2]
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    radii = (
        1 + 0.45 * np.sin(2 * angles + rng.uniform(0, 6.3)) + 0.3 * np.sin(3 * angles + rng.uniform(0, 6.3))
    )
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]
    points = points * rng.uniform(0.05, 0.3, 2) * min(height, width) + rng.uniform(0, 1, 2) * [width, height]
    cv2.fillPoly(image, [_fixed(points)], colour, cv2.LINE_AA, _FRACTION_BITS)


def _add_grain(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Add grey grain, fine or coarse, as film and cloth have it; returns a new (height, width, 3) uint8 image."""
    height, width = image.shape[:2]
    coarseness, strength = rng.integers(1, 5), rng.uniform(0, 0.2)
    grain = rng.integers(0, 256, (-(-height // coarseness), -(-width // coarseness)), np.uint8)
    grain = cv2.resize(grain, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.addWeighted(image, 1.0, cv2.merge([grain] * 3), strength, -127.5 * strength)
