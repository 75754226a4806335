"""A detector's graph for another number of classes, made from the graph alone.

For fine-tuning a detector whose network nobody here can build (a foreign file, an imported one): its class heads'
convolutions get other numbers of filters, everything else stays as it is.
"""

from __future__ import annotations

import json
import re

from common.errors import CheckpointError
from common.mx import mx
from model.graph import heads, num_classes_of
from model.transfer import class_heads_of


def with_classes(symbol, num_classes: int, data_shape: tuple[int, int], name: str):
    """Return a detector's heads for so many classes.

    Args:
        symbol: a training or inference graph with heads.
        num_classes: foreground classes wanted.
        data_shape: (height, width) of its input.
        name: of the file, for messages.

    Returns:
        A group of multibox_loc_pred, multibox_cls_pred (B, num_classes + 1, A), multibox_anchors.

    Raises:
        CheckpointError: it has no heads, or they are built in a way that cannot be changed like this.
    """
    group = mx.sym.Group(heads(symbol, name))
    before = num_classes_of(group, data_shape, name)
    if before == num_classes:
        return group
    graph = json.loads(group.tojson())
    nodes, rows = graph["nodes"], class_heads_of(group)
    changed = [node for node in nodes if rows & {nodes[entry[0]]["name"] for entry in node["inputs"]}]
    # MXNet writes a layer's attributes on its weight too.
    for node in (*changed, *(node for node in nodes if node["name"] in rows)):
        attrs = node.get("attrs", {})
        attrs.pop("__shape__", None)
        if "num_filter" in attrs:
            boxes, rest = divmod(int(attrs["num_filter"]), before + 1)
            if rest:
                raise _cannot(num_classes, name)
            attrs["num_filter"] = str(boxes * (num_classes + 1))
    for place in _behind(nodes, changed):
        attrs = nodes[place].get("attrs", {})
        if "shape" in attrs:
            attrs["shape"] = _replaced(attrs["shape"], before + 1, num_classes + 1)
    result = mx.sym.load_json(json.dumps(graph))
    _check(result, num_classes, data_shape, name)
    return result


def _behind(nodes: list[dict], begin: list[dict]) -> list[int]:
    """Return the places of the nodes that take, at any distance, what some nodes give."""
    names, places = {node["name"] for node in begin}, []
    reached: set[int] = set()
    for place, node in enumerate(nodes):  # inputs come before those that take them
        if node["name"] in names:
            reached.add(place)
        elif reached & {entry[0] for entry in node["inputs"]}:
            reached.add(place)
            places.append(place)
    return places


def _replaced(shape: str, before: int, after: int) -> str:
    """Return an operator's shape, as text, with one number in place of another."""
    return re.sub(rf"(?<![\d-]){before}(?!\d)", str(after), shape)


def _check(symbol, num_classes: int, data_shape: tuple[int, int], name: str) -> None:
    """Hold the changed graph to what it should give.

    Raises:
        CheckpointError: its class head gives something else.
    """
    try:
        fits = num_classes_of(symbol, data_shape, name) == num_classes
    except CheckpointError:
        fits = False
    if not fits:
        raise _cannot(num_classes, name)


def _cannot(num_classes: int, name: str) -> CheckpointError:
    return CheckpointError(
        f"{name}: its class heads cannot be given {num_classes} classes: name the network by --network, if it is one of"
        " those that --list-networks prints"
    )
