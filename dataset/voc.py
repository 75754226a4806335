"""Reader of data sets in Pascal VOC's form.

The first step of the data's way: XML annotations in, Samples out. Ids come from the image sets' files, never from a
listing. Deviations from mxnet-ssd: boxes are taken as 1-based and inclusive, as VOC defines them; a missing `difficult`
is 0; class names are those of the whole Annotations folder, so that each split gives a class the same id.

Source: VOC2007 development kit, sections 2 and 6.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common import boxes as box_ops
from common.errors import AnnotationError, ConfigError, did_you_mean
from common.structures import Sample
from dataset.annotations import AnnotationSet, Problem, Reason
from dataset.voc_layout import ImageFinder, find_folders, pair_sets, read_image_set
from dataset.voc_xml import VOCAnnotation, VOCObject, read_voc_xml

_log = logging.getLogger(__name__)


def read_voc(
    root: str | os.PathLike,
    image_sets: Sequence[str],
    years: Sequence[str] = (),
    class_names: Sequence[str] | None = None,
) -> AnnotationSet:
    """Read image sets of a VOCdevkit, or of any folder with Annotations, JPEGImages and ImageSets.

    Args:
        root: the VOCdevkit or the folder.
        image_sets: for example ("trainval",); paired with the years one by one, a single one goes with all.
        years: for example ("2007", "2012"); empty for a single folder.
        class_names: in the order of the ids; objects of other classes are left out and counted. None takes all
            the names in the Annotations folders, sorted.

    Returns:
        The Samples, class names and problems.

    Raises:
        ConfigError: a folder, year or image set is not there.
        AnnotationError: no annotation names a class.
    """
    pairs = pair_sets(find_folders(root, years), image_sets)
    cache: dict[Path, VOCAnnotation] = {}
    given = class_names is not None
    names = tuple(class_names) if given else find_class_names([folder for folder, _ in pairs], cache)
    reading = _Reading(names, cache)
    for folder, image_set in pairs:
        _read_set(reading, folder, image_set)
    if given:
        _check_given_names(reading, names)
    return AnnotationSet(
        reading.samples, names, reading.problems, tuple(reading.object_indices), root=Path(root)
    )


def find_class_names(
    folders: Sequence[Path], cache: dict[Path, VOCAnnotation] | None = None
) -> tuple[str, ...]:
    """Return the class names in all annotation files of the folders, sorted.

    Args:
        folders: each with a folder Annotations.
        cache: filled with what was read.

    Raises:
        AnnotationError: there is none.
    """
    cache = {} if cache is None else cache
    unreadable = []
    for folder in dict.fromkeys(folders):
        for path in sorted((folder / "Annotations").rglob("*.xml")):
            if path.name.startswith("."):  # what macOS leaves in archives
                continue
            try:
                cache[path] = read_voc_xml(path)
            except AnnotationError:
                unreadable.append(path)
    names = {entry.name for annotation in cache.values() for entry in annotation.objects if entry.name}
    if unreadable:
        _log.warning("%d annotation files cannot be read, the first is %s", len(unreadable), unreadable[0])
    if not names:
        places = ", ".join(str(folder / "Annotations") for folder in dict.fromkeys(folders))
        raise AnnotationError(
            f"{places}: no annotation file there names a class:"
            " is it the right folder? For images without objects alone give the classes by --class-names"
        )
    return tuple(sorted(names))


@dataclass
class _Reading:
    """What has been read so far."""

    class_names: tuple[str, ...]
    cache: dict[Path, VOCAnnotation]
    samples: list[Sample] = field(default_factory=list)
    object_indices: list[np.ndarray] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    seen: set[Path] = field(default_factory=set)
    other_names: set[str] = field(default_factory=set)

    def report(
        self, image_id: str, source: Path, reason: Reason, *, value: str = "", index: int | None = None
    ) -> None:
        """Add a problem."""
        self.problems.append(Problem(image_id, str(source), reason, value, index))


def _read_set(reading: _Reading, folder: Path, image_set: str) -> None:
    """Read one image set of one folder."""
    if not (folder / "JPEGImages").is_dir():
        raise ConfigError(f"{folder}: no folder JPEGImages here, the images must lie there")
    finder = ImageFinder(folder / "JPEGImages")
    for image_id in read_image_set(folder, image_set):
        path = folder / "Annotations" / f"{image_id}.xml"
        if path in reading.seen:
            reading.report(image_id, path, Reason.DUPLICATE_ID, value=image_set)
            continue
        reading.seen.add(path)
        annotation = _annotation(reading, image_id, path)
        if annotation is None:
            continue
        image_path = finder.find(image_id, annotation.filename)
        if image_path is None:
            reading.report(image_id, path, Reason.MISSING_IMAGE, value=annotation.filename)
            continue
        _add_sample(reading, image_id, path, annotation, image_path)


def _annotation(reading: _Reading, image_id: str, path: Path) -> VOCAnnotation | None:
    """Return an image's annotation; None, with the problem noted, where it is missing or unreadable."""
    if path not in reading.cache:
        try:
            if not path.is_file():
                reading.report(image_id, path, Reason.MISSING_ANNOTATION)
                return None
            reading.cache[path] = read_voc_xml(path)
        except AnnotationError as error:
            value = str(error).replace(f"{path}", "").lstrip(",: ")
            reading.report(image_id, path, Reason.BAD_ANNOTATION, value=value)
            return None
        except (OSError, ValueError) as error:  # an id that no file can have
            reading.report(image_id, path, Reason.MISSING_ANNOTATION, value=str(error))
            return None
    return reading.cache[path]


