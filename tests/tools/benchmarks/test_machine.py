"""What is told of the machine."""

from __future__ import annotations

from tools.benchmarks import machine

CPUINFO = """processor\t: 0
model name\t: A Processor @ 2.00GHz
flags\t\t: fpu avx2 avx512f avx512_vnni avx512_bf16

processor\t: 1
model name\t: Another
flags\t\t: fpu
"""


def test_processor_and_its_instructions_are_told(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text(CPUINFO)
    found = machine.describe(2, path)
    assert found["processor"] == "A Processor @ 2.00GHz"
    assert found["instructions"] == ["AVX2", "AVX-512", "AVX-512 VNNI", "AVX-512 BF16"]
    assert "A Processor @ 2.00GHz (AVX2, AVX-512, AVX-512 VNNI, AVX-512 BF16), 2 threads" in machine.sentence(
        found
    )


def test_system_that_does_not_describe_its_processor_is_told_without_guessing(tmp_path):
    found = machine.describe(1, tmp_path / "absent")
    assert found["processor"]
    assert "instructions unknown" in machine.sentence(found)
