"""What the policy remembers of each slot, and of each process in it."""

from dataclasses import dataclass, field
from enum import Enum
from math import inf

from fastserve.supervisor.backoff import Backoff
from fastserve.supervisor.interfaces import Process


class State(Enum):
    """A process goes down this list and never back; it may leave from the start."""

    STARTING = "starting"
    READY = "ready"
    LEAVING = "leaving"


@dataclass(eq=False)
class Incarnation:
    """One process in a slot. It stays known until it has been waited for, whatever serves in its slot by then."""

    process: Process
    slot: "Slot"
    born: float
    generation: int
    """The restarts (SIGHUP) before it was started."""

    state: State = State.STARTING
    ready_at: float = inf
    """inf: it has not been ready."""
    serving: frozenset[int] | None = None
    """The slots it has been told to serve; None: nothing yet."""
    memory: int = 0
    """Resident bytes when it was last measured: there is nothing to be measured of the dead."""
    expires: float = inf
    """When its lifetime is over."""

    beat: float = 0.0
    """The latest heartbeat seen."""
    silent: bool = False
    """Its loop has not run for a moment: a sibling accepts for it as well."""
    stalled: bool = False
    """Its loop has not run for long: its stacks have been asked for."""

    startup_limit: float = inf
    """When it has to be ready."""
    left_at: float = inf
    """When it was told to end."""
    patience: float = inf
    """When it has to have ended; then its stacks are asked for, and soon it is killed."""
    kill_at: float = inf
    killed: bool = False
    """SIGKILL has been sent by the policy."""

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_ready(self) -> bool:
        return self.state is State.READY

    @property
    def has_been_ready(self) -> bool:
        return self.ready_at != inf


@dataclass(eq=False)
class Slot:
    """A stable place for a worker, with listeners and a channel of its own that outlive every process in it."""

    number: int
    active: bool = True
    """It is meant to have a worker. Otherwise (SIGTTOU) its listeners remain, for a sibling to serve."""
    current: Incarnation | None = None
    """The worker that is ready; where there is none, the one that is starting."""
    successor: Incarnation | None = None
    """Starts while `current` serves, and takes its place when it is ready."""
    guest: Incarnation | None = None
    """The sibling that serves this slot while its own worker cannot."""

    backoff: Backoff = field(default_factory=Backoff)
    retry_at: float = inf
    """When to start the next process; only where there is none."""
    failed_starts: int = 0
    """Processes in a row that ended before they were ready."""

    replace_backoff: Backoff = field(default_factory=Backoff)
    replace_at: float = -inf
    """Not before this is the worker replaced for being worn: the last attempt failed."""

    @property
    def ready(self) -> Incarnation | None:
        """The worker that is ready, if any."""
        return self.current if self.current is not None and self.current.is_ready else None
