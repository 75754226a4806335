"""The flags: mxnet-ssd's command lines run, and each flag reaches what it is for."""

import pytest

from common.files import read_json
from common.mx import contexts
from train.flags import build_parser
from train.from_flags import new_settings
from train.network_flags import chosen_network

OLD = (
    "--train-list", "", "--val-list", "", "--resume", "-1", "--finetune", "-1", "--pretrained", "", "--epoch", "1",
    "--gpus", "", "--begin-epoch", "0", "--frequent", "20", "--label-width", "350", "--optimizer", "sgd",
    "--lr", "0.004", "--momentum", "0.9", "--wd", "0.0005", "--mean-r", "123", "--mean-g", "117", "--mean-b", "104",
    "--lr-steps", "80, 160", "--lr-factor", "0.1", "--freeze", "", "--log", "train.log", "--monitor", "0",
    "--pattern", ".*", "--num-class", "5", "--num-example", "16551",
    "--class-names", "disc, ring, square, star, triangle",
    "--nms", "0.45", "--nms_topk", "400", "--overlap", "0.5", "--force", "False", "--use-difficult", "False",
    "--voc07", "True", "--min_neg_samples", "0", "--tensorboard", "False",
)  # fmt: skip


def settings(trainer, name="run"):
    return trainer.card(name).training["settings"]


def test_whole_command_line_of_mxnet_ssd_runs(trainer, records):
    flags = [flag for flag in trainer.data(val=True) if flag != "--cpu"]
    assert trainer.run(*flags, *OLD, "--prefix", trainer.prefix("run"), "--end-epoch", "1") == 0
    kept = settings(trainer)
    assert (kept["lr"], kept["metric"], kept["lr_steps"]) == (0.004, "voc07", [80.0, 160.0])
    assert kept["loss"]["minimum_negatives"] == 0
    assert trainer.card("run").detection.nms_topk == 400


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--voc07", "False"), {"metric": "voc"}),
        (("--no-voc07",), {"metric": "voc"}),
        (("--voc07",), {"metric": "voc07"}),
        (("--use-difficult", "True"), {"use_difficult": True}),
        (("--lr-steps", "3,4", "--lr-factor", "0.5"), {"lr_steps": (3.0, 4.0), "lr_factor": 0.5}),
        (("--end-epoch", "7", "--val-period", "2"), {"end_epoch": 7, "val_period": 2}),
        (
            ("--lr-schedule", "cosine", "--warmup-epochs", "0.5"),
            {"lr_schedule": "cosine", "warmup_epochs": 0.5},
        ),
        (("--optimizer", "adam"), {"lr": 0.002}),
        ((), {"lr": 0.02, "clip_gradient": 5.0, "metric": "voc", "contexts": 1}),
    ],
)
def test_flag_reaches_the_settings(flags, expected):
    args = build_parser().parse_args(
        ["--train-path", "x.rec", "--network", "ssd7", "--data-shape", "64", *flags]
    )
    kept = new_settings(args, chosen_network(args, 5), contexts(""))
    assert {name: getattr(kept, name) for name in expected} == expected


def test_card_says_what_the_detector_needs(trainer):
    flags = ("--mean-r", "100", "--std-b", "2", "--nms", "0.6", "--nms-topk", "50", "--force")
    anchors = (
        "--anchor-sizes",
        "0.1,0.2;0.3;0.5;0.7",
        "--anchor-ratios",
        "1,2",
        "--anchor-steps",
        "0.1,0.2,0.3,0.4",
    )
    assert trainer.new("run", *flags, *anchors, "--batch-size", "12", "--end-epoch", "1") == 0
    card = trainer.card("run")
    assert (card.network, card.data_shape, card.num_classes) == ("ssd7", (64, 96), 5)
    assert (card.mean, card.std) == ((100.0, 117.0, 104.0), (58.0, 58.0, 2.0))
    assert (card.detection.nms_threshold, card.detection.nms_topk, card.detection.force) == (0.6, 50, True)
    assert card.anchors.sizes == ((0.1, 0.2), (0.3,), (0.5,), (0.7,))
    assert card.anchors.ratios == ((1.0, 2.0),) * 4
    assert card.anchors.steps == ((0.1, 0.1), (0.2, 0.2), (0.3, 0.3), (0.4, 0.4))


@pytest.mark.parametrize(("shape", "suffix"), [("64", "64"), ("64,96", "64x96")])
def test_prefix_that_ends_in_an_underscore_gets_the_input_size(trainer, shape, suffix):
    flags = ("--data-shape", shape, "--batch-size", "12", "--end-epoch", "1")
    assert trainer.run(*trainer.data(), "--prefix", str(trainer.folder / "ssd_"), *flags) == 0
    assert (trainer.folder / f"ssd_{suffix}.json").exists()


def test_records_without_manifest_need_their_class_names(trainer, records, capsys):
    old = trainer.folder / "old.rec"
    old.write_bytes(records.train.read_bytes())
    flags = ("--train-path", str(old), "--end-epoch", "1")
    assert trainer.new("run", *flags) == 2
    assert (
        "old.rec: has no manifest that names its classes: give them by --class-names"
        in capsys.readouterr().err
    )
    assert trainer.new("run", *flags, "--class-names", "a,b") == 2
    assert "old.rec" in capsys.readouterr().err
    assert trainer.new("run", *flags, "--class-names", "a,b,c,d,e") == 0
    assert trainer.card("run").class_names == ("a", "b", "c", "d", "e")


def test_card_is_plain_json_without_machine_names(trainer, trained):
    card = read_json(f"{trained}.json", "card", ValueError)
    assert card["format_version"] == 1
    assert set(card["epochs"]["2"]) >= {"sha256", "states_sha256", "cls_loss", "loc_loss"}


def test_devices_default_to_the_gpus_else_the_cpu(trainer, monkeypatch):
    from train.command import _contexts

    asked = []
    monkeypatch.setattr("common.mx.contexts", lambda gpus, cpu=False: asked.append((gpus, cpu)) or ["device"])
    assert _contexts(build_parser().parse_args([]), "none", resumed=False) == ["device"]
    assert _contexts(build_parser().parse_args(["--gpus", "", "--cpu"]), "none", resumed=False) == ["device"]
    assert asked == [(None, False), ("", True)]


def test_help_tells_every_flag_with_its_default(capsys):
    with pytest.raises(SystemExit, match="0"):
        build_parser().parse_args(["--help"])
    text = capsys.readouterr().out
    for flag in ("--train-path", "--resume", "--clip-gradient", "--freeze", "--checkpoint-period", "--gpus"):
        assert flag in text
    assert "--label-width" not in text
