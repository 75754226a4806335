"""Which records an epoch reads, in which order, and the shuffled copy that the C++ iterator reads them from.

MXNet's iterator draws its augmentation from fixed generators in file order, and its `seed` only permutes finished
samples: rebuilt, it repeats the same pixels. So each epoch reads a copy of the records in an order drawn from
(seed, epoch). The copy is made in segments, so that a large file is never copied whole; the order is the same global
shuffle for any size of file, and a resumed run sees the same bytes.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common.errors import ConfigError

_COPY = "epoch{epoch:04d}-batch{batch:06d}-{worker}.rec"
_COPIES = "epoch[0-9]*-batch[0-9]*-[0-9]*.rec"


@dataclass(frozen=True)
class Segment:
    """A run of batches of one epoch that are copied, and read, together.

    Attributes:
        epoch: 0-based number of the epoch.
        first_batch: 0-based number, within the epoch, of the first batch.
        batches: record indices (positions in the packed file), one array of batch_size for each batch.
    """

    epoch: int
    first_batch: int
    batches: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Part:
    """Which part of every batch is read, where several processes share a run (train/workers.py).

    Attributes:
        index: 0-based.
        count: of parts; together they are the whole batch.
    """

    index: int = 0
    count: int = 1

    def rows(self, batch_size: int) -> slice:
        """Return the part's images of a batch.

        Raises:
            ConfigError: the batch cannot be split evenly.
        """
        if batch_size % self.count:
            raise ConfigError(
                f"--batch-size {batch_size}: cannot be split over {self.count} workers: give a multiple of"
                f" {self.count}"
            )
        share = batch_size // self.count
        return slice(self.index * share, (self.index + 1) * share)

    def of(self, segment: Segment, rows: slice) -> Segment:
        """Return a segment with the part's records alone; as it is, where the part is the whole."""
        if self.count == 1:
            return segment
        return replace(segment, batches=tuple(batch[rows] for batch in segment.batches))


def batches_per_epoch(count: int, batch_size: int) -> int:
    """Return how many batches an epoch has; the last one is filled up with records from the epoch's beginning."""
    return -(-count // batch_size)


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order in which an epoch reads the records: a permutation drawn from (seed, epoch), (count,) int64."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def plan_epoch(record_sizes: np.ndarray, batch_size: int, seed: int, epoch: int, limit: int) -> list[Segment]:
    """Cut an epoch into segments.

    Args:
        record_sizes: (N,) bytes of each record.
        batch_size: records in a batch.
        seed: of the run.
        epoch: 0-based.
        limit: bytes of a segment's copy; a segment has at least one batch.

    Returns:
        The segments, in order. Every record stands in the epoch at least once.
    """
    count = len(record_sizes)
    order = np.resize(epoch_order(count, seed, epoch), batches_per_epoch(count, batch_size) * batch_size)
    batches = order.reshape(-1, batch_size)
    segments, begin, size = [], 0, 0
    for index, batch in enumerate(batches):
        batch_bytes = int(record_sizes[batch].sum())
        if index > begin and size + batch_bytes > limit:
            segments.append(Segment(epoch, begin, tuple(batches[begin:index])))
            begin, size = index, 0
        size += batch_bytes
    segments.append(Segment(epoch, begin, tuple(batches[begin:])))
    return segments


def write_parts(segment: Segment, read_raw, workers: int, folder: Path) -> list[Path]:
    """Copy a segment's records into one file for each worker; worker w gets the batches w, w + workers, ...

    Args:
        segment: what to copy.
        read_raw: record index -> the record's bytes as they stand in the packed file, padding included.
        workers: how many decoding iterators read the segment side by side.
        folder: where the files go; it exists.

    Returns:
        The files, fewer than `workers` where the segment has fewer batches.
    """
    paths = []
    for worker in range(min(workers, len(segment.batches))):
        path = folder / _COPY.format(epoch=segment.epoch, batch=segment.first_batch, worker=worker)
        with open(path, "wb") as stream:
            for batch in segment.batches[worker::workers]:
                stream.writelines(read_raw(int(index)) for index in batch)
        paths.append(path)
    return paths


def remove_copies(folder: Path) -> None:
    """Remove the copies in a folder, and the folder where nothing else lies in it."""
    for path in folder.glob(_COPIES):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # something of the user's is in it, or it is not there
        folder.rmdir()
