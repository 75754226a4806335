"""The run in TensorBoard: curves, precision-recall curves, validation pictures, histograms and texts, through mxboard.

The one module that imports mxboard, inside functions; without `--tensorboard` nothing of it is loaded. It is told by
the loop what happens (train/observers.py) and writes event files into the run's folder of logs (train/log_folder.py).

By batch: means over `--frequent` batches, an epoch's last ones together, each at the step of its last batch. So the
curves of a run that was stopped and resumed have the points of an unbroken one: a window that a stop cuts in two is
kept as sums, its half point stands until the run goes on. By epoch: the columns of results.csv, average precision,
curves and pictures of the validation.

Deviations from mxboard's SummaryWriter, which are why its classes are used one by one: it writes in another thread,
where an error ends the thread unseen and the full queue then blocks training for ever; it replaces the letters of
class names that it does not like, so that two classes can become one; its text summaries carry no tag.
Deviation from mxnet-ssd: steps go on after a resume; recall counts the objects that nothing found.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from common import images
from common.errors import ConfigError, DependencyError, SSDError
from common.mx import explain_import_error, mx
from train.event_files import next_name
from train.log import EpochSums
from train.log_folder import LogFolder
from train.log_values import curve_table, epoch_values, preformatted, validation_values, window_values
from train.observers import BatchDone, EpochDone, Observer
from train.pictures import shrink, spread, validation_picture

log = logging.getLogger(__name__)

_JPEG_QUALITY = 75
_LONGEST_SIDE = 960  # of truth and detections side by side: 100 kB, whose checksum takes mxboard 12 ms
_PICTURES = 8  # of a validation
_BINS = 64  # of a histogram; TensorBoard draws 30
_LARGEST_SAMPLE = 1 << 16  # values of a histogram; larger arrays give every n-th of theirs


def _import_mxboard():
    """Import mxboard with the parts that are used; raises DependencyError where it is not there."""
    try:
        import mxboard.proto.event_pb2
        import mxboard.proto.plugin_pr_curve_pb2
        import mxboard.proto.summary_pb2
        import mxboard.proto.tensor_pb2
        import mxboard.record_writer
        import mxboard.summary
        import mxboard.writer
    except ImportError as error:
        raise explain_import_error("mxboard", "mxboard 'protobuf<3.21'", error) from error
    except TypeError as error:  # protobuf 4 and later refuse its messages
        raise DependencyError(
            f"--tensorboard: mxboard cannot be imported with this protobuf: run `pip install 'protobuf<3.21'` ({error})"
        ) from error
    return mxboard


class _EventFile:
    """An event file, written by the thread that calls."""

    def __init__(self, folder: Path, mxboard):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / next_name(folder)
        path.touch(exist_ok=False)  # its OSError tells more than mxboard's ValueError
        self._records = mxboard.record_writer.RecordWriter(str(path))
        self.add_event(mxboard.proto.event_pb2.Event(wall_time=time.time()))
        self.flush()

    def add_event(self, event) -> None:
        """Add an event, as mxboard's SummaryToEventTransformer asks for it."""
        self._records.write_record(event.SerializeToString())

    def flush(self) -> None:
        """Hand what was added to the operating system."""
        self._records.flush()

    def close(self) -> None:
        """Close the file; what does not fit is dropped (mxboard would try again when it is collected, and complain)."""
        stream, self._records._writer = self._records._writer, None
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


