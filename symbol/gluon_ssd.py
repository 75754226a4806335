"""The detectors of gluoncv (`ssd_*` of its model zoo) as networks of this project: feature maps, heads, default boxes.

gluoncv builds the layers below the heads; their graph is cut here into a backbone and extra blocks, its names lose
what belongs to one process, and this project's own heads are put on. A head's filters stand in the same order in both:
default box by default box, background first. tools/gluoncv_importer/ fills in the weights.

Deviations: gluoncv keeps two kinds of constants among its parameters, the default boxes and a factor on the input of
VGG. The boxes become operators or settings here, the factor three numbers in the graph, so that no optimiser moves
them.

Source: gluoncv/model_zoo/ssd (GluonCV 0.10): ssd.py, anchor.py, vgg_atrous.py, resnet_v1b_ssd.py.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from PIL import ImageFile

from common.errors import ConfigError, did_you_mean
from common.libraries import require
from common.mx import mx
from symbol.anchors import AnchorConfig
from symbol.config import Feature, NetworkConfig
from symbol.gluon_ssd_boxes import MapBoxes, boxes_of, closest_settings
from symbol.gluon_ssd_layers import GluonGraph, backbone, extra_block

MEAN = tuple(round(255 * value, 3) for value in (0.485, 0.456, 0.406))  # ImageNet's, as gluoncv takes them
STD = tuple(round(255 * value, 3) for value in (0.229, 0.224, 0.225))
INPUT_SCALE = "features.init_scale"  # in gluoncv's files
_KERNELS = {(3, 3): "plain", (1, 1): "pointwise"}


@dataclass(frozen=True)
class GluonSSD:
    """A detector of gluoncv without its weights.

    Attributes:
        name: in gluoncv's model zoo.
        side: of the square input that it is made for, in pixels.
        class_names: those it was published with; () where the caller names them ("_custom").
        backbone: data -> Symbol.
        features: the feature maps, the finest first.
        boxes: the default boxes, one entry for each feature map.
        parameters: names of a parameter in gluoncv's files -> its name here (of a constant, the key in `constants`).
        constants: what gluoncv keeps among its parameters and is part of the graph here.
    """

    name: str
    side: int
    class_names: tuple[str, ...]
    backbone: object
    features: tuple[Feature, ...]
    boxes: tuple[MapBoxes, ...]
    parameters: dict[str, str]
    constants: dict[str, np.ndarray]

    def config(
        self,
        num_classes: int,
        data_shape: Sequence[int] | None = None,
        anchors: AnchorConfig | None = None,
    ) -> NetworkConfig:
        """Return the configuration of a detector.

        Args:
            num_classes: foreground classes.
            data_shape: (height, width) of the input in pixels; None takes the one that it is made for.
            anchors: default boxes in place of gluoncv's.

        Raises:
            ConfigError: a value is out of range.
        """
        shape = tuple(data_shape or (self.side, self.side))
        return NetworkConfig(
            network=self.name,
            data_shape=shape,
            num_classes=num_classes,
            anchors=anchors or closest_settings(self.boxes, shape),
            backbone=self.backbone,
            features=self.features,
            mean=MEAN,
            std=STD,
            source=f"gluoncv {self.name}",
        )


def ssd_names() -> tuple[str, ...]:
    """Return the names of gluoncv's detectors.

    Raises:
        DependencyError: gluoncv is not installed.
    """
    zoo, presets = _zoo()
    listed = [name for name in zoo.get_model_list() if re.fullmatch(r"ssd_.*(?<!_int8)", name)]
    written = {name.replace(".", "_") for name in listed}
    return tuple(sorted(listed + [name for name in presets.__all__ if name not in written]))


def _zoo() -> tuple:
    """Return gluoncv's list of models and its module of detectors."""
    truncated = ImageFile.LOAD_TRUNCATED_IMAGES  # gluoncv's data sets switch it on for the whole process
    try:
        zoo = require("gluoncv.model_zoo.model_zoo", "the detectors of gluoncv need", "gluoncv")
        return zoo, require("gluoncv.model_zoo.ssd.presets", "the detectors of gluoncv need", "gluoncv")
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = truncated


