"""Which pictures a command line means."""

import pytest

from common.errors import ConfigError, ImageError
from detect.sources import find_images


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
