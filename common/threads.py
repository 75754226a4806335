"""How many threads the numerical libraries get: the physical cores that this process may use.

MXNet takes half of the processors it sees, in the belief that they are hyper-threads; on machines
without hyper-threads, in containers and in virtual machines that halves its speed. Read before MXNet is imported.

And how long a thread that waits for the others of its team keeps its core busy. GNU's OpenMP spins for milliseconds by
default: on a machine that does anything else besides, threads then spin in wait for one that cannot run, and a network
takes up to 40 times as long (docs/performance.md). A short wait costs nothing that can be measured on an idle one.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

CPU_ROOT = Path("/sys/devices/system/cpu")
CGROUP_ROOT = Path("/sys/fs/cgroup")
PROCESS_CGROUPS = Path("/proc/self/cgroup")
SPINS = "1000"  # some microseconds; as many as libgomp itself takes where it has more threads than cores


def allowed_processors() -> list[int]:
    """Return the logical processors that this process may run on, by its affinity."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def physical_cores(processors: list[int], cpu_root: Path = CPU_ROOT) -> int:
    """Return how many physical cores the logical processors belong to; all are counted where Linux does not tell.

    Args:
        processors: numbers of logical processors.
        cpu_root: the folder of sysfs that describes them.
    """
    cores = set()
    for processor in processors:
        topology = cpu_root / f"cpu{processor}" / "topology"
        try:
            cores.add(
                (
                    (topology / "physical_package_id").read_text().strip(),
                    (topology / "core_id").read_text().strip(),
                )
            )
        except OSError:
            return len(processors)
    return len(cores)


def _quota_of_folder(folder: Path) -> float:
    """Return the processors that one cgroup folder (version 2 or 1) grants; inf where it sets no limit."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()[:2]
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return math.inf if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf


def cgroup_quota(process_cgroups: Path = PROCESS_CGROUPS, cgroup_root: Path = CGROUP_ROOT) -> float:
    """Return the processors (may be fractional) that the process's control groups grant; inf without a limit.

    Args:
        process_cgroups: the file that names the groups of this process, `/proc/self/cgroup`.
        cgroup_root: where the control groups are mounted.
    """
    try:
        lines = process_cgroups.read_text().splitlines()
    except OSError:
        lines = []
    folders = {cgroup_root, cgroup_root / "cpu", cgroup_root / "cpu,cpuacct"}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounts = [cgroup_root] if not controllers else [cgroup_root / controllers, cgroup_root / "cpu"]
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for mount in mounts:
            folders.update(mount.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1))
    return min((_quota_of_folder(folder) for folder in folders), default=math.inf)


def usable_cores() -> int:
    """Return the physical cores that this process may use, by affinity and cgroup quota; at least 1."""
    cores = physical_cores(allowed_processors())
    quota = cgroup_quota()
    return max(1, cores if math.isinf(quota) else min(cores, math.ceil(quota)))


def choose_threads(environment: dict | os._Environ = os.environ) -> int:
    """Set OMP_NUM_THREADS to the usable cores unless the user has set it, and return its value.

    Args:
        environment: the environment to read and to write, os.environ outside tests.
    """
    given = environment.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if given.isdecimal() and int(given) > 0:
        return int(given)
    environment["OMP_NUM_THREADS"] = str(usable_cores())
    return int(environment["OMP_NUM_THREADS"])


def choose_spinning(environment: dict | os._Environ = os.environ) -> None:
    """Set GOMP_SPINCOUNT to a short wait unless the user has chosen how threads wait.

    Args:
        environment: the environment to read and to write, os.environ outside tests.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(environment):
        environment["GOMP_SPINCOUNT"] = SPINS
