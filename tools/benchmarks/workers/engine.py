"""What all engines share: inputs in batches, timed runs, outputs as files, peak memory."""

from __future__ import annotations

import platform
import time
from pathlib import Path

import numpy as np


class Engine:
    """One engine with one network loaded.

    A subclass has `versions`, `load` (which may change `batches` into what the engine likes best) and `infer`.

    Attributes:
        threads: to compute with.
        batches: what `infer` takes by its index.
        note: how the network runs, where there was a choice.
    """

    def __init__(self, threads: int):
        self.threads = threads
        self.batches: list = []
        self.note = ""

    def do_quantise(self, model: str, calibration: str, batch: int, folder: str) -> dict:
        """Write a network in int8 and return its file.

        Args:
            model: of the file in float32.
            calibration: file of images (N, 3, H, W) float32, ready for the network.
            batch: images at once.
            folder: where to write.
        """
        return {"model": self.quantise(model, in_batches(np.load(calibration), batch), Path(folder))}

    def do_load(self, model: str, inputs: str, batch: int) -> dict:
        """Load a network and the images for it, and run it once on each batch.

        Args:
            model: of the file, in float32 or as `do_quantise` wrote it.
            inputs: file of (N, 3, H, W) float32, ready for the network; N is a multiple of the batch.
            batch: images at once.
        """
        started = time.perf_counter()
        self.batches = in_batches(np.load(inputs), batch)
        self.load(model)
        for index in range(len(self.batches)):
            self.infer(index)
        return {"seconds": time.perf_counter() - started, "note": self.note}

    def do_outputs(self, folder: str) -> dict:
        """Write the raw outputs for each batch: loc_N.npy (B, 4A) and cls_N.npy (B, A, C+1)."""
        for index in range(len(self.batches)):
            loc_pred, cls_pred = self.infer(index)
            np.save(Path(folder) / f"loc_{index}.npy", np.asarray(loc_pred))
            np.save(Path(folder) / f"cls_{index}.npy", np.asarray(cls_pred))
        return {"batches": len(self.batches)}

    def do_run(self, seconds: float, least: int = 3) -> dict:
        """Run the batches in turn for some time and return the seconds of each run."""
        return {"times": timed(self.infer, len(self.batches), seconds, least)}

    def do_memory(self) -> dict:
        """Return the largest resident size that this process has had, in bytes."""
        return {"peak": peak_bytes()}

    def versions(self) -> dict:
        """Return name -> version of what computes."""
        raise NotImplementedError

    def load(self, model: str) -> None:
        """Make a network ready."""
        raise NotImplementedError

    def quantise(self, model: str, calibration: list, folder: Path) -> str:
        """Write a network in int8, calibrated on batches, and return its file."""
        raise NotImplementedError("takes part in float32 alone")

    def infer(self, index: int):
        """Return (loc_pred, cls_pred) of a batch, computed to the end."""
        raise NotImplementedError


def in_batches(images: np.ndarray, batch: int) -> list:
    """Return (N, ...) cut into whole batches; what is left over at the end is dropped."""
    return [np.ascontiguousarray(images[i : i + batch]) for i in range(0, len(images) - batch + 1, batch)]


def timed(run, count: int, seconds: float, least: int) -> list[float]:
    """Call run(0), run(1) ... run(count - 1), run(0) ... for some time, `least` times at least; the seconds of each."""
    times, end = [], time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        started = time.perf_counter()
        run(len(times) % count)
        times.append(time.perf_counter() - started)
    return times


def peak_bytes() -> int:
    """Return the largest resident size of this process."""
    try:
        with open("/proc/self/status") as lines:
            found = [line.split()[1] for line in lines if line.startswith("VmHWM")]
        return int(found[0]) * 1024
    except (OSError, IndexError):
        import resource

        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return size if platform.system() == "Darwin" else size * 1024
