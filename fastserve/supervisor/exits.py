"""How a process ended, in words for the log."""

import signal
from typing import Final

from fastserve.supervisor.interfaces import Exit

MEBIBYTE: Final = 1024 * 1024


def cause(exit: Exit) -> str:
    """`exit code 1`, `killed by SIGSEGV`, `killed by SIGKILL (out of memory)`."""
    if exit.status >= 0:
        return f"exit code {exit.status}"
    try:
        name = signal.Signals(-exit.status).name
    except ValueError:
        name = f"signal {-exit.status}"
    return f"killed by {name}" + (" (out of memory)" if exit.oom else "")


def explain(exit: Exit, *, age: float, memory: int = 0, running: str = "") -> str:
    """The cause with the age in seconds, the memory in bytes when last measured, and the requests that ran."""
    text = f"{cause(exit)} after {age:.1f} s"
    if memory:
        text += f", {memory / MEBIBYTE:.0f} MiB"
    if running:
        text += f"; running at its last heartbeat: {running}"
    return text


def is_foreign_kill(exit: Exit) -> bool:
    """SIGKILL that memory does not explain: if the supervisor did not send it, somebody else did."""
    return exit.status == -signal.SIGKILL and not exit.oom
