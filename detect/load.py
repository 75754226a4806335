"""Loading a detector of either kind: MXNet's files, or an ONNX file that deploy.py wrote."""

from __future__ import annotations

import os

from common.errors import ConfigError
from detect.onnx_session import OnnxDetector, load_onnx
from model.onnx_file import is_onnx
from model.saved import SavedDetector, load


def load_any(
    prefix: str | os.PathLike, epoch: str | int | None = None, providers: tuple[str, ...] = ()
) -> SavedDetector | OnnxDetector:
    """Load a detector of either kind.

    Args:
        prefix: of MXNet's files, or an ONNX file.
        epoch: "best", "last", a number, or None for best, else last.
        providers: of onnxruntime, for an ONNX file.

    Raises:
        CheckpointError: a file is missing, damaged or something else.
        ConfigError: providers are given and it is no ONNX file, or one is not there.
    """
    if is_onnx(prefix):
        return load_onnx(prefix, epoch, providers)
    if providers:
        raise ConfigError(f"providers are for ONNX files, and {prefix} is none: leave them out")
    return load(prefix, epoch, need_graph=False)
