"""A graph as a picture: text in graphviz's DOT language, one box for each layer with what only follows it.

A convolution is drawn with the BatchNorm and the activation behind it as one box, the losses or the detection tail as
one altogether. Backbone, extra blocks, heads and what comes after them have a colour each; the heads of one feature map
stand together in a frame; a feature map has a thick border.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from symbol.counts import Layer
from symbol.layer_table import describe

_LAYOUT = {"Flatten", "flatten", "transpose", "Reshape", "reshape", "Cast"}  # not worth a word
# What is drawn in the box of the layer before it, where nothing else reads that.
_FOLLOWERS = {
    "BatchNorm",
    "Activation",
    "LeakyReLU",
    "clip",
    "Dropout",
    "SoftmaxActivation",
    "softmax",
    *_LAYOUT,
}
_HEAD = re.compile(r"(?!multibox_)(.+?)_(?:loc_pred|cls_pred|anchors)(?:_|$)")
_BEFORE_HEAD = ("norm", "scaled")
# What the names of the layers that join all heads begin with; multibox_target is none of them.
_JOINS = ("multibox_loc_pred", "multibox_cls_pred", "multibox_anchors")
_COLOURS = {
    "backbone": "#cfe2f3",
    "extra": "#d9ead3",
    "head": "#fff2cc",
    "after": "#f4cccc",
    "input": "#eeeeee",
}
_LEGEND = {"backbone": "backbone", "extra": "extra blocks", "head": "heads", "after": "losses or detections"}


@dataclass(frozen=True)
class _Box:
    """One box of the picture.

    Attributes:
        layers: that it stands for, in the order in which they compute.
        part: "backbone", "extra", "head" or "after".
        feature: the feature map whose head it belongs to, "" for none.
    """

    layers: tuple[Layer, ...]
    part: str
    feature: str = ""

    @property
    def name(self) -> str:
        """The name of its last layer."""
        return self.layers[-1].name


def dot_text(counted: Sequence[Layer], title: str, *, extras: Sequence[str] = ()) -> str:
    """Return a graph as DOT text.

    Args:
        counted: its layers, see `symbol.counts.layers`.
        title: stands above.
        extras: what the names of the extra blocks' layers begin with.
    """
    boxes = _boxes(counted, tuple(extras))
    box_of = {layer.name: box for box in boxes for layer in box.layers}
    given = dict.fromkeys(name for layer in counted for name in layer.inputs if name not in box_of)
    features = list(dict.fromkeys(box.feature for box in boxes if box.feature))
    lines = [f'{_quoted(name)} [shape=ellipse, fillcolor="{_COLOURS["input"]}"];' for name in given]
    for number, feature in enumerate(features):
        inside = [_node(box, features) for box in boxes if box.feature == feature]
        lines += _frame(f"cluster_{number}", f"heads of {feature}", inside)
    lines += [_node(box, features) for box in boxes if not box.feature]
    arrows = dict.fromkeys(
        (box_of[source].name if source in box_of else source, box_of[layer.name].name)
        for layer in counted
        for source in layer.inputs
    )
    lines += [f"{_quoted(start)} -> {_quoted(end)};" for start, end in arrows if start != end]
    head = [
        f'graph [label={_quoted(title)}, labelloc=t, fontname="Helvetica", fontsize=24, nodesep=0.2, ranksep=0.3];',
        'node [shape=box, style="filled,rounded", fontname="Helvetica", fontsize=12, margin="0.1,0.05"];',
        'edge [color="#666666", arrowsize=0.6];',
        *_frame("cluster_colours", "colours", _legend({box.part for box in boxes})),
    ]
    return "\n".join(["digraph network {", *(f"  {line}" for line in head + lines), "}"]) + "\n"


def _boxes(counted: Sequence[Layer], extras: tuple[str, ...]) -> list[_Box]:
    """Return the boxes in the order in which they compute."""
    heads = {match.group(1) for match in (_HEAD.match(layer.name) for layer in counted) if match}
    boxes, behind, tail = [], set(), []
    for layers in _groups(counted):
        first = layers[0].name
        feature = _feature_of(first, heads)
        joins = first.startswith(_JOINS)
        if feature:
            boxes.append(_Box(layers, "head", feature))
        elif joins or first.startswith(("loss_", "detection", "multibox_")) or behind & set(layers[0].inputs):
            boxes += [_Box(layers, "after")] if joins else []
            tail += [] if joins else layers  # dozens of small steps
        else:
            boxes.append(_Box(layers, "extra" if first.startswith(extras or (" ",)) else "backbone"))
            continue
        behind |= {layer.name for layer in layers}
    return [*boxes, _Box(tuple(tail), "after")] if tail else boxes


def _groups(counted: Sequence[Layer]) -> list[tuple[Layer, ...]]:
    """Return the layers, each with those that only follow it."""
    readers = Counter(source for layer in counted for source in layer.inputs)
    groups: dict[str, tuple[Layer, ...]] = {}  # name of the last layer -> layers
    for layer in counted:
        follows = layer.operator in _FOLLOWERS and len(layer.inputs) == 1 and readers[layer.inputs[0]] == 1
        before = groups.pop(layer.inputs[0], ()) if follows else ()
        groups[layer.name] = (*before, layer)
    return list(groups.values())


def _feature_of(name: str, heads: set[str]) -> str:
    """Return the feature map whose head a layer belongs to, "" for none."""
    match = _HEAD.match(name)
    if match:
        return match.group(1)
    return next((head for head in sorted(heads) for kind in _BEFORE_HEAD if name == f"{head}_{kind}"), "")


def _node(box: _Box, features: Sequence[str]) -> str:
    """Return the line of one box: its name, what it computes, what comes out."""
    label, width = _label(box), 3 if box.name in features else 1
    return (
        f'{_quoted(box.name)} [label={_quoted(label)}, fillcolor="{_COLOURS[box.part]}", penwidth={width}];'
    )


def _label(box: _Box) -> str:
    if box.part == "after" and not box.layers[0].name.startswith(_JOINS):
        read = {source for layer in box.layers for source in layer.inputs}
        ends = [layer for layer in box.layers if layer.name not in read]
        return "\n".join(
            [f"{len(box.layers)} steps", *(f"{end.name} {_shape(end)}".rstrip() for end in ends)]
        )
    telling = [layer for layer in box.layers if layer.operator not in _LAYOUT] or [box.layers[-1]]
    name = box.name[len(box.feature) + 1 :] if box.feature else box.name
    steps = ", ".join(dict.fromkeys(describe(layer) for layer in telling))
    return f"{name}\n{steps}\n{_shape(telling[-1] if box.feature else box.layers[-1])}"


def _shape(layer: Layer) -> str:
    """Return what comes out for one image."""
    return "x".join(map(str, layer.shape[1:]))


def _frame(name: str, label: str, lines: Sequence[str]) -> list[str]:
    """Return the lines of boxes that stand together in a frame."""
    look = f'label={_quoted(label)}; style="rounded"; color="#bf9000"; fontname="Helvetica"; fontsize=13;'
    return [f"subgraph {_quoted(name)} {{", f"  {look}", *(f"  {line}" for line in lines), "}"]


def _legend(parts: set[str]) -> list[str]:
    """Return boxes that say what the colours mean."""
    shown = [part for part in _LEGEND if part in parts]
    return [f'"colour of {p}" [label={_quoted(_LEGEND[p])}, fillcolor="{_COLOURS[p]}"];' for p in shown]


def _quoted(text: str) -> str:
    """Return a text as DOT has it: quoted, a new line as backslash and n."""
    return json.dumps(text, ensure_ascii=False)
