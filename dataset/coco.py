"""Reader of data sets in COCO's form.

The first step of the data's way: instances JSON in, Samples out. Deviations from mxnet-ssd: the data set's numbers of
the categories (1 to 90 for 80 classes) become 0, 1, 2 ... in their order, and the numbers are kept for the results;
crowds stay out of the labels; boxes of no size are left out; images without objects are kept; any year's file names.

Source: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from common.errors import AnnotationError, ConfigError, did_you_mean
from common.structures import Sample
from dataset.annotations import AnnotationSet, Problem, Reason
from dataset.coco_file import COCOFile, COCOImage, key_of, read_coco_file, shown, whole_number
from dataset.coco_layout import ImageFinder, find_annotation_files
from dataset.coco_objects import annotation_number, read_objects

_log = logging.getLogger(__name__)


def read_coco(
    root: str | os.PathLike,
    image_sets: Sequence[str],
    class_names: Sequence[str] | None = None,
    *,
    annotations: str | os.PathLike | None = None,
) -> AnnotationSet:
    """Read image sets of COCO's form.

    Args:
        root: folder with annotations/ and a folder of images for each set; other layouts are searched for.
        image_sets: for example ("train2017", "val2017"); of an image that stands in several, the first counts.
        class_names: in the order of the ids; objects of other classes are left out and counted. None takes all
            categories, by their numbers.
        annotations: the annotation file itself; then at most one image set.

    Returns:
        The Samples, class names, the categories' numbers and problems.

    Raises:
        ConfigError: a folder or file is not there, or a class name is unknown.
        AnnotationError: a file is not COCO's, the files contradict each other, or no image is there.
    """
    root = Path(root)
    sets = find_annotation_files(root, image_sets, annotations)
    files = [read_coco_file(path) for _, path in sets]
    categories = _merge_categories(files)
    names, numbers = _choose_classes(categories, class_names, files)
    class_ids = {number: index for index, number in enumerate(numbers)}
    reading = _Reading(class_ids, categories)
    for (image_set, _), file in zip(sets, files):
        _read_file(reading, root, image_set, file)
    samples = _with_ids_of_one_kind(reading.samples)
    return AnnotationSet(samples, names, reading.problems, tuple(reading.object_indices), numbers, root)


def _merge_categories(files: Sequence[COCOFile]) -> dict[int, str]:
    """Return number -> name of all files' categories, by number, each name once."""
    merged: dict[int, str] = {}
    for file in files:
        for number, name in file.categories.items():
            if merged.setdefault(number, name) != name:
                raise AnnotationError(
                    f"{file.path}: category id {number} is {name!r}, but {merged[number]!r} in {files[0].path}: image"
                    " sets packed together must have the same categories; pack them one by one, or mend the ids"
                )
    for name, count in Counter(merged.values()).items():
        if count > 1:
            _drop_unused(merged, name, files)
    return dict(sorted(merged.items()))


def _drop_unused(categories: dict[int, str], name: str, files: Sequence[COCOFile]) -> None:
    """Leave one category of a name: the one that has objects. Some tools list each super-category as a category too."""
    numbers = [number for number in categories if categories[number] == name]
    used = _used_categories(files)
    wanted = [number for number in numbers if number in used] or numbers[:1]
    if len(wanted) > 1:
        raise AnnotationError(
            f"{files[0].path}: categories {wanted[0]} and {wanted[1]} are both named {name!r}: rename one"
        )
    text = "%s: the name %r stands at categories %s; %d is taken, the others have no objects"
    _log.warning(text, files[0].path, name, numbers, wanted[0])
    for number in set(numbers) - set(wanted):
        del categories[number]


def _used_categories(files: Sequence[COCOFile]) -> frozenset[int]:
    """Return the numbers of the categories that annotations name."""
    entries = (entry for file in files for entry in file.annotations if isinstance(entry, dict))
    return frozenset(whole_number(entry.get("category_id")) for entry in entries) - {None}


