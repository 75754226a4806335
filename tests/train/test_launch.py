"""tools/launch.py: which processes it starts, and that none outlives the others."""

from __future__ import annotations

import os
import shlex
import signal
import stat
import time

import pytest

from common.errors import ConfigError
from tests.train.launching import is_alive, launched
from train.launch import build_parser, main, plan, split_command

TRAIN = ["python", "train.py", "--kv-store", "dist_sync"]


def planned(*flags, typed=TRAIN):
    return plan(build_parser().parse_args(list(flags)), typed)


def test_local_run_is_a_scheduler_servers_and_numbered_workers_on_the_loopback():
    processes = planned("--workers", "3", "--servers", "2")
    assert [p.name for p in processes] == [
        "scheduler",
        "server 0",
        "server 1",
        "worker 0",
        "worker 1",
        "worker 2",
    ]
    roles = [p.environment["DMLC_ROLE"] for p in processes]
    assert roles == ["scheduler", "server", "server", "worker", "worker", "worker"]
    assert [p.environment.get("DMLC_TASK_ID") for p in processes] == [None, None, None, "0", "1", "2"]
    assert [p.is_worker for p in processes] == [role == "worker" for role in roles]
    for process in processes:
        assert process.environment["DMLC_NUM_WORKER"] == "3"
        assert process.environment["DMLC_NUM_SERVER"] == "2"
        assert process.environment["DMLC_PS_ROOT_URI"] == process.environment["DMLC_NODE_HOST"] == "127.0.0.1"
        assert process.argv[1:] == ("train.py", "--kv-store", "dist_sync")
    assert len({p.environment["DMLC_PS_ROOT_PORT"] for p in processes}) == 1


def test_two_runs_get_ports_of_their_own():
    ports = {planned("--workers", "1")[0].environment["DMLC_PS_ROOT_PORT"] for _ in range(3)}
    assert len(ports) > 1


def remote_environment(process):
    """Take apart the command line that is handed to ssh: (folder, variables, command)."""
    words = shlex.split(process.argv[-1])
    assert (words[0], words[2], words[3], words[4]) == ("cd", "&&", "exec", "env")
    pairs = [word for word in words[5:] if word.split("=")[0].isupper() or "DMLC" in word]
    return words[1], dict(pair.split("=", 1) for pair in pairs), words[5 + len(pairs) :]


def test_hosts_are_taken_in_turn_with_the_scheduler_on_the_first():
    flags = (
        "--workers",
        "3",
        "--hosts",
        "me@10.0.0.1,10.0.0.2",
        "--dir",
        "/data/my ssd",
        "--env",
        "DMLC_INTERFACE=e0",
    )
    processes = planned(*flags)
    places = [(p.name, p.argv[-2]) for p in processes]
    assert places == [
        ("scheduler", "me@10.0.0.1"),
        ("server 0", "me@10.0.0.1"),
        ("worker 0", "me@10.0.0.1"),
        ("worker 1", "10.0.0.2"),
        ("worker 2", "me@10.0.0.1"),
    ]
    for process in processes:
        folder, variables, typed = remote_environment(process)
        assert (process.argv[0], process.is_remote, folder, typed) == ("ssh", True, "/data/my ssd", TRAIN)
        assert variables["DMLC_PS_ROOT_URI"] == "10.0.0.1"
        assert variables["DMLC_PS_ROOT_PORT"] == "9091"
        assert variables["DMLC_INTERFACE"] == "e0"
        assert "DMLC_NODE_HOST" not in variables


def test_host_file_has_a_machine_on_a_line_and_comments(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("10.0.0.1\n\n# the old one\n10.0.0.2  # the new one\n", encoding="utf-8")
    from_file = planned("--workers", "2", "--host-file", str(path))
    assert from_file == planned("--workers", "2", "--hosts", "10.0.0.1,10.0.0.2")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--hosts", "10.0.0.1,-oProxyCommand=x"), "--hosts .*: found '-oProxyCommand=x', expected names"),
        (("--hosts", "10.0.0.1,,10.0.0.2"), "found ''"),
        (("--host-file", "nowhere"), "--host-file nowhere: cannot be read"),
        (
            ("--hosts", "127.0.0.1,10.0.0.2"),
            "--address: 127.0.0.1 is 127.0.0.1 here, which the other machines do not",
        ),
        (("--hosts", "no.such.machine.invalid,b"), "--address: no.such.machine.invalid has no address here"),
        (("--port", "70000"), "--port 70000: expected at most 65535"),
        (("--env", "DMLC INTERFACE=x"), "--env DMLC INTERFACE=x: expected NAME=VALUE"),
        (("--env", "A"), "--env A: expected NAME=VALUE"),
    ],
)
def test_impossible_flags_say_what_is_wrong(flags, message):
    with pytest.raises(ConfigError, match=message):
        planned("--workers", "2", *flags)


def test_command_is_what_stands_behind_the_first_two_dashes():
    assert split_command(["--workers", "2", "--", "a", "--", "b"]) == (["--workers", "2"], ["a", "--", "b"])


def test_missing_command_is_an_error(capsys):
    assert main(["--workers", "2"]) == 2
    assert "-- and the command are missing" in capsys.readouterr().err


