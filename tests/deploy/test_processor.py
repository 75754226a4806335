"""What is said of the processor: one word where int8 gains less, none where it is made for it, never a refusal."""

from __future__ import annotations

import pytest

from deploy.processor import processor_flags, word_on_int8


@pytest.mark.parametrize("flag", ["avx512_vnni", "avx_vnni", "amx_int8"])
def test_processor_with_dot_products_needs_no_word(tmp_path, flag):
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\nflags\t\t: fpu avx2 {flag} sse\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    flags = processor_flags(path)
    assert flags == {"fpu", "avx2", flag, "sse"}
    assert word_on_int8(flags) is None


@pytest.mark.parametrize(
    ("flags", "words"),
    [({"avx2", "fma"}, "works by AVX2"), ({"sse2"}, "neither VNNI nor AVX2"), (None, "does not tell")],
)
def test_others_get_one(flags, words):
    assert words in word_on_int8(None if flags is None else frozenset(flags))


def test_system_that_does_not_tell_is_told_from_one_without(tmp_path):
    assert processor_flags(tmp_path / "none") is None
    (tmp_path / "arm").write_text("processor : 0\nFeatures : asimd dotprod\n")
    assert processor_flags(tmp_path / "arm") is None
