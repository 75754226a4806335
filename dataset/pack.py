"""From Samples to packed records: every image is decoded whole, every object is checked, nothing is lost in silence.

Stands after the readers. Deviations from mxnet-ssd: a JPEG's bytes are packed as they are unless they need mending
(im2rec encodes each again); sizes come from the image; images without objects are kept as negatives; an image whose
objects were all bad is left out, since as a negative it would teach that there is nothing.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import AnnotationError
from common.files import atomic_path, write_json
from common.threads import usable_cores
from dataset.annotations import (
    IMAGE_LEFT_OUT,
    KEPT,
    OBJECT_LEFT_OUT,
    AnnotationSet,
    Problem,
    count_reasons,
    problems_csv,
    relative_path,
    stop_if_strict,
)
from dataset.labels import encode_label
from dataset.manifest import RecordPaths, Statistics, check_target, make_manifest, record_paths
from dataset.prepare_image import PackOptions, PreparedImage, prepare_image
from dataset.record_io import frame_record, pack_record
from dataset.truth import TruthWriter


@dataclass
class _Contents:
    """What the records hold, gathered while they are written."""

    statistics: Statistics
    truth: TruthWriter
    problems: list[Problem]


def pack(
    annotations: AnnotationSet,
    target: str | os.PathLike,
    *,
    options: PackOptions = PackOptions(),  # noqa: B008 (frozen)
    made_by: dict | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> dict:
    """Write NAME.rec, .idx, .lst, .gt.json, .skipped.csv and, last, the manifest NAME.json.

    Args:
        annotations: what to pack.
        target: NAME or NAME.lst.
        options: how.
        made_by: options of the command, for the manifest; without machine paths.
        overwrite: write over files that this program did not write.
        progress: show a bar.

    Returns:
        The manifest.

    Raises:
        ConfigError: the target is taken, or cannot be written.
        AnnotationError: nothing can be packed, or (strict) something is wrong.
    """
    paths = record_paths(target)
    check_target(paths, overwrite)
    stop_if_strict(annotations.problems, options.strict)
    order = list(range(len(annotations.samples)))
    if options.shuffle:
        random.Random(options.seed).shuffle(order)
    prepared = _prepare_all(annotations, order, options)
    if progress:
        from tqdm import tqdm

        prepared = tqdm(prepared, total=len(order), unit="image", desc=paths.rec.name)
    contents = _Contents(
        Statistics(annotations.class_names),
        TruthWriter(annotations.class_names, annotations.category_ids, annotations.samples),
        list(annotations.problems),
    )
    with contextlib.ExitStack() as stack:
        # A stack closes in reverse order: the manifest, entered first, gets its name last.
        parts = [stack.enter_context(atomic_path(path)) for path in reversed(paths.all())]
        part = RecordPaths(*reversed(parts))
        _write_records(prepared, part, contents, root=annotations.root, strict=options.strict)
        return _write_side_files(part, contents, root=annotations.root, made_by=made_by or {})


def _write_side_files(part: RecordPaths, contents: _Contents, *, root: Path, made_by: dict) -> dict:
    """Write truth, list of problems and manifest; return the manifest."""
    problems = contents.problems
    if not contents.statistics.images:
        first = f"; the first problem: {problems[0].message()}" if problems else ": the image sets are empty"
        raise AnnotationError(f"{root}: no image can be packed{first}")
    contents.truth.write(part.truth)
    part.skipped.write_text(problems_csv(problems, root), encoding="utf-8")
    files = {"rec": part.rec, "idx": part.idx, "lst": part.lst, "truth": part.truth}
    manifest = make_manifest(
        contents.statistics,
        category_ids=contents.truth.category_ids,
        skipped=_summarise(problems),
        files=files,
        made_by=made_by,
    )
    write_json(part.manifest, manifest)
    return manifest


def _summarise(problems: list[Problem]) -> dict:
    """Return what was left out, and what was kept though something is wrong with it, for the manifest."""
    outcomes = [problem.reason.outcome for problem in problems]
    left_out = [problem for problem in problems if problem.reason.outcome != KEPT]
    kept = [problem for problem in problems if problem.reason.outcome == KEPT]
    return {
        "images": outcomes.count(IMAGE_LEFT_OUT),
        "objects": outcomes.count(OBJECT_LEFT_OUT),
        "reasons": count_reasons(left_out),
        "kept": count_reasons(kept),
    }


def _write_records(
    prepared: Iterable[PreparedImage], part: RecordPaths, contents: _Contents, *, root: Path, strict: bool
) -> None:
    """Write .rec, .idx and .lst, and gather what they hold."""
    with contextlib.ExitStack() as stack:
        rec = stack.enter_context(open(part.rec, "wb"))
        idx = stack.enter_context(open(part.idx, "w", encoding="ascii"))
        lst = stack.enter_context(open(part.lst, "w", encoding="utf-8"))
        for entry in prepared:
            stop_if_strict(entry.problems, strict)
            contents.problems.extend(entry.problems)
            if not entry.image:
                continue
            key, label = contents.statistics.images, _label(entry)
            file_name = relative_path(entry.sample.image_path, root)
            idx.write(f"{key}\t{rec.tell()}\n")
            rec.write(frame_record(pack_record(key, label.tobytes(), entry.image)))
            # 9 digits give the same float32 back
            lst.write("\t".join([str(key), *(f"{value:.9g}" for value in label), file_name]) + "\n")
            contents.truth.add(key, entry.sample, file_name)
            contents.statistics.add(entry.sample, entry.in_label, entry.packed_size)


def _label(entry: PreparedImage) -> np.ndarray:
    """Return the label of an image, (2 + 6 * N,) float32."""
    sample, chosen = entry.sample, entry.in_label
    width, height = sample.size
    return encode_label(
        sample.class_ids[chosen],
        sample.boxes[chosen],
        difficult=sample.difficult[chosen],
        width=width,
        height=height,
    )


def _prepare_all(
    annotations: AnnotationSet, order: list[int], options: PackOptions
) -> Iterator[PreparedImage]:
    """Yield the images in that order, decoded and checked by a pool of threads, a bounded number at a time."""
    workers = options.workers or usable_cores()
    lossy = {
        p.source for p in annotations.problems if p.reason.outcome == OBJECT_LEFT_OUT and not p.reason.is_wish
    }
    common = {"num_classes": len(annotations.class_names), "options": options}
    with ThreadPoolExecutor(workers, "pack") as pool:
        waiting: deque[Future] = deque()
        try:
            for position in order:
                sample, indices = annotations.samples[position], annotations.indices(position)
                lost = sample.source in lossy
                waiting.append(pool.submit(prepare_image, sample, indices, lost_objects=lost, **common))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
