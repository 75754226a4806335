import subprocess
import sys

import numpy as np
import pytest

from common import images
from common.errors import SSDError
from dataset.inspect_command import box_sizes, draw_before, main
from dataset.records import RecordDataset


def test_contents_are_printed(packed, capsys):
    assert main([str(packed)]) == 0
    out = capsys.readouterr().out
    assert "5 images, 1 of them without objects" in out
    assert "6 objects, at most 2 in an image; 6 numbers an object" in out
    assert [line.split() for line in out.splitlines()[3:5]] == [
        ["0", "cat", "3", "1", "3"],
        ["1", "dog", "3", "0", "2"],
    ]
    assert "image width in pixels: 64 to 100, median 64" in out


def test_script_verifies_whole_records(packed, project_root, tmp_path):
    command = [sys.executable, str(project_root / "tools" / "inspect_records.py"), str(packed), "--verify"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "whole: 5 records and all hashes" in done.stdout


def test_damage_is_listed_and_ends_with_2(packed, capsys):
    data = bytearray(packed.read_bytes())
    data[int(RecordDataset(packed).record_sizes[0])] ^= 1
    packed.write_bytes(data)
    assert main([str(packed), "--verify"]) == 2
    captured = capsys.readouterr()
    assert "record 1 (JPEGImages/b.jpg): byte" in captured.out
    assert "1 of 5 records are damaged (numbers 1)" in captured.err
    assert captured.err.count("\n") == 1


def zoo(packed):
    whole = packed.read_bytes()
    return {
        "html": b"<!doctype html><html><body>404</body></html>",
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "one byte less": whole[:-1],
        "header only": whole[:8],
        "first magic damaged": b"\0" + whole[1:],
        "first length damaged": whole[:4] + b"\xff\xff\xff\x1f" + whole[8:],
        "label count damaged": whole[:8] + b"\xff\xff\xff\xff" + whole[12:],
        "label header damaged": whole[:32] + b"\0\0\0\0" + whole[36:],
        "label NaN": whole[:44] + np.float32(np.nan).tobytes() + whole[48:],
    }


@pytest.mark.parametrize("with_sides", [True, False])
@pytest.mark.parametrize(
    "kind",
    ["html", "empty", "half", "one byte less", "header only", "first magic damaged", "first length damaged"]
    + ["label count damaged", "label header damaged", "label NaN"],
)
def test_wrong_records_are_one_line_and_exit_code_2(packed, capsys, kind, with_sides):
    packed.write_bytes(zoo(packed)[kind])
    if not with_sides:
        for extension in (".json", ".idx", ".lst", ".gt.json"):
            packed.with_name("train" + extension).unlink()
    assert main([str(packed)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "train.rec" in error
    assert error.count("\n") == 1


def test_folder_missing_file_and_negative_count_are_exit_code_2(packed, capsys):
    assert main([str(packed.parent)]) == 2
    assert main([str(packed.parent / "none.rec")]) == 2
    assert main([str(packed), "--draw", "-1"]) == 2
    assert capsys.readouterr().err.count("\n") == 3


def test_box_sizes_are_relative_to_the_inputs_height():
    objects = np.array([[0, 0, 0, 0.5, 0.5, 0], [0, 0.5, 0.5, 0.5, 0.5, 0]], np.float32)
    sizes = box_sizes(objects, (300, 600))
    assert {name: values.tolist() for name, values in sizes.items()} == {
        **{"size": [pytest.approx(0.5 * 2**0.5)], "width": [1.0], "height": [0.5], "aspect": [2.0]}
    }


def test_pictures_show_the_boxes(packed, tmp_path):
    pytest.importorskip("common.drawing")
    dataset = RecordDataset(packed)
    draw_before(dataset, tmp_path / "out", range(5))
    plain = images.decode(dataset.read(0).image, "x")
    drawn = images.read(tmp_path / "out" / "before-000000.jpg")
    assert drawn.shape == plain.shape
    assert np.abs(drawn.astype(int) - plain).max() > 60
    assert np.abs(images.read(tmp_path / "out" / "before-000002.jpg").astype(int)).shape == (48, 64, 3)


def test_pictures_after_augmentation_are_drawn(packed, tmp_path, capsys):
    try:
        code = main([str(packed), "--draw", "2", "--out", str(tmp_path / "out"), "--data-shape", "64"])
    except SSDError as error:
        pytest.fail(str(error))
    assert code == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(names) == 4
    assert [name.replace("after", "before") for name in names[:2]] == names[2:]  # the same images, twice
    assert images.read(tmp_path / "out" / names[0]).shape == (64, 64, 3)


def test_pictures_show_the_recipe_that_is_asked_for(packed, tmp_path, capsys):
    flags = ["--draw", "5", "--data-shape", "48,64", "--augment"]
    assert main([str(packed), *flags, "none", "--out", str(tmp_path / "none")]) == 0
    assert main([str(packed), *flags, "ssd", "--out", str(tmp_path / "ssd")]) == 0
    names = sorted(path.name for path in (tmp_path / "none").glob("after-*"))
    pairs = [
        [images.read(tmp_path / recipe / name).astype(int) for recipe in ("none", "ssd")] for name in names
    ]
    assert max(np.abs(one - other).max() for one, other in pairs) > 60
    capsys.readouterr()
    assert main([str(packed), *flags, "sdd"]) == 2
    assert "--augment sdd: no such recipe; did you mean ssd" in capsys.readouterr().err
