"""The layers of gluoncv's detectors below their heads: cut into a backbone and extra blocks, and renamed.

Gluon's names count the blocks of a process, and its attributes hold addresses in memory; what is left here is equal
byte for byte whenever it is made.
"""

from __future__ import annotations

import json
import os
import re

from common.mx import mx

# The layers that gluoncv puts on top of a backbone, without the detector's prefix.
_EXTRA = re.compile(r"(expand_|vggatrousextractor\d+_extra\d+_|resnetv1bssd\d+_)")
_INPUT = "data"
_L2_SCALE = 20.0
_USUAL = re.compile(r"_(weight|bias|gamma|beta|(running|moving)_(mean|var))$")  # drawn by their names


class GluonGraph:
    """The graph up to the feature maps, as JSON nodes that are renamed and cut.

    Args:
        maps: group of the feature maps.
        prefix: of the detector, "ssd0_".

    Attributes:
        renamed: node of gluoncv's, without the prefix -> its name here.
    """

    def __init__(self, maps, prefix: str):
        graph = json.loads(maps.tojson())
        self._version = graph["attrs"]
        self._nodes = [_clean(node, prefix) for node in graph["nodes"]]
        self._outputs = [head[0] for head in graph["heads"]]
        self._first_extra = self._count_base()
        self.renamed: dict[str, str] = {}
        self._rename()

    def is_extra(self, number: int) -> bool:
        """Tell whether a feature map comes from an extra block."""
        return number >= self._first_extra

    def layer(self, number: int) -> str:
        """Return the name of a feature map's layer in the backbone, or the one that its extra block is given."""
        return f"extra{number - self._first_extra}" if self.is_extra(number) else self.output(number)

    def output(self, number: int) -> str:
        """Return the name of the node that a feature map is the output of."""
        return self.renamed[self._nodes[self._outputs[number]]["name"]]

    def base(self) -> str:
        """Return the backbone as JSON; it begins behind the factor on the input, where there is one."""
        return self._json(self._outputs[: self._first_extra], self._scaled())

    def block(self, number: int) -> str:
        """Return a feature map's extra block as JSON."""
        return self._json([self._outputs[number]], self._outputs[number - 1])

    def _count_base(self) -> int:
        """Return how many feature maps are the backbone's."""
        for number in range(1, len(self._outputs)):
            own = self._between([self._outputs[number]], self._outputs[number - 1])
            layers = [self._nodes[i]["name"] for i in own if self._nodes[i]["op"] == "Convolution"]
            if layers and all(map(_EXTRA.match, layers)):
                return number
        return len(self._outputs)

    def _scaled(self) -> int | None:
        """Return the node that multiplies the input by a constant; None where there is none."""
        for index, node in enumerate(self._nodes):
            factor = [self._nodes[entry[0]]["name"] for entry in node["inputs"][1:]]
            if node["op"] == "broadcast_mul" and factor and factor[0].endswith("init_scale"):
                return index
        return None

    def _rename(self) -> None:
        """Give the extra blocks names of their own, in place of what their layers' names share."""
        for node in self._nodes:
            self.renamed[node["name"]] = _layer_name(node["name"])
        for number in range(self._first_extra, len(self._outputs)):
            own = self._between([self._outputs[number]], self._outputs[number - 1])
            names = [self._nodes[index]["name"] for index in own]
            shared = os.path.commonprefix(names).rfind("_") + 1
            for name in names:
                self.renamed[name] = f"{self.layer(number)}_{_layer_name(name)[shared:]}"

    def _between(self, outputs: list[int], start: int | None) -> list[int]:
        """Return the nodes that outputs are made from, without `start` and what is before it."""
        found, left = set(), list(outputs)
        while left:
            index = left.pop()
            if index != start and index not in found:
                found.add(index)
                left += [entry[0] for entry in self._nodes[index]["inputs"]]
        return sorted(found)

    def _json(self, outputs: list[int], start: int | None) -> str:
        """Return a part of the graph as JSON, with `data` in the place of `start`."""
        data = {"op": "null", "name": _INPUT, "inputs": []}
        nodes, places = ([], {}) if start is None else ([data], {start: 0})
        for index in self._between(outputs, start):
            node = self._nodes[index]
            places[index] = len(nodes)
            inputs = [[places[entry[0]], *entry[1:]] for entry in node["inputs"]]
            nodes.append({**node, "name": self.renamed[node["name"]], "inputs": inputs})
        variables = [index for index, node in enumerate(nodes) if node["op"] == "null"]
        heads = [[places[output], 0, 0] for output in outputs]
        graph = {"nodes": nodes, "arg_nodes": variables, "heads": heads, "attrs": self._version}
        return json.dumps(graph, sort_keys=True)


def _clean(node: dict, prefix: str) -> dict:
    """Return a node without the detector's prefix, and without attributes that are Gluon's or addresses in memory."""
    name = node["name"][len(prefix) :] if node["name"].startswith(prefix) else node["name"]
    given = node.get("attrs", {})
    attrs = {key: value for key, value in given.items() if not key.startswith("__")}
    if node["op"] == "null":
        attrs = {}
        if name != _INPUT and not _USUAL.search(name):  # the learned factor of L2 normalisation
            attrs = {"__init__": mx.init.Constant(_L2_SCALE).dumps(), "__wd_mult__": "0.1"}
            attrs["__shape__"] = given["__shape__"]  # does not follow from the other operand's
    return {"op": node["op"], "name": name, "attrs": attrs, "inputs": node["inputs"]}


def _layer_name(name: str) -> str:
    """Return a layer's name without Gluon's mark for the operator of a block."""
    return name[: -len("_fwd")] if name.endswith("_fwd") else name


def backbone(data, *, text: str, scale: tuple[float, ...]):
    """Return the backbone's feature maps as a group, on pixels that are multiplied by `scale` (R, G, B) first."""
    if scale:
        channels = [
            mx.sym.slice_axis(data, axis=1, begin=index, end=index + 1, name=f"channel{index}")
            for index in range(len(scale))
        ]
        scaled = [
            mx.sym._internal._mul_scalar(channel, scalar=factor, name=f"channel{index}_scaled")
            for index, (channel, factor) in enumerate(zip(channels, scale))
        ]
        data = mx.sym.concat(*scaled, dim=1, name="data_scaled")
    return mx.sym.load_json(text)(data=data)


def extra_block(data, name: str, *, text: str):
    """Return an extra block (B, C, h, w) -> (B, C', h', w'); its names begin with `name` and not with its own."""
    graph = json.loads(text)
    for node in graph["nodes"]:
        if node["name"] != _INPUT:
            node["name"] = f"{name}_{node['name'].partition('_')[2]}"
    return mx.sym.load_json(json.dumps(graph))(data=data)
