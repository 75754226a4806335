"""The networks by name: backbone, feature layers and default boxes of each, as literals.

A preset has variants by input size; `network_config` picks one and turns it into the `NetworkConfig` of one detector,
from which symbol/network.py builds the graph. The mxnet-ssd presets equal symbol/symbol_factory.py of mxnet-ssd, so
that its checkpoints load. Deviation: any height and width; where it asked for the side of a square input, the shorter
side decides here, for a short side is what runs out of cells first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from common.errors import ConfigError, did_you_mean
from symbol.anchors import AnchorConfig, check_feature_count
from symbol.backbones import mobilenet, resnet, ssd7, vgg16_reduced

# A feature layer of this name is an extra block on top of the one before it.
EXTRA = ""

# Sides of the square boxes by map; the last number only ends the progression.
_SCALES_6 = (0.10, 0.20, 0.37, 0.54, 0.71, 0.88, 1.05)
_SCALES_7 = (0.07, 0.15, 0.30, 0.45, 0.60, 0.75, 0.90, 1.05)
# ssd_keras's progression for seven convolutions: 3 cells of the finest map up to the whole image.
_SCALES_SSD7 = (0.08, 0.16, 0.32, 0.64, 0.96)

_RATIOS_3 = (1.0, 2.0, 0.5)
_RATIOS_5 = (1.0, 2.0, 0.5, 3.0, 1.0 / 3)


@dataclass(frozen=True)
class Preset:
    """One variant of a network; `network_config` makes a NetworkConfig of it.

    Attributes:
        backbone: data -> Symbol.
        from_layers: feature layers of the backbone by name, EXTRA for each extra block.
        num_filters: of each extra block's 3x3 convolution, and of normalised layers of the backbone; else -1.
        strides: of each extra block's 3x3 convolution, -1 for layers of the backbone.
        pads: of each extra block's 3x3 convolution, -1 for layers of the backbone.
        scales: sides of the square boxes by map, one more than there are maps.
        ratios: aspect ratios by map.
        normalization: initial scale of the L2 normalisation before a head, -1 for none.
        steps: distance of a map's cells in pixels, () for the image's side / the number of cells.
        steps_for: the only data shape for which `steps` counts, None for all.
        min_side: the variant is for inputs whose shorter side has at least so many pixels.
        std: divides the pixels after the mean is subtracted.
    """

    backbone: Callable
    from_layers: tuple[str, ...]
    num_filters: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    scales: tuple[float, ...]
    ratios: tuple[tuple[float, ...], ...]
    normalization: tuple[float, ...]
    steps: tuple[float, ...] = ()
    steps_for: tuple[int, int] | None = None
    min_side: int = 0
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


_VGG16_300 = Preset(
    backbone=vgg16_reduced.backbone,
    from_layers=("relu4_3", "relu7", EXTRA, EXTRA, EXTRA, EXTRA),
    num_filters=(512, -1, 512, 256, 256, 256),
    strides=(-1, -1, 2, 2, 1, 1),
    pads=(-1, -1, 1, 1, 0, 0),
    scales=_SCALES_6,
    ratios=(_RATIOS_3, _RATIOS_5, _RATIOS_5, _RATIOS_5, _RATIOS_3, _RATIOS_3),
    normalization=(20.0, -1.0, -1.0, -1.0, -1.0, -1.0),
    steps=(8, 16, 32, 64, 100, 300),
    steps_for=(300, 300),
)

# The last map has 2x2 cells at 512 but a step of the whole image: three of its four cells lie outside. Checkpoints
# trained with mxnet-ssd have that built in, so it stays.
_VGG16_512 = replace(
    _VGG16_300,
    from_layers=("relu4_3", "relu7", EXTRA, EXTRA, EXTRA, EXTRA, EXTRA),
    num_filters=(512, -1, 512, 256, 256, 256, 256),
    strides=(-1, -1, 2, 2, 2, 2, 1),
    pads=(-1, -1, 1, 1, 1, 1, 1),
    scales=_SCALES_7,
    ratios=(_RATIOS_3, _RATIOS_5, _RATIOS_5, _RATIOS_5, _RATIOS_5, _RATIOS_3, _RATIOS_3),
    normalization=(20.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0),
    steps=(8, 16, 32, 64, 128, 256, 512),
    steps_for=(512, 512),
    min_side=448,
)

_RESNET50 = Preset(
    backbone=partial(resnet.backbone, num_layers=50),
    from_layers=("_plus12", "_plus15", EXTRA, EXTRA, EXTRA, EXTRA),
    num_filters=(-1, -1, 512, 256, 256, 128),
    strides=(-1, -1, 2, 2, 2, 2),
    pads=(-1, -1, 1, 1, 1, 1),
    scales=_SCALES_6,
    ratios=(_RATIOS_3, _RATIOS_5, _RATIOS_5, _RATIOS_5, _RATIOS_3, _RATIOS_3),
    normalization=(-1.0,) * 6,
)

_RESNET101 = replace(
    _RESNET50,
    backbone=partial(resnet.backbone, num_layers=101),
    from_layers=("_plus29", "_plus32", EXTRA, EXTRA, EXTRA, EXTRA),
)

_MOBILENET = Preset(
    backbone=mobilenet.backbone,
    from_layers=("conv_12_relu", "conv_14_relu", EXTRA, EXTRA, EXTRA, EXTRA, EXTRA),
    num_filters=(-1, -1, 512, 256, 256, 256, 256),
    strides=(-1, -1, 2, 2, 2, 2, 2),
    pads=(-1, -1, 1, 1, 1, 1, 1),
    scales=_SCALES_7,
    ratios=(_RATIOS_3, _RATIOS_5, _RATIOS_5, _RATIOS_5, _RATIOS_5, _RATIOS_3, _RATIOS_3),
    normalization=(-1.0,) * 7,
)

# std 58 (near ImageNet's own, in 0..255) brings the pixels to unit variance, which random weights want.
_SSD7 = Preset(
    backbone=ssd7.backbone,
    from_layers=("relu4", "relu5", "relu6", "relu7"),
    num_filters=(-1, -1, -1, -1),
    strides=(-1, -1, -1, -1),
    pads=(-1, -1, -1, -1),
    scales=_SCALES_SSD7,
    ratios=(_RATIOS_3,) * 4,
    normalization=(-1.0,) * 4,
    steps=(8, 16, 32, 64),
    std=(58.0, 58.0, 58.0),
)

# Variants by falling min_side: the first whose min_side the input reaches is taken.
PRESETS = {
    "vgg16_reduced": (_VGG16_512, _VGG16_300),
    "resnet50": (_RESNET50,),
    "resnet101": (_RESNET101,),
    "mobilenet": (_MOBILENET,),
    "ssd7": (_SSD7,),
}


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that the graph of one detector is built from.

    Attributes:
        network: name of the preset.
        data_shape: (height, width) of the input in pixels.
        num_classes: foreground classes.
        anchors: the default boxes, one entry for each feature map.
        backbone: data -> Symbol.
        from_layers: feature layers of the backbone by name, EXTRA for each extra block.
        num_filters: of each extra block's 3x3 convolution, and of normalised layers of the backbone; else -1.
        strides: of each extra block's 3x3 convolution.
        pads: of each extra block's 3x3 convolution.
        normalization: initial scale of the L2 normalisation before a head, -1 for none.
        mean: of (R, G, B), subtracted from pixels in 0..255.
        std: of (R, G, B), divides after the subtraction.

    Raises:
        ConfigError: a value is out of range, or the lists' lengths differ.
    """

    network: str
    data_shape: tuple[int, int]
    num_classes: int
    anchors: AnchorConfig
    backbone: Callable
    from_layers: tuple[str, ...]
    num_filters: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    normalization: tuple[float, ...]
    mean: tuple[float, float, float] = (123.0, 117.0, 104.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self):
        if self.num_classes < 1:
            raise ConfigError(
                f"num_classes is {self.num_classes}, expected 1 or more (background not counted)"
            )
        for name in ("num_filters", "strides", "pads", "normalization"):
            if len(getattr(self, name)) != len(self.from_layers):
                raise ConfigError(
                    f"network {self.network}: {name} has {len(getattr(self, name))} entries,"
                    f" expected {len(self.from_layers)}, one for each of from_layers"
                )
        check_feature_count(self.anchors, len(self.from_layers))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the feature layers; the heads' parameter names begin with them."""
        return tuple(
            f"multi_feat_{index}_conv_3x3_relu" if name == EXTRA else name
            for index, name in enumerate(self.from_layers)
        )


