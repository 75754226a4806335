"""A network's heads alone as an ONNX file: what other engines are given to compute.

Input `data`, ready for the network (mean and std are out of it already), outputs `loc_pred` (B, 4A) and `cls_pred`
(B, A, C+1) before the softmax, as the detection tail reads them. No engine computes more than ours does before that.
"""

from __future__ import annotations

import os
from pathlib import Path

from common.errors import ExportError
from common.mx import mx
from model.graph import heads, keep_used
from model.onnx_file import IR_VERSION, OPSET, PRODUCER, require
from model.onnx_nodes import Nodes, heads_nodes


def write_heads(
    symbol,
    params: tuple[dict, dict],
    data_shape: tuple[int, int],
    batch: int,
    path: str | os.PathLike,
    *,
    name: str,
) -> None:
    """Write the heads of a graph, for batches of one size.

    Args:
        symbol: a training or deployed graph, float.
        params: (arg_params, aux_params).
        data_shape: (height, width) of the input.
        batch: images at once.
        path: of the file.
        name: of the network, for messages.

    Raises:
        CheckpointError: it is not the graph of an SSD.
        ExportError: it cannot be expressed in ONNX, or not for such a batch.
    """
    loc_pred, cls_pred, _ = heads(symbol, name)
    group, into, helper = mx.sym.Group([loc_pred, class_rows(cls_pred)]), Nodes(), require("onnx").helper
    args, states = keep_used(group, *params)
    outputs, free_batch = heads_nodes(group, {**args, **states}, data_shape, "data", into, name)
    if batch > 1 and not free_batch:
        raise ExportError(f"{name}: the graph is made for one image at a time: give --batch 1")
    for output, wanted in zip(outputs, ("loc_pred", "cls_pred")):
        into.add("Identity", output, name=wanted)
    _, shapes, _ = group.infer_shape(data=(batch, 3, *data_shape))
    kinds = {"data": (batch, 3, *data_shape), "loc_pred": shapes[0], "cls_pred": shapes[1]}
    values = [
        helper.make_tensor_value_info(key, 1, list(shape)) for key, shape in kinds.items()
    ]  # 1: float32
    graph = helper.make_graph(into.nodes, "heads", values[:1], values[1:], initializer=into.constants)
    opset = [helper.make_operatorsetid("", OPSET)]
    model = helper.make_model(graph, producer_name=PRODUCER, opset_imports=opset, ir_version=IR_VERSION)
    Path(path).write_bytes(model.SerializeToString())


def class_rows(cls_pred):
    """Return the class scores (B, C+1, A) default box by default box: (B, A, C+1); a network has just turned them."""
    if cls_pred.list_attr().get("axes") == "(0, 2, 1)":
        return cls_pred.get_children()[0]
    return mx.sym.transpose(cls_pred, axes=(0, 2, 1))
