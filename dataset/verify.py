"""Every byte of packed records, looked at: hashes against the manifest, each record, each image decoded whole.

RecordIO has no checksum: a flipped byte in a label or an image is trained on without a word. Used by
tools/inspect_records.py --verify.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from common import images
from common.errors import SSDError
from common.files import sha256
from common.threads import usable_cores
from dataset.labels import check_rows, label_rows
from dataset.manifest import record_paths
from dataset.records import RecordDataset


@dataclass(frozen=True)
class VerifyReport:
    """What was found.

    Attributes:
        records: how many there are.
        damaged: (record key, what is wrong), in file order.
        files: (file name, what is wrong) for files that differ from the manifest.
        has_hashes: whether there is a manifest to compare with; without one a changed byte may go unseen.
    """

    records: int
    damaged: list[tuple[int, str]]
    files: list[tuple[str, str]]
    has_hashes: bool

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damaged and not self.files


def verify(dataset: RecordDataset, *, workers: int = 0, progress: bool = False) -> VerifyReport:
    """Check hashes, labels and images of all records.

    Args:
        dataset: the records.
        workers: threads that decode; 0 takes the cores there are.
        progress: show a bar.
    """
    reasons = _check_all(dataset, workers or usable_cores())
    if progress:
        from tqdm import tqdm

        reasons = tqdm(reasons, total=len(dataset), unit="record", desc=dataset.path.name)
    damaged = [(dataset.keys[index], reason) for index, reason in enumerate(reasons) if reason]
    return VerifyReport(len(dataset), damaged, _check_files(dataset), dataset.manifest is not None)


def _check_all(dataset: RecordDataset, workers: int) -> Iterator[str]:
    """Yield what is wrong with each record, "" where nothing is, a bounded number at a time."""
    positions = iter(range(len(dataset)))
    with ThreadPoolExecutor(workers, "verify") as pool:
        while chunk := list(islice(positions, 64 * workers)):
            yield from pool.map(lambda index: _check_record(dataset, index), chunk)


def _check_record(dataset: RecordDataset, index: int) -> str:
    """Return what is wrong with a record; "" where nothing is."""
    where = dataset.where(index)
    try:
        raw = dataset.read_parts(index)
        rows = label_rows(raw.label, where)
        check_rows(rows, len(dataset.class_names) or None, where)
        if rows.shape[1] != dataset.object_width:
            return f"{rows.shape[1]} numbers an object, the first record has {dataset.object_width}"
        images.load(raw.image, where)
    except SSDError as error:
        return str(error).replace(f"{where}: ", "").replace(f"{dataset.path}: ", "")
    return ""


def _check_files(dataset: RecordDataset) -> list[tuple[str, str]]:
    """Compare the files with the manifest's hashes."""
    if dataset.manifest is None:
        return []
    paths = record_paths(dataset.path)
    wrong = []
    for role in ("rec", "idx", "lst", "truth"):
        path, expected = getattr(paths, role), dataset.manifest["files"].get(role)
        if expected is None:
            continue
        if not path.is_file():
            wrong.append((path.name, "missing"))
        elif sha256(path) != expected["sha256"]:
            wrong.append((path.name, "changed since it was packed: its sha256 is not the manifest's"))
    return wrong