@lru_cache(maxsize=4)
def gluon_ssd(name: str) -> GluonSSD:
    """Take a detector of gluoncv apart; nothing is downloaded.

    Args:
        name: one of `ssd_names()`.

    Raises:
        ConfigError: there is no such detector, or it is built otherwise than those known here.
        DependencyError: gluoncv is not installed.
    """
    names = ssd_names()
    if name not in names:
        raise ConfigError(f"{name!r} is no detector of gluoncv{did_you_mean(name, names)}")
    with mx.name.NameManager(), warnings.catch_warnings():  # names count from 0
        warnings.simplefilter("ignore")  # Gluon's, that it does not know the input's type yet
        net = _build(name)
        maps = mx.sym.Group(list(net.features(mx.sym.Variable("data"))))
    graph = GluonGraph(maps, net.prefix)
    constants = {
        key: parameter.value.asnumpy()
        for key, parameter in net._collect_params_with_prefix().items()
        if hasattr(parameter, "value")
    }
    features = _features(net, graph, name)
    return GluonSSD(
        name=name,
        side=int(net.anchor_generators[0]._im_size[0]),
        class_names=() if name.endswith("_custom") else tuple(net.classes),
        backbone=partial(backbone, text=graph.base(), scale=_scale(constants)),
        features=features,
        boxes=tuple(map(boxes_of, net.anchor_generators)),
        parameters=_parameters(net, graph),
        constants=constants,
    )


def _features(net, graph: GluonGraph, name: str) -> tuple[Feature, ...]:
    """Return the feature maps: layers of the backbone, then the extra blocks."""
    kinds = [_head_kind(predictor.predictor, name) for predictor in net.class_predictors]
    features = []
    for number, kind in enumerate(kinds):
        layer = graph.layer(number)
        extra = partial(extra_block, text=graph.block(number)) if graph.is_extra(number) else None
        features.append(Feature(layer, extra=extra, head=kind))
    return tuple(features)


def _scale(constants: dict[str, np.ndarray]) -> tuple[float, ...]:
    """Return the factors on the input's channels; () for none."""
    factors = constants.get(INPUT_SCALE)
    return () if factors is None else tuple(factors.ravel().tolist())


def _build(name: str):
    """Return gluoncv's network without weights, its own or a backbone's."""
    zoo, presets = _zoo()
    stated = {"pretrained": False, "pretrained_base": False}
    if name.endswith("_custom"):
        stated["classes"] = ["object"]  # the heads are not used
    if name in zoo.get_model_list():
        return zoo.get_model(name, **stated)
    return getattr(presets, name)(**stated)


def _head_kind(convolution, name: str) -> str:
    """Return which kind of head a predictor is, of `symbol.config.HEADS`."""
    settings = convolution._kwargs
    kernel, pad = tuple(settings["kernel"]), tuple(settings["pad"])
    if kernel not in _KERNELS or pad != tuple(side // 2 for side in kernel):
        raise ConfigError(
            f"{name}: its heads are convolutions of {kernel} with pad {pad}, expected 3x3 or 1x1"
        )
    return _KERNELS[kernel]


def _parameters(net, graph: GluonGraph) -> dict[str, str]:
    """Return the names here of gluoncv's parameters, under both kinds of names that its files have."""
    names = {}
    for key, parameter in net._collect_params_with_prefix().items():
        own = parameter.name[len(net.prefix) :]
        head = re.fullmatch(r"(class|box)_predictors\.(\d+)\.predictor\.(weight|bias)", key)
        if head:
            kind = {"class": "cls", "box": "loc"}[head.group(1)]
            new = f"{graph.output(int(head.group(2)))}_{kind}_pred_conv_{head.group(3)}"
        else:
            new = graph.renamed.get(own)
        new = key if hasattr(parameter, "value") else new
        if new:
            names[key] = names[own] = new
    return names
