"""From a network's scales, one for each feature map, to the sizes of its square default boxes.

Source: SSD paper, section 2.2. Deviation: the paper's rule is applied to all feature maps alike; Caffe's scripts leave
the finest map out of it, give that one half of the least scale, and round to whole percents.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from common.errors import ConfigError


def paper_scales(least: float, most: float, maps: int) -> tuple[float, ...]:
    """Return evenly spaced scales: `least` for the finest map, `most` for the coarsest, and one more beyond.

    Args:
        least: side of a square default box relative to the image's height.
        most: the same, of the coarsest map.
        maps: number of feature maps.

    Returns:
        maps + 1 scales; the last only ends the progression (see `square_sizes`).

    Raises:
        ConfigError: least and most are not 0 < least < most.
    """
    if not 0 < least < most < math.inf:
        raise ConfigError(f"scales: expected 0 < least < most, found {least:g} and {most:g}")
    step = (most - least) / max(1, maps - 1)
    return tuple(least + step * index for index in range(maps + 1))


def square_sizes(scales: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Return the sides of each map's two square default boxes.

    Args:
        scales: one more than there are maps.

    Returns:
        For each map its own scale, and the geometric mean of it and the next map's.
    """
    return tuple((scale, math.sqrt(scale * following)) for scale, following in zip(scales, scales[1:]))
