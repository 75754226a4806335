"""Drawn scenes on disk: a Pascal VOC folder that readers understand, and the command that writes it."""

import hashlib
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from common.errors import ConfigError
from dataset import scenes, scenes_command
from dataset.scenes import CLASS_NAMES, draw_scene, write_scenes
from dataset.voc import read_voc

# ---- the VOC folder


def read_folder(root, set_name):
    """Read a VOC folder with the standard library and Pillow alone: {name: (pixels, [(class, corners)])}."""
    found = {}
    for name in (root / "ImageSets" / "Main" / f"{set_name}.txt").read_text().split():
        tree = ElementTree.parse(root / "Annotations" / f"{name}.xml")
        assert tree.findtext("filename") == f"{name}.jpg"
        pixels = np.asarray(Image.open(root / "JPEGImages" / f"{name}.jpg"))
        assert [int(tree.findtext(f"size/{tag}")) for tag in ("height", "width", "depth")] == [*pixels.shape]
        objects = [
            (
                item.findtext("name"),
                [int(item.findtext(f"bndbox/{tag}")) for tag in ("xmin", "ymin", "xmax", "ymax")],
            )
            for item in tree.findall("object")
        ]
        assert all(item.findtext("difficult") == "0" for item in tree.findall("object"))
        found[name] = pixels, objects
    return found


def folder_digests(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_voc_folder_holds_the_scenes(tmp_path):
    write_scenes(tmp_path / "scénes", 12, seed=3, size=(200, 150), set_name="train")
    found = read_folder(tmp_path / "scénes", "train")
    assert len(found) == 12
    expected = [draw_scene((3, scenes.zlib.crc32(b"train"), index), (200, 150)) for index in range(12)]
    for (pixels, objects), (image, boxes, class_ids) in zip(found.values(), expected):
        assert np.abs(pixels.astype(int) - image).mean() < 8  # JPEG
        assert [name for name, _ in objects] == [CLASS_NAMES[class_id] for class_id in class_ids]
        corners = np.array([box for _, box in objects]).reshape(-1, 4)
        assert (corners - [1, 1, 0, 0] == boxes).all()
        assert (corners >= 1).all()
        assert (corners[:, 2:] <= [200, 150]).all()


def test_our_reader_gives_back_the_truth(tmp_path):
    write_scenes(tmp_path, 30, seed=2)
    found = read_voc(tmp_path, ("train",))
    assert found.class_names == CLASS_NAMES
    assert not found.problems
    for index, sample in enumerate(found.samples):
        _, boxes, class_ids = draw_scene((2, scenes.zlib.crc32(b"train"), index))
        assert (sample.boxes == boxes).all()
        assert (sample.class_ids == class_ids).all()


def test_writing_again_gives_the_same_bytes(tmp_path):
    write_scenes(tmp_path / "a", 4, seed=1)
    first = folder_digests(tmp_path / "a")
    write_scenes(tmp_path / "a", 4, seed=1)
    write_scenes(tmp_path / "b", 4, seed=1)
    assert folder_digests(tmp_path / "a") == first == folder_digests(tmp_path / "b")


def test_sets_of_one_folder_share_no_scene(tmp_path):
    write_scenes(tmp_path, 6, seed=1, set_name="train")
    write_scenes(tmp_path, 6, seed=1, set_name="test")
    images = {path.read_bytes() for path in (tmp_path / "JPEGImages").iterdir()}
    assert len(images) == 12


def test_set_with_other_settings_is_refused(tmp_path):
    write_scenes(tmp_path, 2, seed=1)
    before = folder_digests(tmp_path)
    with pytest.raises(ConfigError, match="other settings"):
        write_scenes(tmp_path, 3, seed=1)
    assert folder_digests(tmp_path) == before


def test_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        write_scenes(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("content", ["[]", '{"mine": {}}', "no JSON"])
def test_foreign_file_of_the_manifests_name_is_left_alone(tmp_path, content):
    (tmp_path / "scenes.json").write_text(content)
    with pytest.raises(ConfigError, match=r"scenes\.json: not "):
        write_scenes(tmp_path, 2)
    assert (tmp_path / "scenes.json").read_text() == content
    assert len(list(tmp_path.iterdir())) == 1


def test_root_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be"):
        write_scenes(tmp_path / "file", 1)


# ---- the command


def test_command_writes_both_sets(tmp_path, capsys):
    root = tmp_path / "scenes"
    arguments = ["--root", str(root), "--train", "3", "--test", "2", "--seed", "5", "--size", "128,96"]
    assert scenes_command.main(arguments) == 0
    assert len(read_folder(root, "train")) == 3
    assert {pixels.shape for pixels, _ in read_folder(root, "test").values()} == {(96, 128, 3)}
    assert capsys.readouterr().out.count("scenes in") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "10"], "at least 64"),
        (["--size", "big"], "WIDTH,HEIGHT"),
        (["--train", "-3"], "whole number"),
        (["--empty", "2"], "between 0 and 1"),
        (["--tran", "3"], "did you mean --train"),
    ],
)
def test_command_says_what_is_wrong_in_one_line(tmp_path, capsys, arguments, words):
    try:
        code = scenes_command.main(["--root", str(tmp_path / "new"), *arguments])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    assert code == 2
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_script_runs_from_another_folder(tmp_path, project_root):
    script = project_root / "tools" / "make_scenes.py"
    done = subprocess.run(
        [sys.executable, script, "--root", "here", "--train", "1", "--test", "0"],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here" / "JPEGImages" / "train_000000.jpg").is_file()
