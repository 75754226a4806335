"""A detector as one ONNX file: image in, boxes out (or, without NMS, all boxes and scores).

The heads come from MXNet's own exporter, by a graph rewritten for it; preprocessing, default boxes, decoding and NMS
are put around them here. The file carries the card and gets its name only when it has found what MXNet finds.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np

from common.errors import ConfigError, ExportError
from common.files import atomic_path, check_place
from common.mx import mx
from model.card import DEPLOYED, Card
from model.graph import anchors_of, heads, keep_used
from model.onnx_check import check
from model.onnx_file import (
    IR_VERSION,
    OPSET,
    OUTSIDE,
    PRODUCER,
    SUFFIX,
    UINT8,
    ExportSettings,
    is_onnx,
    metadata,
    require,
    seal,
)
from model.onnx_nodes import Exported, Nodes, heads_nodes
from model.onnx_tail import box_nodes, image_nodes, inside_nodes, outside_nodes, score_nodes
from model.saved import SavedDetector, symbol_path

_QUANTISED = ("_contrib_quantize", "_contrib_dequantize", "_contrib_requantize", "_sg_mkldnn", "_sg_onednn")
_LARGEST = (1 << 31) - (1 << 20)  # bytes of a message, a format's limit; a little for the metadata


def write_onnx(
    saved: SavedDetector, card: Card, out: str | os.PathLike, settings: ExportSettings | None = None
) -> None:
    """Write a detector as an ONNX file, checked by the rules of ONNX and against MXNet before it gets its name.

    Args:
        saved: a training checkpoint or a deployed detector, float.
        card: what it is, with the settings of the tail; it goes into the file, with where it came from.
        out: the file, whose name ends in .onnx.
        settings: what kind of file.

    Raises:
        ConfigError: the file cannot be written, or one of the same name was not written by this project.
        ExportError: the network cannot be expressed in ONNX, or the file does not find what MXNet finds.
        DependencyError: onnx or onnxruntime is not installed.
    """
    settings = settings or ExportSettings()
    for library in ("onnx", "onnxruntime"):
        require(library)
    refuse_foreign_file(out)
    check_place(out)
    card = dataclasses.replace(
        card,
        graph=DEPLOYED,
        interrupted=None,
        source={"prefix": Path(saved.prefix).name, "epoch": saved.epoch},
        epochs={},
        best=None,
        last=None,
    )
    exported = build_model(saved, card, settings)
    check(exported, saved, card, settings)
    with atomic_path(out) as temporary:
        temporary.write_bytes(seal(exported.model.SerializeToString()))


def refuse_foreign_file(out: str | os.PathLike) -> None:
    """Refuse to write over a file that this project did not write.

    Raises:
        ConfigError: there is such a file, or the name does not end in .onnx.
    """
    path = Path(out)
    if not is_onnx(path):
        raise ConfigError(f"--out {out}: expected a name that ends in {SUFFIX}")
    if path.exists() and (not path.is_file() or not _is_ours(path)):
        raise ConfigError(
            f"{path}: is there and was not written by deploy.py --onnx: give another name by --out"
        )


def _is_ours(path: Path) -> bool:
    """Tell by its metadata whether a file was written here."""
    onnx = require("onnx")
    from google.protobuf.message import DecodeError

    try:
        found = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError, ValueError):
        return False
    return any((entry.key, entry.value) == ("producer", PRODUCER) for entry in found.metadata_props)


def build_model(saved: SavedDetector, card: Card, settings: ExportSettings) -> Exported:
    """Return a detector as an ONNX model.

    Raises:
        ExportError: it cannot be expressed, or is too large.
        CheckpointError: it is not the graph of an SSD.
    """
    name = str(symbol_path(saved.prefix))
    refuse_quantised(saved, card)
    loc_pred, cls_pred, _ = heads(saved.symbol, name)
    anchors = anchors_of(saved.symbol, saved.arg_params, card.data_shape, name)
    group = mx.sym.Group([loc_pred, cls_pred])
    args, states = keep_used(group, saved.arg_params, saved.aux_params)
    into = Nodes()
    image = image_nodes(into, card.mean, card.std, settings.layout == UINT8)
    (loc, classes), free_batch = heads_nodes(group, {**args, **states}, card.data_shape, image, into, name)
    if settings.dynamic_batch and not free_batch:
        raise ExportError(f"{name}: the graph is made for one image at a time: leave --dynamic-batch out")
    scores = score_nodes(into, classes, card.detection.activation)
    boxes = box_nodes(into, loc, anchors, card.anchors.variances, card.detection.clip)
    sizes = (card.num_classes, len(anchors))
    if settings.nms == OUTSIDE:
        outputs = outside_nodes(into, scores, boxes, sizes)
    else:
        outputs = inside_nodes(into, (loc, classes), scores, boxes, sizes, card.detection)
    model = _model(into, card, settings, outputs)
    if model.ByteSize() > _LARGEST:
        raise ExportError(f"{name}: {model.ByteSize() >> 20} MB, more than the 2 GB of an ONNX file")
    return Exported(model, loc, classes, scores)


def refuse_quantised(saved: SavedDetector, card: Card) -> None:
    """Refuse a graph with quantised or fused operators, which are MXNet's own.

    Raises:
        ExportError: it has some; the message names the float detector that it was made from, where the card does.
    """
    stated = saved.card or card
    operators = [node["op"] for node in json.loads(saved.symbol.tojson())["nodes"]]
    foreign = [op for op in operators if op.startswith(_QUANTISED) or "quantized" in op]
    if foreign or stated.quantization:
        kind = (
            f"to {stated.quantization['dtype']}"
            if "dtype" in stated.quantization
            else f"or fused ({foreign[0]})"
        )
        where = f", {stated.source['prefix']}" if stated.source.get("prefix") else ""
        raise ExportError(
            f"{saved.prefix}: is quantised {kind}, which ONNX cannot express: export the float detector that it was"
            f" made from{where}: give that by --prefix"
        )


def _model(into: Nodes, card: Card, settings: ExportSettings, outputs: dict[str, tuple]):
    """Put nodes, input, outputs (name -> type, shape without the batch) and metadata together."""
    onnx, batch = require("onnx"), "N" if settings.dynamic_batch else 1
    helper, (height, width) = onnx.helper, card.data_shape
    shape, kind = (
        ((height, width, 3), "uint8") if settings.layout == UINT8 else ((3, height, width), "float32")
    )
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), [batch, *shape])
        for name, (kind, shape) in {"data": (kind, shape), **outputs}.items()
    ]
    graph = helper.make_graph(
        into.nodes, card.network or "SSD", values[:1], values[1:], initializer=into.constants
    )
    model = helper.make_model(
        graph,
        producer_name=PRODUCER,
        opset_imports=[helper.make_operatorsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, metadata(card, settings.nms, settings.layout))
    return model
