"""Pascal VOC's results files: a folder with comp4_det_<set>_<class>.txt for each class.

A line is "image_id score xmin ymin xmax ymax", in pixels of the original image, 1-based and inclusive. Numbers are
written so that they read back to the last digit; the shift by one pixel is made in decimal, where nothing is lost.

Names can hold what a line or a file name cannot: in ids white space and %, in classes and sets also / and what other
systems forbid stand as in web addresses (%20). Ids that were not written like that are taken as they are.

Source: VOC2012 development kit, section 8.2 (results file format).
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from decimal import Context, Decimal
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np

from common.errors import ConfigError
from common.files import check_place, write_text
from evaluate.findings import Findings, by_image, image_finder

_BEGIN, _END = "comp4_det_", ".txt"
_LINE = "image_id score xmin ymin xmax ymax"
_NOT_IN_FILE_NAMES = re.compile('[%/\\\\<>:"|?*\x00-\x1f\x7f\ud800-\udfff]')
_NOT_IN_IDS = re.compile("[%\\s\x00-\x1f\x7f\ud800-\udfff]")
LARGEST = 1e100  # of any number in a results file: the areas of larger boxes would overflow
_DECIMAL = Context(prec=1100)  # enough for the sum of 1 and any float


def check_folder(folder: Path, findings: Findings) -> None:
    """Make sure that VOC's files can be written there: earlier ones of the same set are replaced, nothing else.

    Args:
        folder: is made where it is missing.
        findings: their truth.

    Raises:
        ConfigError: it is a file, holds other files, or cannot be written; or two images have one id.
    """
    _ids(findings)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(
            f"{folder}: is a file: give a folder for VOC's results, or a name ending in .json for COCO's"
        )
    names = _file_names(findings)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not (path.name.startswith(_BEGIN) and path.name.endswith(_END) and _holds_results(path)):
            problem = "which is no results file of VOC's form"
        elif path.name.startswith(f"{_BEGIN}{_set_name(findings)}_") and path.name not in names:
            problem = "of a class that the data set does not have"
        else:
            continue
        raise ConfigError(
            f"{folder}: holds {path.name}, {problem}: choose an empty or new folder (--save-results)"
        )
    check_place(folder / names[0])


def save(folder: Path, findings: Findings) -> None:
    """Write a file for each class, empty where nothing was found.

    Args:
        folder: is made where it is missing.
        findings: with detections in pixels.
    """
    ids = [_NOT_IN_IDS.sub(_quoted, text) for text in _ids(findings)]
    lines: list[list[str]] = [[] for _ in findings.class_names]
    for image_id, found in zip(ids, findings.detections):
        rows = zip(found.class_id.tolist(), found.score.tolist(), found.boxes.tolist())
        for class_id, score, (xmin, ymin, xmax, ymax) in rows:
            corner = f"{_shifted(repr(xmin), 1)} {_shifted(repr(ymin), 1)}"
            lines[class_id].append(f"{image_id} {score!r} {corner} {xmax!r} {ymax!r}\n")
    for name, of_class in zip(_file_names(findings), lines):
        write_text(folder / name, "".join(of_class))


def load(folder: Path, findings: Findings) -> Findings:
    """Read the files of all classes.

    Args:
        folder: with a file for each class of the data set.
        findings: the truth that they belong to.

    Returns:
        The same truth with the files' detections, float64, best first.

    Raises:
        ConfigError: files are missing, of other classes, or a line cannot be.
    """
    images = image_finder(findings)
    rows: list[tuple] = []
    for class_id, path in enumerate(_class_files(folder, findings)):
        rows.extend((class_id, *row) for row in _read_lines(path, images))
    values = np.array(rows, np.float64).reshape(-1, 7)
    class_ids, image = values[:, 0].astype(np.int64), values[:, 1].astype(np.int64)
    return findings.with_detections(
        by_image(findings, image, class_ids, score=values[:, 2], boxes=values[:, 3:])
    )


def _read_lines(path: Path, images: dict[str, int]) -> list[tuple]:
    """Return (image, score, xmin, ymin, xmax, ymax) of each line of a file, 0-based and half-open."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as text in UTF-8 ({error})") from error
    rows = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                rows.append(_row(line, images))
            except ValueError as problem:
                raise ConfigError(f"{path}: line {number}: {problem}") from problem
    return rows


