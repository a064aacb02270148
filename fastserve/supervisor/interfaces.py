"""What the supervisor's policy sees of the world: processes, the system that makes them, the settings it obeys.

Only types. The policy decides and these do: no call of `Process` or `System` waits for anything, raises anything but
what is named here, or calls the policy back before it returns. What happens to a process is told to the policy
afterwards, by its methods.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Exit:
    """How a process ended. `status` as subprocess has it: an exit code, or minus the number of a signal."""

    status: int
    oom: bool = False
    """The kernel killed it because memory ran out."""


class Process(Protocol):
    """One incarnation of a worker. Two of them may exist in one slot: the one that serves and its successor.

    Everything may be called until `Policy.exited` has returned; for a process that is gone it does nothing.
    """

    @property
    def slot(self) -> int: ...
    @property
    def pid(self) -> int:
        """0 until it is known."""

    def begin(self) -> None:
        """Import the application and start it: for a process that has been held back until now."""

    def signal(self, number: int) -> None:
        """Send a signal; where the pid is not known yet, as soon as it is."""

    def serve(self, slots: frozenset[int]) -> None:
        """Accept from the listeners and channels of these slots from now on, and of no others."""

    def retire(self) -> None:
        """Stop accepting, hand connections on, finish what runs, exit with 0."""

    def heartbeat(self) -> float:
        """When its event loop last ran, on the clock of `System.now`; 0.0 before the first time."""

    def memory(self) -> int:
        """Resident bytes; 0 if it is gone."""

    def last_seen(self) -> str:
        """The requests that ran at the last heartbeat, in words; "" for none."""


class System(Protocol):
    """The operating system, as far as the policy acts on it."""

    def now(self) -> float:
        """Seconds of a clock that never goes back."""

    def spawn(self, slot: int, *, hold: bool = False) -> Process:
        """Start a process for the slot. Raises OSError.

        `hold`: it imports nothing of the application before `Process.begin`, but connections may be passed to it.
        """

    def open_slot(self, slot: int) -> None:
        """Make the slot's listeners and channel unless they exist. Raises OSError."""

    def publish(self, slot: int, process: Process | None) -> None:
        """Who receives the connections that other workers pass to this slot; None: nobody, pass it none."""

    def rebuild(self) -> None:
        """Start a fresh zygote (with preload only); `Policy.rebuilt` follows. Until then the old one forks."""

    def notify(self, state: str, text: str = "") -> None:
        """Tell the service manager: "ready", "reloading", "stopping", "watchdog", or "status" with its text."""


class Settings(Protocol):
    """The settings that the policy reads. Seconds and bytes; None switches a limit off, 0 as well where it says so."""

    @property
    def workers(self) -> int: ...
    @property
    def preload(self) -> bool: ...
    @property
    def timeout_worker_startup(self) -> float | None:
        """From the start of a process to its readiness; None or 0: as long as it takes."""

    @property
    def timeout_worker_healthcheck(self) -> float | None:
        """Without a heartbeat; None or 0: as long as it takes."""

    @property
    def timeout_graceful_shutdown(self) -> float | None: ...
    @property
    def timeout_graceful_cancel(self) -> float: ...
    @property
    def limit_max_rss(self) -> int | None: ...
    @property
    def limit_worker_lifetime(self) -> float | None: ...
