"""From an image to the network's input: the one path that validation in training, evaluate and detect share.

RGB, resized with cv2 (bilinear, aspect not kept) to the input's size, (x - mean) / std, float32, channels first.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, Union

import numpy as np

from common import images
from common.errors import ImageError
from common.mx import cv2

# A file's path, its pixels, or a function that returns its pixels (which is then called in a thread).
Source = Union[str, Path, np.ndarray, Callable[[], np.ndarray]]


def as_pixels(array: np.ndarray, name: str = "image") -> np.ndarray:
    """Return an image array as RGB.

    Args:
        array: (height, width, 3) RGB, (height, width) or (height, width, 1) grey, uint8.
        name: for the message.

    Returns:
        (height, width, 3) uint8; the argument itself where it already is that.

    Raises:
        ImageError: the array is of another shape or type, or has no pixels.
    """
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,)):
        raise ImageError(
            f"{name}: expected an array (height, width, 3), RGB, or (height, width), grey, of type uint8 (0 to 255),"
            f" found {array.shape} of {array.dtype}"
        )
    if not array.size:
        raise ImageError(f"{name}: an image without pixels, {array.shape}")
    if array.ndim == 3 and array.shape[2] == 3:
        return array
    return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)  # (H, W) -> (H, W, 3)


def load_pixels(source: Source, name: str = "image") -> np.ndarray:
    """Return the pixels of an image given in any of the ways that a Detector takes.

    Args:
        source: path, array, or function that returns an array.
        name: for messages about arrays.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ImageError: it is no image, or is damaged.
    """
    if isinstance(source, (str, os.PathLike)):
        return images.read(source)
    if isinstance(source, np.ndarray):
        return as_pixels(source, name)
    if callable(source):
        return as_pixels(source(), name)
    raise ImageError(f"{name}: expected a path or an array (height, width, 3), found {type(source).__name__}")


def network_input(
    pixels: np.ndarray,
    data_shape: tuple[int, int],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Return what the network is fed for one image.

    Args:
        pixels: (height, width, 3) uint8 RGB, of any size.
        data_shape: (height, width) of the input.
        mean: of (R, G, B), subtracted from pixels in 0..255.
        std: of (R, G, B), divides after the subtraction.
        out: (3, *data_shape) float32 to write to; None makes one.

    Returns:
        (3, *data_shape) float32.
    """
    if pixels.shape[:2] != tuple(data_shape):
        pixels = cv2.resize(pixels, data_shape[::-1], interpolation=cv2.INTER_LINEAR)
    planes = np.empty((3, *data_shape), np.float32) if out is None else out
    for plane, colour, shift, scale in zip(planes, cv2.split(pixels), mean, std):
        np.subtract(colour, np.float32(shift), out=plane, dtype=np.float32)
        if scale != 1:
            plane /= np.float32(scale)
    return planes
