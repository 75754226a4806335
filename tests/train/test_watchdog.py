"""The watchdog: whoever waits too long for others is ended, and nobody else."""

import subprocess
import sys
import threading
import time

from train.watchdog import EXIT_CODE, Watchdog


def test_waiting_too_long_is_told_once_with_its_message():
    told, heard = [], threading.Event()
    watchdog = Watchdog(0.3, lambda message: (told.append(message), heard.set()))
    with watchdog.waiting("nobody came"):
        assert heard.wait(10)
        time.sleep(0.6)
    watchdog.close()
    assert told == ["nobody came"]


def test_waiting_that_ends_in_time_is_not_told():
    told = []
    watchdog = Watchdog(1.0, told.append)
    for _ in range(3):
        with watchdog.waiting("nobody came"):
            time.sleep(0.4)
    time.sleep(1.2)
    watchdog.close()
    assert told == []


def test_arming_anew_counts_anew():
    told = []
    watchdog = Watchdog(1.0, told.append)
    for _ in range(4):
        watchdog.arm("nobody came")
        time.sleep(0.4)
    watchdog.disarm()
    watchdog.close()
    assert told == []


def test_process_that_waits_in_vain_ends_with_one_line(project_root):
    code = "import time; from train.watchdog import Watchdog; w = Watchdog(0.2); w.arm('nobody came'); time.sleep(60)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        cwd=project_root,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.returncode, done.stdout, done.stderr) == (EXIT_CODE, "", "error: nobody came\n")
