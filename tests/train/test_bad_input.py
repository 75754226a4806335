"""Every bad input is one line that says what, where and what to do, exit code 2, and nothing is begun."""

import json

import pytest

HTML = b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n"


def refused(run, capfd, *expected):
    """Check that a run ends with 2 and one line on stderr that holds the texts; returns the line."""
    capfd.readouterr()
    try:
        code = run()
    except SystemExit as error:  # argparse's own way
        code = error.code
    error = capfd.readouterr().err
    assert code == 2, error
    assert error.count("\n") == 1, error
    assert "error: " in error
    assert "Traceback" not in error
    for text in expected:
        assert text in error
    return error


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--train-path", "missing.rec"), "missing.rec: records cannot be read (No such file"),
        (("--train-path", ""), "--train-path: give the packed records"),
        (("--val-path", "missing.rec"), "missing.rec: records cannot be read"),
        (("--network", "vgg61_reduced"), "network 'vgg61_reduced' is unknown; did you mean vgg16_reduced"),
        (("--network", "vgg16_reduced", "--data-shape", "99"), "data shape 99x99 is too small for vgg16_reduced"),
        (("--data-shape", "0"), "argument --data-shape: expected HEIGHT or HEIGHT,WIDTH"),
        (("--augment", "sdd"), "--augment sdd: no such recipe; did you mean ssd"),
        (("--max-zoom-out", "0.5"), "--max-zoom-out is 0.5, expected 1"),
        (("--optimizer", "ftrl"), "--optimizer ftrl: no such optimiser"),
        (("--lr-schedule", "cos"), "--lr-schedule cos: no such schedule; did you mean cosine?"),
        (("--data-shape", "100000"), "32 to 8192 each"),
        (("--anchor-sizes", "30,60;90;120;180"), "found 180, expected sides relative to the image's height"),
        (("--batch-size", "1000"), "images, expected that many at most"),
        (("--lr", "0"), "--lr 0.0: expected a number above 0"),
        (("--lr", "fast"), "argument --lr: invalid float value: 'fast'"),
        (("--lr-steps", "8,4"), "--lr-steps: expected ascending epochs"),
        (("--lr-steps", "a"), "argument --lr-steps: expected numbers"),
        (("--seed", "-1"), "--seed -1: expected a whole number from 0"),
        (("--workers", "0"), "--workers 0"),
        (("--batch-size", "0"), "--batch-size 0: expected a whole number of at least 1"),
        (("--end-epoch", "0"), "--end-epoch 0"),
        (("--warmup-epochs", "inf"), "--warmup-epochs inf"),
        (("--freeze", "vgg"), "--freeze vgg: it matches nothing: names are like conv1_weight"),
        (("--freeze", "("), "--freeze (: not a regular expression"),
        (("--mean-r", "nan"), "--mean-r nan: expected a number"),
        (("--std-g", "0"), "--std-g 0.0: expected a number above 0"),
        (("--anchor-sizes", "0.1;0.2"), "sizes"),
        (("--anchor-ratios", "1;2;3"), "ratios"),
        (("--anchor-steps", "0.1,0.2"), "steps"),
        (("--negative-ratio", "-1"), "--negative-ratio is -1.0"),
        (("--overlap-threshold", "0"), "--overlap-threshold is 0"),
        (("--min-neg-samples", "-2"), "--min-neg-samples is -2"),
        (("--mining", "picture"), "mining 'picture' is unknown"),
        (("--nms", "1.5"), "--nms is 1.5, expected a number from 0"),
        (("--nms-topk", "0"), "--nms-topk is 0, expected"),
        (("--min-crop-scale", "7"), "--min-crop-scale is 7.0, expected"),
        (("--mining", "imgae"), "--mining 'imgae' is unknown; did you mean image"),
        (("--epoch", "3"), "--epoch 3: is the epoch of --pretrained PREFIX or --finetune PREFIX, which is not given"),
        (("--overlap", "0"), "--overlap 0.0"),
        (("--num-class", "20"), "--num-class 20: "),
        (("--class-names", "cat,dog"), "its classes are disc, ring"),
        (("--voc07", "maybe"), "expected True or False, found 'maybe'"),
        (("--finetune", "3"), "the new run needs a prefix of its own: python train.py "),
        (("--resume", "3"), "there is no run to resume"),
        (("--resume",), "there is no run to resume"),
        (("--pretrained", "nothing/vgg"), "nothing/vgg: no such detector: there is no vgg-NNNN.params in nothing"),
        (("--prefix", "/"), "--prefix /: expected a path that ends in a name"),
        (("--prefix", "/proc/nowhere/ssd"), "cannot be written"),
        (("--log", ""), "--log"),
        (("--learning-rate", "1"), "unknown argument --learning-rate"),
        (("--gpus", "99"), "--gpus 99: GPU '99' is not here"),
        (("--gpus", "cpu:3"), "--batch-size 4: cannot be split over 3 devices"),
    ],
)  # fmt: skip
def test_wrong_flag(trainer, capfd, flags, expected):
    common = [flag for flag in trainer.data() if flag != "--cpu"]
    cpu = () if "--gpus" in flags else ("--cpu",)
    prefix = trainer.prefix("run")
    common += [*cpu, "--end-epoch", "1", "--prefix", prefix]
    refused(lambda: trainer.run(*common, *flags), capfd, expected)
    assert not (trainer.folder / "run" / "ssd.json").exists()


