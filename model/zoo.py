"""The zoo: published weights by name, fetched when asked for, and only then.

Before a detector or a backbone of someone else's: `model/download.py NAME` is the command. Archives, their beginnings
and what was found about them lie in ROOT/.downloads; the files themselves in ROOT, under the names that other commands
look for. A file gets its name after its checksum was compared. Where no checksum was published, that of the first
download is kept in ROOT/.downloads/NAME.json, and any later one is held to it.

A file of the user's own is never replaced, only what .downloads, or a published checksum, says is the zoo's.

Source: `model.zoo_mxnet_ssd` and `model.zoo_gluon` name theirs.
"""

from __future__ import annotations

import fnmatch
import json
import logging
import os
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from common.archives import unpacked
from common.download import download
from common.errors import CheckpointError, ConfigError, DependencyError, did_you_mean
from common.files import check_place, describe, exclusive_lock, sha256, write_json, write_text
from common.transfer import DownloadError, Transfer
from model import MODEL_FOLDER
from model.zoo_entry import BACKBONE, DETECTOR, ZooEntry
from model.zoo_gluon import gluon_entries
from model.zoo_mxnet_ssd import MXNET_SSD

__all__ = [
    "BACKBONE",
    "DETECTOR",
    "Fetched",
    "ZooEntry",
    "entries",
    "fetch",
    "fetch_files",
    "find",
    "local_path",
]

log = logging.getLogger(__name__)

_FOLDER = ".downloads"
_OTHER_SYSTEMS = ("__MACOSX/", "._", ".DS_Store")  # what archivers add


@dataclass(frozen=True)
class Fetched:
    """What a download left.

    Attributes:
        files: in the folder, the parameters last.
        sha256: of the archive; "" where nobody knows, since the files were put there by hand.
        url: that they were fetched from just now; "" where they were there already.
    """

    files: tuple[Path, ...]
    sha256: str
    url: str = ""

    @property
    def new(self) -> bool:
        """Whether anything was fetched."""
        return bool(self.url)

    @property
    def params(self) -> Path:
        """The parameters' file."""
        return self.files[-1]


def entries() -> tuple[ZooEntry, ...]:
    """Return what the zoo has; without the parts of gluoncv and MXNet where these are not installed."""
    try:
        return MXNET_SSD + gluon_entries()
    except DependencyError as error:
        log.warning(f"{error}; the zoo goes without it")
        return MXNET_SSD


def find(name: str) -> ZooEntry:
    """Return the entry of a name.

    Args:
        name: as `python model/download.py --list` prints it; a network's `gluon:NAME` means its weights.

    Raises:
        ConfigError: there is none; the message names the closest ones.
    """
    known = {entry.name: entry for entry in entries()}
    wanted = name[len("gluon:") :] if name.startswith("gluon:") else name
    if wanted not in known:
        raise ConfigError(f"{name!r}: there are no such weights{did_you_mean(wanted, known)}")
    return known[wanted]


def local_path(entry: ZooEntry, root: str | os.PathLike = MODEL_FOLDER) -> Path:
    """Return where the parameters of an entry lie once they are fetched."""
    return Path(root) / entry.params


def fetch(
    name: str,
    root: str | os.PathLike = MODEL_FOLDER,
    *,
    force: bool = False,
    url_base: str = "",
    transfer: Transfer | None = None,
) -> Path:
    """Fetch weights unless they are there; see `fetch_files`.

    Returns:
        The parameters' file.
    """
    return fetch_files(find(name), root, force=force, url_base=url_base, transfer=transfer).params


def fetch_files(
    entry: ZooEntry,
    root: str | os.PathLike = MODEL_FOLDER,
    *,
    force: bool = False,
    url_base: str = "",
    transfer: Transfer | None = None,
) -> Fetched:
    """Fetch, check and unpack the files of an entry, unless they are there and good.

    Args:
        entry: of the zoo.
        root: folder for the files.
        force: fetch again even so; and take another archive than the first time, where no checksum was published.
        url_base: of a mirror: what stands in the place of scheme and host, https://HOST[/FOLDER].
        transfer: patience and bounds.

    Raises:
        DownloadError: the archive cannot be had, or is not what it should be.
        CheckpointError: another file lies where one of these would go.
        ConfigError: the folder cannot be written, the mirror's address is not taken, or another process fetches this.
    """
    root, transfer = Path(root), transfer or Transfer()
    stem = entry.name.replace(":", "_")
    folder = root / _FOLDER / stem
    check_place(folder / "x")
    with exclusive_lock(folder / ".lock", f"{entry.name}: the download"):
        notes = _Notes(root / _FOLDER / f"{stem}.json")
        targets = [root / name for _, name in entry.files]
        there = [_is_ours(entry, target, notes) for target in targets]
        if all(there) and not force:
            _write_names(entry, root)
            return Fetched(tuple(targets), notes.archive)
        url = mirrored(entry.url, url_base)
        archive = folder / Path(urllib.parse.urlsplit(entry.url).path).name
        if force:
            archive.unlink(missing_ok=True)
        download(url, archive, transfer=transfer)
        notes.archive = _check_archive(entry, archive, notes, force)
        notes.url = url
        try:
            with unpacked(archive, folder, limit=transfer.limit) as members:
                _place(entry, members, targets, notes)
        except DownloadError:
            archive.unlink(missing_ok=True)  # else it would be taken for good at the next try
            raise
        archive.unlink()
        _write_names(entry, root)
    return Fetched(tuple(targets), notes.archive, url)


