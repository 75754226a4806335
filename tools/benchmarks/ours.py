"""This project's own engine as a worker: the Detector on an input that is ready, on images in memory, and its tail.

The detection tail runs on every engine's raw outputs here, so that all are charged for the same one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from common import mx as runtime
from common.mx import mx
from common.structures import Detections
from detect.answers import Rows
from detect.detector import Detector
from detect.engine import use_synchronous_engine
from model.graph import anchors_of
from model.saved import load
from symbol.detection import detection_symbol, open_symbol
from tools.benchmarks.workers.engine import in_batches, peak_bytes, timed

TENSOR, DETECT = "tensor", "detect"


class Ours:
    """A Detector with the images of a measurement."""

    def __init__(self):
        use_synchronous_engine([mx.cpu()])
        self._tails: dict[str, Callable] = {}

    def versions(self) -> dict:
        """Return the versions of MXNet, OpenCV and numpy, and the threads."""
        return {"mxnet": mx.__version__, "opencv": runtime.cv2.__version__, "numpy": np.__version__}

    def do_load(self, prefix: str, epoch: int, inputs: str, pixels: str, batch: int) -> dict:
        """Open a deployed detector, and run it once on each batch.

        Args:
            prefix: of the detector.
            epoch: of it.
            inputs: file of (N, 3, H, W) float32, ready for the network.
            pixels: file of (N, H, W, 3) uint8, the same images.
            batch: images at once.
        """
        self.saved = load(prefix, epoch)
        self.detector = Detector.from_saved(self.saved, batch_size=batch, context=mx.cpu())
        self.inputs, self.pixels = (in_batches(np.load(path), batch) for path in (inputs, pixels))
        # What Detector's decoding threads hand on: (index, pixels, input) of each image.
        self.chunks = [
            list(zip(range(batch), pixels, planes)) for pixels, planes in zip(self.pixels, self.inputs)
        ]
        self.batch = batch
        found = [len(one) for index in range(len(self.chunks)) for one in self._tensor(index)]
        return {"detections": sum(found) / max(1, len(found)), "note": ""}

    def do_outputs(self, folder: str) -> dict:
        """Write the raw outputs for each batch: loc_N.npy (B, 4A) and cls_N.npy (B, A, C+1)."""
        looking = Detector.from_saved(
            self.saved, batch_size=self.batch, context=mx.cpu(), predictions=True
        )  # it gives the heads' outputs too
        for index, chunk in enumerate(self.chunks):
            outputs = looking._start(chunk, self.batch, 0)
            raw = [result.predictions for result in looking._finish(chunk, outputs)]
            np.save(Path(folder) / f"loc_{index}.npy", np.stack([loc for loc, _ in raw]))
            np.save(Path(folder) / f"cls_{index}.npy", np.stack([cls.T for _, cls in raw]))
        return {"batches": len(self.chunks)}

    def do_run(self, seconds: float, least: int = 3, what: str = TENSOR) -> dict:
        """Run the batches in turn for some time and return the seconds of each run.

        Args:
            seconds: how long.
            least: runs at least.
            what: TENSOR, from an input that is ready to Detections, or DETECT, `Detector.detect` on arrays.
        """
        run = self._tensor if what == TENSOR else self._detect
        return {"times": timed(run, len(self.chunks), seconds, least)}

    def do_tail(self, folder: str, seconds: float, least: int = 3) -> dict:
        """Run the detection tail alone, on raw outputs that an engine wrote, and return the seconds of each run."""
        if folder not in self._tails:
            self._tails[folder] = self._make_tail(Path(folder))
            for index in range(len(self.chunks)):
                self._tails[folder](index)
        return {"times": timed(self._tails[folder], len(self.chunks), seconds, least)}

    def do_memory(self) -> dict:
        """Return the largest resident size that this process has had, in bytes."""
        return {"peak": peak_bytes()}

    def _tensor(self, index: int) -> list[Detections]:
        """From an input that is ready to Detections, as the Detector does it."""
        chunk = self.chunks[index]
        outputs = self.detector._start(chunk, self.batch, 0)
        return [result.detections for result in self.detector._finish(chunk, outputs)]

    def _detect(self, index: int):
        """From arrays in memory to Detections, as a user does it."""
        pixels = self.pixels[index]
        return self.detector.detect(pixels[0] if self.batch == 1 else list(pixels))

    def _make_tail(self, folder: Path) -> Callable:
        """Return what runs the detector's own tail on the raw outputs in a folder, by the batch's index."""
        names = range(len(self.chunks))
        raw = [
            {
                "loc_pred": mx.nd.array(np.load(folder / f"loc_{index}.npy")),
                "cls_rows": mx.nd.array(np.load(folder / f"cls_{index}.npy")),
            }
            for index in names
        ]
        symbol, constants = self._tail_graph()
        executors = [symbol.bind(mx.cpu(), {**arrays, **constants}, grad_req="null") for arrays in raw]

        def run(index: int) -> list[Detections]:
            outputs = executors[index].forward(is_train=False)
            return [result.detections for result in self.detector._finish(self.chunks[index], outputs)]

        return run

    def _tail_graph(self) -> tuple:
        """Return a graph from raw outputs to what the Detector reads, and its constants by name."""
        loc_pred, rows = mx.sym.Variable("loc_pred"), mx.sym.Variable("cls_rows")
        cls_pred = mx.sym.transpose(rows, axes=(0, 2, 1))
        card = self.detector.card
        if not isinstance(self.detector._plan.reader, Rows):
            return open_symbol(loc_pred, cls_pred), {}
        boxes = anchors_of(self.saved.symbol, self.saved.arg_params, card.data_shape, self.saved.prefix)
        anchors = mx.sym.Variable("anchors")
        found = detection_symbol(
            loc_pred, cls_pred, anchors, card.num_classes, card.anchors.variances, card.detection
        )
        return mx.sym.Group([found]), {"anchors": mx.nd.array(boxes[None])}


def make(threads: int) -> Ours:
    """Make the worker's engine."""
    return Ours()
