"""What a measurement was taken on: processor, its instructions, cores, memory, versions."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from common.processor import CPU_INFO, processor_fields
from common.threads import usable_cores

# Flag of the processor -> what it is called where speed is spoken of.
INSTRUCTIONS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "amx_tile": "AMX",
    "amx_int8": "AMX int8",
    "amx_bf16": "AMX bf16",
}


def describe(threads: int, cpuinfo: Path = CPU_INFO) -> dict:
    """Return the machine as JSON values.

    Args:
        threads: that are used.
        cpuinfo: where Linux describes the processor.
    """
    fields = processor_fields(cpuinfo)
    flags = fields.get("flags", "").split()
    return {
        "processor": fields.get("model name") or platform.processor() or platform.machine(),
        "instructions": [name for flag, name in INSTRUCTIONS.items() if flag in flags],
        "threads": threads,
        "cores": usable_cores(),
        "memory_gb": _memory(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def sentence(machine: dict) -> str:
    """Return what `describe` found as a line of text."""
    instructions = ", ".join(machine["instructions"]) or "instructions unknown"
    memory = f", {machine['memory_gb']} GB" if machine["memory_gb"] else ""
    return (
        f"{machine['processor']} ({instructions}), {machine['threads']} threads on {machine['cores']} cores{memory},"
        f" {machine['system']}, Python {machine['python']}"
    )


def busy_seconds() -> float | None:
    """Return the processor time that everything on the machine has used so far; None where Linux does not tell it."""
    try:
        first = Path("/proc/stat").read_text().split("\n", 1)[0]
    except OSError:
        return None
    user, nice, system, _, _, interrupts, soft, steal = map(int, first.split()[1:9])
    return (user + nice + system + interrupts + soft + steal) / os.sysconf("SC_CLK_TCK")


def _memory() -> int | None:
    """Return the machine's memory in GB."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (ValueError, OSError):
        return None
