"""Zip archives from the web, unpacked where they may do no harm.

A member may only become a plain file inside the folder given: no absolute path, no `..`, no drive, no link, no two
members of one name. What it says of its size is held against a bound before anything is written, and what comes out of
it against what it said. Everything is unpacked beside its target and checked before the caller gives it a name.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from common.errors import ConfigError
from common.files import describe
from common.transfer import DownloadError

_MOST_MEMBERS = 10_000
_BLOCK = 1 << 20  # bytes
_DRIVE = re.compile(r"[A-Za-z]:")
_KINDS = (0, stat.S_IFREG, stat.S_IFDIR)  # 0: made on a system without kinds


@contextlib.contextmanager
def unpacked(
    path: str | os.PathLike, folder: str | os.PathLike, *, limit: int = 8 << 30
) -> Iterator[dict[str, Path]]:
    """Unpack a zip archive into a folder of its own inside `folder`, which is gone after the block.

    Args:
        path: the archive.
        folder: where there is room; on the file system where the files are to go, so that they can be moved at once.
        limit: bytes that all members may have together.

    Yields:
        Name in the archive (with /) -> the file, flushed to the disk.

    Raises:
        DownloadError: it is no zip archive, is damaged, or a member is not what it may be.
        ConfigError: it does not fit on the disk, or the folder cannot be written.
    """
    path, folder = Path(path), Path(folder)
    for left in folder.glob(
        ".unpacked-*.tmp"
    ):  # of a process that was killed; the caller holds the folder's lock
        shutil.rmtree(left, ignore_errors=True)
    target = Path(tempfile.mkdtemp(prefix=".unpacked-", suffix=".tmp", dir=folder))
    try:
        yield _unpack(path, target, limit)
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _unpack(path: Path, target: Path, limit: int) -> dict[str, Path]:
    """Write every member of an archive under a number; the names in the archive never reach the disk."""
    try:
        with zipfile.ZipFile(path) as archive:
            files = _checked(path, archive.infolist(), limit)
            free, needed = shutil.disk_usage(target).free, sum(info.file_size for info in files.values())
            if needed > free:
                raise ConfigError(
                    f"{path}: unpacked it has {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free: free space or choose"
                    " another folder"
                )
            written = {}
            for number, (name, info) in enumerate(files.items()):
                written[name] = target / str(number)
                _write(archive, info, written[name], path)
            return written
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        UnicodeError,
        RuntimeError,
    ) as error:
        found = describe(path.read_bytes()[:512])
        raise DownloadError(
            f"{path}: a damaged archive, or none: it is {found} ({error}): delete it and try again"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be unpacked ({error.strerror or error}): free space or choose another folder"
        ) from error


def _checked(path: Path, members: list[zipfile.ZipInfo], limit: int) -> dict[str, zipfile.ZipInfo]:
    """Return the files in an archive by name, once every member was found harmless.

    Raises:
        DownloadError: names the member and what is wrong with it.
    """
    if len(members) > _MOST_MEMBERS:
        raise DownloadError(
            f"{path}: has {len(members)} members, expected {_MOST_MEMBERS} at most: not unpacked"
        )
    seen, files = set(), {}
    for info in members:
        name = info.orig_filename.replace("\\", "/")
        problem = _problem(name, info)
        folded = name.rstrip("/").casefold()  # some file systems know no case
        if not problem and folded in seen:
            problem = "stands there twice"
        if problem:
            raise DownloadError(f"{path}: its member {info.orig_filename!r} {problem}: not unpacked")
        seen.add(folded)
        if not info.is_dir():
            files[name] = info
    total = sum(info.file_size for info in files.values())
    if total > limit:
        raise DownloadError(
            f"{path}: unpacked it would have {total} bytes, expected {limit} at most: not unpacked"
        )
    return files


def _problem(name: str, info: zipfile.ZipInfo) -> str:
    """Say why a member must not be unpacked; "" where it may."""
    parts = name.rstrip("/").split("/")
    if name.startswith("/") or _DRIVE.match(name):
        return "has an absolute path"
    if ".." in parts:
        return "leads out of the folder"
    if any(part in ("", ".") for part in parts) or any(ord(letter) < 32 for letter in name):
        return "has a name that cannot be"
    if stat.S_IFMT(info.external_attr >> 16) not in _KINDS:
        return "is a link or a device, expected a file"
    if info.flag_bits & 1:
        return "is encrypted"
    return ""


def _write(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, source: Path) -> None:
    """Write one member, which must have the length that it says; zipfile compares its checksum at the end."""
    length = 0
    with archive.open(info) as stream, open(path, "wb") as out:
        for block in iter(lambda: stream.read(_BLOCK), b""):
            length += len(block)
            if length > info.file_size:
                break
            out.write(block)
        out.flush()
        os.fsync(out.fileno())
    if length != info.file_size:
        raise DownloadError(
            f"{source}: its member {info.orig_filename!r} has other than the {info.file_size} bytes that it says: not"
            " unpacked"
        )
