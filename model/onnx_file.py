"""What an ONNX file of this project is: its names, its metadata, and how it is opened.

The card travels as JSON under one key of the metadata; the other keys say the same to people and other programs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from common import libraries
from common import mx as common_mx
from common.errors import CheckpointError, ConfigError, did_you_mean
from common.files import describe
from model.card import Card

SUFFIX = ".onnx"
PRODUCER = "SSD for MXNet"
INSIDE, OUTSIDE = "inside", "outside"
FLOAT, UINT8 = "float", "uint8"
LAYOUTS = {FLOAT: "NCHW float32 RGB 0..255", UINT8: "NHWC uint8 RGB 0..255"}
OPSET, IR_VERSION = 13, 8
_WHEELS = {"onnx": "'onnx<1.18'", "onnxruntime": "'onnxruntime'"}
_UNSEALED = "0" * 64  # where the checksum goes
_SMALLEST = 16  # bytes; no graph is shorter
_SILENT = 4  # its errors are raised too


@dataclass(frozen=True)
class ExportSettings:
    """What kind of file is written.

    Attributes:
        nms: "inside" (outputs boxes, scores, classes, num) or "outside" (scores, boxes, of every default box).
        dynamic_batch: whether it takes any number of images at once; else one.
        layout: of the input: "float" (N, 3, H, W) or "uint8" (N, H, W, 3).

    Raises:
        ConfigError: a value is unknown.
    """

    nms: str = INSIDE
    dynamic_batch: bool = False
    layout: str = FLOAT

    def __post_init__(self):
        for name, known in (("nms", (INSIDE, OUTSIDE)), ("layout", (FLOAT, UINT8))):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} is {getattr(self, name)!r}, expected {' or '.join(known)}")


def is_onnx(path: str | os.PathLike) -> bool:
    """Tell whether a detector's prefix is the name of an ONNX file."""
    return Path(path).suffix.lower() == SUFFIX


def require(library: str) -> ModuleType:
    """Import onnx or onnxruntime.

    Raises:
        DependencyError: it is not installed; the message says how it is.
    """
    return libraries.require(library, "ONNX files need", _WHEELS[library])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop the warnings of onnx about its own parts that MXNet still uses, and keep logging as it is set up."""
    root, nowhere = logging.getLogger(), logging.NullHandler()
    root.addHandler(nowhere)  # MXNet's exporter logs in a way that would set up a root without handlers
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeHandler(nowhere)


def metadata(card: Card, nms: str, layout: str) -> dict[str, str]:
    """Return what an ONNX file says of itself.

    Args:
        card: of the detector.
        nms: INSIDE or OUTSIDE.
        layout: FLOAT or UINT8.
    """
    return {
        "producer": PRODUCER,
        "card": json.dumps(card.to_dict(), ensure_ascii=False),
        "class_names": json.dumps(list(card.class_names), ensure_ascii=False),
        "data_shape": json.dumps(list(card.data_shape)),
        "mean": json.dumps(list(card.mean)),
        "std": json.dumps(list(card.std)),
        "input_layout": LAYOUTS[layout],
        "nms": nms,
        "checksum": _UNSEALED,
    }


def seal(data: bytes) -> bytes:
    """Put a model's SHA-256 in the place that its metadata keep for it, so that damage is noticed.

    Args:
        data: a serialised model with the metadata above.
    """
    head, _, tail = data.rpartition(_UNSEALED.encode("ascii"))
    return head + hashlib.sha256(data).hexdigest().encode("ascii") + tail


def check_seal(found: dict[str, str], path: str | os.PathLike) -> None:
    """Hold a file to the SHA-256 in its metadata; one whose metadata have none passes.

    Raises:
        CheckpointError: the file is damaged, or was changed.
    """
    digest = found.get("checksum")
    if digest is None:
        return
    head, _, tail = Path(path).read_bytes().rpartition(digest.encode("utf-8"))
    if hashlib.sha256(head + _UNSEALED.encode("ascii") + tail).hexdigest() != digest:
        raise CheckpointError(
            f"{path}: damaged, or changed since it was written: its checksum is another: copy the file again; to keep"
            " a change that was meant, remove the checksum from its metadata"
        )


def card_of(found: dict[str, str], path: str | os.PathLike) -> Card:
    """Return the card in a file's metadata.

    Raises:
        CheckpointError: the file is not one of this project's, or its card is damaged.
    """
    if found.get("producer") != PRODUCER or "card" not in found:
        raise CheckpointError(
            f"{path}: an ONNX file without a detector's card in its metadata: only files that deploy.py --onnx wrote"
            " can be used here"
        )
    try:
        values = json.loads(found["card"])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged card in its metadata ({error}): export it again") from error
    return Card.from_dict(values, path)


def open_session(model: str | os.PathLike | bytes, providers: tuple[str, ...] = (), name: str = "model"):
    """Make an onnxruntime session, with as many threads as the project uses.

    Args:
        model: a file, or a model's bytes.
        providers: of onnxruntime, in order of preference; none takes CUDA where it is, and the CPU.
        name: for messages, where `model` is bytes.

    Raises:
        CheckpointError: the file is missing or is no ONNX model.
        ConfigError: a provider is unknown here.
        DependencyError: onnxruntime is not installed.
    """
    if not isinstance(model, bytes):
        name = str(model)
        _check_file(Path(model))
    runtime = require("onnxruntime")
    providers = _providers(runtime.get_available_providers(), providers)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = common_mx.num_threads
    options.log_severity_level = _SILENT
    source = model if isinstance(model, bytes) else str(model)
    try:
        return runtime.InferenceSession(source, options, providers=providers)
    except Exception as error:  # its classes have no common base but this one
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{name}: not an ONNX model that onnxruntime runs: {reason}") from error


def _check_file(path: Path) -> None:
    """Refuse what is no ONNX model at first sight: onnxruntime's own words for it help nobody."""
    try:
        with open(path, "rb") as stream:
            start = stream.read(512)
    except OSError as error:
        raise CheckpointError(f"{path}: ONNX file cannot be read ({error.strerror or error})") from error
    # The first field of a model is its IR version, a small number: 0x08 0x03 and up.
    if len(start) < _SMALLEST or start[0] != 0x08:
        raise CheckpointError(f"{path}: not an ONNX file: it is {describe(start)}")


# Providers that need another package than onnxruntime, which has the CPU's alone.
_PACKAGES = {
    "CUDAExecutionProvider": "onnxruntime-gpu",
    "TensorrtExecutionProvider": "onnxruntime-gpu",
    "OpenVINOExecutionProvider": "onnxruntime-openvino",
    "DmlExecutionProvider": "onnxruntime-directml",
}


def _providers(there: list[str], wanted: tuple[str, ...]) -> list[str]:
    """Return the providers to use.

    Raises:
        ConfigError: one is not there.
    """
    for provider in wanted:
        if provider not in there:
            known = _PACKAGES.get(provider)
            hint = f": install {known} in place of onnxruntime" if known else did_you_mean(provider, there)
            raise ConfigError(f"--providers {provider}: this onnxruntime has none of that name{hint}")
    usual = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in there]
    return list(wanted) or usual or there
