"""Arrays in files: parameters and optimiser states as MXNet's plain `.params` format, whole, checked, never pickled."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import CheckpointError, ConfigError
from common.files import atomic_path, describe, sha256
from common.mx import mx
from model.graph import infer_shapes
from model.parameter_layout import LayoutError, check_layout

_REMEDY = "check --prefix and --epoch"  # graph and parameters lie there
_MAGIC = b"\x12\x01\x00\x00\x00\x00\x00\x00"  # kMXAPINDArrayListMagic, little-endian


def save_arrays(path: str | os.PathLike, arrays: dict) -> str:
    """Write named arrays atomically and return the file's SHA-256.

    Args:
        path: the file.
        arrays: name -> NDArray, of any shape and type.

    Raises:
        ConfigError: the file cannot be written, or the disk is full.
    """
    with atomic_path(path) as temporary:
        try:
            mx.nd.save(str(temporary), arrays)
        except mx.base.MXNetError as error:
            raise ConfigError(f"{path}: cannot be written: free space or choose another folder") from error
        _check_end(temporary, path, list(arrays)[-1])
        return sha256(temporary)


def _check_end(temporary: Path, path: str | os.PathLike, last_name: str) -> None:
    """Check that a file ends with its last array's name: MXNet does not look at whether closing it succeeded.

    Raises:
        ConfigError: the end is missing, since the disk is full.
    """
    end = last_name.encode("utf-8")
    with open(temporary, "rb") as stream:
        stream.seek(-min(len(end), temporary.stat().st_size), os.SEEK_END)
        if stream.read() != end:
            raise ConfigError(f"{path}: cannot be written whole: free space or choose another folder")


def load_arrays(path: str | os.PathLike, expected_sha256: str | None = None) -> dict:
    """Read named arrays.

    Args:
        path: the file.
        expected_sha256: what the card says; None where nobody knows.

    Returns:
        name -> NDArray on the CPU.

    Raises:
        CheckpointError: the file is missing, is something else, is cut short, or differs from its hash.
    """
    path = Path(path)
    try:
        with open(path, "rb") as stream:
            start = stream.read(512)
    except OSError as error:
        raise CheckpointError(f"{path}: parameters cannot be read ({error.strerror or error})") from error
    if not start.startswith(_MAGIC):
        raise CheckpointError(f"{path}: not an MXNet parameter file: it is {describe(start)}")
    if expected_sha256 and sha256(path) != expected_sha256:
        raise CheckpointError(
            f"{path}: damaged ({path.stat().st_size} bytes): its sha256 is not the one in the card:"
            " take another epoch by --epoch, or copy the file again"
        )
    try:
        check_layout(path)
        arrays = mx.nd.load(str(path))
    except (mx.base.MXNetError, LayoutError, UnicodeDecodeError) as error:
        reason = f": {error}" if isinstance(error, LayoutError) else ""
        raise CheckpointError(
            f"{path}: cut short or damaged ({path.stat().st_size} bytes){reason}: copy the file again"
        ) from error
    if not isinstance(arrays, dict):
        raise CheckpointError(f"{path}: arrays without names: not the parameters of a network")
    return arrays


def split_params(arrays: dict, path: str | os.PathLike) -> tuple[dict, dict]:
    """Split a parameter file's arrays ("arg:NAME", "aux:NAME") into arguments and auxiliary states.

    Raises:
        CheckpointError: a name has neither prefix, or a value is not finite.
    """
    parts = {"arg": {}, "aux": {}}
    for key, array in arrays.items():
        kind, _, name = key.partition(":")
        if kind not in parts or not name:
            raise CheckpointError(f"{path}: parameter {key!r}: expected a name that begins with arg: or aux:")
        if not np.isfinite(_in_numpy(array)).all():
            raise CheckpointError(
                f"{path}: parameter {name} holds values that are not finite: take another epoch"
            )
        parts[kind][name] = array
    return parts["arg"], parts["aux"]


def _in_numpy(array) -> np.ndarray:
    """Return an array's values; numpy has no bfloat16, whose values are float32's."""
    return (array.astype(np.float32) if np.dtype(array.dtype).names else array).asnumpy()


def join_params(arg_params: dict, aux_params: dict) -> dict:
    """Return arguments and auxiliary states under the names of a parameter file; the inverse of `split_params`."""
    joined = {f"arg:{name}": array.as_in_context(mx.cpu()) for name, array in arg_params.items()}
    joined.update({f"aux:{name}": array.as_in_context(mx.cpu()) for name, array in aux_params.items()})
    return joined


def check_fit(symbol, arg_params: dict, aux_params: dict, data_shape: tuple[int, int], name: str) -> None:
    """Check that parameters are those of a graph: every one there, of the shape and the type that the graph needs.

    Args:
        symbol: an inference graph with the input `data`.
        arg_params: arguments by name.
        aux_params: auxiliary states by name.
        data_shape: (height, width) of the input.
        name: of the file, for messages.

    Raises:
        CheckpointError: names the first parameter that is missing, misshapen or of another type.
    """
    arg_shapes, _, aux_shapes = infer_shapes(symbol, data_shape, name)
    try:
        arg_types, _, aux_types = symbol.infer_type(data=np.float32)
    except mx.base.MXNetError as error:
        raise CheckpointError(f"{name}: the graph does not take an image of type float32") from error
    expected = dict(zip(symbol.list_arguments(), arg_shapes))
    expected.pop("data", None)
    why = _Misfit(expected, {key: array.shape for key, array in arg_params.items()})
    for kind, names, shapes, types, params in (
        ("parameter", symbol.list_arguments(), arg_shapes, arg_types, arg_params),
        ("auxiliary state", symbol.list_auxiliary_states(), aux_shapes, aux_types, aux_params),
    ):
        for parameter, shape, dtype in zip(names, shapes, types or [None] * len(shapes)):
            if parameter != "data":
                _check_parameter(params.get(parameter), shape, dtype, f"{name}: {kind} {parameter}", why)


@dataclass(frozen=True)
class _Misfit:
    """What graph and file are, for the message where they do not fit.

    Attributes:
        graph: name -> shape of the graph's parameters.
        file: name -> shape of the file's.
    """

    graph: dict[str, tuple]
    file: dict[str, tuple]

    def of_missing(self) -> str:
        """Return why a parameter is missing."""
        there = sum(name in self.file for name in self.graph)
        return (
            f"the file is of another network, {there} of the graph's {len(self.graph)} parameters are in it:"
            f" {_REMEDY}"
        )

    def of_misshapen(self) -> str:
        """Return why a parameter has another shape."""
        has, wants = _num_classes(self.file), _num_classes(self.graph)
        if has is None or wants is None or has == wants:
            return f"the file is of another network, number of classes or set of default boxes: {_REMEDY}"
        return (
            f"the file is of a detector of {has} classes, the graph of one of {wants}: {_REMEDY};"
            " train.py --finetune makes a detector of other classes"
        )


def _num_classes(shapes: dict[str, tuple]) -> int | None:
    """Return the number of foreground classes by the heads' shapes, None where they do not say."""
    found = set()
    for name, shape in shapes.items():
        boxes = shapes.get(name.replace("_cls_pred_", "_loc_pred_"))
        if name.endswith("_cls_pred_conv_weight") and boxes and boxes[0] % 4 == 0 and boxes[0]:
            found.add(4 * shape[0] / boxes[0] - 1)
    return int(min(found)) if len(found) == 1 and min(found).is_integer() else None


def _check_parameter(array, shape: tuple, dtype: type | None, name: str, why: _Misfit) -> None:
    """Hold one parameter to the shape and the type (None where nobody knows) that its graph needs."""
    if array is None:
        raise CheckpointError(f"{name} of shape {shape} is missing: {why.of_missing()}")
    if array.shape != shape:
        raise CheckpointError(f"{name} has the shape {array.shape}, expected {shape}: {why.of_misshapen()}")
    if dtype is not None and np.dtype(array.dtype) != np.dtype(dtype):
        raise CheckpointError(
            f"{name} has the type {np.dtype(array.dtype)}, expected {np.dtype(dtype)}: the file is damaged, or of a"
            " network in another precision"
        )
