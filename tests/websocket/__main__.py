"""`python -m tests.websocket`: plays the cases against a server and prints which of them it fails.

python -m tests.websocket                                  fastserve, with few round trips
python -m tests.websocket --full                           all of them, some minutes
python -m tests.websocket 6 9.3 --verbose                  sections, or single cases
python -m tests.websocket --server "uvicorn --ws wsproto"  another server, with its options
python -m tests.websocket --address 127.0.0.1:9001         one that runs already
"""

import argparse
import sys
import time
from collections.abc import Sequence

from tests.websocket.cases.everything import CASES
from tests.websocket.cases.script import Case
from tests.websocket.play import play
from tests.websocket.serving import served


def chosen(patterns: Sequence[str]) -> list[Case]:
    """The cases of the sections and ids; all where none is given."""
    if not patterns:
        return list(CASES.values())
    return [case for case in CASES.values() if any(f"{case.id}.".startswith(f"{pattern}.") for pattern in patterns)]


def main() -> int:
    """0: all passed; 1: some did not."""
    parser = argparse.ArgumentParser(prog="python -m tests.websocket", description="WebSocket conformance.")
    parser.add_argument("cases", nargs="*", help="sections and ids; all if not given")
    parser.add_argument("--server", default="fastserve", help='a module and its options ("fastserve")')
    parser.add_argument("--address", help="HOST:PORT of a server that runs and echoes")
    parser.add_argument("--full", action="store_true", help="every round trip")
    parser.add_argument("--patience", type=float, default=20.0, help="seconds until a silent server has failed (20)")
    parser.add_argument("--verbose", action="store_true", help="those that pass too, with their times")
    options = parser.parse_args()

    def run(address: tuple[str, int]) -> int:
        failed = 0
        began = time.monotonic()
        cases = chosen(options.cases)
        for case in cases:
            verdict = play(case, address, options.full, options.patience)
            failed += not verdict.passed
            if options.verbose or not verdict.passed:
                result = "pass" if verdict.passed else "FAIL"
                print(f"{result} {case.id:<8}{verdict.seconds:6.2f} s  {case.does}: {verdict.said}", flush=True)
        print(f"{len(cases)} cases, {failed} failed, {time.monotonic() - began:.1f} s")
        return 1 if failed else 0

    if options.address:
        host, _, port = options.address.rpartition(":")
        return run((host, int(port)))
    with served(options.server) as address:
        return run(address)


if __name__ == "__main__":
    sys.exit(main())
