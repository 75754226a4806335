"""Files are whole or not there: killed writers, full disks, locks of other processes, wrong contents."""

import contextlib
import gzip
import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from common import files
from common.errors import CheckpointError, ConfigError


@contextlib.contextmanager
def python_process(code, cwd):
    """Another Python that has printed its first line; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


# ---- atomic writing


def test_what_killed_writers_left_is_removed_by_its_final_name(tmp_path):
    with files.atomic_path(tmp_path / "a-1.jpg") as temporary:
        left = tmp_path / f"{temporary.name.rpartition('.tmp')[0]}x.tmp"
        left.touch()
    others = [tmp_path / name for name in (".b-1.jpg.x.tmp", ".a-1.jpg", "a-1.jpg.x.tmp", ".a-1.png.x.tmp")]
    for path in others:
        path.touch()
    files.remove_half_written(tmp_path, "a-*.jpg")
    assert not left.exists()
    assert all(path.exists() for path in (*others, tmp_path / "a-1.jpg"))


def test_half_written_files_are_looked_for_where_there_is_no_folder(tmp_path):
    files.remove_half_written(tmp_path / "missing", "a.jpg")


def test_block_that_ends_well_makes_the_file(tmp_path):
    path = tmp_path / "a" / "b" / "ünï 文.txt"
    with files.atomic_path(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_block_that_fails_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")

    def write_half():
        with files.atomic_path(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_new_file_has_the_permissions_of_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        files.write_text(tmp_path / "file", "x")
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask
        assert os.umask(mask) == mask
    finally:
        os.umask(before)


@pytest.mark.parametrize("rounds", [12])
def test_killed_writer_leaves_old_or_new_never_a_part(tmp_path, project_root, rounds):
    """kill -9 at many moments of a process that writes two contents in turn."""
    path = tmp_path / "file"
    contents = [letter * 3_000_000 for letter in (b"a", b"b")]
    code = (
        f"import sys; sys.path.insert(0, {str(project_root)!r})\n"
        "from common.files import write_bytes\n"
        "print('ready')\n"
        "while True:\n"
        f"    write_bytes({str(path)!r}, b'a' * 3_000_000); write_bytes({str(path)!r}, b'b' * 3_000_000)\n"
    )
    for number in range(rounds):
        with python_process(code, tmp_path) as process:
            deadline = time.monotonic() + 20
            while not path.exists() and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(0.001 + 0.0037 * number)
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert path.read_bytes() in contents


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(options, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a small tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_is_one_error_and_leaves_the_old_file(small_disk):
    path = small_disk / "file"
    files.write_bytes(path, b"old")
    with pytest.raises(ConfigError, match="No space left"):
        files.write_bytes(path, bytes(1_000_000))
    assert path.read_bytes() == b"old"
    assert list(small_disk.iterdir()) == [path]


def test_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="choose another folder"):
        files.write_text(tmp_path / "file" / "below", "x")


def test_target_that_is_a_folder_is_an_error(tmp_path):
    (tmp_path / "target").mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        files.write_text(tmp_path / "target", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_several_writers_of_one_file_leave_one_whole_content(tmp_path):
    path = tmp_path / "file"
    contents = [bytes([65 + number]) * 200_000 for number in range(6)]
    threads = [threading.Thread(target=files.write_bytes, args=(path, content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


# ---- JSON and hashes


def test_json_comes_back_as_it_was(tmp_path):
    value = {"größe": [1, 2.5, None, True], "名": {"x": "line\nbreak"}}
    files.write_json(tmp_path / "v.json", value)
    assert files.read_json(tmp_path / "v.json", "card", CheckpointError) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_refuses_numbers_that_json_lacks(tmp_path, value):
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "v.json", [value])
    assert list(tmp_path.iterdir()) == []


def test_json_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "v.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert files.read_json(tmp_path / "v.json", "card", CheckpointError) == {"a": 1}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><p>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1", "git-lfs"),
        (b'{"a": 1', "text beginning"),
        (b"\xff\xfe\x00", "binary data"),
        (b"[" * 100_000, "not a card"),
        (b"1" * 5000, "not a card"),
    ],
)
def test_file_that_is_no_json_is_described(tmp_path, content, words):
    if content == b"1" * 5000 and sys.version_info < (3, 11):
        pytest.skip("this Python reads numbers of any length")
    path = tmp_path / "card.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as caught:
        files.read_json(path, "card", CheckpointError)
    assert str(path) in str(caught.value)


def test_missing_json_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.json: card cannot be read"):
        files.read_json(tmp_path / "none.json", "card", CheckpointError)


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_sha256_agrees_with_hashlib(tmp_path, size):
    data = np.random.default_rng(size).bytes(size)
    (tmp_path / "f").write_bytes(data)
    assert files.sha256(tmp_path / "f") == hashlib.sha256(data).hexdigest()


# ---- what a wrong file really is


def picture(kind):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, kind)
    return stream.getvalue()


def zipped():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a", "b")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: b"", "empty"),
        (lambda: picture("JPEG"), "JPEG"),
        (lambda: picture("PNG"), "PNG"),
        (lambda: picture("GIF"), "GIF"),
        (zipped, "zip"),
        (lambda: gzip.compress(b"x"), "gzip"),
        (lambda: b"\n\n  <HTML><body>404", "HTML"),
        (lambda: b"<?xml version='1.0'?><html>", "HTML"),
        (lambda: b"\x89HDF\r\n\x1a\n", "HDF5"),
        (lambda: b"hello\nworld", "text beginning 'hello"),
        (lambda: bytes(range(200, 240)), "binary data beginning c8 c9"),
        (lambda: b"    ", "text beginning"),
    ],
)
def test_describe_knows_common_files(make, words):
    assert words in files.describe(make())


def test_describe_knows_mxnets_own_files(tmp_path):
    from common.mx import mx

    mx.nd.save(str(tmp_path / "p.params"), {"a": mx.nd.ones(2)})
    writer = mx.recordio.MXRecordIO(str(tmp_path / "r.rec"), "w")
    writer.write(b"x")
    writer.close()
    assert files.describe((tmp_path / "p.params").read_bytes()) == "an MXNet parameter file"
    assert files.describe((tmp_path / "r.rec").read_bytes()) == "a RecordIO file"


def test_describe_takes_a_large_file_quickly():
    data = bytes(300_000_000)
    start = time.perf_counter()
    files.describe(data)
    assert time.perf_counter() - start < 0.05
