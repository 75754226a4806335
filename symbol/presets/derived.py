"""Presets that are derived: from a backbone alone, for any input, extra blocks and default boxes by the paper's rule.

- Extra blocks halve the last map down to 1x1, or 1x2 and 1x3 where the input is not square.
- Scales rise linearly from 0.2 (0.15 from 448 pixels on) to 0.9 from the second map on; the first has half of the
  smallest. They count from the shorter side, so that no box of a portrait input is wider than the image.
- The first map and the last two have the ratios 1, 2, 1/2, the others 3 and 1/3 as well.
- Cells are spread evenly over the image: their distance is its side / their number.

Source: SSD paper, section 2.2 and 3; 512-pixel inputs: section 3.3. Deviations: linear without the paper's rounding to
whole percents; the progression ends at 1.05 for every number of maps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from common.errors import ConfigError
from symbol.anchors import AnchorConfig
from symbol.config import Feature, NetworkConfig
from symbol.network import feature_maps
from symbol.presets.preset import RATIOS_3, RATIOS_5, Preset, plain_extras
from symbol.scales import paper_scales

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
_FILTERS = (512, 256, 256, 128)  # mxnet-ssd's; the last goes on
_FEWEST_FILTERS = 128
_LARGEST, _END = 0.9, 1.05
_LARGE_INPUT = 448
# Large, and multiples of little, rounded up or down: what takes all of these is only ever too small.
_ODD = ((1000, 1003), (1010, 1021), (1021, 1000))
_SQUARES = ((320, 320), (224, 224), (32, 32))  # inputs of networks that do not take every one


@dataclass(frozen=True)
class Base:
    """What is known of a network before the rest is derived.

    Attributes:
        network: its name.
        backbone: data -> Symbol.
        layers: the layers that the heads read, the finest first.
        source: where it comes from.
        norm: before the first head, see `Feature`.
        data_shape: (height, width) that it is made for.
        mean: of (R, G, B), subtracted from pixels in 0..255.
        std: divides after the subtraction.
        extras: number of extra blocks; None derives it.
        scales: one more than there are maps; () derives them.
        ratios: by map; () derives them.
        steps: by map, in pixels; () spreads the cells evenly.
        rate: base learning rate from random weights.
    """

    network: str
    backbone: Callable
    layers: tuple[str, ...]
    source: str
    norm: str = "none"
    data_shape: tuple[int, int] = (300, 300)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    extras: int | None = None
    scales: tuple[float, ...] = ()
    ratios: tuple[tuple[float, ...], ...] = ()
    steps: tuple[float, ...] = ()
    rate: float | None = None


def derive(base: Base, shape: tuple[int, int]) -> Preset:
    """Return the preset of a network for an input of that shape.

    Args:
        base: what is known.
        shape: (height, width) of the input in pixels.

    Raises:
        ConfigError: the backbone lacks a layer, the input is too small, a layer gives no map, the maps are not from
            fine to coarse, or what is stated does not fit their number.
    """
    own = tuple(
        Feature(layer, norm="none" if index else base.norm) for index, layer in enumerate(base.layers)
    )
    maps = _maps(base, own, shape)
    blocks = extra_blocks(maps[-1], base.extras)
    count = len(own) + len(blocks)
    for name, found, expected in (
        ("scales", base.scales, count + 1),
        ("ratios", base.ratios, count),
        ("steps", base.steps, count),
    ):
        if found and len(found) != expected:
            raise ConfigError(
                f"network {base.network}: {name} has {len(found)} entries, expected {expected} for its {count} maps"
            )
    return Preset(
        backbone=base.backbone,
        features=(*own, *plain_extras(len(own), blocks)),
        scales=base.scales or scales(count, shape),
        ratios=base.ratios or ratios(count),
        steps=base.steps,
        source=base.source,
        data_shape=base.data_shape,
        mean=base.mean,
        std=base.std,
        rate=base.rate,
    )


def _maps(base: Base, own: tuple[Feature, ...], shape: tuple[int, int]) -> list[tuple[int, int, int]]:
    """Return (channels, height, width) of the backbone's feature maps."""
    try:
        maps = _maps_at(base, own, shape)
    except ConfigError as error:
        raise _other_input(base, own, shape) or error from error
    for layer, found in zip(base.layers, maps):
        if len(found) != 3:
            raise ConfigError(
                f"network {base.network}: layer {layer} gives {(1, *found)} for one image, expected a map of (1,"
                " channels, height, width)"
            )
    for layer, (_, *finer), (_, *coarser) in zip(base.layers[1:], maps, maps[1:]):
        if finer[0] < coarser[0] or finer[1] < coarser[1]:
            raise ConfigError(
                f"network {base.network}: the map of {layer} has {coarser[0]}x{coarser[1]} cells, the one before"
                f" {finer[0]}x{finer[1]}: give the layers from the finest to the coarsest"
            )
    return maps


