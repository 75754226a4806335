"""What a network is before it is a graph: its feature maps, each with its head, and the backbone below them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from common.errors import ConfigError, did_you_mean
from symbol.anchors import AnchorConfig, check_feature_count

NORMS = ("none", "l2", "batch")
HEADS = ("plain", "separable", "separable_bn", "pointwise")  # symbol/predictors.py builds them


@dataclass(frozen=True)
class Feature:
    """One feature map that a head reads.

    Attributes:
        layer: the backbone's layer by name, or the name that an extra block's layers begin with.
        extra: (Symbol, name) -> Symbol, a block on top of the map before (symbol/extras.py); None for the backbone's.
        norm: what stands between the map and its head: "none", "l2" (each cell's length, with a learned scale) or
            "batch" (BatchNorm, which runtimes without L2 normalisation know).
        scale: of "l2" at the start.
        head: "plain" (3x3 convolution), "separable" (depthwise 3x3, ReLU, 1x1), "separable_bn" (the same with
            BatchNorm and ReLU6) or "pointwise" (1x1).

    Raises:
        ConfigError: a kind is unknown.
    """

    layer: str
    extra: Callable | None = None
    norm: str = "none"
    scale: float = 20.0
    head: str = "plain"

    def __post_init__(self):
        for name, value, known in (("norm", self.norm, NORMS), ("head", self.head, HEADS)):
            if value not in known:
                raise ConfigError(f"{self.layer}: {name} {value!r} is unknown{did_you_mean(value, known)}")


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that the graph of one detector is built from.

    Attributes:
        network: name of the preset.
        data_shape: (height, width) of the input in pixels.
        num_classes: foreground classes.
        anchors: the default boxes, one entry for each feature map.
        backbone: data -> Symbol.
        features: the feature maps, the finest first.
        mean: of (R, G, B), subtracted from pixels in 0..255.
        std: of (R, G, B), divides after the subtraction.
        source: the system that the network comes from.
        rate: base learning rate from random weights (SGD); None where it wants weights to start from.

    Raises:
        ConfigError: a value is out of range, or the lists' lengths differ.
    """

    network: str
    data_shape: tuple[int, int]
    num_classes: int
    anchors: AnchorConfig
    backbone: Callable
    features: tuple[Feature, ...]
    mean: tuple[float, float, float] = (123.0, 117.0, 104.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    source: str = ""
    rate: float | None = None

    def __post_init__(self):
        if self.num_classes < 1:
            raise ConfigError(
                f"num_classes is {self.num_classes}, expected 1 or more (background not counted)"
            )
        if not self.features or self.features[0].extra is not None:
            raise ConfigError(
                f"network {self.network}: the first feature map must be a layer of the backbone"
            )
        check_feature_count(self.anchors, len(self.features))
