"""Options that every network has beside its default boxes, and what they make of a preset.

Options change the feature maps and their heads; the default boxes follow: scales are spread anew over another number
of maps, and steps that a preset states stay only where the maps are those that they were stated for.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from functools import partial

import numpy as np

from common.errors import ConfigError, did_you_mean
from common.settings import from_known
from symbol.config import NORMS, Feature
from symbol.presets.preset import Preset, plain_extras

HEAD_STYLES = ("plain", "separable")
_MOST_EXTRAS = 12
_WIDTHS = (0.1, 4.0)
_HALVING = {"stride": 2, "pad": 1, "side": 3}  # of a block's main convolution: it fits a map of any size
_NEW_EXTRA = (128, 2, 1)  # filters, stride, pad of the block that a network without extra blocks gets


@dataclass(frozen=True)
class NetworkOptions:
    """Changes to a preset; what is empty stays as the preset has it.

    Attributes:
        heads: "plain" makes all heads 3x3 convolutions, "separable" those that are.
        norm: "none", "l2" or "batch" before the heads that have a normalisation (before the first where none has).
        extra_layers: number of extra blocks; the default boxes' scales are spread anew over the maps.
        width_mult: multiplies the channels of a backbone that is made for it.
        from_layers: feature layers of the backbone by name, the finest first, in place of those chosen.

    Raises:
        ConfigError: a value cannot be.
    """

    heads: str = ""
    norm: str = ""
    extra_layers: int | None = None
    width_mult: float = 1.0
    from_layers: tuple[str, ...] = ()

    def __post_init__(self):
        for name, known in (("heads", HEAD_STYLES), ("norm", NORMS)):
            value = getattr(self, name)
            if value and value not in known:
                raise ConfigError(f"{name} {value!r} is unknown{did_you_mean(value, known)}")
        extras, width = self.extra_layers, self.width_mult
        if extras is not None and not (type(extras) is int and 0 <= extras <= _MOST_EXTRAS):
            raise ConfigError(f"extra_layers is {extras!r}, expected a whole number from 0 to {_MOST_EXTRAS}")
        if isinstance(width, bool) or not isinstance(width, (int, float)) or not _in_range(width):
            raise ConfigError(f"width_mult is {width!r}, expected a number from {_WIDTHS[0]} to {_WIDTHS[1]}")
        if isinstance(self.from_layers, str) or not all(isinstance(name, str) for name in self.from_layers):
            raise ConfigError(f"from_layers is {self.from_layers!r}, expected names of layers")
        layers = tuple(self.from_layers)
        twice = sorted({name for name in layers if layers.count(name) > 1 or not name})
        if twice:
            raise ConfigError(
                f"from_layers has the layer {twice[0]!r} twice, or without a name: give each once"
            )
        object.__setattr__(self, "from_layers", layers)

    def to_dict(self) -> dict:
        """Return what differs from the preset, as JSON values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values = {name: value for name, value in values.items() if value != getattr(_NONE, name)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: dict) -> NetworkOptions:
        """Make options from JSON values, as `to_dict` gives them.

        Raises:
            ConfigError: an unknown or impossible option.
        """
        return from_known(cls, values, "network options")


def _in_range(width: float) -> bool:
    return math.isfinite(width) and _WIDTHS[0] <= width <= _WIDTHS[1]


_NONE = NetworkOptions()


def with_options(preset: Preset, options: NetworkOptions, network: str) -> Preset:
    """Return a preset with the options applied.

    Args:
        preset: of the network.
        options: what to change.
        network: its name, for messages.

    Raises:
        ConfigError: the network does not have what an option asks for.
    """
    if options.width_mult != 1:
        preset = preset.widen(preset, options.width_mult)
    features = preset.features
    if options.from_layers:
        features = _from_layers(features, options.from_layers)
    if options.extra_layers is not None:
        features = _extra_layers(features, options.extra_layers)
    if options.norm:
        features = _normalised(features, options.norm)
    if options.heads:
        features = tuple(_with_head(feature, options.heads) for feature in features)
    return _refit(preset, features)