def _choose_classes(
    categories: dict[int, str], class_names: Sequence[str] | None, files: Sequence[COCOFile]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the class names in the order of the class ids, and the category number of each (none where unknown)."""
    if not categories and class_names is None:
        raise AnnotationError(
            f"{files[0].path}: it names no categories: give the classes by --class-names, in the model's order"
        )
    if class_names is None:
        return tuple(categories.values()), tuple(categories)
    if not categories:
        _log.warning("%s: no categories; results number the classes 1, 2, 3 ...", files[0].path)
        return tuple(class_names), ()
    numbers = {name: number for number, name in categories.items()}
    for name in class_names:
        if name not in numbers:
            raise ConfigError(
                f"--class-names {name}: {files[0].path} has no category of that name{did_you_mean(name, numbers)}"
            )
    return tuple(class_names), tuple(numbers[name] for name in class_names)


@dataclass
class _Reading:
    """What has been read so far.

    Attributes:
        class_ids: category number -> class id, of the classes that are asked for.
        categories: category number -> name, of all.
        seen: ids of the images.
    """

    class_ids: dict[int, int]
    categories: dict[int, str]
    samples: list[Sample] = field(default_factory=list)
    object_indices: list[np.ndarray] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    seen: set[int | str] = field(default_factory=set)


def _read_file(reading: _Reading, root: Path, image_set: str, file: COCOFile) -> None:
    """Read one annotation file."""
    if not file.has_annotations:
        _log.info("%s: no annotations; its images are packed alone", file.path)
    by_image = _group_by_image(reading, file)
    names = [image.file_name for image in file.images if image.file_name]
    finder = ImageFinder(root, image_set, file.path, names)
    any_found = False
    for image in file.images:
        paths, problem = _find_image(reading, finder, image, image_set)
        any_found |= bool(paths)
        if problem is not None:
            reading.problems.append(problem)
            continue
        positions = by_image[image.image_id]
        _add_sample(reading, image, paths[0], [(index, file.annotations[index]) for index in positions])
    if names and not any_found:
        raise AnnotationError(
            f"{file.path}: none of its {len(names)} images is there, the first is {names[0]}; looked in"
            f" {', '.join(map(str, finder.folders))}: give the folder that holds the images' folder by --root"
        )


def _group_by_image(reading: _Reading, file: COCOFile) -> dict[int | str, list[int]]:
    """Return image id -> positions of its annotations; what belongs to no image is noted."""
    by_image: dict[int | str, list[int]] = {image.image_id: [] for image in file.images}
    by_image.pop(None, None)
    for position, entry in enumerate(file.annotations):
        image_id = key_of(entry.get("image_id")) if isinstance(entry, dict) else None
        if image_id in by_image:
            by_image[image_id].append(position)
            continue
        reason, value = Reason.UNKNOWN_IMAGE, ""
        if image_id is None:
            reason = Reason.BAD_OBJECT
            value = f"image_id {shown(entry.get('image_id'))}" if isinstance(entry, dict) else shown(entry)
        number = annotation_number(entry, position)
        shown_id = "" if image_id is None else str(image_id)
        reading.problems.append(Problem(shown_id, str(file.path), reason, value, number))
    return by_image


def _find_image(
    reading: _Reading, finder: ImageFinder, image: COCOImage, image_set: str
) -> tuple[list[Path], Problem | None]:
    """Return where an image lies, and why it cannot be used; None where it can."""
    name = "" if image.image_id is None else str(image.image_id)
    if image.fault:
        return [], Problem(name, image.source, Reason.BAD_ANNOTATION, image.fault)
    paths = finder.find(image.file_name, image.url)
    if image.image_id in reading.seen:
        value = f"{image.file_name} of {image_set}"
        return paths, Problem(name, image.source, Reason.DUPLICATE_ID, value)
    reading.seen.add(image.image_id)
    if not paths:
        return [], Problem(name, image.source, Reason.MISSING_IMAGE, image.file_name)
    if len(paths) > 1:
        value = " and ".join(f"{path.parent.name}/{path.name}" for path in paths)
        return paths, Problem(name, image.source, Reason.AMBIGUOUS_IMAGE, value)
    return paths, None


def _add_sample(reading: _Reading, image: COCOImage, path: Path, entries: list[tuple[int, dict]]) -> None:
    """Make a Sample of the annotations that can be used, and note those that cannot."""
    objects = read_objects(entries, reading.class_ids, reading.categories)
    reading.samples.append(
        objects.sample(path, size=image.size, image_id=image.image_id, source=image.source)
    )
    reading.object_indices.append(np.array(objects.numbers, np.int64))
    reading.problems.extend(
        Problem(str(image.image_id), image.source, reason, value, number)
        for number, reason, value in objects.faults
    )


def _with_ids_of_one_kind(samples: list[Sample]) -> list[Sample]:
    """Return Samples whose ids are all numbers or all texts, so that no record's number can be taken for an id."""
    if len({type(sample.image_id) for sample in samples}) < 2:
        return samples
    return [replace(sample, image_id=str(sample.image_id)) for sample in samples]
