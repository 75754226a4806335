"""What OpenCV's DNN module computes from Caffe files: an independent implementation to compare with.

It is wrong in places (reference: the converter's tests name them): it clips default boxes where a PriorBox does not say
whether to, does not cut sizes to whole pixels, and computes depthwise convolutions on 1x1 maps wrongly.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from common.errors import ConversionError
from common.mx import cv2
from tools.caffe_converter.net import Layer


class OpenCVNet:
    """A Caffe net run by OpenCV, layer for layer, nothing fused.

    Args:
        prototxt: path.
        caffemodel: path.

    Raises:
        ConversionError: OpenCV cannot load it.
    """

    def __init__(self, prototxt: str | os.PathLike, caffemodel: str | os.PathLike):
        self._path = str(prototxt)
        try:
            self._net = cv2.dnn.readNetFromCaffe(str(prototxt), str(caffemodel))
            self._net.enableFusion(False)
        except cv2.error as error:
            raise ConversionError(f"{prototxt}: OpenCV cannot load it: {_last_line(error)}") from error

    def forward(self, image: np.ndarray, names: Sequence[str]) -> list[np.ndarray]:
        """Compute layers' first blobs.

        Args:
            image: (1, 3, H, W) float32, BGR.
            names: of layers.

        Raises:
            ConversionError: OpenCV cannot compute it.
        """
        try:
            self._net.setInput(np.ascontiguousarray(image, np.float32))
            return [np.array(blob) for blob in self._net.forward(list(names))]
        except cv2.error as error:
            raise ConversionError(f"{self._path}: OpenCV cannot compute it: {_last_line(error)}") from error

    def name_of(self, layer: Layer, repetition: int = 0) -> str:
        """Return the name under which OpenCV has a layer: its own or its top's; "" where it has none.

        Args:
            layer: of the net.
            repetition: how many layers of the same name stand before it; OpenCV numbers them.
        """
        known, ending = self._net.getLayerNames(), f"_{repetition}" if repetition else ""
        names = (f"{name}{ending}" for name in (layer.name, *layer.tops[:1]))
        return next((name for name in names if name in known), "")


def detections_of(blob: np.ndarray) -> np.ndarray:
    """Return a DetectionOutput's rows without the void ones OpenCV pads with.

    Args:
        blob: (1, 1, N, 7) of (image, label, score, xmin, ymin, xmax, ymax).

    Returns:
        (N, 6) of (label, score, xmin, ymin, xmax, ymax).
    """
    rows = blob.reshape(-1, 7)
    return rows[rows[:, 2] > 0][:, 1:]


def _last_line(error: Exception) -> str:
    """Return an error of OpenCV's as one line: what follows its code, without the place in its source."""
    text = " ".join(str(error).split())
    return text.split("error: ", 1)[-1][:200]
