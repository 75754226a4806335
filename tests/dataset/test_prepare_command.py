import json
import subprocess
import sys

import pytest

from dataset.prepare_command import main


@pytest.fixture
def arguments(voc, tmp_path):
    voc.add("a", [("ant", 1, 1, 9, 9), ("bee", 5, 5, 5, 5)]).add("b", [("cow", 1, 1, 9, 9)]).add(
        "c"
    ).write_set()
    return ["--root", str(voc.root), "--target", str(tmp_path / "out" / "t.lst")]


def test_script_packs_and_summarises(arguments, project_root, tmp_path):
    command = [sys.executable, str(project_root / "tools" / "prepare_dataset.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 images (1 without objects), 2 objects: ant 1, bee 0, cow 1" in done.stdout
    assert "left out 0 images and 1 objects: degenerate box 1; listed in" in done.stdout


def test_old_scripts_flags_work(arguments, tmp_path):
    flags = ["--dataset", "pascal", "--set", "trainval", "--shuffle", "False", "--true-negative", "False"]
    assert main([*arguments, *flags]) == 0
    manifest = json.loads((tmp_path / "out" / "t.json").read_text())
    assert (manifest["images"], manifest["made_by"]["shuffle"]) == (2, False)
    assert str(tmp_path) not in (tmp_path / "out" / "t.json").read_text()


def test_class_names_come_from_a_file(arguments, tmp_path, capsys):
    (tmp_path / "names.txt").write_text("cow\nant\n")
    assert main([*arguments, "--class-names", str(tmp_path / "names.txt")]) == 0
    assert json.loads((tmp_path / "out" / "t.json").read_text())["class_names"] == ["cow", "ant"]
    assert "other class 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--set", "trainvla"], "did you mean trainval?"),
        (["--set", ","], "--set ',': name at least one"),
        (["--year", "2007"], "--year 2007: no folder"),
        (["--root", "/none"], "--root /none: no such folder"),
        (["--strict"], "object 1: degenerate box (5 5 5 5)"),
        (["--class-names", "ant,ant"], "'ant' twice"),
        (["--class-names", "ants"], "did you mean ant?"),
        (["--quality", "0"], "--quality 0"),
        (["--target", "/dev/null/t.lst"], "cannot be written"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, capsys, more, message):
    assert main([*arguments, *more]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


def test_foreign_files_need_overwrite(arguments, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "t.rec").write_bytes(b"precious")
    assert main(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0


def test_bccd_is_packed_whole(shared_data, tmp_path):
    found = {}
    for name in ("trainval", "test"):
        target = str(tmp_path / f"{name}.lst")
        assert main(["--root", str(shared_data / "bccd"), "--set", name, "--target", target]) == 0
        found[name] = json.loads((tmp_path / f"{name}.json").read_text())
    assert [found[name]["images"] for name in found] == [292, 72]
    assert [found[name]["class_names"] for name in found] == [["Platelets", "RBC", "WBC"]] * 2
    assert found["trainval"]["skipped"] == {
        "images": 0,
        "objects": 2,
        "reasons": {"degenerate box": 2},
        "kept": {},
    }
    assert found["trainval"]["objects"] + found["test"]["objects"] == 4886
    lines = (tmp_path / "trainval.skipped.csv").read_text().splitlines()[1:]
    assert {line.split(",")[0] for line in lines} == {"BloodImage_00338", "BloodImage_00343"}


@pytest.fixture
def coco_arguments(coco, tmp_path):
    data = coco.instances(
        [coco.image(7), coco.image(8)], [coco.box(1), coco.box(2, 8, 90), coco.box(3, 8, 5)]
    )
    coco.write(data)
    return ["--dataset", "coco", "--root", str(coco.root), "--target", str(tmp_path / "out" / "t.lst")]


def test_coco_is_packed_with_its_category_ids(coco_arguments, tmp_path, capsys):
    assert main([*coco_arguments, "--set", "val2017", "--class-names", "brush,dog"]) == 0
    manifest = json.loads((tmp_path / "out" / "t.json").read_text())
    assert (manifest["class_names"], manifest["category_ids"]) == (["brush", "dog"], [90, 18])
    assert (manifest["made_by"]["dataset"], manifest["made_by"]["set"]) == ("coco", "val2017")
    assert str(tmp_path) not in (tmp_path / "out" / "t.json").read_text()
    assert "left out 0 images and 1 objects: class id out of range 1" in capsys.readouterr().out
    lines = (tmp_path / "out" / "t.skipped.csv").read_text().splitlines()
    source = "annotations/instances_val2017.json: image 8"
    assert lines[1:] == [f"8,{source},3,class id out of range,category_id 5,object left out"]


def test_coco_file_alone_names_the_set(coco_arguments, coco, tmp_path):
    file = coco.root / "annotations" / "instances_val2017.json"
    assert main([*coco_arguments, "--annotations", str(file)]) == 0
    made_by = json.loads((tmp_path / "out" / "t.json").read_text())["made_by"]
    assert (made_by["set"], made_by["annotations"]) == ("val2017", "instances_val2017.json")


def test_year_is_left_aside_for_coco_and_says_so(coco_arguments, caplog):
    assert main([*coco_arguments, "--set", "val2017", "--year", "2017"]) == 0
    assert "--year 2017: left aside" in caplog.text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "--set: name an image set; there are: val2017"),
        (["--set", "val2018"], "did you mean val2017?"),
        (["--set", "val2017", "--class-names", "brusch"], "did you mean brush?"),
        (["--set", "val2017", "--strict"], "image 8, object 3: class id out of range (category_id 5)"),
        (["--annotations", "none.json"], "--annotations none.json: no such file"),
        (
            ["--dataset", "voc", "--annotations", "a.json"],
            "--annotations a.json: it goes with --dataset coco",
        ),
    ],
)
def test_bad_input_for_coco_is_one_line_and_exit_code_2(coco_arguments, capsys, more, message):
    assert main([*coco_arguments, *more]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