def cut(data):
    return data[: len(data) // 2]


def flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGES = [(lambda data: HTML, "HTML page"), (lambda data: b"", "empty (0 bytes)"), (cut, ""), (flipped, "")]
NAMES = ["html", "empty", "cut", "flipped"]


@pytest.mark.parametrize(("damage", "found"), DAMAGES[:3], ids=NAMES[:3])
@pytest.mark.parametrize("flag", ["--train-path", "--val-path"])
def test_damaged_records(trainer, records, capfd, flag, damage, found):
    for path in records.train.parent.glob("train.*"):
        (trainer.folder / path.name).write_bytes(path.read_bytes())
    path = trainer.folder / "train.rec"
    path.write_bytes(damage(path.read_bytes()))
    refused(lambda: trainer.new("run", flag, str(path), "--end-epoch", "1"), capfd, str(path), found)


def test_records_whose_image_is_no_image_stop_the_run_by_name(trainer, records, capfd):
    for path in records.train.parent.glob("train.*"):
        (trainer.folder / path.name).write_bytes(path.read_bytes())
    path = trainer.folder / "train.rec"
    data = path.read_bytes()
    at = data.index(b"\xff\xd8\xff", len(data) // 2)
    path.write_bytes(data[:at] + b"GARBAGE!" + data[at + 8 :])
    path.with_suffix(".json").unlink()  # a manifest would tell before the first image is decoded
    flags = ("--train-path", str(path), "--end-epoch", "1", "--class-names", "disc,ring,square,star,triangle")
    error = refused(lambda: trainer.new("run", *flags), capfd, str(path))
    assert "cannot be decoded" in error
    assert "JPEGImages/train_" in error


@pytest.mark.parametrize("flag", ["--val-path"])
def test_records_of_other_classes(trainer, records, capfd, flag):
    path = str(records.two_classes)
    refused(lambda: trainer.new("run", flag, path, "--end-epoch", "1"), capfd, path, "square, triangle")


@pytest.mark.parametrize(("damage", "found"), DAMAGES, ids=NAMES)
@pytest.mark.parametrize("kind", ["params", "states"])
def test_damaged_checkpoint_is_not_resumed(trainer, trained, capfd, kind, damage, found):
    path = trainer.folder / "run" / f"ssd-0002.{kind}"
    path.write_bytes(damage(path.read_bytes()))
    refused(lambda: trainer.resume("run", "--end-epoch", "3"), capfd, str(path), found)


@pytest.mark.parametrize(("damage", "found"), DAMAGES[:3], ids=NAMES[:3])
def test_damaged_pretrained_file(trainer, trained, capfd, damage, found):
    path = trainer.folder / "run" / "ssd-0002.params"
    flags = ("--pretrained", trained, "--epoch", "2", "--end-epoch", "1")
    path.write_bytes(damage(path.read_bytes()))
    refused(lambda: trainer.new("new", *flags), capfd, str(path), found)
    (trainer.folder / "run" / "ssd.json").unlink()  # as mxnet-ssd's files, nobody knows its hash
    refused(lambda: trainer.new("new", *flags), capfd, str(path), found)


@pytest.mark.parametrize("name", ["ssd-0002.params", "ssd-0002.states", "ssd-symbol.json", "ssd.json"])
def test_missing_file_of_a_checkpoint(trainer, trained, capfd, name):
    (trainer.folder / "run" / name).unlink()
    refused(lambda: trainer.resume("run", "--end-epoch", "3"), capfd, name)


@pytest.mark.parametrize(("damage", "found"), DAMAGES[:3], ids=NAMES[:3])
@pytest.mark.parametrize("name", ["ssd.json", "ssd-symbol.json"])
def test_damaged_card_or_graph(trainer, trained, capfd, name, damage, found):
    path = trainer.folder / "run" / name
    path.write_bytes(damage(path.read_bytes()))
    refused(lambda: trainer.resume("run", "--end-epoch", "3"), capfd, name, found)


def test_graph_of_another_network(trainer, trained, records, capfd):
    flags = ("--train-path", str(records.two_classes), "--end-epoch", "1")
    assert trainer.new("other", *flags) == 0
    other, path = (trainer.folder / name / "ssd-symbol.json" for name in ("other", "run"))
    path.write_bytes(other.read_bytes())
    refused(lambda: trainer.resume("run", "--end-epoch", "3"), capfd, str(path))


@pytest.mark.parametrize(
    "change",
    [
        {"training": None},
        {"training": []},
        {"training": {}},
        {"training": {"settings": None, "data_sha256": ""}},
        {"training": {"settings": {}, "data_sha256": ""}},
        {"epochs": {}},
        {"epochs": {"2": {}}},
        {"epochs": {"2": {"sha256": "0" * 64}}},
        {"epochs": {"two": {}}},
        {"epochs": []},
        {"last": 9},
        {"best": 9},
        {"interrupted": {}},
        {"interrupted": {"epoch": 2}},
        {"interrupted": {"epoch": 2, "batch": 1, "sha256": "", "states_sha256": ""}},
        {"class_names": ["a"]},
        {"anchors": {}},
        {"format_version": 99},
        {"graph": "deployed"},
    ],
    ids=str,
)
def test_card_that_says_nonsense(trainer, trained, capfd, change):
    path = trainer.folder / "run" / "ssd.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    refused(lambda: trainer.resume("run", "--end-epoch", "3"), capfd, str(trainer.folder / "run"))


@pytest.mark.parametrize(
    "name", ["batch_size", "lr", "lr_steps", "loss", "augmentation", "seed", "train_path"]
)
@pytest.mark.parametrize("value", [None, "x", [1, "a"], {"b": 1}])
def test_card_whose_settings_are_nonsense(trainer, trained, capfd, name, value):
    path = trainer.folder / "run" / "ssd.json"
    card = json.loads(path.read_text())
    card["training"]["settings"][name] = value
    path.write_text(json.dumps(card))
    refused(lambda: trainer.resume("run", "--end-epoch", "3"), capfd)
