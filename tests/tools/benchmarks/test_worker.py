"""The protocol of workers, spoken with one that only pretends, and what happens when one fails."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

from common.errors import ConfigError, DependencyError, SSDError
from tools.benchmarks.worker import SERVE, Worker, idle_share


def start(fake, engine: str, threads: int = 2) -> Worker:
    return Worker(engine, sys.executable, threads, fake)


def test_worker_tells_versions_and_gets_its_threads(fake):
    with start(fake, "fast", 3) as worker:
        assert worker.versions == {"fast": "1.0", "threads": "3", "omp": "3"}


def test_answers_come_in_turn(fake):
    with start(fake, "fast") as worker:
        assert worker.ask("run", seconds=0, least=2) == {"times": [0.01, 0.01]}
        assert worker.ask("tail", seconds=0, least=1) == {"times": [0.001]}


def test_engine_that_is_not_installed_names_the_command_that_brings_it(fake):
    with pytest.raises(SSDError, match="absent"):
        start(fake, "absent")
    with pytest.raises(DependencyError, match="make bench-setup"):
        Worker("openvino", "/nowhere/python", 1, fake)


def test_missing_package_of_a_peer_is_named(own_python, tmp_path):
    script = tmp_path / "missing.py"
    script.write_text('print(\'{"error": "ModuleNotFoundError: No module", "kind": "missing"}\')')
    with pytest.raises(DependencyError) as caught:
        Worker("openvino", own_python, 1, script)
    assert "openvino" in str(caught.value)
    assert "make bench-setup" in str(caught.value)
    assert own_python in str(caught.value)


def test_process_that_dies_is_told_with_its_last_words(fake):
    with pytest.raises(SSDError, match="code 3 .it fell over"):
        start(fake, "dies_at_once")
    with start(fake, "fast") as worker:
        with pytest.raises(SSDError, match="code 9 .out of everything"):
            worker.ask("die")
        with pytest.raises(SSDError, match="fast: its process ended"):
            worker.ask("run", seconds=0, least=1)


def test_process_that_hangs_is_ended(fake):
    with start(fake, "fast") as worker, pytest.raises(SSDError, match="signal 9"):
        worker.ask("hang", limit=0.3)


def test_errors_of_the_project_keep_their_message_and_others_name_the_engine(fake):
    with start(fake, "fast") as worker:
        with pytest.raises(ConfigError, match="^network 'x' is unknown$"):
            worker.ask("refuse")
        with pytest.raises(SSDError, match="^fast: ValueError: nonsense$"):
            worker.ask("nonsense")


def test_closed_worker_has_ended(fake):
    worker = start(fake, "fast")
    worker.close()
    assert worker._process.returncode == 0


def test_worker_that_waits_takes_no_processor_time(fake):
    with start(fake, "fast") as idle, start(fake, "fast") as busy:
        before = [idle.cpu_seconds()]
        if before == [None]:
            pytest.skip("this system does not tell what a process has used")
        own = busy.cpu_seconds()
        busy.ask("burn")
        assert idle_share(before, [idle.cpu_seconds()], 1.0) < 0.05
        assert idle_share([own], [busy.cpu_seconds()], 1.0) > 0.2


def test_share_of_what_is_unknown_is_nothing():
    assert idle_share([None, 1.0], [2.0, 1.5], 2.0) == 0.25


def serve(engine: str, *lines: str) -> list[dict]:
    """Run the real worker script."""
    done = subprocess.run(
        [sys.executable, str(SERVE), engine, "1"],
        input="".join(line + "\n" for line in lines),
        capture_output=True,
        text=True,
        check=False,
    )
    return [json.loads(line) for line in io.StringIO(done.stdout)]


def test_serving_script_explains_what_it_cannot_import():
    (answer,) = serve("of_nobody")
    assert answer["kind"] == "missing"
    assert "engine_of_nobody" in answer["error"]


def test_serving_script_answers_every_request_and_goes_on_after_an_error():
    first, *answers = serve("onnxruntime", '{"do": "nothing"}', "no JSON", '{"do": "memory"}')
    assert "onnxruntime" in first["versions"]
    assert [answer.get("kind") for answer in answers] == ["failed", "failed", None]
    assert answers[2]["peak"] > 1e6
