"""The table of all networks by name: what `train.py --list-networks` prints, and the README's table in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from common.errors import ConfigError
from symbol.config import NetworkConfig
from symbol.presets import PRESETS, network_config
from symbol.summary import figures, summary

_COLUMNS = (
    "network",
    "input",
    "feature maps",
    "anchors",
    "parameters",
    "multiply-adds",
    "preprocessing",
    "source",
)
_NUMBERS = {"anchors", "parameters", "multiply-adds"}  # columns that stand to the right


def listed_networks(
    num_classes: int, data_shape: tuple[int, int] | None = None
) -> list[tuple[str, NetworkConfig]]:
    """Return (name, configuration) of every variant of every network, in the order of the presets.

    Args:
        num_classes: foreground classes.
        data_shape: (height, width) of the input for all of them; None takes each variant's own.

    Raises:
        ConfigError: a value is out of range.
    """
    return [
        (name, network_config(name, shape, num_classes))
        for name, variants in PRESETS.items()
        for shape in ([data_shape] if data_shape else sorted({variant.data_shape for variant in variants}))
    ]


def network_table(networks: Iterable[tuple[str, NetworkConfig]], *, markdown: bool = False) -> str:
    """Return a table with a line for each network.

    Args:
        networks: (name, configuration).
        markdown: with bars between the columns, as README files have it.
    """
    rows = [_row(name, config) for name, config in networks]
    if markdown:
        marks = ["--:" if column in _NUMBERS else "---" for column in _COLUMNS]
        return "\n".join(f"| {' | '.join(row)} |" for row in [_COLUMNS, marks, *rows])
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows)]
    lines = ["  ".join(_aligned(row, widths)).rstrip() for row in [_COLUMNS, *rows]]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def network_page(config: NetworkConfig) -> str:
    """Return what there is to say of one network: its table, its input, where it comes from.

    Raises:
        ConfigError: the input is too small for the network.
    """
    norms = [f"{feature.layer} {feature.norm}" for feature in config.features if feature.norm != "none"]
    kinds = list(dict.fromkeys(feature.head for feature in config.features))
    lines = [
        summary(config),
        f"input: {preprocessing(config)}",
        f"heads: {', '.join(kinds)}",
        f"normalisation before a head: {', '.join(norms) or 'none'}",
        f"extra blocks: {sum(feature.extra is not None for feature in config.features)}",
        f"source: {config.source or 'unknown'}",
        f"learning rate from random weights: {config.rate:g} (SGD)"
        if config.rate
        else "made to start from trained weights",
    ]
    return "\n".join(lines)


def preprocessing(config: NetworkConfig) -> str:
    """Return what happens to pixels of 0 to 255 before the network, as text."""
    mean, std = _channels(config.mean), _channels(config.std)
    text = "RGB" if mean == "0" else f"RGB - {mean}"
    if std == "1":
        return text
    return f"{text} / {std}" if text == "RGB" else f"({text}) / {std}"


def _channels(values: Sequence[float]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else ",".join(f"{value:g}" for value in values)


def _row(name: str, config: NetworkConfig) -> tuple[str, ...]:
    """Return the cells of one network's line; an input that is too small stands there in place of the numbers."""
    height, width = config.data_shape
    try:
        found = figures(config)
    except ConfigError as error:
        too_small = str(error).rsplit("; ", 1)[-1]
        return (name, f"{height}x{width}", too_small, "", "", "", preprocessing(config), config.source)
    return (
        name,
        f"{height}x{width}",
        " ".join(str(rows) if rows == columns else f"{rows}x{columns}" for rows, columns in found.maps),
        str(sum(found.anchors)),
        f"{found.parameters / 1e6:.2f} M",
        f"{found.multiply_adds / 1e9:.2f} G",
        preprocessing(config),
        config.source,
    )


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.rjust(width) if column in _NUMBERS else cell.ljust(width)
        for cell, width, column in zip(row, widths, _COLUMNS)
    ]
