"""Zip archives that lead out of the folder, link, double, lie about their size or are none: refused, nothing left."""

from __future__ import annotations

import shutil
import stat
import struct
import zipfile

import pytest

from common import archives as module
from common.archives import unpacked
from common.errors import ConfigError
from common.transfer import DownloadError


def archive_of(path, members, compression=zipfile.ZIP_DEFLATED):
    """Write an archive; members are (name or ZipInfo, bytes)."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def linked(name, kind=stat.S_IFLNK):
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    return info


def refused(path, tmp_path, words, **settings):
    with pytest.raises(DownloadError, match=words), unpacked(path, tmp_path, **settings):
        pytest.fail("was unpacked")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [path.name]


def test_members_come_out_by_name_and_are_gone_behind_the_block(tmp_path):
    path = archive_of(tmp_path / "a.zip", [("top.txt", b"1"), ("in/the/deep.bin", b"2" * 5000), ("in/", b"")])
    with unpacked(path, tmp_path) as members:
        assert {name: file.read_bytes() for name, file in members.items()} == {
            "top.txt": b"1",
            "in/the/deep.bin": b"2" * 5000,
        }
        assert all(tmp_path in file.parents for file in members.values())
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.zip"]


def test_an_error_in_the_block_leaves_nothing_either(tmp_path):
    path = archive_of(tmp_path / "a.zip", [("a", b"1")])
    with pytest.raises(KeyboardInterrupt), unpacked(path, tmp_path):
        raise KeyboardInterrupt
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.zip"]


def test_what_a_killed_process_left_is_removed(tmp_path):
    path = archive_of(tmp_path / "a.zip", [("a", b"1")])
    (tmp_path / ".unpacked-x.tmp").mkdir()
    (tmp_path / ".unpacked-x.tmp" / "0").write_bytes(b"half")
    with unpacked(path, tmp_path):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../evil", "leads out of the folder"),
        ("a/../../evil", "leads out of the folder"),
        ("..\\evil", "leads out of the folder"),
        ("a\\..\\..\\evil", "leads out of the folder"),
        ("/etc/evil", "absolute path"),
        ("\\evil", "absolute path"),
        ("C:evil", "absolute path"),
        ("c:/evil", "absolute path"),
        ("C:\\evil", "absolute path"),
        ("//host/evil", "absolute path"),
        ("a//evil", "a name that cannot be"),
        ("./evil", "a name that cannot be"),
        ("ev\nil", "a name that cannot be"),
    ],
)
def test_a_member_with_a_bad_name_is_refused(tmp_path, name, words):
    refused(archive_of(tmp_path / "a.zip", [("good", b"1"), (name, b"2")]), tmp_path, words)


def test_a_name_with_a_zero_inside_is_refused(tmp_path):
    path = archive_of(tmp_path / "a.zip", [("good.params_evil", b"1")])
    path.write_bytes(path.read_bytes().replace(b"good.params_evil", b"good.params\0evil"))
    refused(path, tmp_path, "a name that cannot be")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_a_link_or_a_device_is_refused(tmp_path, kind):
    refused(
        archive_of(tmp_path / "a.zip", [(linked("x", kind), b"/etc/passwd")]), tmp_path, "link or a device"
    )


@pytest.mark.parametrize("names", [("a", "a"), ("a", "A"), ("d/a", "d\\a"), ("a", "a/")])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path, names):
    refused(archive_of(tmp_path / "a.zip", [(name, b"") for name in names]), tmp_path, "stands there twice")


def test_an_archive_that_says_it_is_too_large_is_refused(tmp_path):
    path = archive_of(tmp_path / "a.zip", [(str(number), bytes(1_000_000)) for number in range(5)])
    assert path.stat().st_size < 20_000
    refused(path, tmp_path, "would have 5000000 bytes, expected 4999999 at most", limit=4_999_999)
    with unpacked(path, tmp_path, limit=5_000_000) as members:
        assert len(members) == 5


def test_a_member_larger_than_it_says_is_refused(tmp_path):
    path = archive_of(tmp_path / "a.zip", [("bomb", bytes(1_000_000))])
    data, said = bytearray(path.read_bytes()), struct.pack("<L", 1_000_000)
    for place in (data.index(said), data.rindex(said)):  # the member's own head, and the directory
        data[place : place + 4] = struct.pack("<L", 1000)
    path.write_bytes(data)
    refused(path, tmp_path, "damaged archive|other than the 1000 bytes", limit=10_000)


def test_a_member_shorter_than_it_says_is_refused(tmp_path):
    path = archive_of(tmp_path / "a.zip", [("short", bytes(1000))])
    path.write_bytes(path.read_bytes().replace(struct.pack("<L", 1000), struct.pack("<L", 2000)))
    refused(path, tmp_path, "damaged archive|other than the 2000 bytes")


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_MEMBERS", 3)
    path = archive_of(tmp_path / "a.zip", [(str(number), b"") for number in range(4)])
    refused(path, tmp_path, "has 4 members, expected 3 at most")


def test_a_flipped_bit_is_noticed(tmp_path):
    path = archive_of(tmp_path / "a.zip", [("a", b"weights" * 1000)], zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    refused(path, tmp_path, "damaged archive")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html>not here</html>", "an HTML page"),
        (b"", "empty"),
        (b"PK\x03\x04" + bytes(100), "a zip archive"),
    ],
)
def test_what_is_no_whole_archive_is_told_by_what_it_is(tmp_path, content, words):
    (tmp_path / "a.zip").write_bytes(content)
    refused(tmp_path / "a.zip", tmp_path, words)


def test_an_encrypted_member_is_refused(tmp_path):
    path = archive_of(tmp_path / "a.zip", [("a", b"1")])
    data = bytearray(path.read_bytes())
    data[6] |= 1  # flags of the member's own head
    data[data.index(b"PK\x01\x02") + 8] |= 1  # and in the directory
    path.write_bytes(data)
    refused(path, tmp_path, "is encrypted")


def test_a_disk_without_room_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    path = archive_of(tmp_path / "a.zip", [("a", bytes(3_000_000))])
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 1_000_000))
    with pytest.raises(ConfigError, match="unpacked it has 3 MB, 1 MB are free"), unpacked(path, tmp_path):
        pytest.fail("was unpacked")
    assert path.exists()
