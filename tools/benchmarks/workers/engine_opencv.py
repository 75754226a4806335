"""OpenCV's DNN module on the CPU."""

from __future__ import annotations

import cv2
from engine import Engine


class OpenCv(Engine):
    """OpenCV's network."""

    def versions(self) -> dict:
        """Return the version."""
        return {"opencv": cv2.__version__}

    def load(self, model: str) -> None:
        """Read a network."""
        cv2.setNumThreads(self.threads)
        self.network = cv2.dnn.readNetFromONNX(model)

    def infer(self, index: int):
        """Run the network."""
        self.network.setInput(self.batches[index], "data")
        loc_pred, cls_pred = self.network.forward(["loc_pred", "cls_pred"])
        return loc_pred, cls_pred


def make(threads: int) -> OpenCv:
    """Make the engine."""
    return OpenCv(threads)
