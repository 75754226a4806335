"""The networks by name: backbone, feature layers and default boxes of each, as literals, one file for each system.

A preset has variants by input size; `network_config` picks one and turns it into the `NetworkConfig` of one detector,
from which symbol/network.py builds the graph. Deviation from mxnet-ssd: any height and width; where it asked for the
side of a square input, the shorter side decides here, for a short side is what runs out of cells first.
"""

from __future__ import annotations

from collections.abc import Sequence

from common.errors import ConfigError, did_you_mean
from symbol.anchors import AnchorConfig
from symbol.config import NetworkConfig
from symbol.presets import keras, mxnet_ssd, own, pytorch_ssd, ssd_pytorch
from symbol.presets.options import NetworkOptions, with_options
from symbol.presets.preset import Preset

# Variants by falling min_side: the first whose min_side the input reaches is taken.
PRESETS = {
    **own.PRESETS,
    **mxnet_ssd.PRESETS,
    **keras.PRESETS,
    **ssd_pytorch.PRESETS,
    **pytorch_ssd.PRESETS,
}


def network_names() -> tuple[str, ...]:
    """Return the names of the presets there are."""
    return tuple(PRESETS)


def default_shape(network: str) -> tuple[int, int]:
    """Return the (height, width) that a network is made for, where nobody says another.

    Raises:
        ConfigError: the network is unknown.
    """
    return _variants(network)[-1].data_shape


def find_preset(network: str, shape: tuple[int, int]) -> Preset:
    """Return the variant of a network that is for an input of that shape.

    Args:
        network: its name.
        shape: (height, width) of the input in pixels.

    Raises:
        ConfigError: the network is unknown.
    """
    return next(variant for variant in _variants(network) if min(shape) >= variant.min_side)


def _variants(network: str) -> tuple[Preset, ...]:
    if network not in PRESETS:
        raise ConfigError(f"network {network!r} is unknown{did_you_mean(network, PRESETS)}")
    return PRESETS[network]


def network_config(
    network: str,
    data_shape: Sequence[int],
    num_classes: int,
    anchors: AnchorConfig | None = None,
    *,
    options: NetworkOptions = NetworkOptions(),  # noqa: B008 (frozen)
) -> NetworkConfig:
    """Return the configuration of one detector.

    Args:
        network: one of `network_names()`.
        data_shape: (height, width) of the input in pixels.
        num_classes: foreground classes.
        anchors: default boxes in place of the preset's, one list of sizes for each feature map.
        options: other changes to the preset.

    Raises:
        ConfigError: the network is unknown, or a value is out of range.
    """
    shape = _check_shape(data_shape)
    preset = with_options(find_preset(network, shape), options, network)
    return NetworkConfig(
        network=network,
        data_shape=shape,
        num_classes=int(num_classes),
        anchors=anchors or preset.anchors(shape),
        backbone=preset.backbone,
        features=preset.features,
        mean=preset.mean,
        std=preset.std,
        source=preset.source,
        rate=preset.rate,
    )


def _check_shape(data_shape: Sequence[int]) -> tuple[int, int]:
    try:
        height, width = (int(side) for side in data_shape)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"data_shape: expected (height, width) in pixels, found {data_shape!r}") from error
    if min(height, width) < 1:
        raise ConfigError(f"data_shape: expected a height and width of 1 or more, found {height}x{width}")
    return height, width
