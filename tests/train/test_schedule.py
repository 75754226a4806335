"""The learning rate, step by step, against tables written by hand."""

import dataclasses
import json

import pytest

from common.errors import ConfigError
from symbol.loss import LossConfig
from train.schedule import Schedule
from train.settings import TrainSettings


def rates(schedule, steps):
    return [schedule.rate(step) for step in steps]


def test_multi_step_drops_at_its_milestones_and_not_before():
    schedule = Schedule("multi-step", 0.5, total_steps=10, milestones=(2, 5), factor=0.1)
    assert rates(schedule, range(7)) == pytest.approx([0.5, 0.5, 0.05, 0.05, 0.05, 0.005, 0.005])


def test_cosine_falls_from_the_base_to_zero():
    schedule = Schedule("cosine", 2.0, total_steps=4)
    # 1 + cos(0), cos(45 deg), cos(90), cos(135), cos(180)
    assert rates(schedule, range(5)) == pytest.approx([2.0, 1.7071068, 1.0, 0.2928932, 0.0], abs=1e-7)


def test_cosine_stays_at_its_end():
    assert Schedule("cosine", 2.0, total_steps=4).rate(9) == pytest.approx(0.0)


def test_constant_stays():
    assert rates(Schedule("constant", 0.3, total_steps=3), (0, 1, 2, 50)) == [0.3] * 4


def test_warm_up_rises_linearly_and_ends_at_the_schedule():
    schedule = Schedule("constant", 1.0, total_steps=8, warmup_steps=3)
    assert rates(schedule, range(5)) == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_warm_up_lies_over_the_other_schedules():
    multi = Schedule("multi-step", 1.0, total_steps=8, milestones=(1,), factor=0.1, warmup_steps=3)
    assert rates(multi, range(5)) == pytest.approx([0.25, 0.05, 0.075, 0.1, 0.1])
    cosine = Schedule("cosine", 1.0, total_steps=4, warmup_steps=1)
    assert rates(cosine, range(3)) == pytest.approx([0.5, 0.8535534, 0.5], abs=1e-7)


def test_plateau_falls_by_the_factor_with_each_cut_and_not_below_the_least():
    schedule = Schedule("plateau", 0.4, total_steps=8, factor=0.5, least=0.08)
    assert [schedule.rate(3, cuts) for cuts in range(5)] == pytest.approx([0.4, 0.2, 0.1, 0.08, 0.08])


def test_cuts_belong_to_the_plateau_alone():
    schedule = Schedule("constant", 0.3, total_steps=3, factor=0.5, least=0.1)
    assert schedule.rate(1, 4) == 0.3


def test_warm_up_lies_over_the_plateau():
    schedule = Schedule("plateau", 1.0, total_steps=8, factor=0.1, warmup_steps=1, least=0.1)
    assert [schedule.rate(0, 1), schedule.rate(1, 1)] == pytest.approx([0.05, 0.1])


def test_rate_scaled_by_the_batch_is_for_32_images():
    settings = TrainSettings("x.rec", lr=0.002, batch_size=8, lr_schedule="constant")
    assert settings.schedule(10).rate(0) == 0.002
    scaled = dataclasses.replace(settings, lr_scale_by_batch=True)
    assert scaled.schedule(10).rate(0) == pytest.approx(0.0005)
    assert dataclasses.replace(scaled, batch_size=32).schedule(10).rate(0) == pytest.approx(0.002)


def test_settings_give_epochs_and_the_schedule_counts_updates():
    settings = TrainSettings("x.rec", lr=1.0, lr_steps=(2.0, 3.5), warmup_epochs=0.5, end_epoch=6)
    schedule = settings.schedule(10)
    assert (schedule.milestones, schedule.warmup_steps, schedule.total_steps) == ((20, 35), 5, 60)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "often"}, "--lr-schedule often: no such schedule; there are: multi-step, cosine, constant"),
        ({"kind": "cosin"}, r"--lr-schedule cosin: no such schedule; did you mean cosine\?"),
        ({"base": 0.0}, "--lr 0.0: expected a number above 0"),
        ({"base": float("nan")}, "--lr nan"),
        ({"base": float("inf")}, "--lr inf"),
        ({"factor": 0.0}, "--lr-factor 0.0"),
        ({"factor": 1.5}, "--lr-factor 1.5"),
        ({"milestones": (5, 2)}, "--lr-steps: expected ascending"),
        ({"milestones": (5, 5)}, "--lr-steps: expected ascending"),
        ({"milestones": (-1, 5)}, "--lr-steps: expected ascending"),
        ({"least": -1.0}, "--min-lr -1.0: expected 0 or more"),
        ({"kind": "plateau", "least": 0.5}, "--min-lr 0.5: expected 0.1 at most"),
        ({"kind": "plateau", "factor": 1.0}, "--lr-factor 1: expected below 1"),
    ],
)
def test_impossible_schedule_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        Schedule(**{"kind": "multi-step", "base": 0.1, "total_steps": 10, **changes})


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"batch_size": 0}, "--batch-size 0"),
        ({"end_epoch": 0}, "--end-epoch 0"),
        ({"val_period": 0}, "--val-period 0"),
        ({"checkpoint_period": -1}, "--checkpoint-period -1"),
        ({"momentum": -0.1}, "--momentum -0.1"),
        ({"momentum": float("inf")}, "--momentum inf"),
        ({"wd": float("nan")}, "--wd nan"),
        ({"clip_gradient": -1.0}, "--clip-gradient -1.0"),
        ({"warmup_epochs": float("inf")}, "--warmup-epochs inf"),
        ({"overlap": 0.0}, "--overlap 0.0"),
        ({"plateau_patience": 0}, "--plateau-patience 0"),
        ({"early_stopping": -1}, "--early-stopping -1"),
        ({"min_epochs": -1}, "--min-epochs -1"),
        ({"min_delta": -0.1}, "--min-delta -0.1"),
        ({"optimizer": "nag", "momentum": 0.0}, "--momentum 0"),
        ({"seed": -1}, "--seed -1"),
        ({"seed": 2**31}, "--seed 2147483648"),
    ],
)
def test_impossible_setting_is_refused_by_the_name_of_its_flag(changes, flag):
    with pytest.raises(ConfigError, match=f"{flag}: expected"):
        TrainSettings("x.rec", **changes)


def test_settings_survive_the_card():
    settings = TrainSettings(
        "x.rec",
        "y.rec",
        lr_steps=(1.0, 2.5),
        freeze="^conv1",
        seed=5,
        contexts=2,
        lr_schedule="plateau",
        plateau_patience=3,
        min_lr=1e-5,
        early_stopping=9,
        min_epochs=4,
        min_delta=0.01,
        lr_scale_by_batch=True,
        loss=LossConfig(matching="bipartite", neutral_iou=0.3, label_smoothing=0.1),
    )
    written = json.loads(json.dumps(settings.to_dict()))
    assert TrainSettings.from_dict(written, "ssd.json") == settings