def _backbones(features: tuple[Feature, ...]) -> list[Feature]:
    """Return the features that are layers of the backbone."""
    return [feature for feature in features if feature.extra is None]


def _from_layers(features: tuple[Feature, ...], names: tuple[str, ...]) -> tuple[Feature, ...]:
    """Return the features with other layers of the backbone; the extra blocks follow the last.

    A layer that is a feature already keeps its normalisation and its kind of head. A new one has the kind of head of
    the feature in its place, and its normalisation only where it comes first: there the values are largest.
    """
    own = _backbones(features)
    known = {feature.layer: feature for feature in own}
    taken = []
    for index, name in enumerate(names):
        like = own[min(index, len(own) - 1)]
        new = dataclasses.replace(like, layer=name, norm=like.norm if index == 0 else "none")
        taken.append(known.get(name, new))
    return (*taken, *(feature for feature in features if feature.extra is not None))


def _extra_layers(features: tuple[Feature, ...], count: int) -> tuple[Feature, ...]:
    """Return the features with so many extra blocks: the last ones left out, or the last one repeated."""
    base = _backbones(features)
    extras = [feature for feature in features if feature.extra is not None][:count]
    if count and not extras:
        (block,) = plain_extras(len(base), (_NEW_EXTRA,))
        extras.append(dataclasses.replace(block, head=base[-1].head))
    while len(extras) < count:
        extras.append(_next(extras[-1], {feature.layer for feature in (*base, *extras)}))
    return (*base, *extras)


def _next(feature: Feature, used: set[str]) -> Feature:
    """Return another extra block of the same kind, its number one higher, that halves its map.

    The last block of a network may be made for the one map it gets: without padding, or with a larger kernel.
    """
    layer = feature.layer if re.search(r"\d", feature.layer) else f"{feature.layer}_1"
    while layer in used:
        layer = re.sub(r"\d+(?=\D*$)", lambda number: str(int(number.group()) + 1), layer)
    extra = feature.extra
    if isinstance(extra, partial):
        halving = {name: value for name, value in _HALVING.items() if name in extra.keywords}
        extra = partial(extra, **halving)
    return dataclasses.replace(feature, layer=layer, extra=extra)


def _normalised(features: tuple[Feature, ...], norm: str) -> tuple[Feature, ...]:
    own = [feature.norm != "none" for feature in features]
    where = own if any(own) else [index == 0 for index in range(len(features))]
    return tuple(dataclasses.replace(f, norm=norm) if chosen else f for f, chosen in zip(features, where))


def _with_head(feature: Feature, style: str) -> Feature:
    """Return the feature with a head of that style; one that is not plain already is light enough for "separable"."""
    if style == "separable" and feature.head != "plain":
        return feature
    return dataclasses.replace(feature, head="separable_bn" if style == "separable" else "plain")


def _refit(preset: Preset, features: tuple[Feature, ...]) -> Preset:
    """Return the preset with other features, and scales, ratios and steps for as many maps as they are."""
    maps, before = len(features), len(preset.features)
    layers = [feature.layer for feature in features]
    # Steps belong to strides: they count for the same maps, and for the first of them.
    steps = preset.steps if layers == [f.layer for f in preset.features[:maps]] else ()
    preset = dataclasses.replace(preset, features=features, steps=steps[:maps])
    if maps == before:
        return preset
    places = np.linspace(0, before, maps + 1)
    scales = tuple(float(s) for s in np.interp(places, range(len(preset.scales)), preset.scales))
    nearest = [round(index * (before - 1) / max(1, maps - 1)) for index in range(maps)]
    ratios = tuple(preset.ratios[index] for index in nearest)
    # An order names the first boxes of every cell, which has two squares and the other ratios.
    order = preset.order if all(len(preset.order) <= len(entry) + 1 for entry in ratios) else ()
    return dataclasses.replace(preset, scales=scales, ratios=ratios, order=order)
