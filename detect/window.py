"""A window that shows pictures, where there is a display and an OpenCV that can open one."""

from __future__ import annotations

import os
import sys

import numpy as np

from common.errors import ConfigError, DependencyError
from common.mx import cv2

_TITLE = "SSD"
_ESCAPE = 27


def require_window() -> None:
    """Check that windows can be opened.

    Raises:
        ConfigError: there is no display.
        DependencyError: this OpenCV is built without windows.
    """
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        raise ConfigError("--show: there is no display here: leave it out; the pictures are written to --out")
    interface = [line for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:")]
    if not interface or interface[0].split(":")[1].strip() in ("NONE", "NO"):
        raise DependencyError(
            "--show: this OpenCV opens no windows: run"
            " `pip uninstall opencv-python-headless` and `pip install 'opencv-python<4.12'`, or leave --show out"
        )


def show(pixels: np.ndarray) -> bool:
    """Show a picture until a key is pressed.

    Args:
        pixels: (height, width, 3) uint8 RGB.

    Returns:
        False where the user has had enough: q, Escape, or the window closed.
    """
    cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
    cv2.imshow(_TITLE, np.ascontiguousarray(pixels[:, :, ::-1]))  # RGB -> BGR
    while cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) >= 1:
        key = cv2.waitKey(100) & 0xFF
        if key != 0xFF:
            return key not in (ord("q"), _ESCAPE)
    return False
