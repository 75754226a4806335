"""What a Caffe net wants done to its images: flags say it, or a training prototxt's data layer, else SSD's usual mean.

A deploy.prototxt is silent on it. Caffe's means are in the order of its images, B, G, R; here all is R, G, B.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from common.errors import ConversionError
from tools.caffe_converter.net import read_layers

USUAL_MEAN = (123.0, 117.0, 104.0)  # (R, G, B) of SSD's own nets


@dataclass(frozen=True)
class Preprocessing:
    """(pixel - mean) * scale.

    Attributes:
        mean: of (R, G, B), 0 to 255.
        scale: of all channels.
        source: where it comes from, for messages.
    """

    mean: tuple[float, float, float]
    scale: float
    source: str


def preprocessing(
    mean: tuple[float, ...] | None, scale: float | None, train_prototxt: str | None
) -> Preprocessing:
    """Find out what is done to images.

    Args:
        mean: (R, G, B), or one number for all; None: from the prototxt, else SSD's.
        scale: None: from the prototxt, else 1.
        train_prototxt: a net with a data layer that says it; None for none.

    Raises:
        ConversionError: a number cannot be, or the prototxt does not say.
    """
    found = _from_prototxt(train_prototxt) if train_prototxt else None
    if mean is not None:
        mean = tuple(mean) * 3 if len(mean) == 1 else tuple(mean)
        if len(mean) != 3:
            raise ConversionError(f"--mean: found {len(mean)} numbers, expected R,G,B or one for all")
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise ConversionError(f"--scale {scale}: expected a number above 0")
    told = (
        "--mean"
        if mean
        else found.source
        if found
        else "SSD's usual mean, since neither --mean nor --train-prototxt says"
    )
    return Preprocessing(
        mean=mean or (found.mean if found else USUAL_MEAN),
        scale=scale or (found.scale if found else 1.0),
        source=told,
    )


def _from_prototxt(path: str) -> Preprocessing:
    """Read the transform_param of the first data layer that has one; the training phase's before the test's."""
    for layer in read_layers(path):
        if not layer.message.HasField("transform_param"):
            continue
        p = layer.message.transform_param
        if p.mean_file:
            raise ConversionError(
                f"{layer.where}: its mean is an image, {p.mean_file}: give the mean of each channel by --mean R,G,B"
            )
        means = list(p.mean_value) or [0.0]
        if len(means) not in (1, 3) or not all(map(math.isfinite, (*means, p.scale))) or p.scale <= 0:
            raise ConversionError(
                f"{layer.where}: mean_value {means}, scale {p.scale:g}: expected one mean or three, a scale above 0"
            )
        return Preprocessing(tuple(reversed(means * 3 if len(means) == 1 else means)), p.scale, path)
    raise ConversionError(
        f"--train-prototxt {path}: no layer has a transform_param: give --mean R,G,B (and --scale) by hand"
    )
