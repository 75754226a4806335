"""From one detector's parameters to another's: which of them belong to what part, and what of them fits.

Between a loaded detector and a new training run. Class heads are carried over class by class (model/class_rows.py), so
that a detector of 20 classes becomes one of 3 that still knows those it shares.

Deliberate deviation from mxnet-ssd: its --finetune threw every head of another shape away and froze all the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from common.mx import mx
from model.class_rows import ClassMatch, move_rows
from symbol.loss import TARGETS

PARTS = ("base", "extra", "head")
_INPUTS = {"data", "label", *TARGETS}
_HEAD = re.compile(r"(?P<layer>.+)_(loc|cls)_pred_")
_EXTRA_BLOCK = re.compile(r"multi_feat_\d+")  # mxnet-ssd's name of an extra block
# What may stand between two feature maps of an extra block; a backbone has more between them.
_MOST_DENSE, _MOST_DEPTHWISE = 2, 1
_LOC_PRED, _CLS_PRED = "multibox_loc_pred_output", "multibox_cls_pred_output"


@dataclass(frozen=True)
class Carried:
    """What was carried over from one detector's parameters to another's.

    Attributes:
        taken: parameters copied whole.
        by_rows: class heads' parameters of which the shared classes' rows were copied.
        anew: parameters left as initialised: heads that were to start anew or do not fit, and what the old lacks.
        misshapen: name -> (old shape, new shape), of those in `anew` that are no heads and have another shape.
        unused: the old detector's parameters that the new one does not have.
    """

    taken: list[str]
    by_rows: list[str]
    anew: list[str]
    misshapen: dict[str, tuple]
    unused: list[str]


def carry_over(
    new: dict,
    old: dict,
    *,
    parts: dict[str, str],
    class_heads: set[str],
    match: ClassMatch,
    reset_heads: bool,
) -> tuple[dict, Carried]:
    """Put an old detector's parameters over initial ones.

    Args:
        new: name -> NDArray as initialised, arguments and auxiliary states; not changed.
        old: name -> NDArray.
        parts: name -> part of the new network, as `parts_of` gives it.
        class_heads: names of the parameters with a row for each class, as `class_heads_of` gives them.
        match: the classes.
        reset_heads: leave all heads as they are initialised.

    Returns:
        (the new parameters, float32 on the CPU; what was carried over).
    """
    taken, by_rows, anew, misshapen, result = [], [], [], {}, dict(new)
    for name, array in new.items():
        is_head = parts.get(name) == "head"
        if name not in old or (is_head and reset_heads):
            anew.append(name)
        elif name in class_heads:
            moved = move_rows(_floats(old[name]), array.asnumpy(), match)
            (anew if moved is None else by_rows).append(name)
            result[name] = array if moved is None else mx.nd.array(moved)
        elif old[name].shape == array.shape:
            result[name] = mx.nd.array(_floats(old[name]))
            taken.append(name)
        else:
            anew.append(name)
            if not is_head:
                misshapen[name] = (old[name].shape, array.shape)
    unused = [name for name in old if name not in new]
    return result, Carried(taken, by_rows, anew, misshapen, unused)


def _floats(array) -> np.ndarray:
    return array.asnumpy().astype(np.float32)


class _Graph:
    """A graph's nodes with what follows from them.

    Args:
        symbol: any graph with the heads of a detector.
    """

    def __init__(self, symbol):
        self.nodes = json.loads(symbol.get_internals().tojson())["nodes"]
        outputs = set(symbol.get_internals().list_outputs())
        # A head's name may be that of an output or of the node alone.
        self.places = {node["name"]: place for place, node in enumerate(self.nodes)}
        self.has_heads = {_LOC_PRED, _CLS_PRED} <= outputs

    def inputs(self, place: int) -> list[int]:
        return [entry[0] for entry in self.nodes[place]["inputs"]]

    def last_convolutions(self, output: str) -> list[int]:
        """Return the convolutions from which an output comes with nothing but changes of shape in between."""
        found, waiting, seen = [], [self.places[output[: -len("_output")]]], set()
        while waiting:
            place = waiting.pop(0)
            if place in seen or self.nodes[place]["op"] == "null":
                continue
            seen.add(place)
            if self.nodes[place]["op"] == "Convolution":
                found.append(place)
            else:
                waiting += self.inputs(place)
        return sorted(found)

    def parameters(self, places: Iterable[int]) -> list[str]:
        """Return the names of the variables that nodes take."""
        taken = (self.nodes[entry] for place in places for entry in self.inputs(place))
        return [node["name"] for node in taken if node["op"] == "null" and node["name"] not in _INPUTS]

    def reached(self, ends: list[int]) -> dict[int, frozenset]:
        """Return for each node that has one of the ends above it those ends."""
        reach = {place: set() for place in range(len(self.nodes))}
        for end in ends:
            reach[end].add(end)
        for place in range(len(self.nodes) - 1, -1, -1):  # inputs come before those that take them
            for below in self.inputs(place):
                reach[below] |= reach[place]
        return {place: frozenset(found) for place, found in reach.items() if found}


def class_heads_of(symbol) -> set[str]:
    """Return the names of the weights and biases that have a row for each class.

    Args:
        symbol: a graph with the heads.
    """
    graph = _Graph(symbol)
    return set(graph.parameters(graph.last_convolutions(_CLS_PRED))) if graph.has_heads else set()


def parts_of(symbol, extra_layers: Sequence[str] | None = None) -> dict[str, str]:
    """Tell the parameters of a detector apart.

    "head": the layers that predict boxes and classes. "extra": the extra blocks, and the normalisation before a head.
    "base": the backbone. Where nobody says which blocks are extra ones, names tell (mxnet-ssd's multi_feat_K), else the
    shape of the graph: the blocks between the last feature maps that have two convolutions or fewer.

    Args:
        symbol: a training or inference graph with the heads.
        extra_layers: with what the names of extra blocks' parameters begin, `Feature.layer`; () where there are none,
            None where nobody knows.

    Returns:
        Name of an argument or auxiliary state, inputs left out -> one of PARTS.
    """
    graph = _Graph(symbol)
    names = [
        name for name in (*symbol.list_arguments(), *symbol.list_auxiliary_states()) if name not in _INPUTS
    ]
    found = [match for match in map(_HEAD.match, names) if match]
    heads = {match.string for match in found}
    normalised = {match.group("layer") for match in found}
    if extra_layers is None:
        blocks = {match.group() for match in map(_EXTRA_BLOCK.match, names) if match}
        extra_layers = sorted(blocks) or None
    by_shape = _by_shape(graph) if graph.has_heads else {}

    def part(name: str) -> str:
        if name in heads or by_shape.get(name) == "head":
            return "head"
        if any(name == f"{layer}_scale" or name.startswith(f"{layer}_norm") for layer in normalised):
            return "extra"
        if extra_layers is None:
            return by_shape.get(name, "base")
        return "extra" if any(name.startswith(f"{layer}_") for layer in extra_layers) else "base"

    return {name: part(name) for name in names}


def _by_shape(graph: _Graph) -> dict[str, str]:
    """Return the parts of those parameters whose place in the graph tells that they are no backbone's."""
    boxes, classes = (graph.last_convolutions(output) for output in (_LOC_PRED, _CLS_PRED))
    to_any = graph.reached([*boxes, *classes])
    to_boxes = graph.reached(boxes)
    heads = [place for place, ends in to_any.items() if len(ends) == 1]
    # Layers that the same feature maps need stand between the same two maps.
    groups: dict[frozenset, list[int]] = {}
    for place, ends in to_boxes.items():
        if place not in heads and graph.parameters([place]):
            groups.setdefault(ends, []).append(place)
    extras: list[int] = []
    for size in range(1, len(boxes)):
        here = [places for ends, places in groups.items() if len(ends) == size]
        if not all(_is_short(graph, places) for places in here):
            break
        extras += [place for places in here for place in places]
    return {
        **dict.fromkeys(graph.parameters(extras), "extra"),
        **dict.fromkeys(graph.parameters(heads), "head"),
    }


def _is_short(graph: _Graph, places: list[int]) -> bool:
    """Tell whether so few convolutions are an extra block's and no backbone's."""
    groups = [
        int(graph.nodes[place].get("attrs", {}).get("num_group", 1))
        for place in places
        if graph.nodes[place]["op"] == "Convolution"
    ]
    dense = groups.count(1)
    return dense <= _MOST_DENSE and len(groups) - dense <= _MOST_DEPTHWISE
