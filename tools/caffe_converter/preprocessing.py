"""What a Caffe net wants done to its images: flags say it, or a training prototxt's data layer, else SSD's usual mean.

A deploy.prototxt is silent on it. Caffe's means are in the order of its images, B, G, R; here all is R, G, B.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from common.errors import ConversionError
from tools.caffe_converter.net import Layer, read_layers
from tools.caffe_converter.prototxt import shortest, shown

_TRAIN = 0  # of the enum Phase
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
    mean: tuple[float, ...] | None, scale: float | None, train_prototxt: str | None, prototxt: str
) -> Preprocessing:
    """Find out what is done to images.

    Args:
        mean: (R, G, B), or one number for all; None: from a prototxt, else SSD's.
        scale: None: from a prototxt, else 1.
        train_prototxt: a net with a data layer that says it; None for none.
        prototxt: the net itself, which may have such a layer too.

    Raises:
        ConversionError: a number cannot be, or the training prototxt does not say.
    """
    if mean is not None:
        mean = tuple(mean) * 3 if len(mean) == 1 else tuple(mean)
        if len(mean) != 3:
            raise ConversionError(f"--mean: found {len(mean)} numbers, expected R,G,B or one for all")
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise ConversionError(f"--scale {scale}: expected a number above 0")
    stated = mean is not None and scale is not None
    found = None if stated and not train_prototxt else _from_prototxt(train_prototxt or prototxt)
    if train_prototxt and found is None:
        raise ConversionError(
            f"--train-prototxt {train_prototxt}: no data layer has a transform_param with a mean: give --mean R,G,B"
            " (and --scale) by hand"
        )
    usual = "a guess, SSD's usual mean: neither --mean nor a prototxt says"
    return Preprocessing(
        mean=mean or (found.mean if found else USUAL_MEAN),
        scale=scale or (found.scale if found else 1.0),
        source="as stated" if mean else found.source if found else usual,
    )


def _from_prototxt(path: str) -> Preprocessing | None:
    """Read the transform_param of the layer that makes the images, the training phase's before the test's.

    Raises:
        ConversionError: what it says cannot be, or is a mean image.
    """
    layers = [layer for layer in read_layers(path) if layer.message.HasField("transform_param")]
    layers = [layer for layer in layers if _says(layer.message.transform_param)]
    if not layers:
        return None
    layer = min(layers, key=lambda layer: (bool(layer.message.transform_param.mean_file), _phase(layer)))
    p = layer.message.transform_param
    if p.mean_file:
        raise ConversionError(
            f"{layer.where}: its mean is an image, {shown(p.mean_file)}: give the mean of each channel by"
            " --mean R,G,B"
        )
    means = list(p.mean_value) or [0.0]
    if len(means) not in (1, 3) or not all(map(math.isfinite, (*means, p.scale))) or p.scale <= 0:
        raise ConversionError(
            f"{layer.where}: mean_value {shown(means)}, scale {p.scale:g}: expected one mean or three,"
            " a scale above 0"
        )
    means = [shortest(value) for value in means]
    return Preprocessing(tuple(reversed(means * 3 if len(means) == 1 else means)), shortest(p.scale), path)


def _says(p) -> bool:
    """Tell whether a transform_param says what is done to pixels; those of labels have neither mean nor scale."""
    return bool(p.mean_value or p.mean_file or (p.HasField("scale") and p.scale != 1))


def _phase(layer: Layer) -> int:
    """Return 0 for a layer of the training phase alone, 1 for others."""
    return 0 if any(rule.phase == _TRAIN for rule in layer.message.include if rule.HasField("phase")) else 1
