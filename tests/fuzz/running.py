"""What every fuzz target does alike: options, the clock, and what is said of a finding."""

import argparse
import os
import random
import time
from collections.abc import Callable


def repeat(seconds: float, seed: int, attempt: Callable[[random.Random], object]) -> int:
    """Call `attempt` for that long, each time with its own source of chance; the number of calls.

    Raises AssertionError with the seed that brings the finding back at once: `--seed N --seconds 0`.
    """
    deadline = time.monotonic() + seconds
    tried = 0
    while True:
        try:
            attempt(random.Random(seed + tried))
        except Exception as error:
            raise AssertionError(f"found with --seed {seed + tried} --seconds 0") from error
        tried += 1
        if time.monotonic() >= deadline:
            return tried


def main(name: str, description: str | None, fuzz: Callable[[float, int], int]) -> None:
    """The command line of a target: `--seconds`, else FUZZ_SECONDS, else ten; `--seed`, else chance."""
    arguments = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=float(os.environ.get("FUZZ_SECONDS", "10")))
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = arguments.parse_args()
    print(f"{name}: seed {options.seed}, {options.seconds:g} s", flush=True)
    print(f"{name}: {fuzz(options.seconds, options.seed)} inputs, no finding")
