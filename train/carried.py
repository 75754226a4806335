"""The parameters that a fine-tuned run starts from, and what the log and the card say of them.

Between train/finetune.py, which finds the detector to start from, and model/transfer.py, which moves arrays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from common.errors import CheckpointError
from model.class_rows import ClassMatch, match_classes
from model.old_files import renamed
from model.transfer import Carried, carry_over, class_heads_of, parts_of
from train.finetune import Source
from train.start import initial_params

_MOST_NAMES = 8  # in a line
_KIND = re.compile(r"_(weight|bias|gamma|beta|moving_mean|moving_var)$")


def carried_params(
    source: Source, symbol, shapes: dict[str, tuple], *, class_names: tuple[str, ...], seed: int, extra_layers
) -> tuple[tuple[dict, dict], dict]:
    """Return the parameters of a new run that starts from a detector.

    Args:
        source: the detector.
        symbol: the new run's training graph.
        shapes: name -> shape of its inputs.
        class_names: of the new run.
        seed: of what is initialised.
        extra_layers: as for `parts_of`.

    Returns:
        ((arg_params, aux_params), what the card says of it as JSON values, see `report_lines`).

    Raises:
        CheckpointError: the detector is of another network.
    """
    # mxnet-ssd's names with a counter in them are another network's where it was built second in its process.
    old = {
        **renamed(source.saved.arg_params, symbol.list_arguments()),
        **renamed(source.saved.aux_params, symbol.list_auxiliary_states()),
    }
    # A graph that nobody here built does not say how its layers begin; the source has them all.
    initial = initial_params(symbol, shapes, seed, known={} if source.is_known else old)
    match = match_classes(source.card.class_names, class_names)
    parts = parts_of(symbol, extra_layers)
    result, carried = carry_over(
        {**initial[0], **initial[1]},
        old,
        parts=parts,
        class_heads=class_heads_of(symbol),
        match=match,
        reset_heads=source.reset_heads,
    )
    _check_same_network(source, carried, parts)
    params = tuple({name: result[name] for name in part} for part in initial)
    return params, _report(source, match, carried)


def _check_same_network(source: Source, carried: Carried, parts: dict[str, str]) -> None:
    """Refuse a detector whose backbone does not fit.

    Raises:
        CheckpointError: says both sides, and which flags help.
    """
    other = {name: shapes for name, shapes in carried.misshapen.items() if parts[name] == "base"}
    if other:
        name, (has, wanted) = next(iter(other.items()))
        raise CheckpointError(
            f"--finetune {source.name}: {len(other)} parameters of its backbone have other shapes than the network's:"
            f" {name} has {has}, expected {wanted}: leave --network and its options (--width-mult) out, or start by"
            f" --pretrained {source.saved.prefix}, which takes what fits"
        )
    if not any(name.endswith("_weight") and parts[name] == "base" for name in carried.taken):
        raise CheckpointError(
            f"--finetune {source.name}: no weight of its backbone fits the network {source.card.network or 'here'}: its"
            f" parameters are called like {', '.join(carried.unused[:3]) or 'nothing'}: name its own by --network, or"
            " leave that out where its graph lies beside it"
        )


def _report(source: Source, match: ClassMatch, carried: Carried) -> dict:
    """Return what was carried over as JSON values."""
    return {
        "source": source.saved.prefix,
        "epoch": source.saved.epoch,
        "kept": list(match.kept),
        "new": list(match.added),
        "dropped": list(match.dropped),
        "nearly": [list(pair) for pair in match.nearly],
        "reset_heads": source.reset_heads,
        "taken": len(carried.taken),
        "by_rows": len(carried.by_rows),
        "anew": _layers(carried.anew),
        "unused": _layers(carried.unused),
    }


def _layers(names: Iterable[str]) -> list[str]:
    """Return the layers of parameters, each once."""
    return list(dict.fromkeys(_KIND.sub("", name) for name in names))


def report_lines(report: dict) -> list[str]:
    """Return what the card says of a run's start as lines for the log.

    Args:
        report: as `carried_params` gives it.
    """
    heads = "all heads start anew (--reset-heads)" if report["reset_heads"] else "heads by class names"
    lines = [f"finetune {report['source']}, epoch {report['epoch']}: {heads}"]
    for title, name in (("kept", "kept"), ("new, start anew", "new"), ("dropped", "dropped")):
        if report[name] and not (report["reset_heads"] and name == "kept"):
            lines.append(f"  classes {title}: {_short(report[name], 20)}")
    for new, old in report["nearly"]:
        lines.append(
            f"  {new!r} is taken for a new class, {old!r} of the source is dropped: only equal names match; pack the"
            " records with that name, or call the source's classes otherwise by --finetune-class-names"
        )
    rows = (
        f", of {report['by_rows']} more the rows of background and classes kept" if report["by_rows"] else ""
    )
    lines.append(f"  {report['taken']} parameters taken{rows}")
    for title, name in (("started anew", "anew"), ("of the source, not in the network, left out", "unused")):
        if report[name]:
            lines.append(f"  {len(report[name])} layers {title}: {_short(report[name], _MOST_NAMES)}")
    return lines


def _short(names: list[str], most: int) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
