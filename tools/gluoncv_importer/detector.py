"""Graph, parameters and card of an imported detector.

The settings of the detection tail are gluoncv's: NMS class by class among the 400 best candidates of all classes
together, the 100 best detections kept, boxes not cut at the image's border. Where candidates score exactly like the
400th, gluoncv takes some of them and this project all.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import ConversionError
from common.files import sha256
from model.card import DEPLOYED, Card
from model.graph import inference_symbol, keep_used
from model.parameters import check_fit
from symbol.detection import DetectionConfig
from symbol.gluon_ssd import GluonSSD
from symbol.gluon_ssd_boxes import closest_settings
from tools.gluoncv_importer.boxes import boxes_in_file, heads_with_boxes
from tools.gluoncv_importer.weights import classes_of, random_weights, read_weights

DETECTION = DetectionConfig(
    score_threshold=0.01, nms_threshold=0.45, nms_topk=400, keep_topk=100, clip=False, image_topk=400
)


@dataclass(frozen=True)
class Imported:
    """An imported detector.

    Attributes:
        symbol: data -> detection, with the heads inside.
        params: (arg_params, aux_params).
        card: what it is.
        unknown: names in the file that the detector does not have.
    """

    symbol: object
    params: tuple[dict, dict]
    card: Card
    unknown: tuple[str, ...] = ()


def import_detector(
    detector: GluonSSD,
    path: str | os.PathLike | None,
    *,
    class_names: Sequence[str] = (),
    data_shape: tuple[int, int] | None = None,
    seed: int = 0,
) -> Imported:
    """Turn a detector of gluoncv into one of this project.

    Args:
        detector: of gluoncv.
        path: its weights; None draws random ones.
        class_names: in the order of their ids; () takes gluoncv's.
        data_shape: (height, width) of the input; None takes the one that it is made for.
        seed: of random weights.

    Raises:
        CheckpointError: the file is missing, damaged or something else.
        ConversionError: the file is of another detector, or the class names are not as many as its classes.
    """
    names = tuple(class_names) or detector.class_names
    weights, constants, unknown = read_weights(detector, path) if path else (None, {}, [])
    boxes = boxes_in_file(detector, constants)
    classes = len(names) if weights is None else classes_of(detector, weights, boxes)
    _check_names(detector, names, classes)
    shape = data_shape or (detector.side, detector.side)
    config = detector.config(classes, shape, closest_settings(boxes, shape))
    parts, anchors = heads_with_boxes(config, boxes)
    if weights is None:
        weights = random_weights(parts, config.data_shape, seed)
    params = keep_used(parts, weights, weights)
    check_fit(parts, *params, config.data_shape, str(path or detector.name))
    card = Card(
        network="",
        data_shape=config.data_shape,
        class_names=names,
        mean=config.mean,
        std=config.std,
        anchors=anchors,
        detection=DETECTION,
        graph=DEPLOYED,
        source={"gluoncv": detector.name, **_source(path, seed)},
    )
    symbol = inference_symbol(parts, classes, anchors.variances, DETECTION)
    return Imported(symbol, params, card, tuple(unknown))


def _check_names(detector: GluonSSD, names: Sequence[str], classes: int) -> None:
    """Refuse class names that are not as many as the classes.

    Raises:
        ConversionError: says both numbers.
    """
    if not names:
        raise ConversionError(
            f"{detector.name}: is for classes of your own{f', {classes} in this file' if classes else ''}: name them by"
            " --class-names"
        )
    if len(names) != classes:
        raise ConversionError(
            f"{detector.name}: the file is for {classes} classes, there are {len(names)} names (the first is"
            f" {names[0]}): name its classes by --class-names"
        )


def _source(path: str | os.PathLike | None, seed: int) -> dict:
    """Return what the card says of the weights."""
    if path is None:
        return {"random_seed": seed}
    return {"params": Path(path).name, "params_sha256": sha256(path)}
