"""What the processor has for int8, a word for the user and never a refusal, and for bfloat16, which needs it.

Source: Linux's names for the features (arch/x86/include/asm/cpufeatures.h); which of them oneDNN 2.4 uses, its
developer guide, "CPU dispatcher control".
"""

from __future__ import annotations

import platform
from pathlib import Path

from common.processor import CPU_INFO, processor_fields

_DOT_PRODUCTS = ("avx512_vnni", "avx_vnni", "amx_int8")
_BFLOAT16 = ("avx512_bf16", "amx_bf16")


def processor_flags(cpu_info: Path = CPU_INFO) -> frozenset[str] | None:
    """Return the features of an x86 processor under Linux's names, None where the system does not tell.

    Args:
        cpu_info: the file in which Linux tells.
    """
    flags = processor_fields(cpu_info).get("flags")
    return None if flags is None else frozenset(flags.split())


def word_on_int8(flags: frozenset[str] | None) -> str | None:
    """Return what a user should know before trusting in int8 here; None where nothing speaks against it.

    Args:
        flags: as `processor_flags` gives them.
    """
    if flags is None:
        return (
            f"this system ({platform.system()}, {platform.machine()}) does not tell whether its processor has"
            " instructions for int8 (VNNI on x86): compare the frames/s below, and those where the detector will run"
        )
    if flags & set(_DOT_PRODUCTS):
        return None
    if "avx2" in flags:
        return (
            "this processor has no instructions for int8 (VNNI): int8 works by AVX2, gains less, and sums that"
            " overflow there can cost accuracy; with VNNI the same files are faster"
        )
    return (
        "this processor has neither VNNI nor AVX2: int8 works, slowly; compare the frames/s below, and those where"
        " the detector will run"
    )


def computes_bfloat16(flags: frozenset[str] | None) -> bool:
    """Tell whether the processor is known to compute with bfloat16.

    Args:
        flags: as `processor_flags` gives them.
    """
    return bool(flags and flags & set(_BFLOAT16))