class Board:
    """The event files of a run, one for each of its folders; what cannot be written ends the logs, not the run.

    Args:
        folder: of the logs.
        runs: its folders to write ("train/scalar").

    Raises:
        ConfigError: the folder cannot be written.
        DependencyError: mxboard is not installed.
    """

    def __init__(self, folder: LogFolder, runs: Iterable[str]):
        self._mxboard = _import_mxboard()
        self._summary = self._mxboard.proto.summary_pb2.Summary
        self.folder = folder
        for path in folder.others()[:1]:
            log.warning(f"{path}: is of another program: TensorBoard will show it among this run's logs")
        self._files: dict[str, _EventFile] = {}
        try:
            for run in runs:
                self._files[run] = _EventFile(folder.root / run, self._mxboard)
        except (OSError, ValueError) as error:
            self._abandon()
            raise ConfigError(
                f"--tensorboard: {folder.root}: cannot be written ({getattr(error, 'strerror', None) or error}):"
                " make room or the folder writable, or give --no-tensorboard"
            ) from error
        transformer = self._mxboard.writer.SummaryToEventTransformer
        self._writers = {run: transformer(file) for run, file in self._files.items()}

    def scalars(self, run: str, values: dict[str, float], step: int) -> None:
        """Add a point to each of several curves (tag -> value), in one of the folders."""
        self._add(run, [{"tag": tag, "simple_value": float(value)} for tag, value in values.items()], step)

    def text(self, tag: str, text: str, step: int) -> None:
        """Add a text that is shown as it stands, in letters of one width."""
        tensor = self._mxboard.proto.tensor_pb2.TensorProto(
            dtype="DT_STRING",
            string_val=[preformatted(text).encode("utf-8", "replace")],
            tensor_shape=self._shape(1),
        )
        self._add("about", [{"tag": tag, "metadata": self._plugin("text"), "tensor": tensor}], step)

    def curve(self, tag: str, table: np.ndarray, step: int) -> None:
        """Add a precision-recall curve: (6, T) of right, wrong, wrong below, missed, precision, recall."""
        data = self._mxboard.proto.plugin_pr_curve_pb2.PrCurvePluginData(num_thresholds=table.shape[1])
        tensor = self._mxboard.proto.tensor_pb2.TensorProto(
            dtype="DT_FLOAT", float_val=table.ravel().tolist(), tensor_shape=self._shape(*table.shape)
        )
        metadata = self._plugin("pr_curves", data.SerializeToString())
        self._add("val/roc", [{"tag": tag, "metadata": metadata, "tensor": tensor}], step)

    def image(self, tag: str, pixels: np.ndarray, step: int) -> None:
        """Add a picture, (height, width, 3) uint8 RGB."""
        data = images.encode_jpeg(pixels, _JPEG_QUALITY)
        height, width = pixels.shape[:2]
        image = self._summary.Image(height=height, width=width, colorspace=3, encoded_image_string=data)
        self._add("val/images", [{"tag": tag, "image": image}], step)

    def measure(self, array):
        """Return the histogram of an NDArray's finite values, of evenly spaced ones where it is large; None without."""
        step = -(-array.size // _LARGEST_SAMPLE)
        step += step % 2 == 0  # an odd step does not fall on the same columns of a picture again and again
        flat = mx.nd.reshape(array, shape=(-1,))
        values = mx.nd.slice(flat, begin=(0,), end=(array.size,), step=(step,)).asnumpy()
        values = values[np.isfinite(values)]
        if not len(values):
            return None
        return self._mxboard.summary.histogram_summary("x", values, _BINS).value[0].histo

    def tell(self, tag: str, measured, step: int) -> None:
        """Add a histogram, of what `measure` returned."""
        if measured is not None:
            self._add("train/dist", [{"tag": tag, "histo": measured}], step + self.folder.jump)

    def flush(self, *runs: str) -> None:
        """Hand what was added to the operating system, in these folders or in all."""
        try:
            for run in runs or self._files:
                if run in self._files:
                    self._files[run].flush()
        except OSError as error:
            self._give_up(error)

    def save_steps(self) -> None:
        """Write down where the epochs ended."""
        if not self._files:
            return
        try:
            self.folder.save()
        except SSDError as error:
            self._give_up(error)

    def close(self) -> None:
        """Close the files; never raises."""
        self.flush()
        self._abandon()

    def _add(self, run: str, values: list[dict], step: int) -> None:
        """Add an event with some values, tags in any letters."""
        if run not in self._files:
            return
        # A class name may hold half a letter (a lone surrogate), which no message can.
        tags = [value["tag"].encode("utf-8", "backslashreplace").decode() for value in values]
        summary = self._summary(
            value=[self._summary.Value(**{**value, "tag": tag}) for value, tag in zip(values, tags)]
        )
        try:
            self._writers[run].add_summary(summary, step)
        except OSError as error:
            self._give_up(error)

    def _plugin(self, name: str, content: bytes = b""):
        """Return the metadata that tell TensorBoard which of its plugins shows a tensor."""
        metadata = self._mxboard.proto.summary_pb2.SummaryMetadata
        return metadata(plugin_data=[metadata.PluginData(plugin_name=name, content=content)])

    def _shape(self, *sides: int):
        shape = self._mxboard.summary.TensorShapeProto
        return shape(dim=[shape.Dim(size=side) for side in sides])

    def _give_up(self, error: Exception) -> None:
        """Say once that the logs end here."""
        self._abandon()
        log.warning(
            f"--tensorboard: {self.folder.root}: cannot be written ({getattr(error, 'strerror', None) or error}):"
            " the logs end here, training goes on; make room, and the next --resume logs again"
        )

    def _abandon(self) -> None:
        for file in self._files.values():
            file.close()
        self._files = {}


class TensorBoard(Observer):
    """Tells a run to TensorBoard.

    Args:
        board: where to.
        texts: what the run is about, tag -> text.
        frequent: batches of a point of the curves by batch.
    """

    def __init__(self, board: Board, texts: dict[str, str], *, frequent: int):
        self._board, self._folder = board, board.folder
        self._frequent = max(1, frequent)
        self._window = EpochSums(**self._folder.window.get("sums", {}))
        self._last: BatchDone | None = None
        self._since: float | None = None
        for tag, text in texts.items():
            board.text(tag, text, self._folder.start)
        board.flush("about")

    def before_batch(self, step: int) -> None:
        """Start the clock with a window's first batch."""
        if self._since is None:
            self._since = time.perf_counter()

    def after_batch(self, done: BatchDone) -> None:
        """Add a batch to its window, and a point to the curves where the window is full."""
        now = time.perf_counter()
        self._window.seconds += now - self._since
        self._since = now
        self._window.add(done.loss, len(done.batch.records), done.normaliser)
        self._last = done
        if (done.batch.number + 1) % self._frequent == 0:
            self._end_window()

    def after_epoch(self, done: EpochDone) -> None:
        """Write an epoch's figures, and have all on disk before its checkpoint is."""
        self._end_window()
        self._since = None  # validation is not training
        board = self._board
        board.scalars("train/epoch", epoch_values(done.row), done.epoch)
        if done.validated is not None:
            board.scalars("val/scalar", validation_values(done), done.epoch)
            for result in done.validated.result.classes:
                if result.objects:
                    board.curve(f"PR/{result.name}", curve_table(result), done.epoch)
            for index in spread(len(done.validated.findings), _PICTURES):
                tag = f"pictures/{index} {done.validated.dataset.name(index)}"
                pixels = shrink(validation_picture(done.validated, index), _LONGEST_SIDE)
                board.image(tag, pixels, done.epoch)
        board.flush()
        self._folder.ends[done.epoch] = done.step + self._folder.jump
        self._folder.window = {}
        board.save_steps()

    def close(self) -> None:
        """Write what waits, and keep the sums of a window that is cut here."""
        if self._window.batches and self._last is not None:
            step = self._last.step + self._folder.jump + 1
            self._folder.window = {"step": step, "sums": asdict(self._window)}
            self._end_window()
            self._board.save_steps()
        self._board.close()

    def _end_window(self) -> None:
        """Add the point of the batches that wait."""
        if self._window.batches and self._last is not None:
            step = self._last.step + self._folder.jump
            self._board.scalars("train/scalar", window_values(self._window, self._last.rate), step)
            self._board.flush("train/scalar")
        self._window = EpochSums()
