"""A window that shows pictures, where there is a display and an OpenCV that can open one."""

from __future__ import annotations

import os
import sys

import numpy as np

from common.errors import ConfigError, DependencyError
from common.mx import cv2

_TITLE = "SSD"
_ESCAPE, _NO_KEY = 27, 0xFF


def require_window() -> None:
    """Check that windows can be opened.

    Raises:
        ConfigError: there is no display.
        DependencyError: this OpenCV is built without windows.
    """
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        raise ConfigError(
            "--show: there is no display here: leave it out; what it would show is written to --out"
        )
    interface = [line for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:")]
    if not interface or interface[0].split(":")[1].strip() in ("NONE", "NO"):
        raise DependencyError(
            "--show: this OpenCV opens no windows: run"
            " `pip uninstall opencv-python-headless` and `pip install 'opencv-python<4.12'`, or leave --show out"
        )


class Window:
    """A window for pictures one after the other; it opens with the first."""

    def __init__(self):
        self._open = False

    def show(self, pixels: np.ndarray, *, wait: bool) -> bool:
        """Show a picture.

        Args:
            pixels: (height, width, 3) uint8 RGB.
            wait: until a key is pressed; False goes on at once, for the frames of a video.

        Returns:
            False where the user has had enough: q, Escape, or the window closed.
        """
        if self._open and not self._visible():  # closed while the next picture was computed
            return False
        cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        cv2.imshow(_TITLE, np.ascontiguousarray(pixels[:, :, ::-1]))  # RGB -> BGR
        self._open = True
        key = cv2.waitKey(1) & 0xFF
        while wait and key == _NO_KEY and self._visible():
            key = cv2.waitKey(100) & 0xFF
        return self._visible() and key not in (ord("q"), _ESCAPE)

    def _visible(self) -> bool:
        return cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) >= 1
