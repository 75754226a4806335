"""PriorBox: Caffe's default boxes in numpy, and the MultiBoxPrior that gives the same, where one does.

Caffe cuts min_size and max_size to whole pixels (`int min_size_`), which mattered in training: so do we. OpenCV does
not. Boxes lie relative to the image; the operator takes the image's aspect from the feature map, so the two agree where
the map has the image's aspect. That is measured, for each layer; elsewhere the boxes become a constant.

Source: prior_box_layer.cpp of Caffe's SSD branch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from common.errors import ConversionError
from common.mx import mx
from tools.caffe_converter.net import Layer
from tools.caffe_converter.prototxt import shown
from tools.caffe_converter.values import Graph, Priors, Value, check_count

_SAME = 5e-7  # of the image's side: float32 rounding of two ways to compute a box
MAX_BOXES = 1 << 21  # of a net; SSD512 has 24564
_MOST_SETTINGS = 64  # sizes, or ratios, of one layer


@dataclass(frozen=True)
class _Settings:
    """A PriorBox layer's settings, in pixels.

    Attributes:
        sizes: (min size, max size or None) of each square.
        ratios: width / height, without 1.
        image: (height, width).
        step: (y, x) of the cells.
        offset: of a cell's centre, in cells.
        clip: cut boxes at the image's border.
    """

    sizes: tuple[tuple[float, float | None], ...]
    ratios: tuple[float, ...]
    image: tuple[float, float]
    step: tuple[float, float]
    offset: float
    clip: bool


def prior_box(graph: Graph, layer: Layer, bottoms: list[Value | Priors]) -> list[Priors]:
    """PriorBox on a feature map (first bottom) of an image (second bottom)."""
    check_count(layer, len(bottoms), 2, 2)
    shapes = [value.shape for value in bottoms]
    if any(len(shape) != 4 for shape in shapes):
        raise ConversionError(
            f"{layer.where}: its bottoms have the shapes {shapes}, expected (1, C, H, W) both"
        )
    settings = _settings(layer, shapes[0][2:], shapes[1][2:], graph.truncate_sizes)
    count = len(_shapes(settings)) * math.prod(shapes[0][2:])
    graph.boxes += count
    if graph.boxes > MAX_BOXES:
        raise ConversionError(
            f"{layer.where}: makes {count} boxes, {graph.boxes} with those before: expected at most {MAX_BOXES}"
        )
    boxes = caffe_boxes(settings, shapes[0][2:])
    if not np.isfinite(boxes).all():
        raise ConversionError(
            f"{layer.where}: its boxes are beyond all numbers: expected sizes, steps and offset in pixels of the image"
        )
    name = graph.name(layer.name)
    symbol = _operator(settings, bottoms[0], name, boxes)
    if symbol is None:
        symbol = graph.constant(f"{name}_boxes", boxes[None])
    return [Priors(((symbol, boxes, _variances(layer)),))]


def _settings(layer: Layer, cells: tuple[int, int], image: tuple[int, int], truncate: bool) -> _Settings:
    p = layer.message.prior_box_param
    _check_lengths(layer, p)
    low, high = (
        [float(int(size)) if truncate and math.isfinite(size) else size for size in sizes]
        for sizes in (p.min_size, p.max_size)
    )
    if not low or not all(0 < size < math.inf for size in low):
        raise ConversionError(
            f"{layer.where}: min_size {list(p.min_size)}: expected numbers of 1 pixel or more"
        )
    if high and (len(high) != len(low) or any(not a < b < math.inf for a, b in zip(p.min_size, p.max_size))):
        raise ConversionError(
            f"{layer.where}: max_size {list(p.max_size)}: expected one for each min_size {list(p.min_size)}, above it"
        )
    image = tuple(
        float(own or side)
        for own, side in zip(
            (p.img_h or p.img_size, p.img_w or p.img_size),
            image,
        )
    )
    given = (p.step_h or p.step, p.step_w or p.step)
    step = given if all(given) else tuple(side / count for side, count in zip(image, cells))
    numbers = (*image, *step, p.offset)
    if not all(math.isfinite(number) for number in numbers) or min(step) <= 0:
        raise ConversionError(
            f"{layer.where}: step {given}, offset {p.offset}: expected finite numbers, steps above 0"
        )
    return _Settings(
        sizes=tuple(zip(low, high or [None] * len(low))),
        ratios=_ratios(layer, p),
        image=image,
        step=step,
        offset=p.offset,
        clip=p.clip,
    )


def _check_lengths(layer: Layer, p) -> None:
    """Refuse lists that nobody means: sizes times ratios would be more than memory holds.

    Raises:
        ConversionError: names the field.
    """
    for name in ("min_size", "max_size", "aspect_ratio"):
        if len(getattr(p, name)) > _MOST_SETTINGS:
            raise ConversionError(
                f"{layer.where}: {len(getattr(p, name))} {name}, expected at most {_MOST_SETTINGS}"
            )


def _ratios(layer: Layer, p) -> tuple[float, ...]:
    """Return the aspect ratios beside 1: each new one, and its inverse behind it where `flip` is on."""
    ratios = [1.0]
    for ratio in p.aspect_ratio:
        if not 0 < ratio < math.inf:
            raise ConversionError(f"{layer.where}: aspect_ratio {ratio}: expected a number above 0")
        if all(abs(ratio - other) >= 1e-6 for other in ratios):
            ratios += [ratio, 1 / ratio] if p.flip else [ratio]
    return tuple(ratio for ratio in ratios[1:] if abs(ratio - 1) >= 1e-6)


def _variances(layer: Layer) -> tuple[float, ...]:
    """Return the four variances: none given is 0.1, one counts four times."""
    given = list(layer.message.prior_box_param.variance) or [0.1]
    variances = tuple(np.float32(given * 4 if len(given) == 1 else given).tolist())
    if len(variances) != 4 or not all(0 < value < math.inf for value in variances):
        raise ConversionError(f"{layer.where}: variance {shown(given)}: expected one number or four, above 0")
    return variances


def _shapes(settings: _Settings) -> list[tuple[float, float]]:
    """Return (width, height) in pixels of each box of a cell, in Caffe's order."""
    shapes = []
    for low, high in settings.sizes:
        shapes.append((low, low))
        if high is not None:
            shapes.append((math.sqrt(low * high),) * 2)
        shapes += [(low * math.sqrt(ratio), low / math.sqrt(ratio)) for ratio in settings.ratios]
    return shapes


