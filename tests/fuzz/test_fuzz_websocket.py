"""The fuzzer runs, briefly and with a fixed seed, in every test run."""

from tests.fuzz.fuzz_websocket import fuzz


def test_no_finding() -> None:
    assert fuzz(0.5, 1) > 10
