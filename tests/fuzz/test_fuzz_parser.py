"""The fuzzer runs, briefly and with a fixed seed, in every test run: with the same inputs in each."""

from math import inf

from tests.fuzz.fuzz_parser import fuzz


def test_no_finding() -> None:
    assert fuzz(inf, 1, 3000) == 3000
