"""ONNX nodes being put together, and the part of a model that comes from MXNet's exporter."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common.errors import ExportError
from common.mx import mx
from model.onnx_file import quiet, require
from model.onnx_operators import RULES
from model.onnx_rewrite import Rewritten, rewrite

_LAYERS = ("Convolution", "Deconvolution", "FullyConnected", "BatchNorm")


@dataclass
class Nodes:
    """A list of ONNX nodes and constants, in the order in which they are computed.

    Attributes:
        nodes: NodeProto.
        constants: TensorProto.
    """

    nodes: list = field(default_factory=list)
    constants: list = field(default_factory=list)

    def add(self, op: str, *inputs: str, name: str = "", **attrs) -> str:
        """Append a node of one output and return the output's name.

        Args:
            op: ONNX operator.
            *inputs: names; an array becomes a constant.
            name: of the output; else one that no other node has.
            **attrs: of the operator.
        """
        name = name or f"ssd/{len(self.nodes)}/{op}"
        given = [self.constant(value) if isinstance(value, np.ndarray) else value for value in inputs]
        self.nodes.append(require("onnx").helper.make_node(op, given, [name], name=name, **attrs))
        return name

    def constant(self, array: np.ndarray) -> str:
        """Append a constant and return its name."""
        name = f"ssd/constant/{len(self.constants)}"
        self.constants.append(require("onnx").numpy_helper.from_array(array, name))
        return name


@dataclass(frozen=True)
class Exported:
    """A model and the names of what it computes on the way.

    Attributes:
        model: ModelProto.
        loc_pred: name of (N, 4A).
        cls_pred: name of (N, C+1, A).
        cls_prob: name of the same after the activation.
    """

    model: object
    loc_pred: str
    cls_pred: str
    cls_prob: str


def heads_nodes(
    symbol, params: dict, data_shape: tuple[int, int], image: str, into: Nodes, name: str
) -> tuple[list[str], bool]:
    """Append a graph of MXNet's.

    Args:
        symbol: with the input `data`.
        params: name -> array, arguments and auxiliary states.
        data_shape: (height, width) of the input.
        image: name of the ONNX value that takes the place of `data`.
        into: where to append.
        name: of the file, for messages.

    Returns:
        The names of the outputs, and whether the batch size is free.

    Raises:
        ExportError: the graph has an operator, or uses one in a way, that ONNX or the exporter does not know.
    """
    onnx = require("onnx")
    rewritten = rewrite(symbol, params, data_shape, RULES, name)
    graph = _exported(rewritten, data_shape, name)
    for node in graph.node:
        for position, value in enumerate(node.input):
            if value == "data":
                node.input[position] = image
    into.nodes.extend(graph.node)
    for tensor in graph.initializer:
        given = rewritten.params.get(tensor.name)
        array = onnx.numpy_helper.to_array(tensor) if given is None else given.asnumpy()
        # Raw bytes, where the exporter writes a list of numbers: they load faster and every tool reads them.
        into.constants.append(onnx.numpy_helper.from_array(array, tensor.name))
    outputs = [output.removesuffix("_output") for output in rewritten.symbol.list_outputs()]
    return outputs, rewritten.free_batch


class _Outline:
    """Stands for a parameter in the export: its shape and type, not its numbers.

    The exporter writes numbers one by one, half a minute for MobileNet; the whole array is put in afterwards.
    """

    def __init__(self, array):
        self.shape, self.dtype = array.shape, array.dtype

    def asnumpy(self) -> np.ndarray:
        """Return something short of that type."""
        return np.zeros(1, self.dtype)


def _outlines(rewritten: Rewritten) -> dict:
    """Return the parameters for the exporter, in outline where it does not look at their numbers: of layers."""
    nodes = json.loads(rewritten.symbol.tojson())["nodes"]
    looked_at = {
        nodes[number]["name"] for node in nodes if node["op"] not in _LAYERS for number, *_ in node["inputs"]
    }
    return {name: array if name in looked_at else _Outline(array) for name, array in rewritten.params.items()}


def _exported(rewritten: Rewritten, data_shape: tuple[int, int], name: str):
    """Run MXNet's exporter and return its graph."""
    onnx = require("onnx")
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = str(Path(folder) / "heads.onnx")
        try:
            mx.onnx.export_model(
                rewritten.symbol, _outlines(rewritten), [(1, 3, *data_shape)], np.float32, path
            )
            return onnx.load(path).graph
        except (
            mx.base.MXNetError,
            ArithmeticError,
            AssertionError,
            AttributeError,
            LookupError,
            NotImplementedError,
            TypeError,
            ValueError,
            onnx.checker.ValidationError,
        ) as error:
            reason = " ".join(str(error).split())[:200]
            raise ExportError(f"{name}: cannot be expressed in ONNX: {reason}") from error
