"""Threads: fake sysfs and cgroup trees of machines that there are, and the user's own setting."""

import math
import os
import subprocess
import sys

import pytest

from common import threads


def make_cpus(root, table):
    """A sysfs folder from {processor: (package, core)}."""
    for processor, (package, core) in table.items():
        topology = root / f"cpu{processor}" / "topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text(f"{package}\n")
        (topology / "core_id").write_text(f"{core}\n")
    return root


def make_groups(root, lines, limits):
    """The file of a process's groups and the mounted folders: limits is {folder: quota text or (quota, period)}."""
    (root / "cgroup").write_text("".join(f"{line}\n" for line in lines))
    mount = root / "mount"
    mount.mkdir()
    for folder, limit in limits.items():
        (mount / folder).mkdir(parents=True, exist_ok=True)
        if isinstance(limit, str):
            (mount / folder / "cpu.max").write_text(limit + "\n")
        else:
            (mount / folder / "cpu.cfs_quota_us").write_text(f"{limit[0]}\n")
            (mount / folder / "cpu.cfs_period_us").write_text(f"{limit[1]}\n")
    return root / "cgroup", mount


@pytest.mark.parametrize(
    ("table", "allowed", "cores"),
    [
        ({0: (0, 0), 1: (0, 1)}, [0, 1], 2),  # two cores, no hyper-threads
        ({0: (0, 0), 1: (0, 0)}, [0, 1], 1),  # one core, two hyper-threads
        ({0: (0, 0), 1: (0, 1), 2: (0, 0), 3: (0, 1)}, [0, 1, 2, 3], 2),
        ({0: (0, 0), 1: (0, 1), 2: (0, 0), 3: (0, 1)}, [0, 2], 1),  # bound to one core
        ({0: (0, 0), 1: (0, 1), 2: (0, 0), 3: (0, 1)}, [1, 2], 2),
        ({0: (0, 0), 1: (1, 0)}, [0, 1], 2),  # two sockets number their cores alike
        ({0: (0, 0)}, [0, 1, 2], 3),  # not all is told: count what there is
        ({}, [0, 1, 2, 3], 4),
    ],
)
def test_physical_cores(tmp_path, table, allowed, cores):
    assert threads.physical_cores(allowed, make_cpus(tmp_path, table)) == cores


@pytest.mark.parametrize(
    ("lines", "limits", "quota"),
    [
        # version 2
        (["0::/"], {".": "max 100000"}, math.inf),
        (["0::/"], {".": "200000 100000"}, 2),
        (["0::/user.slice/app"], {"user.slice/app": "150000 100000"}, 1.5),
        (["0::/a/b"], {"a": "100000 100000", "a/b": "max 100000"}, 1),  # a parent's limit holds
        (["0::/a/b"], {"a": "300000 100000", "a/b": "50000 100000"}, 0.5),
        (["0::/a"], {"b": "100000 100000"}, math.inf),  # another group's limit does not
        (["0::/../outside"], {".": "400000 100000"}, 4),
        # version 1
        (["3:cpu,cpuacct:/"], {"cpu,cpuacct": (-1, 100000)}, math.inf),
        (["3:cpu,cpuacct:/"], {"cpu,cpuacct": (250000, 100000)}, 2.5),
        (["2:cpu:/docker/77"], {"cpu/docker/77": (100000, 100000)}, 1),
        (["2:cpu:/docker/77"], {"cpu": (300000, 100000)}, 3),  # a container sees its own group as the root
        (["3:cpuacct,cpu:/x"], {"cpuacct,cpu/x": (100000, 100000)}, 1),
        (["5:memory:/x", "4:cpuset:/x"], {"memory/x": (100000, 100000)}, math.inf),
        # both at once
        (["0::/s", "3:cpu:/x"], {"cpu/x": (200000, 100000), "unified/s": "max 100000"}, 2),
        # contents that tell nothing
        (["0::/"], {".": "max"}, math.inf),
        (["0::/"], {".": "rubbish here"}, math.inf),
        (["2:cpu:/"], {"cpu": (100000, 0)}, math.inf),
        ([], {}, math.inf),
    ],
)
def test_cgroup_quota(tmp_path, lines, limits, quota):
    assert threads.cgroup_quota(*make_groups(tmp_path, lines, limits)) == quota


def test_system_without_cgroups_has_no_quota(tmp_path):
    assert threads.cgroup_quota(tmp_path / "none", tmp_path / "nothing") == math.inf


@pytest.mark.parametrize(
    ("cores", "quota", "usable"), [(8, math.inf, 8), (8, 2.0, 2), (8, 1.5, 2), (8, 0.25, 1), (2, 16, 2)]
)
def test_usable_cores_are_bound_by_the_quota(monkeypatch, cores, quota, usable):
    monkeypatch.setattr(threads, "physical_cores", lambda processors: cores)
    monkeypatch.setattr(threads, "cgroup_quota", lambda: quota)
    assert threads.usable_cores() == usable


@pytest.mark.parametrize(("given", "value"), [("3", 3), (" 5 ", 5), ("4,2", 4), ("1", 1)])
def test_users_setting_is_respected(given, value):
    environment = {"OMP_NUM_THREADS": given}
    assert threads.choose_threads(environment) == value
    assert environment == {"OMP_NUM_THREADS": given}


@pytest.mark.parametrize("given", [None, "", "0", "-2", "many"])
def test_without_a_usable_setting_the_cores_are_taken(monkeypatch, given):
    monkeypatch.setattr(threads, "usable_cores", lambda: 7)
    environment = {} if given is None else {"OMP_NUM_THREADS": given}
    assert threads.choose_threads(environment) == 7
    assert environment["OMP_NUM_THREADS"] == "7"


def test_affinity_is_seen(project_root):
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no affinity")
    first = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, {{{first}}}); from common import threads; print(threads.usable_cores())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project_root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
    assert threads.allowed_processors() == sorted(os.sched_getaffinity(0))


def test_mxnet_is_told_before_it_is_imported(project_root):
    code = "from common import mx; import os; print(os.environ['OMP_NUM_THREADS'], mx.num_threads)"
    for given in ("1", "3"):
        environment = {**os.environ, "OMP_NUM_THREADS": given}
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=project_root,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == [given, given]


def test_waiting_threads_give_their_core_away_soon_unless_the_user_says_otherwise():
    environment = {}
    threads.choose_spinning(environment)
    assert environment == {"GOMP_SPINCOUNT": threads.SPINS}
    for given in ({"GOMP_SPINCOUNT": "5"}, {"OMP_WAIT_POLICY": "ACTIVE"}):
        environment = dict(given)
        threads.choose_spinning(environment)
        assert environment == given