def test_dry_run_prints_every_command_and_starts_none(capsys, tmp_path):
    mark = tmp_path / "mark"
    assert main(["--workers", "2", "--dry-run", "--port", "9200", "--", "touch", str(mark)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert not mark.exists()
    # What is printed can be run: the first word is env, which sets the variables.
    assert lines[2].startswith("env DMLC_ROLE=worker DMLC_PS_ROOT_URI=127.0.0.1 DMLC_PS_ROOT_PORT=9200 ")
    assert lines[2].endswith(f"DMLC_TASK_ID=0 touch {mark}")


def script(text: str) -> list[str]:
    """A command whose scheduler and servers wait for a minute, and whose workers run a shell script."""
    return ["sh", "-c", f'[ "$DMLC_ROLE" = worker ] || exec sleep 60; {text}']


def test_output_comes_line_by_line_with_the_process_before_it(project_root):
    text = "echo out $DMLC_TASK_ID; echo err >&2; printf 'half\\rwhole\\n'"
    with launched(project_root, "--workers", "2", "--", *script(text)) as run:
        code, output, error = run.end()
    assert code == 0
    expected = [f"[worker {i}] {line}" for i in (0, 1) for line in (f"out {i}", "whole")]
    assert sorted(output.splitlines()) == sorted(expected)
    assert sorted(error.splitlines()) == ["[worker 0] err", "[worker 1] err"]


def assert_gone(pids):
    deadline = time.monotonic() + 20
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline, f"still there: {[pid for pid in pids if is_alive(pid)]}"
        time.sleep(0.05)


def test_one_that_fails_ends_all_and_gives_the_exit_code(project_root):
    text = 'echo here; [ "$DMLC_TASK_ID" = 1 ] && sleep 1 && exit 7; exec sleep 60'
    with launched(project_root, "--workers", "3", "--", *script(text)) as run:
        for _ in range(3):
            run.wait_for("here")
        children = run.see_children()
        code, _, error = run.end()
        assert (code, len(children)) == (7, 5)
        assert "launch.py: worker 1 ended with 7: the others are ended too" in error
        assert_gone(children)


def test_server_that_is_killed_ends_all(project_root):
    with launched(project_root, "--workers", "2", "--", *script("echo here; exec sleep 60")) as run:
        run.wait_for("here")
        children = run.see_children()
        os.kill(children[1], signal.SIGKILL)
        code, _, error = run.end()
        assert code == 128 + signal.SIGKILL
        assert "server 0 ended with 137" in error
        assert_gone(children)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_reaches_the_workers_who_end_in_their_own_way(project_root, number):
    text = "trap 'echo saved; exit 130' TERM; echo here; while :; do sleep 0.1; done"
    with launched(project_root, "--workers", "2", "--", *script(text)) as run:
        for _ in range(2):
            run.wait_for("here")
        children = run.see_children()
        run.send(number)
        code, output, error = run.end()
        assert code == 130
        assert sorted(output.split("\n")) == ["", "[worker 0] saved", "[worker 1] saved"]
        assert "asking the workers to save and stop" in error
        assert_gone(children)


def test_second_ctrl_c_ends_workers_that_do_not_listen(project_root):
    text = "trap 'echo deaf' TERM; echo here; while :; do sleep 0.1; done"
    with launched(project_root, "--workers", "1", "--", *script(text)) as run:
        run.wait_for("here")
        children = run.see_children()
        run.send(signal.SIGINT)
        run.wait_for("deaf")
        run.send(signal.SIGINT)
        code, _, error = run.end()
        assert code == 130
        assert "stopped at once" in error
        assert_gone(children)


def test_launcher_that_is_killed_leaves_nobody_behind(project_root):
    with launched(project_root, "--workers", "2", "--", *script("echo here; exec sleep 60")) as run:
        for _ in range(2):
            run.wait_for("here")
        children = run.see_children()
        assert len(children) == 4
        run.send(signal.SIGKILL)
        run.end()
        assert_gone(children)


def test_command_that_is_not_there_is_one_line(project_root):
    with launched(project_root, "--workers", "1", "--", "no-such-command") as run:
        code, output, error = run.end()
    assert (code, output) == (2, "")
    assert error == "launch.py: no-such-command cannot be started: No such file or directory\n"


def test_remote_command_runs_as_typed_through_ssh(project_root, tmp_path, monkeypatch):
    """A stand-in for ssh runs its last argument in a shell, as a machine at the other end would."""
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n', encoding="utf-8")
    ssh.chmod(ssh.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    folder = tmp_path / "a folder"
    folder.mkdir()
    text = "echo $DMLC_TASK_ID of $DMLC_NUM_WORKER at $DMLC_PS_ROOT_URI in $PWD"
    flags = ["--workers", "2", "--hosts", "10.0.0.1,10.0.0.2", "--dir", str(folder)]
    with launched(project_root, *flags, "--", *script(text)) as run:
        code, output, _ = run.end()
    assert code == 0
    expected = [f"[worker {i}] {i} of 2 at 10.0.0.1 in {folder}" for i in (0, 1)]
    assert sorted(output.splitlines()) == expected
