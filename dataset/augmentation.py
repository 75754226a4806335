"""Augmentation of training images: recipes for the C++ record iterator.

The iterator does, in this order: colour, mirror, zoom out (pad), crop, resize. Recipe "ssd" holds mxnet-ssd's values,
which are the paper's section 2.2 in the iterator's terms; the padding is the grey nearest the mean of the network,
because the iterator takes one integer for all three channels.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from common.errors import ConfigError, did_you_mean
from common.mx import mx
from common.settings import from_known


@dataclass(frozen=True)
class Augmentation:
    """What the iterator does to a training image.

    Attributes:
        crop_probability: of trying the crop samplers at all.
        crop_overlaps: one sampler for each: least IoU of the crop with an object's box.
        min_crop_scale: least side of a crop, the square root of its area, relative to the image.
        crop_aspect_ratios: (least, greatest) aspect ratio of a crop.
        crop_trials: tries of each sampler before it gives up.
        zoom_out_probability: of putting the image on a larger canvas.
        max_zoom_out: greatest side of that canvas, relative to the image.
        mirror_probability: of a horizontal flip.
        flip_probability: of an upside-down flip, which the iterator lacks: for pictures taken from above or through a
            microscope. It is drawn from (seed, epoch, batch).
        hue: greatest change of hue, of 180.
        saturation: greatest change of saturation, of 255.
        lightness: greatest change of lightness, of 255.
        contrast: greatest relative change of contrast.
        colour_probability: of each of the four changes of colour.
        random_interpolation: resize by a method drawn for each image; else bilinear.
    """

    crop_probability: float = 5 / 6
    crop_overlaps: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    min_crop_scale: float = 0.3
    crop_aspect_ratios: tuple[float, float] = (0.5, 2.0)
    crop_trials: int = 25
    zoom_out_probability: float = 0.5
    max_zoom_out: float = 4.0
    mirror_probability: float = 0.5
    flip_probability: float = 0.0
    hue: int = 18
    saturation: int = 32
    lightness: int = 32
    contrast: float = 0.5
    colour_probability: float = 0.5
    random_interpolation: bool = True

    def __post_init__(self):
        """Refuse what the iterator would take without a word, or name in its own words."""
        for name in ("crop", "zoom_out", "mirror", "flip", "colour"):
            _check_range(f"{name}_probability", getattr(self, f"{name}_probability"), 0, 1)
        for overlap in _check_numbers("crop_overlaps", self.crop_overlaps):
            _check_range("crop_overlaps", overlap, 0, 1)
        _check_range("min_crop_scale", self.min_crop_scale, 0.01, 1)
        _check_range("max_zoom_out", self.max_zoom_out, 1, math.inf)
        _check_range("contrast", self.contrast, 0, 1)
        for name, most in (("hue", 180), ("saturation", 255), ("lightness", 255), ("crop_trials", 10000)):
            _check_range(name, getattr(self, name), 0, most, kind=int)
        ratios = _check_numbers("crop_aspect_ratios", self.crop_aspect_ratios)
        if len(ratios) != 2 or not 0 < ratios[0] <= ratios[1]:
            raise ConfigError(
                f"augmentation: crop_aspect_ratios is {ratios}, expected (least, greatest), both above 0"
            )

    def iterator_arguments(self, mean: tuple[float, float, float]) -> dict:
        """Return the arguments of ImageDetRecordIter that make this augmentation.

        Args:
            mean: of (R, G, B) in 0..255; the canvas of a zoom-out gets the nearest grey.
        """
        return {
            **self._crop_arguments(),
            "rand_pad_prob": self.zoom_out_probability if self.max_zoom_out > 1 else 0.0,
            "max_pad_scale": self.max_zoom_out,
            "fill_value": round(sum(mean) / 3),
            "rand_mirror_prob": self.mirror_probability,
            "max_random_hue": self.hue,
            "random_hue_prob": self.colour_probability,
            "max_random_saturation": self.saturation,
            "random_saturation_prob": self.colour_probability,
            "max_random_illumination": self.lightness,
            "random_illumination_prob": self.colour_probability,
            "max_random_contrast": self.contrast,
            "random_contrast_prob": self.colour_probability,
            "inter_method": 10 if self.random_interpolation else 1,
        }

    def _crop_arguments(self) -> dict:
        """Return the crop samplers, one for each overlap, of which the iterator tries one after another."""
        count = len(self.crop_overlaps)
        if not count or not self.crop_probability:
            return {"num_crop_sampler": 0, "rand_crop_prob": 0.0}
        low, high = self.crop_aspect_ratios
        return {
            "rand_crop_prob": self.crop_probability,
            "num_crop_sampler": count,
            "min_crop_scales": (self.min_crop_scale,) * count,
            "max_crop_scales": (1.0,) * count,
            "min_crop_aspect_ratios": (low,) * count,
            "max_crop_aspect_ratios": (high,) * count,
            "min_crop_overlaps": self.crop_overlaps,
            "max_crop_overlaps": (1.0,) * count,
            "min_crop_sample_coverages": (0.0,) * count,
            "max_crop_sample_coverages": (1.0,) * count,
            "min_crop_object_coverages": (0.0,) * count,
            "max_crop_object_coverages": (1.0,) * count,
            "max_crop_trials": (self.crop_trials,) * count,
            "crop_emit_mode": "center",
        }

    def to_dict(self) -> dict:
        """Return the recipe as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Augmentation:
        """Make a recipe from JSON values.

        Raises:
            ConfigError: a name is unknown.
        """
        tuples = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return from_known(cls, tuples, "augmentation")


