"""Training batches from packed records, by MXNet's multithreaded C++ iterator.

Stands between the records and the training step. The iterator as it comes takes one thread less than there are cores
and its decoding fights with the step for them. Here several iterators of one decoding thread each read side by side,
at the lowest priority: they use what the step leaves, and all cores while the step waits for them.

Known deviation, the iterator's own: it cuts a crop at whole pixels of the source image and moves the boxes by the
fraction, so a label can be up to two source pixels off: images should not be smaller than the network's input.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import ConfigError, RecordError
from common.mx import mx
from dataset.augmentation import Augmentation, flip_upside_down
from dataset.cpp_iterator import iterator_arguments, strip_header
from dataset.damage import check_folder, decoding_error, read_whole, writing_error
from dataset.epochs import Part, Segment, batches_per_epoch, plan_epoch, remove_copies, write_parts
from dataset.record_io import REPACK
from dataset.records import RecordDataset

SEGMENT_BYTES = 256 << 20
_MAX_WORKERS = 16
_WHOLE = Part()


@dataclass(frozen=True)
class Batch:
    """One batch for a training step, or this process's part of it: B images.

    Attributes:
        data: (B, 3, H, W) float32 NDArray, RGB, (pixel - mean) / std.
        label: (B, M, 5 or 6) float32 NDArray of (class, xmin, ymin, xmax, ymax[, difficult]), normalised; -1 fills up.
        records: (B,) positions of the records in the packed file.
        number: 0-based, within the epoch.
    """

    data: object
    label: object
    records: np.ndarray
    number: int


@dataclass(frozen=True)
class _OpenSegment:
    """A segment with its iterators, one for each worker, already decoding."""

    segment: Segment
    iterators: list
    paths: list[Path]


def default_workers(cores: int) -> int:
    """Return how many decoding iterators to run on that many cores."""
    return max(1, min(cores, _MAX_WORKERS))


def _lower_priority() -> None:
    """Put the calling thread, and the decoding threads that it will start, behind everything else on the machine."""
    if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


def _check_labels(dataset: RecordDataset) -> None:
    """Refuse labels that MXNet's iterator stops at, in the middle of an epoch and without naming the record.

    Raises:
        RecordError: a label is a header alone; the packer of this project puts a void row there.
    """
    bare = None if dataset.manifest else dataset.scan().bare
    if bare is not None:
        raise RecordError(
            f"{dataset.where(bare)} ({dataset.name(bare)}): its label is a header alone, expected a row of -1 where"
            f" there is no object; MXNet's iterator cannot read it: {REPACK}"
        )


class TrainingIterator:
    """Batches of augmented images, epoch by epoch; the same (seed, epoch) gives the same bytes.

    Args:
        dataset: the packed records.
        batch_size: images in a batch, over all devices.
        data_shape: (height, width) of the network's input.
        mean: of (R, G, B).
        std: of (R, G, B).
        augmentation: what is done to the images.
        seed: of the order.
        workers: decoding iterators; part of the result, like the seed.
        folder: for the shuffled copies; emptied at start and at `close`.
        segment_bytes: the largest copy that is made at once.
        part: of every batch that is read; the order is the same whatever the part.

    Raises:
        ConfigError: there are no records, or workers is below 1, or the batch cannot be split into parts, or MXNet
            cannot open files in the folder.
    """

    def __init__(
        self,
        dataset: RecordDataset,
        *,
        batch_size: int,
        data_shape: tuple[int, int],
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        augmentation: Augmentation,
        seed: int,
        workers: int,
        folder: Path,
        segment_bytes: int = SEGMENT_BYTES,
        part: Part = _WHOLE,
    ):
        if len(dataset) == 0 or batch_size < 1 or workers < 1:
            raise ConfigError(
                f"{dataset.path}: {len(dataset)} records, batch size {batch_size}, {workers} workers:"
                " each must be at least 1"
            )
        _check_labels(dataset)
        check_folder(folder)
        self._dataset = dataset
        self._batch_size = batch_size
        self._part, self._rows = part, part.rows(batch_size)
        self._seed = seed
        self._flip_probability = augmentation.flip_probability
        self._workers = workers
        self._segment_bytes = segment_bytes
        self._folder = Path(folder)
        share = self._rows.stop - self._rows.start
        self._arguments = iterator_arguments(dataset, share, data_shape, mean, std)
        self._arguments.update(
            augmentation.iterator_arguments(mean), prefetch_buffer=2 if workers <= 4 else 1
        )
        # The engine's threads inherit the priority of the thread that starts them: not that of the decoding ones.
        mx.nd.zeros((1,)).wait_to_read()
        self._ahead: tuple[tuple[int, int], Future] | None = None
        self._thread: ThreadPoolExecutor | None = None
        self.seconds_waited = 0.0

    @property
    def batches_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return batches_per_epoch(len(self._dataset), self._batch_size)

    def epoch(self, epoch: int, first_batch: int = 0, next_epoch: bool = True) -> Iterator[Batch]:
        """Yield the batches of an epoch.

        Args:
            epoch: 0-based.
            first_batch: 0-based; a resumed run skips what it has trained on (those are decoded all the same,
                because the augmentation's generators run on from image to image).
            next_epoch: begin to prepare the following epoch before this one ends.

        Raises:
            RecordError: a record cannot be decoded.
        """
        segments = self._plan(epoch)
        segments = [s for s in segments if s.first_batch + len(s.batches) > first_batch]
        for position, segment in enumerate(segments):
            opened = self._take(segment)
            if position + 1 < len(segments):
                self._prepare(segments[position + 1])
            elif next_epoch:
                self._prepare(self._plan(epoch + 1)[0])
            try:
                yield from self._batches(opened, first_batch)
            finally:
                self._release(opened)

    def record_names(self, batch: Batch) -> list[str]:
        """Return what a batch's records are called."""
        return [self._dataset.name(int(index)) for index in batch.records]

    def close(self) -> None:
        """Stop preparing and remove the copies."""
        self._drop_ahead()
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None
        remove_copies(self._folder)

    def _plan(self, epoch: int) -> list[Segment]:
        sizes = self._dataset.record_sizes
        segments = plan_epoch(sizes, self._batch_size, self._seed, epoch, self._segment_bytes)
        return [self._part.of(segment, self._rows) for segment in segments]

    def _prepare(self, segment: Segment) -> None:
        """Begin to open a segment in the background."""
        if self._thread is None:
            remove_copies(self._folder)  # what a killed run left behind
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise writing_error(self._folder, 2 * self._segment_bytes, error) from error
            self._thread = ThreadPoolExecutor(1, "prepare-records", initializer=_lower_priority)
        self._ahead = ((segment.epoch, segment.first_batch), self._thread.submit(self._open, segment))

    def _take(self, segment: Segment) -> _OpenSegment:
        """Return the opened segment, waiting for it where it is still being prepared."""
        wanted = (segment.epoch, segment.first_batch)
        if self._ahead is not None and self._ahead[0] != wanted:
            self._drop_ahead()
        if self._ahead is None:
            self._prepare(segment)
        future, self._ahead = self._ahead[1], None
        started = time.perf_counter()
        opened = future.result()
        self.seconds_waited += time.perf_counter() - started
        return opened

    def _drop_ahead(self) -> None:
        """Let go of the segment that is being prepared; what is wrong with it, nobody needs to know any more."""
        if self._ahead is not None:
            future, self._ahead = self._ahead[1], None
            if future.exception() is None:
                self._release(future.result())

    def _open(self, segment: Segment) -> _OpenSegment:
        try:
            paths = write_parts(
                segment, lambda index: read_whole(self._dataset, index), self._workers, self._folder
            )
        except OSError as error:
            raise writing_error(self._folder, 2 * self._segment_bytes, error) from error
        try:
            iterators = [mx.io.ImageDetRecordIter(path_imgrec=str(path), **self._arguments) for path in paths]
        except mx.base.MXNetError as error:
            raise decoding_error(self._dataset, segment, error) from error
        return _OpenSegment(segment, iterators, paths)

    def _batches(self, opened: _OpenSegment, first_batch: int) -> Iterator[Batch]:
        segment = opened.segment
        for offset, records in enumerate(segment.batches):
            number = segment.first_batch + offset
            started = time.perf_counter()
            data, label = self._decode(opened.iterators[offset % self._workers], segment)
            self.seconds_waited += time.perf_counter() - started
            if number >= first_batch:
                label = strip_header(label, self._dataset.object_width)
                if self._flip_probability:
                    draw = np.random.default_rng([self._seed, segment.epoch, number]).random(self._batch_size)
                    data, label = flip_upside_down(data, label, draw[self._rows] < self._flip_probability)
                yield Batch(data, label, records, number)

    def _decode(self, iterator, segment: Segment) -> tuple:
        """Take the next batch of one worker's iterator; it waits where that is not decoded yet."""
        try:
            batch = iterator.next()
        except (mx.base.MXNetError, StopIteration) as error:
            raise decoding_error(self._dataset, segment, error) from error
        if batch.pad:  # the copy holds whole batches
            raise decoding_error(self._dataset, segment, RecordError(f"{batch.pad} records were dropped"))
        return batch.data[0], batch.label[0]

    def _release(self, opened: _OpenSegment) -> None:
        """Let go of a segment's iterators and remove its copies.

        MXNet looks at every file of the folder while it opens one, and fails where one is gone: so the thread that
        opens them removes them too.
        """
        opened.iterators.clear()
        if self._thread is not None:  # else `close` removes them
            self._thread.submit(lambda: [path.unlink(missing_ok=True) for path in opened.paths])
