"""Files that are whole or not there: atomic writing, hashes, locks, and a word for what a wrong file really is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from common.errors import ConfigError, SSDError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path in the target's folder; when the block ends well it becomes `path` in one step.

    The file is flushed to disk before it gets its name, so that a crash leaves the old file or the new one, whole.

    Args:
        path: the final name; its folder is made where it is missing.

    Raises:
        ConfigError: the folder cannot be made or written, or the disk is full.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written ({error.strerror or error}): choose another folder"
        ) from error
    temporary = Path(name)
    try:
        yield temporary
        _commit(temporary, path)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written ({error.strerror or error}): free space or choose another"
        ) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def remove_half_written(folder: str | os.PathLike, pattern: str) -> None:
    """Remove the temporary files of `atomic_path` that a process killed while it wrote left behind.

    Args:
        folder: of the files; it need not be there.
        pattern: of the final names, as for glob; a name that is not a pattern wants `glob.escape`.

    Raises:
        OSError: one cannot be removed.
    """
    for left in Path(folder).glob(f".{pattern}.*.tmp"):
        left.unlink(missing_ok=True)


def check_place(path: str | os.PathLike) -> None:
    """Make sure that a file can be written there, before the work whose result it is to hold.

    Raises:
        ConfigError: it is a folder, or its own folder cannot be made or written.
    """
    if Path(path).is_dir():
        raise ConfigError(f"{path}: is a folder: give the name of a file")
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=Path(path).parent):
            pass
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written ({error.strerror or error}): choose another place"
        ) from error


def _commit(temporary: Path, path: Path) -> None:
    """Flush a finished temporary file and give it its name, with the permissions a new file would have."""
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(temporary, 0o666 & ~umask)
    with open(temporary, "rb+") as stream:
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Write a file atomically (see `atomic_path`)."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a UTF-8 text file atomically (see `atomic_path`)."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike, value: object) -> None:
    """Write a value as JSON, indented, atomically; NaN and infinity are refused because JSON has none."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike, what: str, error: type[SSDError]) -> object:
    """Read a JSON file.

    Args:
        path: the file.
        what: what it should be, for the message ("card", "manifest").
        error: the class to raise.

    Raises:
        error: the file is missing or is not JSON.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as problem:
        raise error(f"{path}: {what} cannot be read ({problem.strerror or problem})") from problem
    try:
        return json.loads(data.decode("utf-8-sig"))  # Windows editors put a mark (BOM) first
    except (ValueError, RecursionError) as problem:
        raise error(f"{path}: not a {what}: it is {describe(data)} ({problem})") from problem


def sha256(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def describe(data: bytes) -> str:
    """Say what the beginning of a file looks like, for messages about wrong files.

    Args:
        data: the file's first bytes (512 are enough), or all of them.
    """
    data = data[:512]
    start = data.lstrip().lower()
    signatures = (
        (b"version https://git-lfs", "a git-lfs pointer (run `git lfs pull`)"),
        (b"\xff\xd8\xff", "a JPEG image"),
        (b"\x89png", "a PNG image"),
        (b"gif8", "a GIF image"),
        (b"\x89hdf", "an HDF5 file"),
        (b"pk\x03\x04", "a zip archive"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"\x0a\x23\xd7\xce", "a RecordIO file"),
        (b"\x12\x01\x00\x00\x00\x00\x00\x00", "an MXNet parameter file"),
    )
    if not data:
        return "empty (0 bytes)"
    if start.startswith((b"<!doctype html", b"<html", b"<head")) or b"<html" in start:
        return "an HTML page (a failed download?)"
    for signature, name in signatures:
        if start.startswith(signature) or data.lower().startswith(signature):
            return name
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in data[:64]):
        return f"text beginning {data[:40].decode('ascii', 'replace')!r}"
    return f"binary data beginning {data[:8].hex(' ')}"


@contextlib.contextmanager
def exclusive_lock(path: str | os.PathLike, what: str) -> Iterator[None]:
    """Hold an exclusive lock (flock) on a file while the block runs; the lock dies with the process.

    Args:
        path: the lock file; it is made, and stays (removing it would let two processes lock two files).
        what: what is locked, for the message.

    Raises:
        ConfigError: another process holds it, or the file system has no locks.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = open(path, "a+")  # noqa: SIM115 (held open for as long as the lock)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written ({error.strerror or error}): choose another folder"
        ) from error
    with stream:
        _lock_stream(stream, path, what)
        with contextlib.suppress(OSError):  # a full disk: the number is only told to others, the lock holds
            os.ftruncate(stream.fileno(), 0)
            os.write(stream.fileno(), f"{os.getpid()}\n".encode("ascii"))
        yield


def is_locked(path: str | os.PathLike) -> bool:
    """Tell whether another process, or another part of this one, holds the lock of a file (see `exclusive_lock`)."""
    with contextlib.suppress(OSError), open(path, "a+") as stream:
        try:
            _lock_stream(stream, Path(path), "")
        except ConfigError:
            return True
    return False


def _lock_stream(stream, path: Path, what: str) -> None:
    """Take the lock of an open file without waiting; systems without flock (Windows) go without."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        stream.seek(0)
        holder = stream.read(20).strip() or "unknown"
        raise ConfigError(
            f"{what} is in use by another process (number {holder}, lock {path}): wait for it or choose another"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be locked ({error.strerror or error}): choose a folder on a local disk"
        ) from error