def _maps_at(base: Base, own: tuple[Feature, ...], shape: tuple[int, int]) -> list[tuple[int, int, int]]:
    anchors = AnchorConfig(((_LARGEST,),) * len(own))
    return feature_maps(NetworkConfig(base.network, shape, 1, anchors, base.backbone, own))


def _fits(base: Base, own: tuple[Feature, ...], shape: tuple[int, int]) -> bool:
    try:
        return bool(_maps_at(base, own, shape))
    except ConfigError:
        return False


def _other_input(base: Base, own: tuple[Feature, ...], shape: tuple[int, int]) -> ConfigError | None:
    """Return the error for a network that takes some inputs only, however large; None for any other network."""
    if all(_fits(base, own, odd) for odd in _ODD):
        return None
    rounded = [tuple(-(-side // multiple) * multiple for side in shape) for multiple in (32, 64)]
    fitting = next((other for other in (*rounded, *_SQUARES) if _fits(base, own, other)), None)
    if fitting is None:
        return None
    return ConfigError(
        f"data shape {shape[0]}x{shape[1]} does not fit {base.network}, whose branches meet only where maps are of one"
        f" size: {fitting[0]}x{fitting[1]} does: give --data-shape {fitting[0]},{fitting[1]}"
    )


def default_input(base: Base) -> tuple[int, int]:
    """Return (height, width) that a network takes where nobody asks for another: 300x300 where it can."""
    own = tuple(Feature(layer) for layer in base.layers)
    return next((shape for shape in (base.data_shape, *_SQUARES) if _fits(base, own, shape)), base.data_shape)


def extra_blocks(last: tuple[int, int, int], count: int | None = None) -> tuple[tuple[int, int, int], ...]:
    """Return (filters, stride, pad) of the extra blocks on top of a map.

    Args:
        last: (channels, height, width) of the map.
        count: how many; None for as many as lead to one row or column of at most 3 cells.
    """
    channels, height, width = last
    most = max(_FEWEST_FILTERS, channels)  # no block is wider than what it reads
    blocks: list[tuple[int, int, int]] = []
    while len(blocks) < count if count is not None else (max(height, width) > 3 or min(height, width) > 1):
        blocks.append((min(_FILTERS[min(len(blocks), len(_FILTERS) - 1)], most), 2, 1))
        height, width = (height + 1) // 2, (width + 1) // 2
    return tuple(blocks)


def scales(count: int, shape: tuple[int, int]) -> tuple[float, ...]:
    """Return the scales of so many maps and the end of the progression, relative to the height.

    Args:
        count: of maps.
        shape: (height, width) of the input in pixels.
    """
    smallest = 0.15 if min(shape) >= _LARGE_INPUT else 0.2
    if count == 1:
        rising = [(smallest + _LARGEST) / 2]
    elif count < 4:  # too few for a map of its own for small objects
        rising = list(paper_scales(smallest, _LARGEST, count)[:-1])
    else:
        rising = [smallest / 2, *paper_scales(smallest, _LARGEST, count - 1)[:-1]]
    shorter = min(1.0, shape[1] / shape[0])
    return tuple(round(float(scale) * shorter, 6) for scale in (*rising, _END))


def ratios(count: int) -> tuple[tuple[float, ...], ...]:
    """Return the aspect ratios of so many maps."""
    if count < 4:
        return (RATIOS_5,) * count
    return (RATIOS_3, *(RATIOS_5,) * (count - 3), RATIOS_3, RATIOS_3)
