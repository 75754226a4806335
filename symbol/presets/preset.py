"""What a preset is, and how its scales become default boxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from symbol import extras
from symbol.anchors import AnchorConfig
from symbol.config import Feature
from symbol.scales import square_sizes

RATIOS_3 = (1.0, 2.0, 0.5)
RATIOS_5 = (1.0, 2.0, 0.5, 3.0, 1.0 / 3)


@dataclass(frozen=True)
class Preset:
    """One variant of a network; `network_config` makes a NetworkConfig of it.

    Attributes:
        backbone: data -> Symbol.
        features: the feature maps, the finest first.
        scales: sides of the square boxes by map, relative to the height; one more than there are maps, the last only
            ends the progression.
        ratios: aspect ratios by map.
        source: the system that the network comes from, and its name there.
        steps: distance of a map's cells in pixels, () for the image's side / the number of cells.
        steps_for: the only data shape for which `steps` counts, None for all.
        clamp: see `AnchorConfig`.
        order: see `AnchorConfig`.
        exact_aspect: see `AnchorConfig`.
        variances: of the box encoding.
        digits: decimals that the second squares' sides are rounded to; None leaves them whole.
        data_shape: (height, width) that the network is made for.
        min_side: the variant is for inputs whose shorter side has at least so many pixels.
        mean: of (R, G, B), subtracted from pixels in 0..255.
        std: divides the pixels after the mean is subtracted.
        rate: base learning rate from random weights (SGD); None where it wants weights to start from.
        widen: (preset, width multiplier) -> preset; None where the backbone has one width.
    """

    backbone: Callable
    features: tuple[Feature, ...]
    scales: tuple[float, ...]
    ratios: tuple[tuple[float, ...], ...]
    source: str
    steps: tuple[float, ...] = ()
    steps_for: tuple[int, int] | None = None
    clamp: bool = False
    order: tuple[int, ...] = ()
    exact_aspect: bool = False
    variances: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
    digits: int | None = None
    data_shape: tuple[int, int] = (300, 300)
    min_side: int = 0
    mean: tuple[float, float, float] = (123.0, 117.0, 104.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    rate: float | None = None
    widen: Callable | None = None

    def anchors(self, shape: tuple[int, int]) -> AnchorConfig:
        """Return the default boxes for an input of that shape.

        Args:
            shape: (height, width) in pixels.
        """
        steps = self.steps if self.steps_for in (None, shape) else ()
        return AnchorConfig(
            sizes=self._sizes(),
            ratios=self.ratios,
            steps=tuple((step / shape[0], step / shape[1]) for step in steps),
            clamp=self.clamp,
            order=self.order,
            exact_aspect=self.exact_aspect,
            variances=self.variances,
        )

    def _sizes(self) -> tuple[tuple[float, float], ...]:
        sizes = square_sizes(self.scales)
        if self.digits is None:
            return sizes
        return tuple((first, round(second, self.digits)) for first, second in sizes)


def plain_extras(first: int, blocks: tuple[tuple[int, int, int], ...]) -> tuple[Feature, ...]:
    """Return mxnet-ssd's extra blocks.

    Args:
        first: index of the first among the feature maps; the blocks are called multi_feat_{index}.
        blocks: (filters, stride, pad) of each block's 3x3 convolution.
    """
    return tuple(
        Feature(f"multi_feat_{index}", partial(extras.plain, filters=filters, stride=stride, pad=pad))
        for index, (filters, stride, pad) in enumerate(blocks, start=first)
    )
