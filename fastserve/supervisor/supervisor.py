"""The supervisor: the process that keeps the workers.

Its loop waits for signals, for what its processes say and for their ends, and for the next time limit of the policy,
all in one selector, and never for anything else: whatever a worker does or does not do, a signal is acted on at once.
What to do is the policy's business, how it is done the system's; this is where they are put together.
"""

import contextlib
import logging
import pickle
import selectors
import signal
import socket
from collections.abc import Callable, Generator
from types import FrameType
from typing import Final, Protocol

from fastserve.config import STARTUP_FAILURE
from fastserve.server import logs
from fastserve.server.config import Config
from fastserve.supervisor import host, worker_process
from fastserve.supervisor.policy import Policy
from fastserve.supervisor.system import Events, System
from fastserve.transport.listeners import SlotBinds

HANDLED_SIGNALS: Final = (
    signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1,
    signal.SIGUSR2,
)  # fmt: skip

_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)

# The longest that the loop waits without looking at the time: deadlines may lie beyond what a selector can be told.
_LONGEST_WAIT = 60.0

logger = logging.getLogger("fastserve.error")

# What pickle raises for objects that it cannot take along.
_UNPICKLABLE = (pickle.PicklingError, TypeError, AttributeError)


class Decisions(Events, Protocol):
    """What the loop drives: `Policy`, or what takes its place."""

    exit_code: int | None

    def start(self) -> None: ...
    def signalled(self, number: int) -> None: ...
    def tick(self) -> None: ...
    def deadline(self) -> float: ...


class Supervisor:
    """Serves `config.app`, an import string, with `config.workers` processes. `run` is all there is to do.

    `main_module`: workers import the main module of this program, as those of multiprocessing do. Needed where the
    options hold something that is defined there.
    """

    def __init__(self, config: Config, *, main_module: bool = True) -> None:
        self._config = config
        self._main_module = main_module

    def run(self) -> int:
        """Serve until a signal says to stop; on the main thread only. Returns the exit code for the process."""
        config = self._config
        if worker_process.preparing:
            raise RuntimeError(
                "A worker imports the main module of the program, and that starts a server again. Start it below "
                "`if __name__ == '__main__':`."
            )
        try:
            binds = SlotBinds(config.requested_binds(), config.backlog)
        except OSError as error:
            logger.error(error)
            return STARTUP_FAILURE
        with contextlib.closing(binds), selectors.DefaultSelector() as selector:
            config.announce(binds.places)
            try:
                system = System(config, binds, selector, main_module=self._main_module)
            except OSError as error:
                logger.error(error)
                return STARTUP_FAILURE
            except _UNPICKLABLE as error:
                logger.error("Cannot pass the options on to worker processes: %s", error)
                return STARTUP_FAILURE
            host.set_process_title(f"{config.process_name}: supervisor [{config.app}]")
            with contextlib.closing(system), _signals(selector) as arrived, self._policy(system, selector) as policy:
                system.events = policy
                return _loop(selector, system, policy, arrived)

    @contextlib.contextmanager
    def _policy(self, system: System, selector: selectors.BaseSelector) -> Generator[Decisions, None, None]:
        """What decides, for as long as the loop runs."""
        yield Policy(self._config, system)


def _loop(selector: selectors.BaseSelector, system: System, policy: Decisions, arrived: Callable[[], list[int]]) -> int:
    policy.start()
    while policy.exit_code is None:
        due = min(policy.deadline(), system.deadline(), system.now() + _LONGEST_WAIT)
        ready = selector.select(max(0.0, due - system.now()))
        # Ends first: whoever is gone has nothing more to ask for.
        numbers = arrived()
        if signal.SIGCHLD in numbers:
            system.reap()
        for number in numbers:
            if number in HANDLED_SIGNALS:
                if number == signal.SIGUSR1:
                    logs.reopen()
                policy.signalled(number)
                if number in _ENDING_SIGNALS:
                    system.close_listeners()
        for key, _ in ready:
            if key.data is not None:
                key.data()
        system.tick()
        if system.now() >= policy.deadline():
            policy.tick()
    return policy.exit_code


@contextlib.contextmanager
def _signals(selector: selectors.BaseSelector) -> Generator[Callable[[], list[int]], None, None]:
    """Have the signals of this process wake the selector; gives a function that returns those that have arrived."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    numbers = (*HANDLED_SIGNALS, signal.SIGCHLD)
    previous = {number: signal.signal(number, _noted) for number in numbers}
    # Whoever started us may have blocked them.
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    selector.register(reader, selectors.EVENT_READ)

    def arrived() -> list[int]:
        received = b""
        with contextlib.suppress(BlockingIOError):
            while piece := reader.recv(4096):
                received += piece
        return list(received)

    try:
        yield arrived
    finally:
        selector.unregister(reader)
        signal.set_wakeup_fd(wakeup)
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        reader.close()
        writer.close()


def _noted(number: int, frame: FrameType | None) -> None:
    """The handler of every signal: Python has written its number to the wake-up descriptor by now."""