def _row(line: str, images: dict[str, int]) -> tuple:
    """Return (image, score, xmin, ymin, xmax, ymax) of a line.

    Raises:
        ValueError: with the reason why it cannot be.
    """
    parts = line.rsplit(None, 5)  # from the right: ids of other programs may hold spaces
    if len(parts) != 6:
        raise ValueError(f"expected {_LINE}, found {_short(line)}")
    text = parts[0].strip()
    image = images.get(_unquoted(text), images.get(text))
    if image is None:
        known = ", ".join(list(images)[:5])
        raise ValueError(f"image {_short(text)} is not of the data set, whose ids are {known}, ...")
    try:
        numbers = [float(part) for part in parts[1:]]
        low = [float(_shifted(part, -1)) for part in parts[2:4] if math.isfinite(float(part))]
    except (ValueError, ArithmeticError):
        numbers = [math.nan]
    if not all(-LARGEST < number < LARGEST for number in numbers):
        raise ValueError(f"expected {_LINE} with finite numbers, found {_short(line)}")
    if numbers[3] < low[0] or numbers[4] < low[1]:
        raise ValueError(f"expected xmin up to xmax and ymin up to ymax, found {_short(line)}")
    return (image, numbers[0], *low, *numbers[3:])


def _shifted(number: str, by: int) -> Decimal:
    """Return a number in decimal with a whole number added, nothing rounded."""
    return _DECIMAL.add(Decimal(number), by)


def _class_files(folder: Path, findings: Findings) -> list[Path]:
    """Return the file of each class.

    Raises:
        ConfigError: one is missing, or there are files of other classes.
    """
    names = [name for name in sorted(os.listdir(folder)) if name.startswith(_BEGIN) and name.endswith(_END)]
    endings = tuple(f"_{_escaped(name)}{_END}" for name in findings.class_names)
    begin = _BEGIN + _find_set(folder, names, endings, _set_name(findings))
    for name in names:
        if name.startswith(f"{begin}_") and not name.endswith(endings):
            raise ConfigError(
                f"{folder / name}: of a class that the data set does not have; it has"
                f" {', '.join(findings.class_names[:20])}: are the results of another model?"
            )
    return [folder / f"{begin}{ending}" for ending in endings]


def _find_set(folder: Path, names: list[str], endings: tuple[str, ...], expected: str) -> str:
    """Return the one set of which every class has a file; the data set's own name where it is among several."""
    sets = [
        {name[len(_BEGIN) : -len(ending)] for name in names if name.endswith(ending)} - {""}
        for ending in endings
    ]
    whole = set.intersection(*sets)
    if expected in whole or len(whole) == 1:
        return expected if expected in whole else whole.pop()
    if whole:
        raise ConfigError(
            f"{folder}: holds results of the sets {', '.join(sorted(whole))}, none of them {expected!r}, the data"
            " set's: give a folder with one of them (--from-results)"
        )
    counts = Counter({expected: 0})
    counts.update(name for found in sets for name in sorted(found))
    likely = counts.most_common(1)[0][0]
    missing = next(ending for ending, found in zip(endings, sets) if likely not in found)
    raise ConfigError(
        f"{folder}: there is no {_BEGIN}{likely}{missing}: expected a file for each class of the data set (an empty"
        " one where nothing was found), or a .json file in COCO's form"
    )


def _file_names(findings: Findings) -> list[str]:
    return [f"{_BEGIN}{_set_name(findings)}_{_escaped(name)}{_END}" for name in findings.class_names]


def _set_name(findings: Findings) -> str:
    return _escaped(findings.name) or "test"


def _escaped(name: str) -> str:
    return _NOT_IN_FILE_NAMES.sub(_quoted, name)


def _quoted(match: re.Match) -> str:
    return quote(match.group(), safe="", errors="surrogatepass")


def _unquoted(text: str) -> str:
    """Undo `_quoted`; a text that is no such thing stays as it is."""
    try:
        return unquote(text, errors="surrogatepass")
    except UnicodeDecodeError:
        return text


def _ids(findings: Findings) -> list[str]:
    """Return the data set's own id of each image as text; each must be there and stand for one image."""
    ids = [str(truth.image_id) for truth in findings.truths]
    text, count = Counter(ids).most_common(1)[0] if ids else ("", 0)
    if count > 1 or "" in ids:
        found = f"{count} images have the id {text!r}" if count > 1 else "an image has no id"
        raise ConfigError(
            f"VOC's results files name images by their ids, and {found}: save a .json file instead"
        )
    return ids


def _holds_results(path: Path) -> bool:
    """Tell whether a file is empty or begins with a line of results."""
    if not path.is_file():
        return False
    with open(path, "rb") as stream:
        line = stream.read(4096).decode("utf-8-sig", "replace").split("\n")[0]
    try:
        return not line.strip() or len([float(part) for part in line.rsplit(None, 5)[1:]]) == 5
    except ValueError:
        return False


def _short(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= 80 else text[:77] + "...")
