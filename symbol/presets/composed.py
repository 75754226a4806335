"""From the name of a network that no file of presets has to what its preset is derived from.

`gluon:NAME` is a classification network of Gluon's (symbol/gluon_network.py), `PATH.py` or `PATH.py:FUNCTION` a
backbone from outside (symbol/outside.py).
"""

from __future__ import annotations

from functools import partial

from common.mx import mx
from symbol import gluon_network, outside
from symbol.feature_choice import has_normalisation
from symbol.presets.derived import Base, default_input, derive
from symbol.presets.preset import Preset

_STATED = {  # in a file -> in `Base`
    "DATA_SHAPE": "data_shape",
    "MEAN": "mean",
    "STD": "std",
    "EXTRAS": "extras",
    "SCALES": "scales",
    "RATIOS": "ratios",
    "STEPS": "steps",
    "RATE": "rate",
}


def is_composed(network: str) -> bool:
    """Tell whether a name is not of a preset but of a backbone that becomes one."""
    return gluon_network.is_gluon(network) or outside.is_outside(network)


def composed_preset(
    network: str, shape: tuple[int, int], from_layers: tuple[str, ...] = (), extra_layers: int | None = None
) -> Preset:
    """Return the preset of a backbone for an input of that shape.

    Args:
        network: `gluon:NAME`, `PATH.py` or `PATH.py:FUNCTION`.
        shape: (height, width) of the input in pixels.
        from_layers: the layers that the heads read, the finest first; () takes the network's own.
        extra_layers: number of extra blocks; None takes the network's own.

    Raises:
        ConfigError: there is no such network, it lacks a layer, or the input does not fit it.
        DependencyError: gluoncv is not installed.
    """
    return derive(_base(network, min(shape), from_layers, extra_layers), shape)


def composed_shape(network: str) -> tuple[int, int]:
    """Return the (height, width) that a backbone is made for: what its file says, else 300x300 where it fits.

    Raises:
        ConfigError: there is no such network.
        DependencyError: gluoncv is not installed.
    """
    base = _base(network, gluon_network.FINE_STRIDE_BELOW)
    stated = outside.is_outside(network) and "DATA_SHAPE" in outside.load(network).stated
    return base.data_shape if stated else default_input(base)


def _base(
    network: str, shorter_side: int, from_layers: tuple[str, ...] = (), extra_layers: int | None = None
) -> Base:
    if outside.is_outside(network):
        return _outside_base(network, from_layers, extra_layers)
    backbone = partial(gluon_network.backbone, network=network)
    layers = from_layers or gluon_network.feature_layers(network, shorter_side)
    source = f"Gluon model zoo {network[len(gluon_network.PREFIX) :]}"
    # The paper's conv4_3: without normalising layers its values are far larger than those of the maps above.
    norm = "none" if has_normalisation(backbone(mx.sym.Variable("data"))) else "l2"
    return Base(network, backbone, layers, source, norm=norm, extras=extra_layers)


def _outside_base(network: str, from_layers: tuple[str, ...], extra_layers: int | None) -> Base:
    """Return the base of a file; asked for other maps than its own, it loses what it states for each map."""
    found = outside.load(network)
    stated = {_STATED[name]: value for name, value in found.stated.items()}
    if from_layers or extra_layers is not None:
        for name in ("scales", "ratios", "steps"):
            stated.pop(name, None)
    if extra_layers is not None:
        stated["extras"] = extra_layers
    layers = from_layers or outside.layer_names(found)
    return Base(network, partial(outside.backbone, outside=found), layers, f"file {network}", **stated)
