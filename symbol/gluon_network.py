"""Classification networks of gluoncv and of MXNet's own model zoo as backbones: `gluon:NAME`, `gluon:mxnet:NAME`.

The Gluon block is traced into a Symbol, without weights and without a download. Names follow Gluon's, less the prefix
that all of a network's names share and the ending `_fwd`: `stage3_activation5`, `conv0_weight`. They come from a name
manager of their own, so they are the same in every process and however often a network is built.

Deviations from Gluon's trace: a name that stands twice gets a number (xception's and dla34's ReLUs); factors of 1 on
rates and weight decay are dropped, so that biases are left out of weight decay as in all other networks here.
MXNet's own zoo has no name that gluoncv lacks, and most are the same networks; for those that are not (MobileNetV2),
and for its weights, `mxnet:` before the name takes MXNet's.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass

from PIL import ImageFile

from common.errors import ConfigError, did_you_mean
from common.libraries import require
from common.mx import mx
from symbol.feature_choice import map_shapes, stage_layers, trunk

PREFIX = "gluon:"
MXNETS = "mxnet:"

# Files of gluoncv.model_zoo that define classification networks; the others detect, segment, look at videos.
_ALIKE = (
    "cifarresnet",
    "cifarresnext",
    "cifarwideresnet",
    "resnet",
    "resnetv1b",
    "resnetv1b_pruned",
    "resnext",
)
_FILES = {
    *_ALIKE,
    "senet",
    "se_resnet",
    "residual_attentionnet",
    "resnest",
    "alexnet",
    "vgg",
    "squeezenet",
    "darknet",
}
_FILES |= {"densenet", "dla", "googlenet", "hrnet", "inception", "nasnet", "xception", "shufflenet"}
_FILES |= {"mobilenet", "mobilenetv3"}
_OTHER_TASKS = ("_s", "_custom")  # HRNet for segmentation, ResNets for a tutorial
FINE_STRIDE_BELOW = 256  # pixels: inputs with a shorter side get a third, finer map
_PROBES = (1024, 224, 32)  # some classifiers take one input alone: that of ImageNet, or of CIFAR
_KEPT_FOR_ONE = ("__lr_mult__", "__wd_mult__")
_DROPPED = ("__dtype__", "__storage_type__")


@dataclass(frozen=True)
class GluonGraph:
    """A traced network.

    Attributes:
        json: the graph up to its last map.
        side: of a square input that it takes, in pixels.
        parameters: Gluon's name of each parameter -> the graph's; None for those of the classifier.
        structural: the same for the names in a file of `save_parameters` ("features.0.weight").
    """

    json: str
    side: int
    parameters: dict[str, str | None]
    structural: dict[str, str | None]


def is_gluon(network: str) -> bool:
    """Tell whether a network's name asks for one of Gluon's."""
    return network.startswith(PREFIX)


def gluon_names() -> tuple[str, ...]:
    """Return the names that may stand behind `gluon:`, sorted.

    Raises:
        DependencyError: gluoncv is not installed.
    """
    return tuple(sorted(_constructors()))


@functools.lru_cache(maxsize=1)
def _constructors() -> dict[str, Callable]:
    truncated = ImageFile.LOAD_TRUNCATED_IMAGES  # gluoncv's data sets switch it on for the whole process
    try:
        known = require("gluoncv.model_zoo.model_zoo", "--network gluon:NAME needs", "gluoncv")._models
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = truncated
    found = {
        name: constructor
        for name, constructor in known.items()
        if constructor.__module__.rsplit(".", 1)[-1] in _FILES and not name.endswith(_OTHER_TASKS)
    }
    # get_model's table is inside the function; every network in it has weights, and those are listed.
    own = [name for name in mx.gluon.model_zoo.model_store._model_sha1 if name in found]
    return {**found, **{f"{MXNETS}{name}": functools.partial(_mxnets_own, name) for name in own}}


def _mxnets_own(name: str, pretrained: bool):
    return mx.gluon.model_zoo.vision.get_model(name, pretrained=pretrained)


def gluon_block(network: str):
    """Return a network of Gluon's as its HybridBlock, without weights.

    Args:
        network: `gluon:NAME`.

    Raises:
        ConfigError: there is no such network.
        DependencyError: gluoncv is not installed.
    """
    name = network[len(PREFIX) :]
    known = _constructors()
    if name not in known:
        raise ConfigError(f"network {network!r} is unknown{did_you_mean(name, sorted(known))}")
    constructor = known[name]
    # googlenet would download weights for its inner part unasked.
    takes_base = "pretrained_base" in inspect.signature(constructor).parameters
    return constructor(pretrained=False, **({"pretrained_base": False} if takes_base else {}))


@functools.lru_cache(maxsize=16)
def trace(network: str) -> GluonGraph:
    """Trace a network of Gluon's into a graph.

    Args:
        network: `gluon:NAME`.

    Raises:
        ConfigError: there is no such network, or this MXNet cannot trace it.
        DependencyError: gluoncv is not installed.
    """
    with mx.name.NameManager():
        block = gluon_block(network)
        body = getattr(block, "features", block)  # a classifier may begin with convolutions (SqueezeNet)
        try:
            symbol = body(mx.sym.Variable("data"))
        except (mx.base.MXNetError, TypeError, ValueError, AttributeError, NotImplementedError) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise ConfigError(
                f"network {network}: MXNet {mx.__version__} cannot make a graph of it ({lines[-1]}): take another"
            ) from error
    symbol = symbol[0] if isinstance(symbol, (list, tuple)) else symbol  # NASNet returns a second head
    side = _side(symbol, network)
    graph = json.loads(trunk(symbol, side).tojson())
    names = _shorten(graph["nodes"], block.prefix)
    return GluonGraph(
        json.dumps(graph, indent=2),
        side,
        {name: names.get(name) for name in block.collect_params()},
        {name: names.get(found.name) for name, found in block._collect_params_with_prefix().items()},
    )


def _side(symbol, network: str) -> int:
    """Return the side of the first of the probed inputs that a graph takes."""
    for side in _PROBES:
        if map_shapes(symbol, side):
            return side
    raise ConfigError(f"network {network}: it takes no input of {', '.join(map(str, _PROBES))} pixels")


def _shorten(nodes: list[dict], prefix: str) -> dict[str, str]:
    """Give the nodes of a graph their names here, in place; {Gluon's name: the new one} of the parameters."""
    parameters, used = {}, set()
    for node in sorted(
        nodes, key=lambda node: node["op"] != "null"
    ):  # parameters first: their names are files' names
        old = node["name"]
        name = old[len(prefix) :] if old.startswith(prefix) else old
        if node["op"] == "null":
            node["name"] = parameters[old] = _unused(name, used)
            node["attrs"] = _plain_attributes(node.get("attrs", {}))
        else:
            node["name"] = _unused(name[:-4] if name.endswith("_fwd") else name, used)
    parameters.pop("data", None)
    return parameters


def _unused(name: str, used: set[str]) -> str:
    """Return the name, with a number where it is taken; it is taken from then on."""
    number, found = 1, name
    while found in used:
        number, found = number + 1, f"{name}_{number + 1}"
    used.add(found)
    return found


def _plain_attributes(attributes: dict[str, str]) -> dict[str, str]:
    """Return a parameter's attributes without those that say what holds anyway."""
    kept = {name: value for name, value in attributes.items() if name not in _DROPPED}
    for name in _KEPT_FOR_ONE:
        if name in kept and float(kept[name]) == 1:
            del kept[name]
    shape = kept.get("__shape__", "0").strip("()").split(",")
    if any(not side.strip().isdigit() or int(side) == 0 for side in shape if side.strip()):
        kept.pop("__shape__", None)  # a side of it is for the graph to find
    return kept


def backbone(data, *, network: str):
    """Return a traced network.

    Args:
        data: (B, 3, H, W).
        network: `gluon:NAME`.
    """
    return mx.sym.load_json(trace(network).json)(data=data)


@functools.lru_cache(maxsize=64)
def feature_layers(network: str, shorter_side: int) -> tuple[str, ...]:
    """Return the layers that the heads read unless others are asked for, the finest first.

    The last two stages: strides 16 and 32 in most networks, 8 and 16 in those whose convolutions end at 16 (VGG,
    AlexNet, SqueezeNet). Below 256 pixels the map of stride 16 has under 16 cells on a side, and the stage before is
    read too.

    Args:
        network: `gluon:NAME`.
        shorter_side: of the input in pixels.

    Raises:
        ConfigError: there is no such network, or this MXNet cannot trace it.
    """
    graph = trace(network)
    return stage_layers(
        mx.sym.load_json(graph.json), graph.side, 2 if shorter_side >= FINE_STRIDE_BELOW else 3
    )
