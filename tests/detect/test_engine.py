"""Which engine a process has shows in its threads: the synchronous one starts none."""

import os
import subprocess
import sys

import pytest

THREADS = "len(os.listdir('/proc/self/task'))"
COUNT = f"import os; before = {THREADS}; RUN; (mx.nd.ones((2,)) + 1).asnumpy(); print({THREADS} - before)"
CHOOSE = "from detect.engine import use_synchronous_engine; use_synchronous_engine([mx.cpu()])"


def new_threads(root, run, **environment):
    """Return how many threads MXNet's engine starts in a process that runs a line first."""
    environment = {**{k: v for k, v in os.environ.items() if k != "MXNET_ENGINE_TYPE"}, **environment}
    code = "from common.mx import mx; " + COUNT.replace("RUN", run)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    return int(done.stdout), done.stderr


pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="this system has no /proc")


def test_the_synchronous_engine_is_chosen_in_silence(project_root):
    assert new_threads(project_root, CHOOSE) == (0, "")
    started, _ = new_threads(project_root, "pass")
    assert started > 0


def test_a_detector_in_a_new_process_chooses_it(project_root):
    open_one = (
        "from detect.detector import Detector; from model import SHIPPED_MODEL; Detector(SHIPPED_MODEL)"
    )
    assert new_threads(project_root, open_one, OMP_NUM_THREADS="1") == (0, "")


def test_what_the_user_has_set_is_kept(project_root):
    started, _ = new_threads(project_root, CHOOSE, MXNET_ENGINE_TYPE="ThreadedEngine")
    assert started > 0


def test_processes_that_it_starts_choose_for_themselves(project_root):
    run = CHOOSE + "; print(os.environ.get('MXNET_ENGINE_TYPE'))"
    code = f"import os; from common.mx import mx; {run}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project_root,
        env={k: v for k, v in os.environ.items() if k != "MXNET_ENGINE_TYPE"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "None\n"


def test_gpus_keep_the_threaded_engine(project_root):
    started, _ = new_threads(project_root, CHOOSE.replace("mx.cpu()", "mx.gpu()"))
    assert started > 0