def network_names() -> tuple[str, ...]:
    """Return the names of the networks there are."""
    return tuple(PRESETS)


def network_config(
    network: str, data_shape: Sequence[int], num_classes: int, anchors: AnchorConfig | None = None
) -> NetworkConfig:
    """Return the configuration of one detector.

    Args:
        network: one of `network_names()`.
        data_shape: (height, width) of the input in pixels.
        num_classes: foreground classes.
        anchors: default boxes in place of the preset's, one list of sizes for each feature map.

    Raises:
        ConfigError: the network is unknown, or a value is out of range.
    """
    if network not in PRESETS:
        raise ConfigError(f"network {network!r} is unknown{did_you_mean(network, PRESETS)}")
    shape = _check_shape(data_shape)
    preset = next(variant for variant in PRESETS[network] if min(shape) >= variant.min_side)
    return NetworkConfig(
        network=network,
        data_shape=shape,
        num_classes=int(num_classes),
        anchors=anchors or _preset_anchors(preset, shape),
        backbone=preset.backbone,
        from_layers=preset.from_layers,
        num_filters=preset.num_filters,
        strides=preset.strides,
        pads=preset.pads,
        normalization=preset.normalization,
        std=preset.std,
    )


def _check_shape(data_shape: Sequence[int]) -> tuple[int, int]:
    try:
        height, width = (int(side) for side in data_shape)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"data_shape: expected (height, width) in pixels, found {data_shape!r}") from error
    if min(height, width) < 1:
        raise ConfigError(f"data_shape: expected a height and width of 1 or more, found {height}x{width}")
    return height, width


def _preset_anchors(preset: Preset, shape: tuple[int, int]) -> AnchorConfig:
    """Return a preset's default boxes for an input of that shape."""
    pairs = zip(preset.scales, preset.scales[1:])
    steps = preset.steps if preset.steps_for in (None, shape) else ()
    return AnchorConfig(
        # The second square lies between this map's scale and the next one's (paper, section 2.2).
        sizes=tuple((scale, math.sqrt(scale * following)) for scale, following in pairs),
        ratios=preset.ratios,
        steps=tuple((step / shape[0], step / shape[1]) for step in steps),
    )
