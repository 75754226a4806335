"""The networks by name: backbone, feature layers and default boxes of each, as literals, one file for each system.

A preset has variants by input size; `network_config` picks one and turns it into the `NetworkConfig` of one detector,
from which symbol/network.py builds the graph. Deviation from mxnet-ssd: any height and width; where it asked for the
side of a square input, the shorter side decides here, for a short side is what runs out of cells first.
Networks that are in no table (`gluon:NAME`, `PATH.py`) have their preset derived for the input, by composed.py.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence

from common.errors import ConfigError, DependencyError, did_you_mean
from symbol.anchors import AnchorConfig
from symbol.config import NetworkConfig
from symbol.gluon_network import PREFIX, gluon_names
from symbol.presets import keras, mxnet_ssd, own, pytorch_ssd, ssd_pytorch, tensorflow
from symbol.presets.composed import composed_preset, composed_shape, is_composed
from symbol.presets.options import NetworkOptions, with_options
from symbol.presets.preset import Preset

# Variants by falling min_side: the first whose min_side the input reaches is taken.
PRESETS = {
    **own.PRESETS,
    **mxnet_ssd.PRESETS,
    **keras.PRESETS,
    **tensorflow.PRESETS,
    **ssd_pytorch.PRESETS,
    **pytorch_ssd.PRESETS,
}


def network_names() -> tuple[str, ...]:
    """Return the names of the presets there are."""
    return tuple(PRESETS)


def widening_names() -> tuple[str, ...]:
    """Return the names of the presets whose backbone has a width multiplier."""
    return tuple(name for name, variants in PRESETS.items() if all(variant.widen for variant in variants))


def default_shape(network: str) -> tuple[int, int]:
    """Return the (height, width) that a network is made for, where nobody says another.

    Raises:
        ConfigError: the network is unknown.
    """
    return composed_shape(network) if is_composed(network) else _variants(network)[-1].data_shape


def find_preset(network: str, shape: tuple[int, int]) -> Preset:
    """Return the variant of a network that is for an input of that shape.

    Args:
        network: its name.
        shape: (height, width) of the input in pixels.

    Raises:
        ConfigError: the network is unknown.
    """
    if is_composed(network):
        return composed_preset(network, shape)
    return next(variant for variant in _variants(network) if min(shape) >= variant.min_side)


def is_known(network: str) -> bool:
    """Tell whether a name is that of a network: a preset, one of Gluon's, or a file that is there and has one."""
    if not is_composed(network):
        return network in PRESETS
    try:
        return bool(composed_shape(network))
    except ConfigError:
        return False


def _variants(network: str) -> tuple[Preset, ...]:
    if network not in PRESETS:
        raise ConfigError(f"network {network!r} is unknown{_hint(network)}")
    return PRESETS[network]


def _hint(network: str) -> str:
    """Return "; did you mean X?" over the presets and Gluon's networks, of which a name is easily given bare."""
    try:
        others = gluon_names()
    except DependencyError:
        others = ()
    if network in others:
        return f"; did you mean {PREFIX}{network}?"
    found = did_you_mean(network, PRESETS)
    close = difflib.get_close_matches(network.lower(), others, n=1)
    if "did you mean" in found or not close:
        return (
            f"{found}; {PREFIX}NAME takes one of Gluon's classification networks, PATH.py a file of your own"
        )
    return f"; did you mean {PREFIX}{close[0]}?"


def _chosen_preset(
    network: str, shape: tuple[int, int], options: NetworkOptions
) -> tuple[Preset, NetworkOptions]:
    """Return the preset of a network, and what of the options is still to be done to it."""
    if not is_composed(network):
        return find_preset(network, shape), options
    preset = composed_preset(network, shape, options.from_layers, options.extra_layers)
    return preset, dataclasses.replace(options, from_layers=(), extra_layers=None)


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
        network: one of `network_names()`, `gluon:NAME`, `PATH.py` or `PATH.py:FUNCTION`.
        data_shape: (height, width) of the input in pixels.
        num_classes: foreground classes.
        anchors: default boxes in place of the preset's, one list of sizes for each feature map.
        options: other changes to the preset.

    Raises:
        ConfigError: the network is unknown, or a value is out of range.
    """
    shape = _check_shape(data_shape)
    if options.width_mult != 1 and network not in widening_names():
        raise ConfigError(
            f"network {network}: its backbone has one width: leave --width-mult out; {', '.join(widening_names())} have"
            " more, gluon:mobilenet0.5 and the like are networks of their own"
        )
    preset = with_options(*_chosen_preset(network, shape, options), network)
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
