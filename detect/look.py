"""What looking at pictures and at videos has in common: which detections count, where results go, how it ends."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from common.files import atomic_path
from common.mx import cv2
from common.structures import Detections
from detect.detector import Detector
from detect.outputs import choose, class_ids_of

Item = TypeVar("Item")
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_WINDOW = 30  # frames over which a rate is taken


@dataclass(frozen=True)
class Wanted:
    """Which detections count.

    Attributes:
        thresholds: scores must be above; one, or (C,) one for each class.
        class_ids: only these; None for all.
        max_det: the best of those at most; None for all.
    """

    thresholds: float | np.ndarray
    class_ids: tuple[int, ...] | None = None
    max_det: int | None = None

    @classmethod
    def of(cls, args: argparse.Namespace, detector: Detector, thresholds: float | np.ndarray) -> Wanted:
        """Make it from flags.

        Raises:
            ConfigError: a class is unknown.
        """
        return cls(thresholds, class_ids_of(args.classes, detector.class_names), args.max_det)

    def among(self, found: Detections) -> Detections:
        """Return the detections that count."""
        return choose(found, self.thresholds, self.class_ids, self.max_det)


def about(detector: Detector, wanted: Wanted) -> dict:
    """Return what results are told with: the detector, its classes, the threshold; ready for JSON."""
    several = np.ndim(wanted.thresholds) > 0
    return {
        "model": str(detector.prefix),
        "epoch": detector.epoch,
        "threshold": dict(zip(detector.class_names, map(float, wanted.thresholds)))
        if several
        else float(wanted.thresholds),
        "class_names": list(detector.class_names),
    }


def printable(value: object) -> str:
    """Return a value as text that can be printed and stored; file names on Linux may hold bytes that are no text."""
    return str(value).encode("utf-8", "replace").decode("utf-8")


class Clock(Generic[Item]):
    """Yields items and adds up the time that was spent waiting for them, in `seconds`."""

    def __init__(self, items: Iterator[Item]):
        self._items, self.seconds = items, 0.0

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        started = time.perf_counter()
        try:
            return next(self._items)
        finally:
            self.seconds += time.perf_counter() - started

    def close(self) -> None:
        """End the items."""
        self._items.close()


class Rate:
    """How many frames a second pass, over the last 30."""

    def __init__(self):
        self._times: deque[float] = deque(maxlen=_WINDOW)

    def tick(self) -> float:
        """Count a frame and return the rate; 0 for the first."""
        self._times.append(time.perf_counter())
        passed = self._times[-1] - self._times[0]
        return (len(self._times) - 1) / passed if passed > 0 else 0.0


class Stop:
    """Ctrl-C as a wish: inside the block the first sets `asked`, so that what is begun is finished; the second ends it.

    So do SIGTERM (what ends a service) and SIGHUP (a terminal that is closed; where nohup has it ignored it stays
    ignored). Outside the main thread, where Python takes no signals, it changes nothing.

    Attributes:
        asked: whether to stop.
        code: the exit code then: 128 and the signal's number, 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.

    Args:
        then: called at the first, in the signal handler.
    """

    def __init__(self, then: Callable[[], None] | None = None):
        self.asked, self.code, self._then = False, 128 + signal.SIGINT, then
        self._before: dict = {}

    def __enter__(self) -> Stop:
        for name in _SIGNALS:
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
                continue
            with contextlib.suppress(ValueError):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *problem) -> None:
        for number, before in self._before.items():
            signal.signal(number, signal.SIG_DFL if before is None else before)

    def _ask(self, number: int, frame) -> None:
        if number == getattr(signal, "SIGHUP", None):
            _leave_terminal()
        if self.asked:
            raise KeyboardInterrupt
        self.asked, self.code = True, 128 + number
        if self._then is not None:
            self._then()


def _leave_terminal() -> None:
    """Let what is printed go nowhere: the terminal is gone, and writing to it would fail and end the work."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for handle in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(handle).st_mode):
                os.dup2(nowhere, handle)
    os.close(nowhere)


class Lines:
    """A file of JSON, one value on each line, which gets its name at the end of the block; a context manager.

    Args:
        path: of the file.
    """

    def __init__(self, path: str | os.PathLike):
        self._naming = atomic_path(path)
        self.path = Path(path)

    def __enter__(self) -> Lines:
        self._stream = open(self._naming.__enter__(), "w", encoding="utf-8")  # noqa: SIM115 (closed in __exit__)
        return self

    def add(self, value: object) -> None:
        """Write a line."""
        json.dump(value, self._stream, ensure_ascii=False, allow_nan=False)
        self._stream.write("\n")

    def __exit__(self, kind, error, traceback) -> None:
        try:
            self._stream.close()
        except OSError as full:
            kind, error, traceback = type(full), full, full.__traceback__
            self._naming.__exit__(kind, error, traceback)
            raise
        self._naming.__exit__(kind, error, traceback)


def draw_rate(pixels: np.ndarray, rate: float) -> None:
    """Write a frame rate into the bottom left corner of a picture, (height, width, 3) uint8, which is changed."""
    scale = max(0.4, min(pixels.shape[:2]) / 600)
    at = (round(8 * scale), pixels.shape[0] - round(10 * scale))
    text = f"{rate:.1f} frames/s" if rate else "... frames/s"
    for colour, width in (((0, 0, 0), 5), ((255, 255, 255), 1.5)):
        thick = max(1, round(width * scale))
        cv2.putText(pixels, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thick, cv2.LINE_AA)