def mirrored(url: str, base: str) -> str:
    """Return an address at a mirror: another scheme, host and folder before the same path."""
    return f"{base.rstrip('/')}{urllib.parse.urlsplit(url).path}" if base else url


class _Notes:
    """What was found about an entry's archive and files when they were fetched."""

    def __init__(self, path: Path):
        self.path, self.url = path, ""
        try:
            stated = json.loads(path.read_text(encoding="utf-8"))
            self.archive, self.files = str(stated["sha256"]), dict(stated["files"])
        except FileNotFoundError:
            self.archive, self.files = "", {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{path}: cannot be read ({error}): it says what was downloaded; delete it to start anew"
            ) from error

    def write(self, files: dict[str, str]) -> None:
        """Write them down; the files by name, each with its sha256."""
        write_json(self.path, {"url": self.url, "sha256": self.archive, "files": files})


def _is_ours(entry: ZooEntry, path: Path, notes: _Notes) -> bool:
    """Tell whether a file is there; one that is must be what the zoo put there.

    Raises:
        CheckpointError: it is another file.
    """
    if not path.exists():
        return False
    found = sha256(path) if path.is_file() else ""
    if found and found == notes.files.get(path.name):
        return True
    if found and entry.checksum and path.name == entry.params and entry.checksum.matches(path):
        return True
    raise CheckpointError(
        f"{path}: is there, and is not what {entry.name} has under this name (a file of yours, or a damaged one):"
        " move it away, or choose another folder by --out"
    )


def _check_archive(entry: ZooEntry, archive: Path, notes: _Notes, force: bool) -> str:
    """Hold an archive without a published checksum to the first one that came.

    Returns:
        Its sha256.

    Raises:
        DownloadError: it is another one.
    """
    found = sha256(archive)
    if entry.checksum is None and notes.archive and found != notes.archive and not force:
        archive.unlink()
        raise DownloadError(
            f"{entry.url}: its sha256 is {found}, that of the first download was {notes.archive} ({notes.path}): the"
            " publisher changed the file, or someone on the way did; if you trust it, --force takes it"
        )
    return found


def _place(entry: ZooEntry, members: dict[str, Path], targets: list[Path], notes: _Notes) -> None:
    """Check unpacked files and give them their names, the parameters last.

    Raises:
        DownloadError: a file is missing in the archive, or is another one.
    """
    chosen = [_choose(entry, members, pattern) for pattern, _ in entry.files]
    if entry.checksum and not entry.checksum.matches(chosen[-1]):
        raise DownloadError(
            f"{entry.url}: the {entry.checksum.algorithm} of its parameters is {entry.checksum.of(chosen[-1])},"
            f" {entry.source} published {entry.checksum.digits}: what came was deleted; try again, and if it comes"
            " again, do not use this source"
        )
    with open(chosen[-1], "rb") as stream:
        kind = describe(stream.read(512))
    if kind != "an MXNet parameter file":
        raise DownloadError(f"{entry.url}: its parameters are {kind}, expected an MXNet parameter file")
    sums = {target.name: sha256(path) for path, target in zip(chosen, targets)}
    # Noted first: a process that dies between two files leaves files that are known.
    notes.write({**notes.files, **sums})
    for path, target in zip(chosen, targets):
        os.replace(path, target)
    notes.write(sums)


def _choose(entry: ZooEntry, members: dict[str, Path], pattern: str) -> Path:
    """Return the one member of an archive whose name fits a pattern.

    Raises:
        DownloadError: none does, or several do.
    """
    names = [name for name in members if not name.startswith(_OTHER_SYSTEMS) and "/._" not in name]
    fitting = [name for name in names if fnmatch.fnmatchcase(name.rsplit("/", 1)[-1], pattern)]
    if len(fitting) > 1:  # a deployed copy beside the one that trains on
        fitting = [name for name in fitting if not name.rsplit("/", 1)[-1].startswith("deploy")]
    if len(fitting) != 1:
        there = ", ".join(sorted(names)[:10]) or "nothing"
        raise DownloadError(
            f"{entry.url}: expected one file {pattern} in the archive, found {len(fitting)}; it holds {there}"
        )
    return members[fitting[0]]


def _write_names(entry: ZooEntry, root: Path) -> None:
    """Write the class names of a detector that has no card beside it, for --class-names."""
    graph = [name for _, name in entry.files if name.endswith("-symbol.json")]
    if not graph or not entry.classes:
        return
    path = root / f"{graph[0][: -len('-symbol.json')]}.names"
    text = "\n".join(entry.classes) + "\n"
    if not path.exists():
        write_text(path, text)
    elif path.read_text(encoding="utf-8", errors="replace") != text:
        log.warning(f"{path}: names other classes than {entry.name} was trained on: left as it is")
