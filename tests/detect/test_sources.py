"""Which pictures a command line means."""

import os

import pytest

from common.errors import ConfigError, ImageError
from detect.command import build_parser
from detect.sources import find_images, kind_of_source


@pytest.fixture
def folder(tmp_path):
    for name in ("b.jpg", "a.PNG", "c,d.jpg", "notes.txt", "dog.jpg"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "inner.jpg").mkdir()
    return tmp_path


def names(paths):
    return [path.name for path in paths]


def test_folder_alone_gives_its_pictures_sorted(folder):
    assert names(find_images([], str(folder))) == ["a.PNG", "b.jpg", "c,d.jpg", "dog.jpg"]


def test_names_by_comma_or_space_lie_in_the_folder(folder):
    assert names(find_images(["b.jpg, a.PNG", "dog.jpg"], str(folder))) == ["b.jpg", "a.PNG", "dog.jpg"]
    assert names(find_images([str(folder / "b.jpg")])) == ["b.jpg"]


def test_name_with_a_comma_is_taken_as_it_is(folder):
    assert names(find_images(["c,d.jpg"], str(folder))) == ["c,d.jpg"]


def test_extension_is_appended_once(folder):
    assert names(find_images(["b,dog.jpg"], str(folder), ".jpg")) == ["b.jpg", "dog.jpg"]
    assert names(find_images(["b"], str(folder), "jpg")) == ["b.jpg"]


def test_same_picture_twice_counts_once(folder):
    assert names(find_images(["b.jpg,b.jpg"], str(folder))) == ["b.jpg"]


def test_what_is_missing_is_named(folder, tmp_path):
    with pytest.raises(ImageError, match=r"dgo\.jpg: no such file; did you mean dog\.jpg"):
        find_images(["dgo.jpg"], str(folder))
    with pytest.raises(ConfigError, match="--dir .*nowhere: no such folder"):
        find_images([], str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"inner\.jpg: a folder"):
        find_images(["inner.jpg"], str(folder))
    with pytest.raises(ConfigError, match="no picture in it"):
        find_images([], str(folder / "inner.jpg"))
    with pytest.raises(ConfigError, match="give --images"):
        find_images([])
    with pytest.raises(ConfigError, match="empty"):
        find_images([" , "], str(folder))


def test_pattern_takes_the_pictures_that_fit_sorted(folder, monkeypatch):
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "e.jpg").write_bytes(b"")
    assert names(find_images([str(folder / "*.jpg")])) == ["b.jpg", "c,d.jpg", "dog.jpg"]
    assert names(find_images(["*"], str(folder))) == ["a.PNG", "b.jpg", "c,d.jpg", "dog.jpg"]
    assert names(find_images(["[bd]*.jpg,a.PNG"], str(folder))) == ["b.jpg", "dog.jpg", "a.PNG"]
    assert names(find_images(["**/*.jpg"], str(folder))) == ["b.jpg", "c,d.jpg", "e.jpg", "dog.jpg"]
    monkeypatch.chdir(folder)
    assert names(find_images(["d*.jpg"])) == ["dog.jpg"]
    with pytest.raises(ConfigError, match=r"--images x\*\.jpg: no picture fits it"):
        find_images(["x*.jpg"], str(folder))


def test_name_with_brackets_is_a_file_before_it_is_a_pattern(folder):
    (folder / "[b].jpg").write_bytes(b"")
    assert names(find_images(["[b].jpg"], str(folder))) == ["[b].jpg"]
    inner = folder / "[1]"
    inner.mkdir()
    (inner / "z.jpg").write_bytes(b"")
    assert names(find_images(["*.jpg"], str(inner))) == ["z.jpg"]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_text_file_names_pictures_from_its_own_folder_or_from_here(folder, tmp_path, monkeypatch, ending):
    lists = folder / "lists"
    lists.mkdir()
    here = tmp_path / "here"
    here.mkdir()
    (lists / "near.jpg").write_bytes(b"")
    (here / "far.jpg").write_bytes(b"")
    lines = ["near.jpg", "", "../c,d.jpg", "far.jpg", str(folder / "b.jpg"), "near.jpg"]
    (lists / "val.txt").write_bytes(b"\xef\xbb\xbf" + ending.join(lines).encode())
    monkeypatch.chdir(here)
    assert names(find_images([str(lists / "val.txt")])) == ["near.jpg", "c,d.jpg", "far.jpg", "b.jpg"]


def test_text_file_goes_with_a_folder_and_an_ending_as_voc_has_them(folder, tmp_path):
    (folder / "val.txt").write_text("b\ndog\n")
    assert names(find_images([str(folder / "val.txt")], str(folder), ".jpg")) == ["b.jpg", "dog.jpg"]
    assert names(find_images(["val.txt"], str(folder), ".jpg")) == ["b.jpg", "dog.jpg"]


def test_text_file_may_name_files_that_are_no_text(folder):
    name = b"caf\xe9.jpg"
    try:
        (folder / os.fsdecode(name)).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes text only")
    (folder / "val.txt").write_bytes(name + b"\n")
    assert [os.fsencode(path.name) for path in find_images([str(folder / "val.txt")])] == [name]


def test_wrong_text_files_are_told(folder):
    with pytest.raises(ConfigError, match="names no picture"):
        find_images([str(folder / "notes.txt")])
    (folder / "notes.txt").write_text("b.jpg\nwolf.jpg\n")
    with pytest.raises(ImageError, match=r"notes\.txt, line 2: no such picture: .*wolf\.jpg"):
        find_images([str(folder / "notes.txt")])
    with pytest.raises(ImageError, match="no such list of pictures"):
        find_images([str(folder / "none.txt")])
    (folder / "notes.txt").write_bytes(b"\x00\x01")
    with pytest.raises(ConfigError, match="not a list of pictures"):
        find_images([str(folder / "notes.txt")])


def test_video_among_pictures_and_unreadable_folders_are_told(folder):
    (folder / "a.mp4").write_bytes(b"")
    with pytest.raises(ConfigError, match="give it by --video"):
        find_images(["a.mp4"], str(folder))
    with pytest.raises(ConfigError, match="not a folder"):
        find_images([], str(folder / "b.jpg"))
    if os.geteuid() == 0:
        return  # root may read everything
    (folder / "inner.jpg").chmod(0)
    with pytest.raises(ConfigError, match="cannot be read"):
        find_images([], str(folder / "inner.jpg"))


@pytest.mark.parametrize(
    ("flags", "kind"),
    [
        ([], ""),
        (["--dir", "x"], "images"),
        (["--images", "a", "--dir", "x"], "images"),
        (["--video", "a.mp4"], "video"),
        (["--camera", "0"], "camera"),
        (["--url", "rtsp://x"], "url"),
        (["--serve"], "serve"),
    ],
)
def test_kind_of_source_follows_from_the_flags(flags, kind):
    assert kind_of_source(build_parser().parse_args(flags)) == kind


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dir", "x", "--video", "a.mp4"], "--dir and --video"),
        (["--images", "a", "--serve"], "--images and --serve"),
        (["--camera", "0", "--url", "rtsp://x", "--video", "a"], "--video and --camera and --url"),
    ],
)
def test_one_kind_of_source_at_a_time(flags, message):
    with pytest.raises(ConfigError, match=f"{message}: one kind of source at a time"):
        kind_of_source(build_parser().parse_args(flags))
