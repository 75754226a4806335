"""Options that every network has beside its default boxes, and what they make of a preset."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

import numpy as np

from common.errors import ConfigError, did_you_mean
from common.settings import from_known
from symbol.config import NORMS, Feature
from symbol.presets.preset import Preset

HEAD_STYLES = {"plain": "plain", "separable": "separable_bn"}
_MOST_EXTRAS = 12
_WIDTHS = (0.1, 4.0)


@dataclass(frozen=True)
class NetworkOptions:
    """Changes to a preset; what is empty stays as the preset has it.

    Attributes:
        heads: "plain" or "separable" heads on all feature maps.
        norm: "none", "l2" or "batch" before the heads that have a normalisation (before the first where none has).
        extra_layers: number of extra blocks; the default boxes' scales are spread anew over the maps.
        width_mult: multiplies the channels of a backbone that is made for it.
        from_layers: feature layers of the backbone by name, in place of those chosen.

    Raises:
        ConfigError: a value cannot be.
    """

    heads: str = ""
    norm: str = ""
    extra_layers: int | None = None
    width_mult: float = 1.0
    from_layers: tuple[str, ...] = ()

    def __post_init__(self):
        for name, known in (("heads", tuple(HEAD_STYLES)), ("norm", NORMS)):
            value = getattr(self, name)
            if value and value not in known:
                raise ConfigError(f"{name} {value!r} is unknown{did_you_mean(value, known)}")
        if self.extra_layers is not None and not 0 <= self.extra_layers <= _MOST_EXTRAS:
            raise ConfigError(f"extra_layers is {self.extra_layers}, expected 0 to {_MOST_EXTRAS}")
        if not _WIDTHS[0] <= self.width_mult <= _WIDTHS[1]:
            raise ConfigError(f"width_mult is {self.width_mult}, expected {_WIDTHS[0]} to {_WIDTHS[1]}")
        object.__setattr__(self, "from_layers", tuple(self.from_layers))

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
        preset = _widened(preset, options.width_mult, network)
    features = preset.features
    if options.from_layers:
        features = _from_layers(features, options.from_layers)
    if options.extra_layers is not None:
        features = _extra_layers(features, options.extra_layers, network)
    if options.norm:
        features = _normalised(features, options.norm)
    if options.heads:
        features = tuple(dataclasses.replace(f, head=HEAD_STYLES[options.heads]) for f in features)
    return _spread(dataclasses.replace(preset, features=features), len(preset.features))


def _widened(preset: Preset, width: float, network: str) -> Preset:
    if preset.widen is None:
        raise ConfigError(f"network {network}: its backbone has one width: leave --width-mult out")
    return preset.widen(preset, width)


def _from_layers(features: tuple[Feature, ...], names: tuple[str, ...]) -> tuple[Feature, ...]:
    """Return the features with other layers of the backbone; the extra blocks follow the last."""
    own = [feature for feature in features if feature.extra is None]
    taken = [
        dataclasses.replace(own[min(index, len(own) - 1)], layer=name) for index, name in enumerate(names)
    ]
    return (*taken, *(feature for feature in features if feature.extra is not None))


def _extra_layers(features: tuple[Feature, ...], count: int, network: str) -> tuple[Feature, ...]:
    """Return the features with so many extra blocks: the last ones left out, or the last one repeated."""
    base = [feature for feature in features if feature.extra is None]
    extras = [feature for feature in features if feature.extra is not None][:count]
    while len(extras) < count:
        if not extras:
            raise ConfigError(f"network {network}: it has no extra block to repeat: leave --extra-layers out")
        extras.append(_next(extras[-1]))
    return (*base, *extras)


def _next(feature: Feature) -> Feature:
    """Return another extra block of the same kind, its number one higher."""
    layer = re.sub(r"\d+(?=\D*$)", lambda number: str(int(number.group()) + 1), feature.layer)
    return dataclasses.replace(feature, layer=layer)


def _normalised(features: tuple[Feature, ...], norm: str) -> tuple[Feature, ...]:
    own = [feature.norm != "none" for feature in features]
    where = own if any(own) else [index == 0 for index in range(len(features))]
    return tuple(dataclasses.replace(f, norm=norm) if chosen else f for f, chosen in zip(features, where))


def _spread(preset: Preset, maps_before: int) -> Preset:
    """Return the preset with scales and ratios for as many maps as it has now."""
    maps = len(preset.features)
    if maps == maps_before:
        return preset
    places = np.linspace(0, maps_before, maps + 1)
    scales = tuple(float(s) for s in np.interp(places, range(len(preset.scales)), preset.scales))
    nearest = [round(index * (maps_before - 1) / max(1, maps - 1)) for index in range(maps)]
    return dataclasses.replace(
        preset, scales=scales, ratios=tuple(preset.ratios[i] for i in nearest), steps=(), order=()
    )
