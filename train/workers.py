"""The processes that train one network together, and what they tell each other through MXNet's parameter server.

Each worker trains its part of every batch; the store (kvstore dist_sync) sums gradients over all of them. Everything
else goes through the same store as rows: a worker fills its own row of a table of zeros, so that the sum is every
worker's row, exact and in the same order whoever comes first. Such a meeting begins with a header that tells whether a
worker fails, so that one which cannot go on is heard wherever the others stand.

Worker 0 leads: it alone reads and writes the run's files. MXNet's own ranks are dealt by chance; DMLC_TASK_ID says a
worker's number where it is set, as by MXNet's launcher and ours (train/launch.py).

Not here: MXNet can send the optimiser to the servers, pickled. Updates are the workers' own, each the same.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence

import numpy as np

from common.errors import TrainingError
from common.mx import mx
from train.devices import BatchLoss
from train.watchdog import Watchdog

_HEADER = struct.Struct("<BII")  # failed, crc32 of the meeting's name, length of the message
_ROOM = 256  # bytes of a header, a short message included
_LAST_WORDS = 30.0  # seconds in which a failing worker tries to tell the others
_SUMS = struct.Struct("<4d?")


class WorkerFailed(TrainingError):
    """Another worker cannot go on; its own output says why."""


class Workers:
    """The workers of a run; without a store the process is alone, and every method returns at once.

    Args:
        store: a kvstore of kind dist_sync; None for one process.
        number: of this worker; MXNet's rank where nobody says.
        seconds: to wait for the others at most.
        local: kind of the store that sums over this process's devices where it is alone; None for the one that suits.

    Raises:
        TrainingError: two workers have the same number.
    """

    def __init__(
        self, store=None, number: int | None = None, *, seconds: float = 1800.0, local: str | None = None
    ):
        self._store = store
        self.local = local
        self.count = store.num_workers if store is not None else 1
        self.number = 0
        self._known: set[str] = set()
        self._agreed_stop: bool | None = None
        if store is None:
            return
        self._watchdog = Watchdog(seconds)
        self._row = store.rank
        self._order = list(range(self.count))
        self._set_number(store.rank if number is None else number)

    @property
    def leads(self) -> bool:
        """Whether this worker keeps the run's files; a process that is alone does."""
        return self.number == 0

    @property
    def store(self):
        """The store that sums over workers; None where the process is alone."""
        return self._store

    def _set_number(self, number: int) -> None:
        numbers = [struct.unpack("<q", data)[0] for data in self.gather("number", struct.pack("<q", number))]
        if sorted(numbers) != list(range(self.count)):
            raise TrainingError(
                f"DMLC_TASK_ID: the workers' numbers are {', '.join(map(str, sorted(numbers)))}, expected each of 0 to"
                f" {self.count - 1} once: give every worker its own, or none"
            )
        self.number = number
        self._order = [numbers.index(worker) for worker in range(self.count)]

    def gather(self, meeting: str, message: bytes) -> list[bytes]:
        """Return the messages of all workers, by their numbers; all of them come to the same meeting.

        Args:
            meeting: its name, at most one of that name at a time.
            message: of this worker.

        Raises:
            WorkerFailed: another worker ended.
            TrainingError: another worker is at another meeting, so it runs another program.
        """
        if self._store is None:
            return [message]
        lengths, heads = zip(*self._meet(meeting, message))
        room = _ROOM - _HEADER.size
        longest = max(lengths)
        if longest <= room:
            return [head[:length] for length, head in zip(lengths, heads)]
        with self._watchdog.waiting(self._lost()):
            rows = self._rows(f"bytes-{longest}", np.frombuffer(message.ljust(longest, b"\0"), np.uint8))
        return [row.astype(np.uint8).tobytes()[:length] for row, length in zip(rows, lengths)]

    def _meet(self, meeting: str, message: bytes) -> list[tuple[int, bytes]]:
        """Exchange headers; returns (length, beginning) of each worker's message."""
        name = zlib.crc32(meeting.encode())
        rows = self._exchange_heads(_HEADER.pack(False, name, len(message)) + message, self._lost())
        found = []
        for worker, row in enumerate(rows):
            failed, other, length = _HEADER.unpack(row[: _HEADER.size])
            rest = row[_HEADER.size :]
            if failed:
                raise WorkerFailed(
                    f"worker {worker} ended: {rest[:length].decode(errors='replace') or 'its output says why'}"
                )
            if other != name:
                raise TrainingError(
                    f"worker {worker} is at another point of the program than worker {self.number} ({meeting}):"
                    " run the same version of this project on all machines"
                )
            found.append((length, rest))
        return found

    def _exchange_heads(self, head: bytes, lost: str, seconds: float | None = None) -> list[bytes]:
        with self._watchdog.waiting(lost, seconds):
            rows = self._rows("head", np.frombuffer(head[:_ROOM].ljust(_ROOM, b"\0"), np.uint8))
        return [row.astype(np.uint8).tobytes() for row in rows]

    def _rows(self, key: str, values: np.ndarray) -> np.ndarray:
        """Return every worker's values, (workers, N) float32; no header, so all must come."""
        table = mx.nd.zeros((self.count, values.size))
        self._init([key], [table])
        table[self._row] = mx.nd.array(values, dtype="float32")
        self._store.push(key, table)
        self._store.pull(key, table)
        return table.asnumpy()[self._order]

    def _init(self, keys: Sequence[str], values: Sequence) -> None:
        """Make keys known to the servers; each the first time only, in the same order on all workers."""
        new = [(key, value) for key, value in zip(keys, values) if key not in self._known]
        if new:
            self._store.init([key for key, _ in new], [mx.nd.zeros(value.shape) for _, value in new])
            self._known.update(key for key, _ in new)

    def _lost(self) -> str:
        return (
            f"worker {self.number}: nothing was heard of the other workers or servers for"
            f" {self._watchdog.seconds:g} seconds (--kv-timeout): look whether one of them ended; the last checkpoint"
            " of worker 0 stands: start all of them again with --resume"
        )

    def gather_arrays(self, meeting: str, arrays: dict) -> list[dict]:
        """Return the named float32 arrays of all workers, by their numbers.

        Args:
            meeting: its name.
            arrays: name -> NDArray, the same names and shapes on all workers.

        Returns:
            For each worker name -> NDArray on the CPU.
        """
        if self._store is not None:
            self.gather(meeting, b"")  # without arrays too: whoever is in trouble is heard here
        if self._store is None or not arrays:
            return [{name: array.copyto(mx.cpu()) for name, array in arrays.items()}] * self.count
        flat = np.concatenate([array.asnumpy().ravel() for array in arrays.values()])
        with self._watchdog.waiting(self._lost()):
            rows = self._rows(f"arrays-{flat.size}", flat)
        return [_split(row, arrays) for row in rows]

    def share(self, meeting: str, value=None):
        """Return the leader's value on all workers.

        Args:
            meeting: its name.
            value: as JSON has it; the others' does not count.
        """
        if self._store is None:
            return value
        message = json.dumps(value).encode() if self.leads else b"null"
        return json.loads(self.gather(meeting, message)[0])

    def share_arrays(self, arrays: dict, kind: str) -> dict:
        """Return the leader's arrays on all workers.

        Args:
            arrays: name -> float32 NDArray; on the others only the shapes count.
            kind: what they are, in the servers' names for them.
        """
        if self._store is None or not arrays:
            return arrays
        keys = [f"{kind}:{name}" for name in arrays]
        values = [
            array.copyto(mx.cpu()) if self.leads else mx.nd.zeros(array.shape) for array in arrays.values()
        ]
        with self._watchdog.waiting(self._lost()):
            self._init(keys, values)
            self._store.push(keys, values)
            self._store.pull(keys, values)
            mx.nd.waitall()
        return dict(zip(arrays, values))

    def sum_gradients(self, names: Sequence[str], gradients: Sequence[list]) -> None:
        """Put the sum over all devices of all workers in place of their gradients; returns before it is done.

        Args:
            names: of the parameters.
            gradients: for each parameter those of this worker's devices.
        """
        self._watchdog.arm(self._lost())  # until the next meeting, which waits for this
        self._init([f"arg:{name}" for name in names], [each[0] for each in gradients])
        for priority, (name, each) in enumerate(zip(names, gradients)):
            self._store.push(f"arg:{name}", each, priority=-priority)
            self._store.pull(f"arg:{name}", each, priority=-priority)

    def summed(self, loss: BatchLoss, stop) -> BatchLoss:
        """Return the whole batch's sums, and agree on whether to stop after it.

        Args:
            loss: of this worker's part.
            stop: a StopRequest; its `agreed` is set.
        """
        if self._store is None:
            return loss
        message = _SUMS.pack(loss.cls, loss.loc, loss.positives, loss.negatives, stop.requested)
        parts = [_SUMS.unpack(data) for data in self.gather("batch", message)]
        stop.agreed = any(part[4] for part in parts)
        return BatchLoss(*(float(sum(part[i] for part in parts)) for i in range(4)))

    def fail(self, error: BaseException) -> None:
        """Tell the others that this worker cannot go on; leaves the process where they cannot hear it.

        Args:
            error: why.
        """
        if self._store is None or isinstance(error, WorkerFailed):
            return
        text = " ".join(str(error).split()) or type(error).__name__
        data = text.encode()[: _ROOM - _HEADER.size]
        lost = f"{text} (and the other workers could not be told)"
        head = _HEADER.pack(True, 0, len(data)) + data
        self._exchange_heads(head, lost, min(_LAST_WORDS, self._watchdog.seconds))

    def close(self) -> None:
        """Leave the store; the last worker to leave ends servers and scheduler."""
        if self._store is None:
            return
        with self._watchdog.waiting(self._lost()):
            mx.nd.waitall()
            store, self._store = self._store, None
            mx.base.check_call(mx.base._LIB.MXKVStoreFree(store.handle))
            store.handle = None  # the interpreter frees it again, and nothing is there
        self._watchdog.close()


def _split(row: np.ndarray, arrays: dict) -> dict:
    """Return a flat row as arrays of the names and shapes of others, on the CPU."""
    ends = np.cumsum([array.size for array in arrays.values()])
    parts = np.split(row, ends[:-1])
    return {
        name: mx.nd.array(part.reshape(array.shape), mx.cpu())
        for (name, array), part in zip(arrays.items(), parts)
    }
