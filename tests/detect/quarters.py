"""Images of four coloured quarters, which the toy detector of conftest.py tells apart."""

from __future__ import annotations

import numpy as np

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def quarters(*names: str, size: tuple[int, int] = (160, 120)) -> np.ndarray:
    """Draw an image (width, height) of four quarters: top left, top right, bottom left, bottom right."""
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    rows, columns = (
        (slice(0, height // 2), slice(height // 2, None)),
        (slice(0, width // 2), slice(width // 2, None)),
    )
    for index, name in enumerate(names):
        image[rows[index // 2], columns[index % 2]] = COLOURS.get(name, (0, 0, 0))
    return image
