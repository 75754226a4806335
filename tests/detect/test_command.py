"""demo.py from flags to files."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from detect.command import main

RED = np.zeros((90, 120, 3), np.uint8)
RED[:45, :60, 0] = 255


@pytest.fixture
def photos(tmp_path):
    """Three pictures of different kinds, one of them in a folder of its own under a name used before."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    Image.fromarray(RED).save(folder / "a.jpg", quality=95)
    Image.fromarray(RED[:, :, 0]).save(folder / "grey.png")
    Image.fromarray(RED).save(folder / "more" / "a.jpg", quality=95)
    return folder


def run_demo(prefix, *flags):
    return main(["--prefix", str(prefix), "--cpu", *map(str, flags)])


def read_results(out):
    return json.loads((out / "detections.json").read_text())


def test_folder_in_pictures_and_json_out(toy_prefix, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert run_demo(toy_prefix, "--dir", photos, "--out", out) == 0
    results = read_results(out)
    assert [entry["file"] for entry in results["images"]] == [str(photos / "a.jpg"), str(photos / "grey.png")]
    assert results["images"][0]["size"] == [120, 90]
    (found,) = results["images"][0]["detections"]
    assert found["class_name"] == "red"
    np.testing.assert_allclose(found["box"], [0, 0, 60, 45], atol=0.5)
    assert results["epoch"] == 3
    drawn = np.asarray(Image.open(out / "a.jpg"))
    assert drawn.shape == RED.shape
    assert not np.array_equal(drawn, np.asarray(Image.open(photos / "a.jpg")))
    assert np.array_equal(np.asarray(Image.open(out / "grey.png"))[:, :, 0], RED[:, :, 0])
    printed = capsys.readouterr().out
    assert "a.jpg: 1 red" in printed
    assert "grey.png: nothing found" in printed


def test_same_names_in_two_folders_do_not_collide(toy_prefix, photos, tmp_path):
    out = tmp_path / "out"
    assert run_demo(toy_prefix, "--images", f"{photos}/a.jpg,{photos}/more/a.jpg", "--out", out) == 0
    assert [entry["picture"] for entry in read_results(out)["images"]] == ["a.jpg", "a-2.jpg"]
    assert (out / "a-2.jpg").exists()


def test_results_replace_what_an_earlier_demo_wrote_and_nothing_else(toy_prefix, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert run_demo(toy_prefix, "--images", photos / "a.jpg", "--out", out) == 0
    assert run_demo(toy_prefix, "--images", photos / "grey.png", "--out", out) == 0
    assert run_demo(toy_prefix, "--dir", photos, "--out", out) == 0  # a.jpg is of the run before the last
    Image.fromarray(RED).save(photos / "b.bmp")
    (out / "b.png").write_bytes(b"somebody's")
    assert run_demo(toy_prefix, "--dir", photos, "--out", out) == 2
    assert f"{out / 'b.png'} is there already and the demo did not write it" in capsys.readouterr().err
    assert (out / "b.png").read_bytes() == b"somebody's"
    assert read_results(out)["written"] == ["a.jpg", "grey.png"]


def test_results_of_a_demo_before_written_was_listed_are_replaced(toy_prefix, photos, tmp_path):
    out = tmp_path / "out"
    assert run_demo(toy_prefix, "--dir", photos, "--out", out) == 0
    results = read_results(out)
    del results["written"]
    (out / "detections.json").write_text(json.dumps(results))
    assert run_demo(toy_prefix, "--dir", photos, "--out", out) == 0


@pytest.mark.parametrize("text", ["[]", '{"mine": 1}', "text", ""])
def test_a_detections_json_of_somebody_is_not_replaced(toy_prefix, photos, tmp_path, capsys, text):
    path = tmp_path / "out" / "detections.json"
    path.parent.mkdir()
    path.write_text(text)
    assert run_demo(toy_prefix, "--dir", photos, "--out", path.parent) == 2
    assert f"{path} is there already" in capsys.readouterr().err
    assert path.read_text() == text
    assert [entry.name for entry in path.parent.iterdir()] == ["detections.json"]


@pytest.mark.parametrize("name", ["out/detections.json", "out/a.jpg", "other/../out/GREY.png"])
def test_results_file_under_a_name_of_the_demos_own_is_refused(toy_prefix, photos, tmp_path, capsys, name):
    (tmp_path / "other").mkdir()
    flags = ["--dir", photos, "--out", tmp_path / "out", "--save-results", tmp_path / name]
    assert run_demo(toy_prefix, *flags) == 2
    assert "the demo writes that file itself" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [["--classes", "red"], ["--save-txt"], ["--save-crop"], ["--save-results", "r.json"], ["--max-det", "1"]],
)
def test_flags_that_a_page_has_no_use_for_are_refused(toy_prefix, capsys, flags):
    assert run_demo(toy_prefix, "--serve", *flags) == 2
    assert f"{flags[0]} is for pictures and videos, not for --serve" in capsys.readouterr().err


@pytest.mark.parametrize("through_link", [False, True])
def test_pictures_looked_at_are_never_overwritten(toy_prefix, photos, tmp_path, capsys, through_link):
    out = photos
    if through_link:
        out = tmp_path / "link"
        out.symlink_to(photos)
    before = (photos / "a.jpg").read_bytes()
    assert run_demo(toy_prefix, "--images", photos / "a.jpg", "--out", out) == 2
    assert (photos / "a.jpg").read_bytes() == before
    assert "choose another folder" in capsys.readouterr().err


def test_bad_pictures_are_left_out_and_the_rest_done(toy_prefix, photos, tmp_path, capsys):
    (photos / "text.jpg").write_text("just text")
    (photos / "empty.jpg").write_bytes(b"")
    whole = (photos / "a.jpg").read_bytes()
    (photos / "half.jpg").write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out"
    assert run_demo(toy_prefix, "--dir", photos, "--out", out) == 2
    results = read_results(out)
    assert len(results["images"]) == 2
    assert [entry["file"].rsplit("/", 1)[1] for entry in results["failed"]] == [
        "empty.jpg",
        "half.jpg",
        "text.jpg",
    ]
    lines = capsys.readouterr().err.strip().splitlines()
    assert [line for line in lines if "left out" in line] == [
        line for line in lines if "graph_executor" not in line
    ]
    assert sum("left out" in line for line in lines) == 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--images", "nowhere.jpg"], "nowhere.jpg: no such file"),
        (["--images", "PHOTO", "--epoch", "7"], "no epoch 7: kept are 3"),
        (["--images", "PHOTO", "--epoch", "newest"], "expected best, last or a number"),
        (["--images", "PHOTO", "--thresh", "2"], "--thresh: expected a number from 0 to below 1"),
        (["--images", "PHOTO", "--nms", "2"], "error: --nms is 2.0"),
        (["--images", "PHOTO", "--class-names", "a,b,c"], "its card names the classes red,green,blue"),
        (["--images", "PHOTO", "--gpus", "0"], "GPU '0' is not here"),
        (["--images", "PHOTO", "--show"], "--show"),
        ([], "give --images"),
    ],
)
def test_wrong_flags_are_one_line_and_exit_code_2(
    toy_prefix, photos, tmp_path, capsys, monkeypatch, flags, message
):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    flags = [str(photos / "a.jpg") if flag == "PHOTO" else flag for flag in flags]
    assert main(["--prefix", toy_prefix, "--out", str(tmp_path / "out"), *flags]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html><html>404</html>", b"\x12\x01" + bytes(6), b"junk"]
)
def test_wrong_parameter_files_are_one_line(toy_prefix, photos, tmp_path, capsys, content):
    path = next((tmp_path / "model").glob("*.params"))
    path.write_bytes(content)
    assert run_demo(toy_prefix, "--images", photos / "a.jpg", "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err.strip()
    assert path.name in error
    assert len(error.splitlines()) == 1


def test_missing_prefix_is_one_line(photos, tmp_path, capsys):
    assert run_demo(tmp_path / "no" / "such", "--images", photos / "a.jpg") == 2
    assert "check --prefix" in capsys.readouterr().err


def test_file_names_that_are_no_text_do_not_stop_the_demo(toy_prefix, photos, tmp_path):
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    try:
        (photos / "a.jpg").rename(photos / name)
    except OSError:
        pytest.skip("this file system takes text only")
    (photos / name.replace("caf", "bad")).write_bytes(b"")
    assert run_demo(toy_prefix, "--dir", photos, "--out", tmp_path / "out") == 2
    assert sorted(entry["picture"] for entry in read_results(tmp_path / "out")["images"]) == [
        "caf?.jpg",
        "grey.png",
    ]


def test_low_threshold_lowers_the_models_own(toy_prefix, photos, tmp_path):
    out = tmp_path / "out"
    assert run_demo(toy_prefix, "--images", photos / "a.jpg", "--thresh", "0.001", "--out", out) == 0
    assert len(read_results(out)["images"][0]["detections"]) > 1


def test_prefix_that_ends_in_an_underscore_goes_on_with_network_and_shape(
    toy_prefix, photos, tmp_path, capsys
):
    folder = tmp_path / "model"
    for file in folder.iterdir():
        file.rename(folder / file.name.replace("toy", "ssd_vgg16_reduced_64"))
    flags = ["--images", photos / "a.jpg", "--out", tmp_path / "out"]
    assert run_demo(folder / "ssd_", "--network", "vgg16_reduced", "--data-shape", "64", *flags) == 0
    assert run_demo(folder / "ssd_", "--network", "vgg16_reduced", *flags) == 0
    assert run_demo(folder / "ssd_", *flags) == 2
    assert run_demo(folder / "ssd_", "--network", "resnet50", *flags) == 2
    assert "expected one such detector, found none" in capsys.readouterr().err


def test_flags_of_mxnet_ssd_are_taken(toy_prefix, photos, tmp_path):
    flags = ["--deploy", "--force", "True", "--timer", "False", "--nms", "0.5", "--thresh", "0.6"]
    flags += ["--mean-r", "0", "--mean-g", "0", "--mean-b", "0"]
    named = ["--images", "a", "--dir", photos, "--ext", ".jpg", "--out", tmp_path / "out"]
    assert run_demo(toy_prefix, *named, *flags) == 0


def test_without_flags_the_shipped_detector_looks_at_drawn_scenes(toy_prefix, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("detect.flags.SHIPPED_MODEL", toy_prefix)
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    results = read_results(tmp_path / "output" / "seen")
    assert len(results["images"]) == 8
    assert (
        len({Image.open(path).tobytes() for path in (tmp_path / "output" / "seen").glob("scene-*.png")}) == 8
    )


def test_script_prints_results_and_no_noise(toy_prefix, photos, tmp_path, project_root):
    done = subprocess.run(
        [
            sys.executable,
            "demo.py",
            "--prefix",
            toy_prefix,
            "--cpu",
            "--dir",
            photos,
            "--out",
            tmp_path / "out",
        ],
        cwd=project_root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 red" in done.stdout