def caffe_boxes(settings: _Settings, cells: tuple[int, int]) -> np.ndarray:
    """Compute a PriorBox layer's boxes.

    Args:
        settings: of the layer.
        cells: (height, width) of the feature map.

    Returns:
        (height * width * boxes of a cell, 4) float32 corner form, relative to the image.

    Raises:
        ConversionError: there are more than two million.
    """
    sides = np.array(_shapes(settings), np.float64)  # (K, 2): width, height
    if len(sides) * cells[0] * cells[1] > MAX_BOXES:
        raise ConversionError(
            f"PriorBox: {len(sides)} boxes for each of {cells} cells: expected at most {MAX_BOXES}"
        )
    center_y = (np.arange(cells[0]) + settings.offset) * settings.step[0]
    center_x = (np.arange(cells[1]) + settings.offset) * settings.step[1]
    centers = np.stack(np.broadcast_arrays(center_x[None, :], center_y[:, None]), axis=-1)[:, :, None]
    boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=-1)  # (h, w, K, 4)
    height, width = settings.image
    with np.errstate(over="ignore"):  # a box beyond float32 is refused by the caller
        boxes = (boxes / (width, height, width, height)).reshape(-1, 4).astype(np.float32)
    return np.clip(boxes, 0, 1) if settings.clip else boxes


def _operator(settings: _Settings, value: Value, name: str, boxes: np.ndarray):
    """Return MultiBoxPrior's boxes (1, N, 4), or None where they are not Caffe's."""
    height, width = settings.image
    steps = (settings.step[0] / height, settings.step[1] / width)
    common = {"clip": settings.clip, "steps": steps, "offsets": (settings.offset,) * 2}
    if min(common["offsets"]) < 0 or max(common["offsets"]) > 1:
        return None
    calls = _calls(settings, height)
    cells = mx.nd.zeros((1, 1, *value.shape[2:]))
    parts = [mx.nd.contrib.MultiBoxPrior(cells, **call, **common).asnumpy() for call in calls]
    if np.abs(_interleave(parts, value.shape, np)[0] - boxes).max() > _SAME:
        return None
    names = [name] if len(calls) == 1 else [f"{name}_{index}" for index in range(len(calls))]
    made = [
        mx.sym.contrib.MultiBoxPrior(value.symbol, **call, **common, name=own)
        for call, own in zip(calls, names)
    ]
    return _interleave(made, value.shape, mx.sym)


def _calls(settings: _Settings, height: float) -> list[dict]:
    """Return the sizes and ratios of the MultiBoxPrior calls that make the boxes of a cell, in their order."""
    ratios = (1.0, *settings.ratios)
    if all(high is None for _, high in settings.sizes) and len(ratios) == 1:
        return [{"sizes": tuple(low / height for low, _ in settings.sizes), "ratios": ratios}]
    return [
        {
            "sizes": tuple(
                size / height for size in ((low,) if high is None else (low, math.sqrt(low * high)))
            ),
            "ratios": ratios,
        }
        for low, high in settings.sizes
    ]


def _interleave(parts: list, shape: tuple[int, ...], space):
    """Join the boxes of several calls cell by cell: each (1, h * w * k, 4) -> (1, h * w * K, 4)."""
    if len(parts) == 1:
        return parts[0]
    cells = shape[2] * shape[3]
    by_cell = [part.reshape((1, cells, -1, 4)) for part in parts]
    joined = np.concatenate(by_cell, axis=2) if space is np else mx.sym.concat(*by_cell, dim=2)
    return joined.reshape((1, -1, 4))


TRANSLATORS = {"PriorBox": prior_box}