def _add_sample(
    reading: _Reading, image_id: str, path: Path, annotation: VOCAnnotation, image_path: Path
) -> None:
    """Make a Sample of the objects that can be used, and note those that cannot."""
    kept = []
    for entry in annotation.objects:
        reason, value = _fault(entry, reading.class_names)
        if reason is Reason.CLASS_NOT_ASKED:
            reading.other_names.add(entry.name)
        if reason is None:
            kept.append(entry)
        else:
            reading.report(image_id, path, reason, value=value, index=entry.index)
    sample = Sample(
        image_path=image_path,
        size=annotation.size,
        boxes=box_ops.from_voc(np.array([entry.box for entry in kept], np.float64).reshape(-1, 4)),
        class_ids=np.array([reading.class_names.index(entry.name) for entry in kept], np.int64),
        difficult=np.array([entry.difficult for entry in kept], bool),
        image_id=image_id,
        source=str(path),
    )
    reading.samples.append(sample)
    reading.object_indices.append(np.array([entry.index for entry in kept], np.int64))


def _fault(entry: VOCObject, class_names: tuple[str, ...]) -> tuple[Reason | None, str]:
    """Return why an object cannot be used, with what was found; None where it can.

    A box whose stated minimum and maximum are the same would be one pixel wide by VOC's rule; no one draws that, it is
    a click that was never dragged.
    """
    if entry.fault:
        return Reason.BAD_OBJECT, entry.fault
    if entry.name not in class_names:
        return Reason.CLASS_NOT_ASKED, entry.name
    xmin, ymin, xmax, ymax = entry.box
    value = " ".join(f"{side:g}" for side in entry.box)
    if not np.isfinite(entry.box).all():
        return Reason.NOT_FINITE, value
    if xmax < xmin or ymax < ymin:
        return Reason.INVERTED, value
    if xmax == xmin or ymax == ymin:
        return Reason.DEGENERATE, value
    return None, ""


def _check_given_names(reading: _Reading, names: tuple[str, ...]) -> None:
    """Warn of a class that no object has; raise where none has any."""
    used = {int(class_id) for sample in reading.samples for class_id in sample.class_ids}
    missing = [name for index, name in enumerate(names) if index not in used]
    if missing and len(missing) == len(names) and reading.other_names:
        hint = did_you_mean(missing[0], sorted(reading.other_names))
        raise ConfigError(
            f"--class-names {','.join(names)}: no object of the image sets has such a class{hint}"
        )
    for name in missing:
        _log.warning(
            "class %s: no object in these image sets%s", name, did_you_mean(name, sorted(reading.other_names))
        )