def _check_range(name: str, value: float, low: float, high: float, kind: type = float) -> None:
    """Hold a setting to its kind and range."""
    kinds = (int,) if kind is int else (int, float)
    fits = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or not low <= value <= high:
        whole = "a whole number of " if kind is int else ""
        bounds = f"{low} or more" if math.isinf(high) else f"{low} to {high}"
        raise ConfigError(f"augmentation: {name} is {value!r}, expected {whole}{bounds}")


def _check_numbers(name: str, values: tuple) -> tuple[float, ...]:
    """Return a setting that must be several finite numbers."""
    fits = isinstance(values, (tuple, list))
    if not fits or not all(isinstance(v, (int, float)) and math.isfinite(v) for v in values):
        raise ConfigError(f"augmentation: {name} is {values!r}, expected several numbers")
    return tuple(values)


_OFF = Augmentation(
    crop_probability=0.0,
    zoom_out_probability=0.0,
    mirror_probability=0.0,
    colour_probability=0.0,
    random_interpolation=False,
)

RECIPES = {
    "ssd": Augmentation(),
    # Objects that always fill a similar share of the picture (fixed cameras): little zooming out.
    "fixed-scale": Augmentation(max_zoom_out=1.5),
    # The same, where up and down mean nothing and every object has its own size and shape.
    "microscope": Augmentation(
        min_crop_scale=0.5, crop_aspect_ratios=(0.75, 1.33), max_zoom_out=1.5, flip_probability=0.5
    ),
    "mirror": dataclasses.replace(_OFF, mirror_probability=0.5),
    "flip": dataclasses.replace(_OFF, mirror_probability=0.5, flip_probability=0.5),
    "none": _OFF,
}


def recipe(name: str) -> Augmentation:
    """Return the augmentation of that name.

    Raises:
        ConfigError: there is none; the message names the closest.
    """
    if name not in RECIPES:
        raise ConfigError(f"--augment {name}: no such recipe{did_you_mean(name, RECIPES)}")
    return RECIPES[name]


def flip_upside_down(data, label, chosen: np.ndarray) -> tuple:
    """Turn images upside down, with their boxes.

    Args:
        data: (B, 3, H, W) NDArray.
        label: (B, M, 5 or 6) NDArray of (class, xmin, ymin, xmax, ymax, ...), normalised; class -1 marks void rows.
        chosen: (B,) bool, which images.

    Returns:
        (data, label), new arrays.
    """
    rows = label.asnumpy()
    real = chosen[:, None] & (rows[:, :, 0] >= 0)  # (B, M)
    flipped = rows.copy()
    flipped[:, :, 2], flipped[:, :, 4] = 1 - rows[:, :, 4], 1 - rows[:, :, 2]
    rows = np.where(real[:, :, None], flipped, rows)
    condition = mx.nd.array(chosen.astype(np.float32))
    return mx.nd.where(condition, mx.nd.reverse(data, axis=2), data), mx.nd.array(rows)
