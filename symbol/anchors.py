"""Default boxes (anchors): their settings, and their geometry in numpy.

Training and inference graphs make them with `MultiBoxPrior`; everything else (the report on how well they fit a data
set, the exporters, the documents) calls `generate_anchors`, which a test holds to the operator.

Source: SSD paper, section 2.2; geometry of src/operator/contrib/multibox_prior.cc in MXNet 1.9.1.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from common.errors import ConfigError
from common.settings import check_known, from_known

AUTO_STEP = (-1.0, -1.0)
_RARE = ("clamp", "order", "exact_aspect")


@dataclass(frozen=True)
class AnchorConfig:
    """The default boxes of a network, one entry for each feature map, the finest map first.

    A cell gets one box for each size with the first ratio, then one with the first size for each further ratio.

    Attributes:
        sizes: per map the sides of the square boxes, relative to the image's height.
        ratios: per map the aspect ratios, width / height; a single list is used for every map.
        steps: per map (step_y, step_x), the distance of cells relative to the image's height and width; (-1, -1) for
            a map, or () for all of them, takes 1 / the number of cells.
        offsets: (y, x) of a cell's centre, in cells.
        clip: whether boxes are cut at the image's border.
        clamp: whether centre, width and height are cut at [0, 1] each, as pytorch-ssd and SSD-pytorch do.
        order: places of a cell's first boxes in the order above, in the order wanted; the others follow. () leaves all.
        exact_aspect: take the image's height / width for a box's width, not the feature map's, which is rounded.
        variances: of the box encoding: centre x, centre y, width, height.

    Raises:
        ConfigError: a value is of the wrong kind, or lists do not fit each other.
    """

    sizes: tuple[tuple[float, ...], ...]
    ratios: tuple[tuple[float, ...], ...] = ((1.0, 2.0, 0.5),)
    steps: tuple[tuple[float, float], ...] = ()
    offsets: tuple[float, float] = (0.5, 0.5)
    clip: bool = False
    variances: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
    clamp: bool = False
    order: tuple[int, ...] = ()
    exact_aspect: bool = False

    def __post_init__(self):
        sizes, ratios = _lists("sizes", self.sizes), _lists("ratios", self.ratios)
        if not sizes:
            raise ConfigError("anchors: sizes is empty: give one list of sizes for each feature map")
        if len(ratios) == 1:
            ratios *= len(sizes)
        steps = tuple(_step(step) for step in _entries(self.steps))
        _check_count("ratios", ratios, sizes)
        if steps:
            _check_count("steps", steps, sizes)
        for name, lists in (("sizes", sizes), ("ratios", ratios)):
            for entries in lists:
                _check_positive(name, entries)
        _check_positive("variances", _numbers("variances", self.variances))
        for name, count in (("offsets", 2), ("variances", 4)):
            values = _numbers(name, getattr(self, name))
            if len(values) != count:
                raise ConfigError(f"anchors: {name} has {len(values)} numbers, expected {count}")
            object.__setattr__(self, name, values)
        object.__setattr__(self, "sizes", sizes)
        object.__setattr__(self, "ratios", ratios)
        object.__setattr__(self, "steps", steps)
        for name in ("clip", "clamp", "exact_aspect"):
            _check_switch(name, getattr(self, name))
        object.__setattr__(self, "order", _entries(self.order))
        if self.order:
            _check_order(self.order, self.per_cell())

    @property
    def for_one_size(self) -> bool:
        """Whether the boxes fit one input size alone, because their distance does not follow from the cells."""
        return any(step != AUTO_STEP for step in self.steps)

    def per_cell(self) -> tuple[int, ...]:
        """Return how many default boxes a cell has, for each feature map."""
        return tuple(len(sizes) + len(ratios) - 1 for sizes, ratios in zip(self.sizes, self.ratios))

    def step(self, index: int) -> tuple[float, float]:
        """Return (step_y, step_x) of a feature map, (-1, -1) where it follows from the map's shape."""
        return self.steps[index] if self.steps else AUTO_STEP

    def to_dict(self) -> dict:
        """Return the settings as JSON values; the rare ones only where they say something."""
        values = {f.name: _as_lists(getattr(self, f.name)) for f in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value or name not in _RARE}

    @classmethod
    def from_dict(cls, values: dict) -> AnchorConfig:
        """Make the settings from JSON values, as `to_dict` gives them.

        Raises:
            ConfigError: an unknown, missing or impossible setting.
        """
        check_known(cls, values, "anchors")
        if "sizes" not in values:
            raise ConfigError("anchors: the setting sizes is missing")
        return cls(**values)


@dataclass(frozen=True)
class FixedAnchors:
    """Default boxes that stand in the graph, laid out for one input size: those of a converted model.

    Attributes:
        count: of all feature maps together.
        variances: of the box encoding: centre x, centre y, width, height.

    Raises:
        ConfigError: a value cannot be.
    """

    count: int
    variances: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)

    def __post_init__(self):
        if not isinstance(self.count, int) or self.count < 1:
            raise ConfigError(f"anchors: count is {self.count!r}, expected a whole number of 1 or more")
        variances = _numbers("variances", self.variances)
        if len(variances) != 4:
            raise ConfigError(f"anchors: variances has {len(variances)} numbers, expected 4")
        _check_positive("variances", variances)
        object.__setattr__(self, "variances", variances)

    @property
    def for_one_size(self) -> bool:
        """Whether the boxes fit one input size alone."""
        return True

    def to_dict(self) -> dict:
        """Return the settings as JSON values."""
        return {"count": self.count, "variances": list(self.variances)}


