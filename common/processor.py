"""What Linux tells of the processor."""

from __future__ import annotations

from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")


def processor_fields(cpu_info: Path = CPU_INFO) -> dict[str, str]:
    """Return what Linux says of the first processor, {"model name": ..., "flags": ...}; {} where it does not tell.

    Args:
        cpu_info: the file in which Linux tells.
    """
    try:
        lines = cpu_info.read_text().split("\n\n", 1)[0].splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}
