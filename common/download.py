"""A file from the web: whole, checked, or not there.

Used by the zoo of weights (`model.zoo`). The file grows as PATH.part; what the server said of it stands in
PATH.part.json, so that a download that was cut goes on where it ended, if the server still has the same file (ETag or
Last-Modified, by If-Range). It gets its name after its checksum was compared. `common.transfer` asks the server.

Only https is taken, http from this computer alone: over http anyone on the way could put another file in place, and
not every publisher states a checksum. For the same reason there is no flag that allows it. Proxies come from the usual
environment variables (https_proxy, no_proxy), certificates from the system or SSL_CERT_FILE.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import sys
import time
from pathlib import Path

from common.checksum import Checksum
from common.files import exclusive_lock, write_json
from common.transfer import Body, DownloadError, Passing, Transfer, check_url, opened

log = logging.getLogger(__name__)

_GAIN = 1 << 20  # bytes; an attempt that brought as much was no failure


def download(
    url: str,
    path: str | os.PathLike,
    *,
    checksum: Checksum | None = None,
    size: int | None = None,
    transfer: Transfer | None = None,
) -> Path:
    """Fetch a file, unless it is there; what an earlier, cut attempt brought is used.

    Args:
        url: https, or http on this computer.
        path: where the file goes; its folder is made.
        checksum: that the file has.
        size: of the file in bytes; without it the server must say how long the file is.
        transfer: patience and bounds.

    Returns:
        The path.

    Raises:
        DownloadError: the file cannot be had, is not the one expected, or does not fit on the disk. What came of it
            stays in PATH.part, except where it is wrong.
        ConfigError: the address is not taken, the folder cannot be written, or another process fetches this file.
    """
    path, transfer = Path(path), transfer or Transfer()
    check_url(url)
    with exclusive_lock(path.with_name(f".{path.name}.lock"), f"{path}: the download"):
        if path.exists():
            _check_present(path, checksum, size)
            return path
        part = _Part(path)
        resumed = _fetch(url, part, size, transfer)
        wrong = _wrong(part, checksum)
        if wrong and resumed:  # a piece of an earlier attempt may be to blame
            log.warning(f"{url}: {wrong}: fetching it anew")
            part.clear()
            _fetch(url, part, size, transfer)
            wrong = _wrong(part, checksum)
        if wrong:
            part.clear()
            raise DownloadError(
                f"{url}: {wrong}: what came was deleted; try again, and if it comes again, the publisher changed the"
                " file, or someone on the way did: do not use it"
            )
        part.finish()
    return path


class _Part:
    """The beginning of a file, beside its final name, and what the server said of it."""

    def __init__(self, path: Path):
        self.path = path
        self.file = Path(f"{path}.part")
        self.notes = Path(f"{path}.part.json")

    def begun(self, url: str) -> tuple[int, str, int | None]:
        """Return how many bytes are there, the server's mark of the file, and its size; 0 where they are of no use."""
        try:
            notes = json.loads(self.notes.read_text(encoding="utf-8"))
            there, mark, total = self.file.stat().st_size, notes["mark"], notes["total"]
            if notes["url"] == url and mark and (total is None or 0 < there <= total):
                return there, mark, total
        except (OSError, ValueError, KeyError, TypeError):
            pass  # nothing there, or half written by a machine that lost power
        return 0, "", None

    def note(self, url: str, body: Body) -> None:
        """Write down what the server says of the file."""
        write_json(self.notes, {"url": url, "mark": body.mark, "total": body.total})

    def clear(self) -> None:
        """Forget what came."""
        for path in (self.file, self.notes):
            path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Give the whole file its name, once it is on the disk."""
        with open(self.file, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(self.file, self.path)
        self.notes.unlink(missing_ok=True)


def _check_present(path: Path, checksum: Checksum | None, size: int | None) -> None:
    """Refuse to take, or replace, another file of the same name.

    Raises:
        DownloadError: says what was found and what was expected.
    """
    problem = ""
    if not path.is_file():
        problem = "a folder"
    elif size is not None and path.stat().st_size != size:
        problem = f"{path.stat().st_size} bytes, expected {size}"
    elif checksum and not checksum.of(path).startswith(checksum.digits):
        problem = f"{checksum.algorithm} {checksum.of(path)}, expected {checksum.digits}"
    if problem:
        raise DownloadError(f"{path}: is there, and is another file ({problem}): move it away and try again")


def _wrong(part: _Part, checksum: Checksum | None) -> str:
    """Say how a whole file differs from its checksum; "" where it does not."""
    if checksum is None:
        return ""
    found = checksum.of(part.file)
    if found.startswith(checksum.digits):
        return ""
    return f"its {checksum.algorithm} is {found}, expected {checksum.digits}"


def _fetch(url: str, part: _Part, size: int | None, transfer: Transfer) -> bool:
    """Bring a file's part to its end, over as many attempts as are useful.

    Returns:
        Whether bytes of an earlier call are in it.

    Raises:
        DownloadError: it cannot be had; for what is passing, after some attempts in a row.
    """
    failures, first = 0, part.begun(url)[0]
    with _bar(part.path.name, transfer) as bar:
        while True:
            before = part.begun(url)[0]
            try:
                _attempt(url, part, size, transfer, bar)
                return bool(first)
            except Passing as problem:
                there = part.begun(url)[0]
                failures = 1 if there - before >= _GAIN else failures + 1
                if failures >= transfer.attempts:
                    raise DownloadError(
                        f"{url}: gave up after {failures} attempts in a row: {problem}; {_kept(part, there)}"
                    ) from problem
                wait = transfer.wait(failures, problem.wait)
                log.warning(
                    f"{url}: {problem}: attempt {failures + 1} of {transfer.attempts} in {wait:.0f} s"
                )
                time.sleep(wait)


def _kept(part: _Part, there: int) -> str:
    """Say what a failed download leaves, and what to do."""
    if not there:
        return "try again later"
    return f"{there} bytes are kept in {part.file}: the same command goes on from there"


def _attempt(url: str, part: _Part, size: int | None, transfer: Transfer, bar) -> None:
    """Ask once for what is missing, and write down what comes.

    Raises:
        Passing: another attempt may do better.
        DownloadError: none will.
    """
    there, mark, total = part.begun(url)
    if there and there == total:
        return
    with contextlib.ExitStack() as stack:
        try:
            body = stack.enter_context(opened(url, transfer, begin=there, mark=mark))
        except Passing as problem:
            if problem.anew:
                part.clear()
            raise
        if body.begin and None not in (total, body.total) and total != body.total:
            part.clear()
            raise Passing("the file has another length than before: fetching it anew")
        _check_size(url, part, body, size, transfer)
        if not body.begin:
            part.file.unlink(missing_ok=True)
            part.note(url, body)
        stack.enter_context(_disk_errors(url, part))
        bar.total, bar.n = body.total, body.begin
        with open(part.file, "ab") as stream:
            for block in body.blocks():
                stream.write(block)
                bar.update(len(block))
                _check_length(url, stream.tell(), size or body.total, transfer)
    length = part.file.stat().st_size
    if size is not None and length != size:
        if not body.tells_its_end:
            raise Passing(f"cut after {length} of {size} bytes")
        part.clear()
        raise DownloadError(f"{url}: the server's file has {length} bytes, expected {size}: another file")


def _check_size(url: str, part: _Part, body: Body, size: int | None, transfer: Transfer) -> None:
    """Refuse, before anything is written, a file of another size, or one that does not fit.

    Raises:
        DownloadError: says both numbers.
    """
    if size is not None and body.total not in (None, size):
        raise DownloadError(f"{url}: the server's file has {body.total} bytes, expected {size}: another file")
    if body.total is None and size is None and not body.tells_its_end:
        raise DownloadError(
            f"{url}: the server does not say how long the file is, so nobody could tell whether it came whole: take"
            " another source"
        )
    _check_length(url, body.total or 0, None, transfer)
    free, needed = shutil.disk_usage(part.file.parent).free, (body.total or 0) - body.begin
    if needed > free:
        raise DownloadError(
            f"{part.path}: {needed / 1e6:.0f} MB are to come, {free / 1e6:.0f} MB are free: free space or choose"
            " another folder"
        )


def _check_length(url: str, length: int, expected: int | None, transfer: Transfer) -> None:
    """Stop at a file that is longer than it may be.

    Raises:
        DownloadError: says both numbers.
    """
    most = transfer.limit if expected is None else expected
    if length > most:
        raise DownloadError(f"{url}: the file has {length} bytes or more, expected {most} at most")


@contextlib.contextmanager
def _disk_errors(url: str, part: _Part):
    """Tell the disk's errors from the network's, which `Body.blocks` has named already."""
    try:
        yield
    except OSError as error:
        raise DownloadError(
            f"{part.file}: cannot be written ({error.strerror or error}): free space, or choose another folder; what"
            " came is kept"
        ) from error


def _bar(name: str, transfer: Transfer):
    """Return a progress bar, shown on terminals alone."""
    from tqdm import tqdm

    shown = sys.stderr.isatty() if transfer.progress is None else transfer.progress
    return tqdm(desc=name, unit="B", unit_scale=True, unit_divisor=1000, disable=not shown, leave=False)
