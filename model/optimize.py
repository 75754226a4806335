"""A detector's graph made faster, with equal outputs: what deploy.py does to it unless it is told not to.

Passes over the graph as nodes (model/node_graph.py): what only training needs is dropped, BatchNorm goes into the
convolution before it (model/fold_batch_norm.py), the heads of a feature map become one convolution that fills the
processor's vectors (model/merge_heads.py), and the default boxes, which depend on nothing but the input's size, become
a constant. The heads keep their names, so that whatever reads a deployed detector reads this one. docs/performance.md
has what each step gains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.mx import mx
from model.fold_batch_norm import fold_batch_norm
from model.graph import HEADS, anchors_of, heads
from model.merge_heads import merge_heads
from model.node_graph import Entry, Node, NodeGraph

_ONLY_IN_TRAINING = ("Dropout", "BlockGrad", "_copy", "make_loss", "MakeLoss", "_identity_with_attr_like_rhs")
_ANCHORS = HEADS[2][: -len("_output")]


@dataclass(frozen=True)
class Optimized:
    """A graph that gives the same as another, faster.

    Attributes:
        symbol: the graph.
        params: (arg_params, aux_params) that it uses.
        steps: what was done -> how often.
    """

    symbol: object
    params: tuple[dict, dict]
    steps: dict[str, int]


def optimize(symbol, params: tuple[dict, dict], data_shape: tuple[int, int], name: str) -> Optimized:
    """Make a detector's graph faster, for inference at one input size.

    Args:
        symbol: a graph with the heads, without loss layers.
        params: (arg_params, aux_params), name -> NDArray.
        data_shape: (height, width) of the input, which the default boxes are computed for.
        name: of the file, for messages.

    Raises:
        CheckpointError: the graph has no heads, or does not take such an input.
    """
    boxes = anchors_of(symbol, params[0], data_shape, name)
    graph = NodeGraph(symbol)
    arrays = {key: array.asnumpy() for part in params for key, array in part.items()}
    steps = {"training_only": _drop_training_only(graph)}
    if all(array.dtype == np.float32 for array in arrays.values()):
        steps["batch_norm_folded"] = fold_batch_norm(graph, arrays)
        steps["heads_merged"] = merge_heads(graph, arrays)
    steps["anchors_constant"] = _set_anchors(graph, boxes, arrays)
    faster = graph.symbol()
    used = tuple(
        {key: _array(arrays[key], params) for key in names if key in arrays}
        for names in (faster.list_arguments(), faster.list_auxiliary_states())
    )
    return Optimized(faster, used, {step: count for step, count in steps.items() if count})


def _array(values: np.ndarray, params: tuple[dict, dict]):
    """Return a parameter on the device that the others are on."""
    context = next(iter(params[0].values())).context
    return mx.nd.array(values, ctx=context, dtype=values.dtype)


def _drop_training_only(graph: NodeGraph) -> int:
    """Take out the nodes that hand their input on at inference; the heads' own names stay."""
    named = {head[: -len("_output")] for head in HEADS}
    count = 0
    for node in graph.nodes():
        if node.op in _ONLY_IN_TRAINING and node.name not in named:
            graph.replace(Entry(node), node.inputs[0])
            count += 1
    return count


def _set_anchors(graph: NodeGraph, boxes: np.ndarray, arrays: dict) -> int:
    """Put the default boxes (A, 4) in the place of the nodes that compute them."""
    old = graph.node(_ANCHORS)
    if old is None or all(entry.node.op == "null" for entry in old.inputs):
        return 0
    # A tail infers no shapes backwards: its boxes must say theirs.
    values = Node("null", f"{_ANCHORS}_values", {"__shape__": str((1, *boxes.shape))})
    arrays[values.name] = boxes[None]  # (1, A, 4)
    graph.replace(Entry(old), Entry(Node("_copy", _ANCHORS, {}, [Entry(values)])))
    return 1


def has_constant_boxes(symbol) -> bool:
    """Tell whether a graph's default boxes are a constant, for one input size."""
    return f"{_ANCHORS}_values" in symbol.list_arguments()


def largest_difference(plain, faster, batch: np.ndarray) -> float:
    """Return by how much the heads of two detectors differ, relative to the largest value of each head (1 at least).

    Args:
        plain: (symbol, params) of the one.
        faster: (symbol, params) of the other.
        batch: (B, 3, H, W) float32, inputs.
    """
    worst = 0.0
    for mine, theirs in zip(_head_values(*plain, batch), _head_values(*faster, batch)):
        worst = max(worst, float(np.abs(mine - theirs).max() / max(1.0, np.abs(mine).max())))
    return worst


def _head_values(symbol, params: tuple[dict, dict], batch: np.ndarray) -> list[np.ndarray]:
    """Return loc_pred, cls_pred and the default boxes that a graph gives for a batch."""
    group = mx.sym.Group(list(heads(symbol, "graph")))
    wanted = set(group.list_arguments()) - {"data"}
    arguments = {key: array for key, array in params[0].items() if key in wanted}
    executor = group.bind(
        mx.cpu(), {**arguments, "data": mx.nd.array(batch)}, grad_req="null", aux_states=params[1]
    )
    return [output.asnumpy() for output in executor.forward(is_train=False)]
