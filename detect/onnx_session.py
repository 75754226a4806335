"""A detector in an ONNX file, run by onnxruntime behind the same Detector.

Preprocessing and NMS are inside the file, so its settings cannot be changed here; a higher score threshold is a filter
on what it finds.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass

import numpy as np

from common.errors import CheckpointError, ConfigError
from detect.answers import Rows
from detect.graph import DETECTION_SETTINGS, SOFT_NMS, card_settings, check_known, soft_nms_sigma
from model.card import Card
from model.onnx_file import OUTSIDE, card_of, check_seal, open_session

_OUTPUTS = ("boxes", "scores", "classes")
_FLOAT, _UINT8 = "tensor(float)", "tensor(uint8)"


@dataclass(frozen=True)
class OnnxDetector:
    """A detector as it lies in an ONNX file.

    Attributes:
        prefix: the file.
        epoch: which epoch of the detector that it was made from.
        card: what it is.
        session: of onnxruntime.
    """

    prefix: str
    epoch: int
    card: Card
    session: object


def load_onnx(
    path: str | os.PathLike, epoch: str | int | None = None, providers: tuple[str, ...] = ()
) -> OnnxDetector:
    """Open an ONNX file that deploy.py wrote.

    Args:
        path: the file.
        epoch: None, or the number of the epoch that the file must be of.
        providers: of onnxruntime, in order of preference; none takes CUDA where it is, and the CPU.

    Raises:
        CheckpointError: it is missing, damaged, of somebody else, without NMS, or of another epoch.
        ConfigError: a provider is not there.
        DependencyError: onnxruntime is not installed.
    """
    session = open_session(path, providers)
    found = session.get_modelmeta().custom_metadata_map
    card = card_of(found, path)
    check_seal(found, path)
    if found.get("nms") == OUTSIDE:
        raise CheckpointError(
            f"{path}: exported without NMS, for runtimes that have none: to use it here export it with"
            " --onnx-nms inside"
        )
    _check_session(session, card, path)
    number = card.source.get("epoch")
    if epoch is not None and str(epoch) != str(number):
        raise CheckpointError(f"{path}: was made from epoch {number}, not {epoch}: leave --epoch out")
    return OnnxDetector(str(path), number, card, session)


def _check_session(session, card: Card, path: str | os.PathLike) -> None:
    """Hold a session's input and outputs to what the card and the contract say.

    Raises:
        CheckpointError: they are others; the file was changed by another program.
    """
    inputs = {value.name: value for value in session.get_inputs()}
    outputs = [value.name for value in session.get_outputs()]
    shapes = {_FLOAT: [3, *card.data_shape], _UINT8: [*card.data_shape, 3]}
    image = inputs.get("data")
    fits = len(inputs) == 1 and image is not None and image.shape[1:] == shapes.get(image.type)
    if not fits or not set(_OUTPUTS) <= set(outputs):
        raise CheckpointError(
            f"{path}: its input or its outputs ({', '.join(outputs)}) are not those of a detector of"
            f" {card.data_shape[0]}x{card.data_shape[1]}: export it again"
        )


@dataclass(frozen=True)
class OnnxPlan:
    """What a Detector on an ONNX file needs beside the session.

    Attributes:
        card: with a higher score threshold where one was asked for.
        name: of the detector, for messages.
        reader: of what the executors give.
    """

    card: Card
    name: str
    reader: Rows


def _same(value: object, built_in: object) -> bool:
    """Tell whether a setting is the one built in; a threshold is a float32 there."""
    if isinstance(value, float) and isinstance(built_in, (int, float)):
        return np.float32(value) == np.float32(built_in)
    return value == built_in


def make_onnx_plan(loaded: OnnxDetector, settings: dict) -> OnnxPlan:
    """Check settings against what is built into a file.

    Args:
        loaded: the detector.
        settings: of the detection tail and of the card, as for `detect.graph.make_plan`; None values are left out.

    Raises:
        ConfigError: one is unknown, or is not what the file has.
    """
    settings = {name: value for name, value in settings.items() if value is not None}
    check_known(settings)
    if soft_nms_sigma(settings) is not None:
        raise ConfigError(
            f"{SOFT_NMS}: NMS is built into {loaded.prefix}, which gives no candidates: leave it out, or give --prefix"
            " of the checkpoint that it was made from"
        )
    settings.pop(SOFT_NMS, None)
    settings.update(card_settings(settings))
    card, tail = loaded.card, loaded.card.detection
    for name, value in settings.items():
        built_in = getattr(tail if name in DETECTION_SETTINGS else card, name)
        if not _same(value, built_in) and not (name == "score_threshold" and value > built_in):
            raise ConfigError(
                f"{name} is {value!r}, but {built_in!r} is built into {loaded.prefix}: leave it out, or export the"
                " detector again with that setting"
            )
    changes = {key: settings[key] for key in ("score_threshold",) if key in settings}
    card = dataclasses.replace(card, detection=dataclasses.replace(tail, **changes))
    return OnnxPlan(card, loaded.prefix, Rows(card.detection))


class OnnxExecutors:
    """Runs a session on batches of any size; stands where `detect.executors.Executors` does for MXNet's graphs.

    Args:
        loaded: the detector.
        threshold: detections must score above it.
    """

    devices = (None,)

    def __init__(self, loaded: OnnxDetector, threshold: float):
        (image,) = loaded.session.get_inputs()
        self._session, self._threshold, self._name = loaded.session, np.float32(threshold), loaded.prefix
        self._uint8 = image.type == _UINT8
        self._fixed = image.shape[0] if isinstance(image.shape[0], int) else None

    def start(self, inputs: np.ndarray, device: int) -> list[np.ndarray]:
        """Compute a batch.

        Args:
            inputs: (B, 3, height, width) float32, pixels in 0..255.
            device: not used.

        Returns:
            Detections (B, K, 6) as MXNet's graphs give them, and the scores, which tell what is not finite.

        Raises:
            CheckpointError: onnxruntime cannot compute it.
        """
        step = self._fixed or len(inputs)
        parts = [self._run(inputs[begin : begin + step], step) for begin in range(0, len(inputs), step)]
        boxes, scores, classes = (np.concatenate(values)[: len(inputs)] for values in zip(*parts))
        ids = np.where(scores > self._threshold, classes, -1)
        rows = np.concatenate(
            [ids[..., None], scores[..., None], boxes], axis=2, dtype=np.float32
        )  # (B, K, 6)
        return [rows, scores]

    def _run(self, inputs: np.ndarray, step: int) -> list[np.ndarray]:
        """Run the session on at most `step` images, filled up with black ones where its batch size is fixed."""
        if len(inputs) < step:
            inputs = np.concatenate([inputs, np.zeros((step - len(inputs), *inputs.shape[1:]), inputs.dtype)])
        if self._uint8:
            inputs = np.ascontiguousarray(inputs.transpose(0, 2, 3, 1)).astype(np.uint8)
        try:
            return self._session.run(_OUTPUTS, {"data": inputs})
        except Exception as error:  # onnxruntime's classes have no common base but this one
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{self._name}: onnxruntime cannot run it: {reason}") from error

    def set_params(self, arg_params: dict, aux_params: dict) -> None:
        """Refuse: the parameters are part of the file.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{self._name}: the parameters of an ONNX file cannot be replaced: export it again")