def anchors_from_dict(values: dict) -> AnchorConfig | FixedAnchors:
    """Make the settings of default boxes from JSON values, as `to_dict` of either kind gives them.

    Raises:
        ConfigError: an unknown, missing or impossible setting.
    """
    return (
        from_known(FixedAnchors, values, "anchors") if "count" in values else AnchorConfig.from_dict(values)
    )


def _as_lists(value):
    return [_as_lists(entry) for entry in value] if isinstance(value, tuple) else value


def _numbers(name: str, values: Iterable) -> tuple[float, ...]:
    """Return finite numbers as floats."""
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"anchors: {name}: expected a list of numbers, found {values!r}") from error
    if not all(math.isfinite(number) for number in numbers):
        raise ConfigError(f"anchors: {name}: expected finite numbers, found {values!r}")
    return numbers


def _lists(name: str, values: Iterable) -> tuple[tuple[float, ...], ...]:
    """Return one tuple of numbers for each feature map."""
    return tuple(_numbers(name, entry) for entry in _entries(values))


def _entries(values) -> tuple:
    return tuple(values) if isinstance(values, Iterable) and not isinstance(values, str) else (values,)


def _step(step) -> tuple[float, float]:
    """Return (step_y, step_x) from a pair or from one number for both."""
    pair = _numbers("steps", step if isinstance(step, Iterable) else (step, step))
    if len(pair) != 2 or (pair != AUTO_STEP and min(pair) <= 0):
        raise ConfigError(
            f"anchors: steps: expected (step_y, step_x), both above 0 or both -1, found {step!r}"
        )
    return pair


def _check_switch(name: str, value) -> None:
    if not isinstance(value, bool):
        raise ConfigError(f"anchors: {name} is {value!r}, expected true or false")


def _check_order(order: tuple, per_cell: tuple[int, ...]) -> None:
    places = sorted(place for place in order if type(place) is int)
    if len(places) != len(order) or places != list(range(len(order))) or len(order) > min(per_cell):
        raise ConfigError(
            f"anchors: order is {list(order)}, expected the places 0 to N - 1 of the first N default boxes of a cell,"
            f" each once; the maps have {', '.join(map(str, per_cell))}"
        )


def _check_positive(name: str, values: Sequence[float]) -> None:
    if not values or min(values) <= 0:
        raise ConfigError(f"anchors: {name}: expected one or more numbers above 0, found {list(values)}")


def _check_count(name: str, entries: Sequence, sizes: Sequence) -> None:
    if len(entries) != len(sizes):
        raise ConfigError(
            f"anchors: {name} has {len(entries)} entries, expected {len(sizes)}, one for each entry of sizes"
        )


def generate_anchors(
    config: AnchorConfig,
    feature_shapes: Sequence[tuple[int, int]],
    data_shape: tuple[int, int] | None = None,
) -> np.ndarray:
    """Compute the default boxes of a network.

    Args:
        config: their settings.
        feature_shapes: (height, width) of each feature map, in cells.
        data_shape: (height, width) of the image; only needed where `config.exact_aspect` asks for it.

    Returns:
        (A, 4) float32, corner form, relative to the image (outside [0, 1] at the borders unless clipped): map by map,
        row by row, cell by cell.

    Raises:
        ConfigError: there is not one list of sizes for each feature map, or data_shape is needed and missing.
    """
    check_feature_count(config, len(feature_shapes))
    if config.exact_aspect and data_shape is None:
        raise ConfigError("anchors: exact_aspect needs the image's height and width: give data_shape")
    aspect = data_shape[0] / data_shape[1] if config.exact_aspect else None
    maps = [_map_anchors(config, index, shape, aspect) for index, shape in enumerate(feature_shapes)]
    return np.concatenate(maps).astype(np.float32)


def check_feature_count(config: AnchorConfig, count: int) -> None:
    """Check that there is one list of sizes for each feature map.

    Raises:
        ConfigError: there is not.
    """
    if len(config.sizes) != count:
        raise ConfigError(
            f"anchors: sizes has {len(config.sizes)} lists, expected {count}, one for each feature map of the network"
        )


def _map_anchors(
    config: AnchorConfig, index: int, shape: tuple[int, int], aspect: float | None
) -> np.ndarray:
    """Return the boxes of one feature map: (H*W*K, 4); `aspect` is the image's, None takes the map's."""
    height, width = shape
    step_y, step_x = config.step(index)
    if (step_y, step_x) == AUTO_STEP:
        step_y, step_x = 1.0 / height, 1.0 / width
    center_y = (np.arange(height) + config.offsets[0]) * step_y
    center_x = (np.arange(width) + config.offsets[1]) * step_x
    half = _half_sides(config.sizes[index], config.ratios[index], aspect or height / width)  # (K, 2)
    half = half[[*config.order, *range(len(config.order), len(half))]]
    centers = np.stack(np.broadcast_arrays(center_x[None, :], center_y[:, None]), axis=-1)[:, :, None]
    if config.clamp:
        centers, half = np.clip(centers, 0, 1), np.clip(half, 0, 0.5)
    boxes = np.concatenate(np.broadcast_arrays(centers - half, centers + half), axis=-1).reshape(-1, 4)
    return np.clip(boxes, 0, 1) if config.clip else boxes  # (H, W, K, 4) -> (H*W*K, 4)


def _half_sides(sizes: Sequence[float], ratios: Sequence[float], aspect: float) -> np.ndarray:
    """Return half of (width, height) of each box of a cell: (K, 2).

    Args:
        sizes: relative to the image's height.
        ratios: width / height.
        aspect: height / width of the feature map, which the operator takes for the image's.
    """
    shapes = [(size, ratios[0]) for size in sizes] + [(sizes[0], ratio) for ratio in ratios[1:]]
    size, ratio = np.array(shapes, np.float64).T
    return np.stack([size * aspect * np.sqrt(ratio), size / np.sqrt(ratio)], axis=-1) / 2
