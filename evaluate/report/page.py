"""The report of an evaluation: one HTML page, nothing beside it needed, and a file of suggested thresholds.

The last step of evaluate.py --report. The page loads nothing: style, script, charts and pictures stand in it, and a
Content-Security-Policy forbids the browser to fetch anything else. It can be read without JavaScript, too; with it
tables sort, curves can be chosen and pictures enlarged. All text passes jinja2's escaping, since class and file names
are the user's.

Only index.html and thresholds.json are written; an index.html that is not such a report is never replaced.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np

from common.errors import ConfigError
from common.files import check_place, write_text
from common.libraries import require
from detect.thresholds import FORMAT, write_thresholds
from evaluate.coco import COCOResult
from evaluate.confusion import confusion_matrix
from evaluate.error_analysis import ErrorAnalysis, analyse_errors
from evaluate.findings import Findings
from evaluate.operating_points import OperatingCurve, operating_curve
from evaluate.report import curves, gallery, heat, sections
from evaluate.voc import VOCResult

_NEEDING = "--report needs"
MARKER = "<!-- ssd-evaluation-report -->"  # by it a later run knows that it may replace the page
PAGE, THRESHOLDS = "index.html", "thresholds.json"

_TEMPLATES = Path(__file__).parent / "templates"
_OWN = {"style": "style.css", "script": "script.js"}
_BACKGROUND = 0.1  # IoU up to which nothing is near a detection, where the foreground's threshold leaves room
_MOST_CURVES_AT_FIRST = 8  # classes; of more, only half as many stand out


def write_report(
    folder: str | os.PathLike,
    findings: Findings,
    *,
    voc: VOCResult,
    coco: COCOResult | None = None,
    pixels: Callable[[int], np.ndarray] | None = None,
    about: dict[str, str],
    metric: str = "voc",
) -> Path:
    """Write index.html and thresholds.json.

    Args:
        folder: of the report; it is made where it is missing, other files in it are left alone.
        findings: truth and detections.
        voc: their score by VOC's rule; its IoU threshold is that of the whole page.
        coco: their score by COCO's rule; None leaves its columns and the sizes out.
        pixels: gives image i as (H, W, 3) uint8 RGB, in any size; None where the pictures are not at hand.
        about: what was evaluated, in the order to show ("model": "output/ssd", ...); "prefix" stands in the
            command that uses the thresholds.
        metric: "coco" heads the page with COCO's AP, where it was taken; anything else with VOC's mAP.

    Returns:
        The path of index.html.

    Raises:
        ConfigError: the folder cannot be written, or holds files of those names that are something else.
        DependencyError: jinja2 is not installed.
    """
    folder = Path(folder)
    check_report_folder(folder)
    findings = _as_counted(findings, voc)
    operating = [operating_curve(result) for result in voc.classes]
    thresholds = np.array([curve.threshold for curve in operating])
    context = {
        **_measures(findings, voc, coco, operating),
        **sections.header(findings, voc, coco, metric),
        **_mistakes(findings, voc, thresholds, pixels),
        "about": about,
        "command": _command(about, folder / THRESHOLDS),
    }
    text = _render(context)
    chosen_by = f"best F1 at IoU {voc.iou_threshold:g}"
    values = {curve.name: curve.threshold for curve in operating}
    write_thresholds(folder / THRESHOLDS, values, chosen_by=chosen_by, data=findings.name)
    write_text(folder / PAGE, text)
    return folder / PAGE


def _as_counted(findings: Findings, voc: VOCResult) -> Findings:
    """Return findings whose difficult objects are ordinary ones where the score counted them (--use-difficult)."""
    if not voc.use_difficult:
        return findings
    truths = [
        dataclasses.replace(truth, difficult=np.zeros_like(truth.difficult)) for truth in findings.truths
    ]
    return dataclasses.replace(findings, truths=truths)


def check_report_folder(folder: str | os.PathLike) -> None:
    """Make sure that a report can be written to a folder, before the work that it is to show.

    Raises:
        ConfigError: it cannot be written, or holds files of the report's names that are something else.
        DependencyError: jinja2 is not installed.
    """
    require("jinja2", _NEEDING)
    page, thresholds = Path(folder) / PAGE, Path(folder) / THRESHOLDS
    if Path(folder).exists() and not Path(folder).is_dir():
        raise ConfigError(f"{folder}: is a file: give a folder for the report (--report)")
    for path, mark in ((page, MARKER), (thresholds, FORMAT)):
        check_place(path)
        if path.exists() and mark not in _beginning(path):
            raise ConfigError(
                f"{path}: is there and was not written by a report: give another folder (--report), or move it away"
            )


def _beginning(path: Path) -> str:
    """Return a file's first letters."""
    try:
        with open(path, "rb") as stream:
            return stream.read(1000).decode("utf-8", "replace")
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror or error}): choose another folder"
        ) from error


