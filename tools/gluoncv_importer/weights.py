"""The weights of an imported detector: gluoncv's file, or random ones.

A file may hold the names of a network's structure (`features.0.weight`, from `save_parameters`), or those of Gluon's
parameters (`ssd0_conv0_weight`, from `export` and from old versions); both are understood.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import numpy as np

from common.errors import ConversionError
from common.mx import mx
from model.graph import infer_shapes
from model.parameters import load_arrays
from symbol.gluon_ssd import INPUT_SCALE, GluonSSD

_OWN_PREFIX = re.compile(r"^((arg|aux):)?(ssd\d+_)?")
_SHOWN = 4  # names in a message


def read_weights(detector: GluonSSD, path: str | os.PathLike) -> tuple[dict, dict, list[str]]:
    """Read a file of gluoncv's.

    Args:
        detector: that it is of.
        path: the file.

    Returns:
        Parameters under their names here (float32 NDArrays), constants under gluoncv's names (numpy arrays), and the
        names of what the detector does not have.

    Raises:
        CheckpointError: the file is missing, damaged or something else.
        ConversionError: it is of another detector, or a value is not finite.
    """
    params, constants, unknown = {}, {}, []
    for key, array in load_arrays(path).items():
        name = detector.parameters.get(key) or detector.parameters.get(_OWN_PREFIX.sub("", key))
        if name is None:
            unknown.append(key)
            continue
        if not np.isfinite(array.astype("float32").asnumpy()).all():
            raise ConversionError(
                f"{path}: parameter {key} holds values that are not finite: take another file"
            )
        if name in detector.constants:
            constants[name] = array.astype("float32").asnumpy()
        else:
            params[name] = array.astype("float32")
    needed = {name for name in detector.parameters.values() if name not in detector.constants}
    missing = sorted(needed - set(params))
    if missing:
        found = f"{len(missing)} of {len(needed)} parameters are missing ({', '.join(missing[:_SHOWN])}, ...)"
        other = f", {len(unknown)} are unknown ({', '.join(unknown[:_SHOWN])}, ...)" if unknown else ""
        raise ConversionError(f"{path}: not the weights of {detector.name}: {found}{other}: check NAME")
    _check_scale(detector, constants, path)
    return params, constants, unknown


def _check_scale(detector: GluonSSD, constants: dict, path: str | os.PathLike) -> None:
    """Refuse a file whose factor on the input is another than the one that stands in the graph."""
    scale, known = constants.get(INPUT_SCALE), detector.constants.get(INPUT_SCALE)
    if scale is not None and not np.allclose(scale.ravel(), known.ravel(), rtol=1e-5):
        raise ConversionError(
            f"{path}: multiplies its input by {scale.ravel().tolist()}, expected {known.ravel().tolist()}:"
            " it was trained with another preprocessing"
        )


def classes_of(detector: GluonSSD, params: dict, boxes: Sequence) -> int:
    """Return the number of foreground classes that weights are for.

    Args:
        detector: of gluoncv.
        params: from `read_weights`.
        boxes: the default boxes, one entry for each feature map.

    Raises:
        ConversionError: the class head does not fit the default boxes.
    """
    name = detector.parameters["class_predictors.0.predictor.bias"]
    filters, per_cell = params[name].size, len(boxes[0].sides)
    if filters % per_cell or filters // per_cell < 2:
        raise ConversionError(
            f"{detector.name}: its first class head has {filters} filters, expected classes + 1 for each of {per_cell}"
            " default boxes: check NAME"
        )
    return filters // per_cell - 1


def random_weights(symbol, data_shape: tuple[int, int], seed: int) -> dict:
    """Draw parameters of a graph, for tests.

    Args:
        symbol: group of heads.
        data_shape: (height, width) of the input.
        seed: equal seeds give equal parameters.

    Returns:
        name -> NDArray, arguments and auxiliary states.
    """
    rng = np.random.default_rng(seed)
    arguments, _, states = infer_shapes(symbol, data_shape, "random weights")
    drawn = {}
    for name, shape in [
        *zip(symbol.list_arguments(), arguments),
        *zip(symbol.list_auxiliary_states(), states),
    ]:
        if name == "data":
            continue
        if name.endswith("_weight"):
            values = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        elif name.endswith(("_gamma", "_var")):
            values = rng.uniform(0.8, 1.2, shape)
        elif name.endswith("_scale"):
            values = np.full(shape, 20.0)
        else:
            values = rng.normal(0, 0.1, shape)
        drawn[name] = mx.nd.array(values.astype(np.float32))
    return drawn
