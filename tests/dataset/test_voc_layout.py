import pytest

from common.errors import AnnotationError, ConfigError
from dataset.voc_layout import ImageFinder, find_folders, pair_sets, read_image_set


@pytest.fixture
def devkit(tmp_path, tools):
    for year in ("2007", "2012"):
        tools.VOCFolder(tmp_path / "VOCdevkit" / f"VOC{year}").add(f"{year}_1").write_set()
    return tmp_path / "VOCdevkit"


def test_years_name_folders_of_the_devkit(devkit):
    assert find_folders(devkit, ["2012", "2007"]) == [devkit / "VOC2012", devkit / "VOC2007"]
    assert find_folders(devkit.parent, ["2007"]) == [devkit / "VOC2007"]
    assert find_folders(devkit / "VOC2007") == [devkit / "VOC2007"]
    assert find_folders(devkit / "VOC2007", ["2007"]) == [devkit / "VOC2007"]


def test_several_years_and_none_given_is_an_error_that_names_them(devkit):
    with pytest.raises(ConfigError, match="add --year 2007,2012"):
        find_folders(devkit)


def test_unknown_year_names_the_closest(devkit):
    with pytest.raises(ConfigError, match=r"--year 2008.*did you mean 2007"):
        find_folders(devkit, ["2008"])


def test_missing_root_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        find_folders(tmp_path / "none")
    with pytest.raises(ConfigError, match="no folder Annotations"):
        find_folders(tmp_path)


def test_sets_and_years_are_paired_and_single_ones_go_with_all(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    assert pair_sets([a, b], ["t"]) == [(a, "t"), (b, "t")]
    assert pair_sets([a], ["t", "v"]) == [(a, "t"), (a, "v")]
    assert pair_sets([a, b], ["t", "v"]) == [(a, "t"), (b, "v")]
    with pytest.raises(ConfigError, match="found 2 and 3"):
        pair_sets([a, b], ["t", "v", "w"])
    with pytest.raises(ConfigError):
        pair_sets([a], [])


def test_ids_come_in_the_files_order_without_flags_and_extensions(voc):
    voc.add("b").add("a 1").add("c").add("x.y")
    path = voc.root / "ImageSets" / "Main" / "s.txt"
    path.write_bytes("\ufeffc  -1\r\nb.jpg\r\na 1\r\n\r\nx.y  1\r\nnone 0\r\n".encode())
    assert read_image_set(voc.root, "s") == ["c", "b", "a 1", "x.y", "none"]


def test_image_sets_may_lie_without_main(voc):
    (voc.root / "ImageSets" / "s.txt").write_text("a\n")
    assert read_image_set(voc.root, "s") == ["a"]


def test_unknown_set_names_the_closest(voc):
    voc.write_set("trainval", ["a"])
    with pytest.raises(ConfigError, match="did you mean trainval"):
        read_image_set(voc.root, "trainvla")


def test_set_that_is_no_text_is_refused(voc):
    (voc.root / "ImageSets" / "Main" / "s.txt").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(AnnotationError, match="not UTF-8"):
        read_image_set(voc.root, "s")


def test_absurd_id_is_returned_and_not_a_crash(voc):
    voc.write_set("s", ["a\0b", "x" * 5000])
    assert read_image_set(voc.root, "s") == ["a\0b", "x" * 5000]
    finder = ImageFinder(voc.root / "JPEGImages")
    assert finder.find("a\0b") is None
    assert finder.find("x" * 5000, "y" * 5000 + ".jpg") is None


@pytest.mark.parametrize(
    ("files", "image_id", "filename", "expected"),
    [
        (["a.jpg"], "a", "", "a.jpg"),
        (["a.JPEG"], "a", "", "a.JPEG"),
        (["A.Png"], "a", "", "A.Png"),
        (["a.png", "a.jpg"], "a", "", "a.jpg"),
        (["a.png", "a.jpg"], "a", "a.png", "a.png"),
        (["a.jpg", "b.jpg"], "a", "b.jpg", "a.jpg"),  # the id decides
        (["b.jpg"], "a", "C:\\pictures\\b.jpg", "b.jpg"),
        (["b.jpg"], "a", "/home/x/B.JPG", "b.jpg"),
        (["a.txt"], "a", "a.txt", None),
        (["größe é.jpg"], "größe é", "", "größe é.jpg"),
        ([], "a", "", None),
    ],
)
def test_image_of_an_id_is_found(tmp_path, files, image_id, filename, expected):
    for name in files:
        (tmp_path / name).write_bytes(b"x")
    found = ImageFinder(tmp_path).find(image_id, filename)
    assert (found.name if found else None) == expected


def test_ids_may_hold_folders(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.jpg").write_bytes(b"x")
    assert ImageFinder(tmp_path).find("sub/a") == tmp_path / "sub" / "a.jpg"