def _measures(
    findings: Findings, voc: VOCResult, coco: COCOResult | None, operating: list[OperatingCurve]
) -> dict:
    """Return the parts of the page that show measures."""
    rows = sections.class_rows(voc, operating, coco)
    charts = curves.draw_charts(voc, operating)
    return {
        "name": findings.name,
        "voc": voc,
        "coco": coco,
        "rows": rows,
        "mean": sections.mean_row(rows, voc, coco),
        "coco_columns": sections.COCO_COLUMNS if coco else (),
        "coco_rows": sections.coco_rows(coco) if coco else [],
        "sizes": sections.size_rows(findings, coco),
        "charts": charts,
        "picked": _picked(voc),
        "slots": curves.SLOTS,
        "plot": (curves.WIDTH, curves.HEIGHT),
        "judged": _judged(voc),
        "any_found": any(len(found) for found in findings.detections),
    }


def _picked(voc: VOCResult) -> dict[int, int]:
    """Return which classes stand out at first, class id -> colour: all of a few, of many those with most objects."""
    there = [i for i, result in enumerate(voc.classes) if result.objects]
    if len(there) > _MOST_CURVES_AT_FIRST:
        there = sorted(there, key=lambda i: -voc.classes[i].objects)[: _MOST_CURVES_AT_FIRST // 2]
    return {class_id: slot for slot, class_id in enumerate(there)}


def _mistakes(
    findings: Findings, voc: VOCResult, thresholds: np.ndarray, pixels: Callable[[int], np.ndarray] | None
) -> dict:
    """Return the parts of the page that show what went wrong."""
    iou, names = voc.iou_threshold, findings.class_names
    matrix = confusion_matrix(findings, iou_threshold=iou, thresholds=thresholds)
    objects, found = matrix[:-1].sum(axis=1), matrix[:, :-1].sum(axis=0)
    analysis = _analyse(findings, iou)
    shown = gallery.show_above(findings, thresholds)
    return {
        "heat": heat.draw_heat_map(matrix, names),
        "names": names,
        "drawn": (gallery.MOST_BOXES, gallery.MOST_BELOW, gallery.FAINTEST),
        "confused": heat.confused_pairs(matrix, names),
        "missed": heat.most_frequent(matrix[:-1, -1], objects, names),
        "invented": heat.most_frequent(matrix[-1, :-1], found, names),
        "analysis": analysis,
        "errors": sections.error_rows(analysis, findings),
        "pictures": gallery.make_gallery(
            findings, shown, _analyse(shown.findings, iou).mistakes, pixels, judged=_judged(voc)
        ),
    }


def _judged(voc: VOCResult) -> bool:
    """Whether there is truth that detections can be right or wrong by."""
    return any(result.objects for result in voc.classes)


def _analyse(findings: Findings, foreground: float) -> ErrorAnalysis:
    """Find the errors at the page's IoU threshold."""
    return analyse_errors(findings, foreground=foreground, background=min(_BACKGROUND, foreground / 2))


def _command(about: dict[str, str], thresholds: Path) -> str:
    """Return the command that draws with the suggested thresholds; the reader fills in YOUR_PICTURES."""
    prefix = shlex.quote(about["prefix"]) if about.get("prefix") else "PREFIX"
    return f"python demo.py --prefix {prefix} --dir YOUR_PICTURES --thresh {shlex.quote(str(thresholds))}"


def _render(context: dict) -> str:
    """Fill the template in."""
    jinja2 = require("jinja2", _NEEDING)
    from markupsafe import Markup  # comes with jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["share"] = lambda value: "–" if value is None else f"{value:.4f}"
    environment.filters["short"] = lambda value: "–" if value is None else f"{value:.3f}"
    environment.filters["percent"] = lambda value: "–" if value is None else f"{100 * value:.0f} %"
    environment.filters["count"] = lambda value: f"{value:,}"
    # style and script are files of this package, not of the user: they go in as they are
    own = {name: Markup((_TEMPLATES / f).read_text(encoding="utf-8")) for name, f in _OWN.items()}
    return environment.get_template("page.html").render(**context, **own, marker=Markup(MARKER))
