"""Where labels are matched with default boxes: in the graph on GPUs, by symbol/matcher.py on CPUs.

MXNet's CPU operator would take over half of a small network's step. Both give the same targets; the checkpoint always
holds the graph with the operator, which any program that knows mxnet-ssd can train on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from common.errors import RecordError
from common.mx import mx
from model.graph import anchors_of, heads
from symbol.anchors import AnchorConfig
from symbol.loss import TARGETS, LossConfig, matched_training_symbol
from symbol.matcher import targets


@dataclass(frozen=True)
class Matching:
    """A training graph with what it wants to be fed beside the images.

    Attributes:
        symbol: the graph to bind.
        input_shapes: name -> shape of its inputs for the whole batch, but for `data`.
        feed: (B, M, 5 or 6) NDArray of labels -> name -> array (NDArray or numpy) of its inputs.
    """

    symbol: object
    input_shapes: dict[str, tuple]
    feed: Callable[[object], dict]


def in_graph(symbol, label_shape: tuple) -> Matching:
    """Return the training graph as it is: it is fed labels, and MultiBoxTarget matches them.

    Args:
        symbol: from `symbol.loss.training_symbol`.
        label_shape: (B, M, 5 or 6).
    """
    return Matching(symbol, {"label": label_shape}, lambda label: {"label": label})


def on_host(
    symbol,
    label_shape: tuple,
    data_shape: tuple[int, int],
    anchors: AnchorConfig,
    loss: LossConfig,
    num_classes: int,
) -> Matching:
    """Return the same graph without MultiBoxTarget, fed what that operator would give.

    Args:
        symbol: from `symbol.loss.training_symbol`.
        label_shape: (B, M, 5 or 6).
        data_shape: (height, width) of the input.
        anchors: the default boxes' settings, for the variances; the boxes are the graph's own.
        loss: matching and mining.
        num_classes: foreground classes.
    """  # fmt: skip
    loc_pred, cls_pred, priors = heads(symbol, "training graph")
    boxes = anchors_of(symbol, {}, data_shape, "training graph")

    def feed(label) -> dict:
        rows = label.asnumpy()
        if rows[:, :, 0].max(initial=-1) >= num_classes:
            raise RecordError(
                f"a label has the class id {rows[:, :, 0].max():g}, the model has {num_classes} classes"
            )
        return targets(boxes, rows, anchors.variances, loss.match_threshold, loss.neutral_from)

    batch = label_shape[0]
    shapes = dict(zip(TARGETS, ((batch, 4 * len(boxes)), (batch, 4 * len(boxes)), (batch, len(boxes)))))
    matched = matched_training_symbol(mx.sym.Group([loc_pred, cls_pred, priors]), num_classes, loss)
    return Matching(matched, shapes, feed)


def choose(contexts: list, symbol, label_shape: tuple, **settings) -> Matching:
    """Return the matching that suits the devices; arguments as for `on_host`."""
    if contexts[0].device_type == "gpu":
        return in_graph(symbol, label_shape)
    return on_host(symbol, label_shape, **settings)
