"""Decoding steps back behind training: the priorities of the training iterator's threads."""

from __future__ import annotations

import glob
import os
import subprocess
import sys

import pytest

PRIORITIES = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from common.mx import mx
from dataset.augmentation import recipe
from dataset.iterator import TrainingIterator
from dataset.records import RecordDataset

def ticks(task):
    if not os.path.exists(f"/proc/self/task/{task}"):
        return 0  # a decoding thread that has ended
    return sum(map(int, Path(f"/proc/self/task/{task}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))

iterator = TrainingIterator(RecordDataset(sys.argv[2]), batch_size=4, data_shape=(32, 32), mean=(0, 0, 0),
    std=(1, 1, 1), augmentation=recipe("none"), seed=0, workers=2, folder=Path(sys.argv[3]))
next(iterator.epoch(0))
tasks = os.listdir("/proc/self/task")
niceness = {task: os.getpriority(os.PRIO_PROCESS, int(task)) for task in tasks}
before = {task: ticks(task) for task in tasks}
matrix = mx.nd.ones((700, 700))
for _ in range(40):
    mx.nd.dot(matrix, matrix).wait_to_read()
worked = max(tasks, key=lambda task: ticks(task) - before[task])
print(19 in niceness.values(), niceness[worked], os.getpriority(os.PRIO_PROCESS, 0))
iterator.close()
"""


@pytest.mark.skipif(not glob.glob("/proc/self/task/*"), reason="Linux alone has priorities by thread")
def test_decoding_steps_back_and_the_caller_and_its_engine_do_not(packed, tmp_path, project_root):
    """In a fresh process, where the iterator is the first to use MXNet's engine."""
    if os.getpriority(os.PRIO_PROCESS, 0):
        pytest.skip("the tests themselves run at another priority")
    arguments = [str(project_root), str(packed), str(tmp_path / "copies")]
    done = subprocess.run(
        [sys.executable, "-c", PRIORITIES, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "True 0 0\n", done.stderr
