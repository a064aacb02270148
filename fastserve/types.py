"""Types that more than one floor speaks of: the ASGI callables, and what a worker shows to the server above it."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple, Protocol

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIReceiveCallable = Receive
ASGISendCallable = Send
ASGI3Application = Callable[[Scope, Receive, Send], Awaitable[None]]
ASGI2Application = Callable[[Scope], Callable[[Receive, Send], Awaitable[None]]]
ASGIApplication = ASGI2Application | ASGI3Application


class RunningRequest(NamedTuple):
    """A request whose response is not complete, for logs. Text is escaped already; `age` is in seconds, `thread` the
    name of the one that its application runs in, where it has one of its own."""

    method: str
    path: str
    client: str
    age: float
    thread: str | None = None


class ThreadCounts(Protocol):
    """What a WSGI application's threads have to do."""

    @property
    def busy(self) -> int:
        """How many threads are in the application."""

    @property
    def waiting(self) -> int:
        """How many requests wait for a thread."""

    @property
    def refused(self) -> int:
        """How many requests were answered with 503 so far, because too many waited or one did too long."""


class WorkerProtocol(Protocol):
    """What the server uses of `fastserve.protocol._worker.Worker`: counts, and the steps of a stop.

    The four steps are meant in this order; each may be called more than once and none of them blocks.
    """

    total_requests: int
    """Responses completed so far."""
    request_limit: int
    """`on_limit` is called once, when `total_requests` reaches this. 0: never."""
    on_limit: Callable[[], object] | None
    on_idle: Callable[[], object] | None
    """Called when the last connection has closed."""

    @property
    def connections(self) -> int:
        """Connections open now."""

    @property
    def tasks(self) -> int:
        """How many requests are running now."""

    def running(self, limit: int = 0) -> list[RunningRequest]:
        """The requests whose response is not complete, oldest first; with a limit only so many."""

    def shed(self, count: int) -> None:
        """Pass so many connections to other workers, each as soon as it is idle, without the clients noticing."""

    def drain(self, hand_on: bool = False, idle_grace: float = 0.0) -> None:
        """Let go of every connection as soon as it is idle: to another worker, or by closing it.

        idle_grace: seconds for which one that has just become idle waits for a last request before it closes.
        """

    def disconnect(self) -> int:
        """Deliver `http.disconnect` to every running request; returns how many."""

    def cancel(self) -> int:
        """Cancel every running task; returns how many."""

    def abort(self) -> int:
        """Drop every connection with what it has not sent; returns how many."""
