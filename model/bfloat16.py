"""A detector's graph in bfloat16: float32 with 8 bits of mantissa, for processors that compute with it.

deploy.py's `--quantize bfloat16`. MXNet's mixed precision (`mxnet.contrib.amp`) puts convolutions and what can follow
them into bfloat16 and casts between; parameters are cast once, here, so that the file is half as large. Nothing is
calibrated and no layer is chosen: the values keep float32's range.

What lies behind the last layers, the heads and the detection tail, stays in float32 under its own name.
"""

from __future__ import annotations

from common.mx import mx
from model.graph import heads, keep_used
from model.quantize import Candidate, Choice, Judges
from model.quantize_graph import behind_layers, refuse_quantised_graph

BFLOAT16 = "bfloat16"


def bfloat16_graph(symbol, params: tuple[dict, dict], name: str) -> tuple:
    """Return a detector's graph in bfloat16, up to the heads.

    Args:
        symbol: a graph with the heads, in float32.
        params: (arg_params, aux_params).
        name: of the detector, for messages.

    Returns:
        (symbol, (arg_params, aux_params)): data -> loc_pred, cls_pred, anchors, all float32.

    Raises:
        CheckpointError: it has no heads, or is not in float32.
    """
    from mxnet.contrib import amp

    refuse_quantised_graph(symbol, name)
    group = mx.sym.Group(list(heads(symbol, name)))
    arguments, states = keep_used(group, *params)
    converted, arguments, states = amp.convert_model(
        group,
        dict(arguments),
        dict(states),
        target_dtype=BFLOAT16,
        excluded_sym_names=list(behind_layers(group)),
        cast_optional_params=True,
    )
    return converted, keep_used(converted, arguments, states)


def try_bfloat16(source: tuple, judges: Judges, max_drop: float, *, name: str) -> Choice:
    """Make a detector's bfloat16 graph and measure whether it is worth having.

    Args:
        source: (symbol, (arg_params, aux_params)) of a float detector, with the heads.
        judges: score and time graphs.
        max_drop: how much of the score may be lost.
        name: of the detector, for messages.

    Returns:
        A choice whose best is the graph, or None where it loses more or is not faster.
    """
    float_score, made = judges.score(source), bfloat16_graph(*source, name)
    found = Candidate(BFLOAT16, (), made, judges.score(made))
    judges.tell(found)
    seconds = tuple(judges.seconds([source, made]))
    good = found.score >= float_score - max_drop - 1e-9 and seconds[1] < seconds[0]
    return Choice(found if good else None, (found,), float_score, seconds, 0, 0)
