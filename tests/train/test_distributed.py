"""--kv-store dist_sync: several processes train what one trains, stop together, and say what is wrong.

Every run has a scheduler, a server and workers of its own on this machine, started by tools/launch.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from common.errors import ConfigError
from tests.train.conftest import TINY
from tests.train.launching import LIMIT, is_alive, launched
from train.command import main
from train.distributed import check_environment

# Without BatchNorm, so that one process with the whole batch does the same.
PLAIN_NETWORK = """
import mxnet as mx
DATA_SHAPE = (64, 96)

def network(data):
    maps = []
    for number, (channels, stride) in enumerate(((8, 4), (16, 2), (16, 2)), start=1):
        data = mx.sym.Convolution(data, num_filter=channels, kernel=(3, 3), pad=(1, 1), name=f"conv{number}")
        data = mx.sym.Activation(data, act_type="relu", name=f"relu{number}")
        data = mx.sym.Pooling(data, kernel=(stride,) * 2, stride=(stride,) * 2, pool_type="avg", name=f"pool{number}")
        if number > 1:
            maps.append(data)
    return maps
"""
TOLERANCE = 1e-4  # of a parameter's largest change
SETTINGS = {
    "DMLC_ROLE": "worker",
    "DMLC_PS_ROOT_URI": "127.0.0.1",
    "DMLC_PS_ROOT_PORT": "9091",
    "DMLC_NUM_WORKER": "2",
    "DMLC_NUM_SERVER": "1",
    "DMLC_TASK_ID": "1",
}


def train_flags(trainer, name, *flags):
    return [*trainer.data(), "--augment", "none", "--prefix", trainer.prefix(name), *flags]


def together(root, flags, *, workers=2):
    """Train with several workers; returns exit code, stdout, stderr."""
    command = ["--", "python", "train.py", *flags, "--kv-store", "dist_sync", "--kv-timeout", "60"]
    with launched(root, "--workers", str(workers), *command) as run:
        return run.end()


def alone(root, flags, **variables):
    """Run train.py in one process of its own with one thread, as the workers have; returns what subprocess gives."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DMLC_")}
    return subprocess.run(
        [sys.executable, "train.py", *flags],
        cwd=root,
        env={**environment, "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def test_two_workers_end_in_the_bytes_of_one_process_with_two_devices(trainer, project_root):
    """ssd7 has BatchNorm: each worker's statistics are those of its part, as each device's are."""
    flags = ["--end-epoch", "2", "--val-path", str(trainer.records.val)]
    code, output, error = together(project_root, train_flags(trainer, "two", *flags))
    assert (code, error) == (0, ""), error
    one = [flag for flag in train_flags(trainer, "one", *flags, "--gpus", "cpu:2") if flag != "--cpu"]
    done = alone(project_root, one)
    assert done.returncode == 0, done.stderr
    assert trainer.bytes("two") == trainer.bytes("one")
    for column in ("cls_loss", "loc_loss", "positives_per_image", "negatives_per_image", "mAP"):
        assert [row[column] for row in trainer.rows("two")] == [row[column] for row in trainer.rows("one")]
    # Worker 0 alone keeps files: nothing but what one process leaves.
    names = [{path.name for path in (trainer.folder / name).iterdir()} for name in ("two", "one")]
    assert names[0] == names[1]
    assert "[worker 1] epoch 2/2" in output


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_train_what_one_process_trains_with_the_whole_batch(trainer, project_root, tmp_path, workers):
    path = tmp_path / "plain.py"
    path.write_text(PLAIN_NETWORK, encoding="utf-8")
    flags = ["--network", str(path), "--end-epoch", "3"]
    code, _, error = together(project_root, train_flags(trainer, "many", *flags), workers=workers)
    assert code == 0, error
    done = alone(project_root, train_flags(trainer, "one", *flags))
    assert done.returncode == 0, done.stderr
    begin = alone(
        project_root, train_flags(trainer, "begin", *flags[:2], "--end-epoch", "1", "--lr", "1e-30")
    )
    assert begin.returncode == 0, begin.stderr
    first, one, many = (trainer.arrays(name) for name in ("begin", "one", "many"))
    moved = {n: np.abs(one[n] - first[n]).max() for n in one if not n.startswith("state:")}
    for name, distance in moved.items():
        # 9 updates; the sums differ in the order of their terms alone.
        assert np.abs(many[name] - one[name]).max() <= TOLERANCE * distance, name
    # The last map's heads get no gradient here: no object is of its size, and no negative is that hard.
    assert all(
        distance > 1e-3 for name, distance in moved.items() if name.startswith(("arg:conv", "arg:pool"))
    )


@pytest.mark.slow
def test_signal_to_the_launcher_saves_and_the_resumed_run_ends_as_an_unbroken_one(trainer, project_root):
    flags = ["--end-epoch", "60"]
    command = ["--workers", "2", "--", "python", "train.py"]
    store = ["--kv-store", "dist_sync", "--kv-timeout", "60"]
    with launched(project_root, *command, *train_flags(trainer, "run", *flags), *store) as run:
        run.wait_for("[worker 0] epoch 2/")
        children = run.see_children()
        run.send(signal.SIGTERM)
        code, output, _ = run.end()
        assert code == 130, output
        assert not [pid for pid in children if is_alive(pid)]
    assert "[worker 1] worker 1 stopped with the others" in output
    assert "--resume --cpu --kv-store dist_sync" in output
    card = trainer.card("run")
    assert card.interrupted or card.last < 60
    resume = ["--prefix", trainer.prefix("run"), "--resume", "--cpu"]
    code, _, error = together(project_root, resume)
    assert code == 0, error
    code, _, error = together(project_root, train_flags(trainer, "unbroken", *flags))
    assert code == 0, error
    assert trainer.bytes("run") == trainer.bytes("unbroken")


def test_worker_that_is_killed_ends_all_and_the_last_epoch_stands(trainer, project_root):
    command = ["--workers", "2", "--", "python", "train.py", "--kv-store", "dist_sync"]
    with launched(project_root, *command, *train_flags(trainer, "run", "--end-epoch", "9999")) as run:
        run.wait_for("[worker 0] epoch 2/")
        children = run.see_children()
        assert len(children) == 4
        os.kill(children[3], signal.SIGKILL)
        code, _, error = run.end()
        assert code == 137
        assert "launch.py: worker 1 ended with 137: the others are ended too" in error
        assert not [pid for pid in children if is_alive(pid)]
    assert trainer.card("run").last >= 1
    assert trainer.arrays("run")


def by_worker(flags, first, second):
    """A command whose worker 0 gets other flags than the rest."""
    return [
        "--", "sh", "-c",
        'if [ "$DMLC_TASK_ID" = 0 ]; then more="$0"; else more="$1"; fi; shift; exec "$@" $more',
        " ".join(first), " ".join(second),
        sys.executable, "train.py", *flags, "--kv-store", "dist_sync", "--kv-timeout", "60",
    ]  # fmt: skip


def test_worker_with_other_records_is_named(trainer, project_root):
    flags = train_flags(trainer, "run", "--end-epoch", "1")
    command = by_worker(flags, [], ["--train-path", str(trainer.records.other)])
    with launched(project_root, "--workers", "2", *command) as run:
        code, _, error = run.end()
    assert code == 2
    for worker in (0, 1):
        assert f"[worker {worker}] error: --train-path: worker 1 has other records than worker 0" in error


def test_worker_with_another_number_of_devices_is_named(trainer, project_root):
    flags = [flag for flag in train_flags(trainer, "run", "--end-epoch", "1") if flag != "--cpu"]
    command = by_worker(flags, ["--gpus", "cpu"], ["--gpus", "cpu:2"])
    with launched(project_root, "--workers", "2", *command) as run:
        code, _, error = run.end()
    assert code == 2
    assert "error: --gpus: worker 1 computes on 2 devices and worker 0 on 1" in error


def test_leader_that_cannot_start_is_heard_by_the_others(trainer, project_root):
    code, _, error = together(project_root, [*TINY, "--prefix", trainer.prefix("run")])
    assert code == 2
    assert "[worker 0] error: --train-path: give the packed records" in error
    assert "[worker 1] error: worker 0 ended: --train-path: give the packed records" in error


def test_batch_that_cannot_be_split_over_the_workers_is_refused(trainer, project_root):
    code, _, error = together(project_root, train_flags(trainer, "run", "--batch-size", "3"))
    assert code == 2
    assert "[worker 0] error: --batch-size 3: cannot be split over 2 workers with 1 devices each" in error
    assert not list((trainer.folder / "run").glob("*.params"))


def test_workers_exchange_messages_arrays_and_failures_in_the_order_of_their_numbers(project_root, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(MEETING, encoding="utf-8")
    with launched(project_root, "--workers", "3", "--", "python", str(program), str(project_root)) as run:
        code, output, error = run.end()
    assert code == 3, error
    for worker in range(3):
        assert f"[worker {worker}] met" in output
    for task in (1, 2):  # by the launcher's count; the program turns the numbers round
        assert f"[worker {task}] heard: worker 2 ended: out of luck" in output


MEETING = """
import os, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from common.mx import mx
from train.workers import WorkerFailed, Workers

number = 2 - int(os.environ["DMLC_TASK_ID"])  # not the order in which they were started
workers = Workers(mx.kv.create("dist_sync"), number, seconds=60)
assert (workers.count, workers.leads) == (3, number == 0)
for length in (3, 5000, 4):  # short messages travel with the header, long ones after it
    told = workers.gather("text", bytes([number]) * (length + number))
    assert told == [bytes([worker]) * (length + worker) for worker in range(3)], told
values = [np.float32((worker + 1) / 3) for worker in range(3)]
arrays = {"a": mx.nd.full((2, 3), values[number]), "b": mx.nd.full((1,), -values[number])}
gathered = workers.gather_arrays("arrays", arrays)
for worker, found in enumerate(gathered):
    assert (found["a"].asnumpy() == values[worker]).all() and found["a"].shape == (2, 3)
    assert found["b"].asscalar() == -values[worker]
shared = workers.share_arrays({"w": mx.nd.full((2, 2), values[number])}, "arg")
assert (shared["w"].asnumpy() == values[0]).all()
assert workers.share("value", {"from": number, "figure": ["mAP", 0.1]}) == {"from": 0, "figure": ["mAP", 0.1]}
gradient = mx.nd.full((2, 2), number + 1)
workers.sum_gradients(["w"], [[gradient]])
assert (gradient.asnumpy() == 6).all()
print("met", flush=True)
if number == 2:
    workers.fail(ValueError("out of luck"))
else:
    try:
        workers.gather("anything", b"")
    except WorkerFailed as error:
        print("heard:", error, flush=True)
workers.close()
if number == 2:
    sys.exit(3)
"""


def test_worker_that_nobody_joins_gives_up(trainer, project_root, free_port):
    flags = train_flags(trainer, "run", "--kv-store", "dist_sync", "--kv-timeout", "1")
    done = alone(project_root, flags, **{**SETTINGS, "DMLC_PS_ROOT_PORT": str(free_port)})
    assert (done.returncode, done.stdout) == (2, "")
    assert "1 servers and 2 workers did not meet at the scheduler 127.0.0.1" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture
def free_port():
    """A port of this machine at which nobody listens."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_environment_that_is_whole_gives_the_workers_number():
    assert check_environment(SETTINGS) == 1
    assert check_environment({**SETTINGS, "DMLC_TASK_ID": ""}) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"DMLC_ROLE": ""}, "DMLC_ROLE is not set, expected worker: start the run by tools/launch.py"),
        ({"DMLC_PS_ROOT_URI": ""}, "DMLC_PS_ROOT_URI is not set"),
        ({"DMLC_PS_ROOT_PORT": "http"}, "DMLC_PS_ROOT_PORT is 'http', expected a whole number of 1 or more"),
        ({"DMLC_PS_ROOT_PORT": "65536"}, "DMLC_PS_ROOT_PORT is 65536, expected at most 65535"),
        ({"DMLC_NUM_WORKER": ""}, "DMLC_NUM_WORKER is not set"),
        ({"DMLC_NUM_SERVER": "0"}, "DMLC_NUM_SERVER is '0'"),
        ({"DMLC_TASK_ID": "2"}, "DMLC_TASK_ID is 2, expected 0 to 1"),
        ({"DMLC_TASK_ID": "-1"}, "DMLC_TASK_ID is '-1'"),
    ],
)
def test_environment_that_mxnet_would_abort_on_is_refused(changes, message):
    with pytest.raises(ConfigError, match=f"--kv-store dist_sync: {message}"):
        check_environment({**SETTINGS, **changes})


def test_worker_without_the_flag_does_not_train_alone(trainer, monkeypatch, capsys):
    monkeypatch.setenv("DMLC_ROLE", "worker")
    assert trainer.new("run") == 2
    assert "--kv-store dist_sync is missing" in capsys.readouterr().err
    assert not (trainer.folder / "run").exists()


def test_time_to_wait_must_be_above_zero(trainer, capsys):
    assert trainer.new("run", "--kv-store", "dist_sync", "--kv-timeout", "0") == 2
    assert "--kv-timeout 0: expected above 0 seconds" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["local", "device"])
def test_stores_of_one_process_train_alike(trainer, kind):
    flags = [
        flag for flag in train_flags(trainer, kind, "--end-epoch", "1", "--gpus", "cpu:2") if flag != "--cpu"
    ]
    assert main([*flags, "--kv-store", kind]) == 0
    usual = [flag.replace(f"/{kind}/", "/usual/") for flag in flags]
    assert main(usual) == 0
    assert trainer.bytes(kind) == trainer.bytes("usual")
