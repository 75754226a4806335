"""What a measurement says: a table on the console, the same in Markdown, and a JSON file with every round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.files import write_bytes, write_json, write_text
from evaluate.text_table import aligned
from tools.benchmarks import machine

NOISY = "too noisy to tell"
_LOAD = 0.15  # processors that others may take on the average


@dataclass(frozen=True)
class Report:
    """One measurement, ready to be told.

    Attributes:
        name: of its files.
        title: one line.
        machine: as `machine.describe` gives it.
        versions: engine -> {library: version}.
        columns: of the table.
        rows: of the table, texts.
        notes: sentences below the table.
        data: everything, as JSON values.
    """

    name: str
    title: str
    machine: dict
    versions: dict
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    data: dict

    def text(self) -> str:
        """Return it for a console."""
        return "\n".join([self.title, *self._head(), "", aligned(self.columns, self.rows), "", *self.notes])

    def markdown(self) -> str:
        """Return it as Markdown."""
        lines = [self.columns, ["---", *["---:"] * (len(self.columns) - 1)], *self.rows]
        table = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([f"# {self.title}", *self._head(), "", *table, "", *notes, ""])

    def write(self, folder: str | Path, picture: bytes | None) -> list[Path]:
        """Write NAME.md, NAME.json and, where there is one, NAME.png; return their paths.

        Raises:
            ConfigError: they cannot be written.
        """
        paths = [Path(folder) / f"{self.name}{suffix}" for suffix in (".md", ".json", ".png")]
        write_text(paths[0], self.markdown())
        values = {"title": self.title, "machine": self.machine, "versions": self.versions, **self.data}
        write_json(paths[1], values)
        if picture is None:
            return paths[:2]
        write_bytes(paths[2], picture)
        return paths

    def _head(self) -> list[str]:
        """Return machine and versions as lines."""
        told = (
            f"{engine}: {', '.join(f'{name} {version}' for name, version in libraries.items())}"
            for engine, libraries in self.versions.items()
        )
        return [machine.sentence(self.machine) + ".", f"Versions: {'; '.join(told)}."]


def milliseconds(seconds: float | None) -> str:
    """Return seconds as milliseconds, "-" for None."""
    return "-" if seconds is None else f"{1000 * seconds:.2f}"


def megabytes(size: int | None) -> str:
    """Return bytes as MB, "-" for None."""
    return "-" if size is None else f"{size / 1e6:.0f}"


def ratio(values: dict | None, noisy: bool) -> str:
    """Return a ratio with its range: "1.23 (1.20-1.26)", and whether it can be believed."""
    if values is None:
        return "-"
    return f"{values['median']:.2f} ({values['low']:.2f}-{values['high']:.2f})" + (", noisy" if noisy else "")


def noise_notes(
    names: Sequence[str], others: Sequence[float], idle: Sequence[float], limit: float
) -> list[str]:
    """Return sentences about what disturbed a measurement.

    Args:
        names: of the rows whose rounds differ too much.
        others: processors that others took, of each run; below 0 is unknown.
        idle: share of a processor that waiting workers took, of each run.
        limit: largest ratio over the smallest.
    """
    known = [value for value in others if value >= 0]
    notes = []
    if names:
        notes.append(
            f"The machine was {NOISY} for {'; '.join(names)}: the rounds' ratios differ by more than a factor of"
            f" {limit:g}. Run it again when nothing else runs, or with more --rounds."
        )
    if known:
        mean = sum(known) / len(known)
        verdict = f": the machine was {NOISY}" if mean > _LOAD else ""
        notes.append(
            f"Other processes took {mean:.2f} processors on the average while it was measured{verdict}."
        )
    if idle and max(idle) > 0.05:
        notes.append(
            f"Waiting workers did not sleep: they took up to {max(idle):.2f} of a processor while another ran."
        )
    return notes
