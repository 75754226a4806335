"""The learning rate, step by step, against tables written by hand."""

import pytest

from common.errors import ConfigError
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


def test_settings_give_epochs_and_the_schedule_counts_updates():
    settings = TrainSettings("x.rec", lr=1.0, lr_steps=(2.0, 3.5), warmup_epochs=0.5, end_epoch=6)
    schedule = settings.schedule(10)
    assert (schedule.milestones, schedule.warmup_steps, schedule.total_steps) == ((20, 35), 5, 60)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "step"}, "--lr-schedule step: expected one of multi-step, cosine, constant"),
        ({"base": 0.0}, "--lr 0.0: expected a number above 0"),
        ({"base": float("nan")}, "--lr nan"),
        ({"base": float("inf")}, "--lr inf"),
        ({"factor": 0.0}, "--lr-factor 0.0"),
        ({"factor": 1.5}, "--lr-factor 1.5"),
        ({"milestones": (5, 2)}, "--lr-steps: expected ascending"),
        ({"milestones": (5, 5)}, "--lr-steps: expected ascending"),
        ({"milestones": (-1, 5)}, "--lr-steps: expected ascending"),
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
        ({"seed": -1}, "--seed -1"),
        ({"seed": 2**31}, "--seed 2147483648"),
    ],
)
def test_impossible_setting_is_refused_by_the_name_of_its_flag(changes, flag):
    with pytest.raises(ConfigError, match=f"{flag}: expected"):
        TrainSettings("x.rec", **changes)


def test_settings_survive_the_card():
    settings = TrainSettings("x.rec", "y.rec", lr_steps=(1.0, 2.5), freeze="^conv1", seed=5, contexts=2)
    assert TrainSettings.from_dict(settings.to_dict(), "ssd.json") == settings
