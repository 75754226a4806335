"""The Detector: images in, Detections out.

It takes what train or deploy wrote, ONNX files included, or mxnet-ssd's own files with what their card would say given
by hand. Loss layers are taken off and the detection tail is put on where the graph has them and lacks it. One path
serves validation in training, evaluate and detect, so that a model has one mAP.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from common.errors import CheckpointError, ConfigError, ImageError
from common.mx import contexts, num_threads
from common.structures import Detections
from detect.engine import use_synchronous_engine
from detect.executors import Executors
from detect.graph import Plan, make_plan
from detect.load import load_any
from detect.onnx_session import OnnxDetector, OnnxExecutors, OnnxPlan, make_onnx_plan
from detect.pipeline import in_chunks, map_ahead
from detect.preprocess import Source, load_pixels, network_input
from model.saved import SavedDetector

_MOST_THREADS = 4  # that decode; more than the network can be fed with


@dataclass(frozen=True)
class Result:
    """One image looked at.

    Attributes:
        index: of the image among the sources.
        pixels: (height, width, 3) uint8 RGB.
        detections: what was found, in pixels.
        predictions: the heads' outputs for this image, loc_pred (4A,) and cls_pred (C+1, A); () where they were not
            asked for, or the graph does not give them (ONNX, foreign graphs).
    """

    index: int
    pixels: np.ndarray
    detections: Detections
    predictions: tuple[np.ndarray, ...] = ()


class Detector:
    """Finds objects in images.

    `detect` may be called from several threads, and answers them one after the other; `stream` belongs to one thread at
    a time. Several Detectors in several threads compute at once. The first one of a process that has not used MXNet
    before chooses the engine that is fastest for inference (detect/engine.py).

    Args:
        prefix: of the saved detector, without "-symbol.json"; or an ONNX file that deploy.py wrote, "MODEL.onnx".
        epoch: "best", "last", a number, or None for best, else last.
        context: a device or a list of devices that take batches in turn; None takes every GPU, else the CPU.
        batch_size: how many images are computed at once.
        providers: of onnxruntime, for an ONNX file, in order of preference; none takes CUDA where it is, and the CPU.
        predictions: whether results carry the heads' outputs too.
        **settings: of the detection tail, in place of the card's (score_threshold, nms_threshold, nms_topk, keep_topk,
            nms_mode, force); or of the card (network, data_shape, class_names, mean, std), needed where there is none;
            or soft_nms_sigma, 0.5 for example, which puts soft-NMS in place of NMS (see detect/soft_nms.py).
            An ONNX file has them built in; there a higher score_threshold alone is taken.

    Raises:
        CheckpointError: the files are missing, damaged, or do not fit the settings.
        ConfigError: a setting is unknown or cannot be.
        DependencyError: onnxruntime is needed and is not installed.
    """

    def __init__(
        self,
        prefix: str | os.PathLike,
        epoch: str | int | None = None,
        *,
        context=None,
        batch_size: int = 8,
        providers: Sequence[str] = (),
        predictions: bool = False,
        **settings,
    ):
        providers = (providers,) if isinstance(providers, str) else tuple(providers)
        self._predictions = predictions
        use_synchronous_engine(_devices(context))
        self._open(load_any(prefix, epoch, providers), context, batch_size, settings)

    @classmethod
    def from_saved(
        cls,
        saved: SavedDetector | OnnxDetector,
        *,
        context=None,
        batch_size: int = 8,
        predictions: bool = False,
        **settings,
    ) -> Detector:
        """Make a Detector of a detector that is loaded already; arguments as for the class."""
        detector = cls.__new__(cls)
        detector._predictions = predictions
        detector._open(saved, context, batch_size, settings)
        return detector

    def _open(self, saved: SavedDetector | OnnxDetector, context, batch_size: int, settings: dict) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size!r}, expected a whole number of 1 or more")
        self.prefix, self.epoch, self.batch_size = saved.prefix, saved.epoch, batch_size
        self._one_at_a_time = threading.Lock()
        if isinstance(saved, OnnxDetector):
            self._plan: Plan | OnnxPlan = make_onnx_plan(saved, settings)
            self._executors = OnnxExecutors(saved, self.card.detection.score_threshold)
            self._scaling = (0.0,) * 3, (1.0,) * 3  # mean and std are inside
            return
        self._plan = plan = make_plan(saved, settings)
        if plan.card.quantization and any(device.device_type == "gpu" for device in _devices(context)):
            raise ConfigError(f"{self.name}: is quantised, for CPUs: give --cpu, or the float detector")
        self._executors = Executors(plan.symbol, plan.params, plan.card.data_shape, _devices(context))
        self._scaling = plan.card.mean, plan.card.std

    @property
    def name(self) -> str:
        """Prefix and epoch, for messages."""
        return self._plan.name

    @property
    def card(self):
        """What the detector is: class names, input size, preprocessing, detection settings."""
        return self._plan.card

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of their ids."""
        return self.card.class_names

    @property
    def soft_nms_sigma(self) -> float | None:
        """Of the soft-NMS that stands in place of NMS; None where there is none."""
        return getattr(self._plan.reader, "soft_nms_sigma", None)

    def set_params(self, arg_params: dict, aux_params: dict) -> None:
        """Go on with other parameters of the same network; training's validation does this after each epoch.

        Raises:
            CheckpointError: one is missing or of another shape.
        """
        self._executors.set_params(arg_params, aux_params)

    def detect(
        self, images: Source | Iterable[Source], batch_size: int | None = None, *, normalised: bool = False
    ) -> Detections | list[Detections]:
        """Find the objects in an image or in several.

        Args:
            images: a path or an array (height, width, 3) uint8 RGB or (height, width) grey, of any size; or a list of
                such; or an array (N, height, width, 3).
            batch_size: how many are computed at once; None takes the Detector's.
            normalised: True gives boxes in [0, 1] in place of pixels.

        Returns:
            Detections for one image, a list of them for several.

        Raises:
            ImageError: an image cannot be used.
            CheckpointError: the network gives values that are not finite.
        """
        single = isinstance(images, (str, os.PathLike)) or (
            isinstance(images, np.ndarray) and images.ndim < 4
        )
        sources = [images] if single else images
        with self._one_at_a_time:  # a graph's outputs hold until its next batch
            results = [result.detections for result in self.stream(sources, batch_size)]
        if normalised:
            results = [_normalised(found) for found in results]
        return results[0] if single else results

    def stream(
        self,
        sources: Iterable[Source],
        batch_size: int | None = None,
        *,
        on_error: Callable[[int, ImageError], None] | None = None,
    ) -> Iterator[Result]:
        """Find the objects in images one after the other, decoding ahead in threads; any number of images.

        Args:
            sources: paths, arrays, or functions that return an array.
            batch_size: how many are computed at once; None takes the Detector's.
            on_error: called with the index and the error of an image that cannot be used, which is then left out;
                None raises the error.

        Yields:
            Results in the order of the sources.

        Raises:
            ImageError: an image cannot be used, and `on_error` is None.
            CheckpointError: the network gives values that are not finite.
        """
        batch_size = batch_size or self.batch_size
        alone = isinstance(sources, (list, tuple)) and len(sources) == 1  # nothing to be done meanwhile
        prepared = map_ahead(
            self._prepare,
            enumerate(sources),
            threads=0 if alone else min(num_threads, _MOST_THREADS),
            ahead=batch_size + _MOST_THREADS,
        )
        # Closed here where an error ends it: left to the garbage collector it would wait for its threads in any thread.
        with contextlib.closing(prepared):
            yield from self._in_batches(_usable(prepared, on_error), batch_size)

    def _in_batches(self, usable: Iterable[tuple], batch_size: int) -> Iterator[Result]:
        """Yield the Results of what was prepared, keeping every device busy."""
        pending, size = deque(), 0
        for turn, chunk in enumerate(in_chunks(usable, batch_size)):
            # Only the last chunk can be shorter; it is padded, which binds nothing new.
            size = size or len(chunk)
            device = turn % len(self._executors.devices)
            if len(pending) == len(self._executors.devices):
                yield from self._finish(*pending.popleft())
            pending.append((chunk, self._start(chunk, size, device)))
        for chunk, outputs in pending:
            yield from self._finish(chunk, outputs)

    def _prepare(self, numbered: tuple[int, Source]) -> tuple:
        """Return (index, pixels, input) of a source, or (index, error, None)."""
        index, source = numbered
        try:
            pixels = load_pixels(source, f"image {index}")
            return index, pixels, network_input(pixels, self.card.data_shape, *self._scaling)
        except ImageError as error:
            return index, error, None

    def _start(self, chunk: list[tuple], size: int, device: int) -> list:
        """Begin to compute a chunk, padded with zeros to `size` images."""
        if size == 1:
            return self._executors.start(chunk[0][2][None], device)
        inputs = np.zeros((size, 3, *self.card.data_shape), np.float32)
        for row, (_, _, planes) in zip(inputs, chunk):
            row[...] = planes
        return self._executors.start(inputs, device)

    def _finish(self, chunk: list[tuple], outputs: list) -> Iterator[Result]:
        """Wait for a chunk's outputs and yield its Results."""
        answer = self._plan.reader.read(outputs)
        for position, (index, pixels, _) in enumerate(chunk):
            if not answer.is_finite(position):
                raise CheckpointError(
                    f"{self.name}: the network gives values that are not finite on image {index}: its"
                    " parameters are damaged, or training diverged: take another epoch, or train"
                    " with a smaller --lr"
                )
            found = Detections.from_rows(answer.rows(position), self.class_names)
            found = found.in_pixels(pixels.shape[1], pixels.shape[0])
            yield Result(index, pixels, found, answer.predictions(position) if self._predictions else ())


def _devices(context) -> list:
    """Return the devices that a Detector's argument means."""
    devices = list(context) if isinstance(context, (list, tuple)) else [context]
    return contexts(None) if devices == [None] else devices


def _usable(prepared: Iterable[tuple], on_error: Callable | None) -> Iterator[tuple]:
    """Yield what could be prepared; hand what could not to `on_error`, or raise it."""
    for index, pixels, planes in prepared:
        if planes is not None:
            yield index, pixels, planes
        elif on_error is None:
            raise pixels
        else:
            on_error(index, pixels)


def _normalised(found: Detections) -> Detections:
    """Return detections in pixels with boxes relative to the image."""
    return dataclasses.replace(found, boxes=found.boxes / np.array(found.size * 2, np.float32), size=None)
