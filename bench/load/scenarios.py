"""The kinds of work measured, and the target of each: one table, read by the runs and by the report."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from bench.load.apps import LARGE_SIZE


class Figure(Enum):
    """What a target limits."""

    CPU_OF_UVICORN = "of uvicorn's CPU"
    CPU_OF_C = "× the C loop's CPU"
    CPU_OF_SOCKETIFY = "of socketify's CPU"
    CPU_OF_BJOERN = "of bjoern's CPU"
    CPU_OF_FASTPYSGI = "of fastpysgi's CPU"
    CPU_OF_GRANIAN = "of granian's CPU"
    CPU_OF_GUNICORN = "of gunicorn's CPU"
    CPU_OF_BEST = "of the CPU of the best of the others"
    CPU = "µs of CPU"
    RATE = "requests/s"
    P99 = "µs in the 99th percentile"
    USER = "µs of user time"
    ABOVE_SMALL = "µs above the small GET"
    RATE_OF_UVICORN = "of uvicorn's rate"
    MEMORY_OF_UVICORN = "of uvicorn's memory"
    MEMORY = "KiB"


@dataclass(frozen=True)
class Target:
    """A limit for fastserve's figure: at most, or with `at_least` at least."""

    figure: Figure
    limit: float
    at_least: bool = False

    def is_met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g} {self.figure.value}"


@dataclass(frozen=True)
class Scenario:
    """One kind of work.

    `app` is an import string; `load` the client's arguments; `baseline` those of the C server, None where it has
    nothing comparable to do; `requests` measures that many requests where a window of time would hold too few.
    With `idle_connections` nothing is loaded: memory is measured. `websocket`: a request is a message and its echo.
    With `idle_connections` nothing is loaded: memory is measured. `beside` are the arguments of a second client, whose
    load is there and not measured.

    `interface` is the application's. Where it is WSGI, `threads` call it; 1 is a server without threads, None what
    fastserve does without being told, and as many for the others. `closes`: part of the application's work is in the
    close() of what it returns, so a server that does not call it has nothing comparable.
    """

    name: str
    title: str
    app: str
    load: tuple[str, ...] = ()
    connections: int = 64
    baseline: tuple[str, ...] | None = ()
    access_log: bool = False
    tls: bool = False
    requests: int | None = None
    idle_connections: int | None = None
    websocket: bool = False
    beside: tuple[str, ...] | None = None
    interface: Literal["asgi", "wsgi"] = "asgi"
    threads: int | None = None
    closes: bool = False
    targets: tuple[Target, ...] = field(default=())


def cpu_of_uvicorn(limit: float) -> Target:
    return Target(Figure.CPU_OF_UVICORN, limit)


SMALL = ("--expect-length", "13")
MESSAGE = ("--websocket", "text", "--body-size", "64")
WEBSOCKET = "bench.load.apps:websocket_echo"
MANY_THREADS = 8

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "small", "GET, 13-byte answer, 64 connections", "bench.load.apps:small", SMALL,
        targets=(cpu_of_uvicorn(0.45), Target(Figure.CPU_OF_C, 1.5), Target(Figure.USER, 3.0)),
    ),
    Scenario(
        "access-log", "the same with the access log on, to a file", "bench.load.apps:small", SMALL,
        baseline=None, access_log=True, targets=(cpu_of_uvicorn(0.35),),
    ),
    Scenario(
        "pipelined", "16 pipelined GETs", "bench.load.apps:small", (*SMALL, "--pipeline", "16"),
        targets=(cpu_of_uvicorn(0.2),),
    ),
    Scenario(
        "echo", "POST 10 KiB, echoed in the chunks received", "bench.load.apps:echo",
        ("--method", "POST", "--body-size", "10240", "--expect-length", "10240"),
        baseline=("--echo",), targets=(cpu_of_uvicorn(0.5),),
    ),
    Scenario(
        "sleep", "the application sleeps 1 ms", "bench.load.apps:sleeping", SMALL,
        baseline=None, targets=(cpu_of_uvicorn(0.65),),
    ),
    Scenario(
        "ten-kib", "10 KiB answer", "bench.load.apps:ten_kib", ("--expect-length", "10240"),
        baseline=("--answer", "10240"), targets=(cpu_of_uvicorn(0.5),),
    ),
    Scenario(
        "thousand", "GET, 1000 connections", "bench.load.apps:small", SMALL, connections=1000,
        targets=(cpu_of_uvicorn(0.45),),
    ),
    Scenario(
        "starlette", "Starlette, one route", "bench.load.starlette_app:app", SMALL,
        targets=(cpu_of_uvicorn(0.65),),
    ),
    Scenario(
        "memory", "memory per idle keep-alive connection", "bench.load.apps:small", SMALL,
        idle_connections=2000, targets=(Target(Figure.MEMORY_OF_UVICORN, 0.5),),
    ),
    Scenario(
        "browser", "a browser's GET, 10 fields", "bench.load.apps:small", (*SMALL, "--headers", "browser"),
        targets=(Target(Figure.ABOVE_SMALL, 1.2),),
    ),
    Scenario(
        "one", "one connection, one request at a time", "bench.load.apps:small", SMALL, connections=1,
    ),
    Scenario(
        "reconnect", "a new connection for every request", "bench.load.apps:small", (*SMALL, "--reconnect"),
        targets=(cpu_of_uvicorn(0.5),),
    ),
    Scenario(
        "tls", "GET over TLS, 64 connections", "bench.load.apps:small", (*SMALL, "--tls"),
        baseline=None, tls=True, targets=(cpu_of_uvicorn(0.55),),
    ),
    Scenario(
        "download", "100 MiB down, one connection", "bench.load.apps:download",
        ("--expect-length", str(LARGE_SIZE)), connections=1, requests=40, baseline=("--answer", str(LARGE_SIZE)),
        targets=(cpu_of_uvicorn(0.7), Target(Figure.RATE_OF_UVICORN, 1.0, at_least=True)),
    ),
    Scenario(
        "upload", "100 MiB up, one connection", "bench.load.apps:upload",
        (*SMALL, "--method", "POST", "--body-size", str(LARGE_SIZE)), connections=1, requests=20, baseline=("--sink",),
        targets=(cpu_of_uvicorn(0.7), Target(Figure.RATE_OF_UVICORN, 1.0, at_least=True)),
    ),
    Scenario(
        "ws-text", "WebSocket: 64 bytes of text, echoed, 64 connections", WEBSOCKET, MESSAGE,
        baseline=None, websocket=True, targets=(cpu_of_uvicorn(0.5), Target(Figure.CPU_OF_SOCKETIFY, 0.65)),
    ),
    Scenario(
        "ws-binary", "WebSocket: 64 KiB, echoed, 64 connections", WEBSOCKET,
        ("--websocket", "binary", "--body-size", "65536"),
        baseline=None, websocket=True, targets=(cpu_of_uvicorn(0.5),),
    ),
    Scenario(
        "ws-one", "WebSocket: 64 bytes of text, echoed, one connection", WEBSOCKET, MESSAGE, connections=1,
        baseline=None, websocket=True,
    ),
    Scenario(
        "ws-memory", "memory per idle WebSocket", WEBSOCKET, MESSAGE,
        baseline=None, websocket=True, idle_connections=3000, targets=(Target(Figure.MEMORY, 3.0),),
    ),
    Scenario(
        "wsgi", "WSGI, 13-byte answer, threads", "bench.load.wsgi_apps:small", SMALL, interface="wsgi",
        targets=(Target(Figure.CPU_OF_GRANIAN, 0.6), Target(Figure.CPU_OF_GUNICORN, 0.15)),
    ),
    Scenario(
        "wsgi-loop", "WSGI, 13-byte answer, no threads", "bench.load.wsgi_apps:small", SMALL, interface="wsgi",
        threads=1, targets=(Target(Figure.CPU_OF_BJOERN, 1.0), Target(Figure.CPU_OF_FASTPYSGI, 1.0)),
    ),
    Scenario(
        "flask", "Flask, one route, threads", "bench.load.flask_app:app", SMALL, interface="wsgi",
        closes=True, targets=(Target(Figure.CPU_OF_BEST, 1.0),),
    ),
    Scenario(
        "flask-loop", "Flask, one route, no threads", "bench.load.flask_app:app", SMALL, interface="wsgi",
        threads=1, closes=True, targets=(Target(Figure.CPU_OF_BEST, 1.0),),
    ),
    Scenario(
        "django", "Django over WSGI, one route, threads", "bench.load.django_app:application", SMALL,
        interface="wsgi", closes=True, targets=(Target(Figure.CPU_OF_BEST, 1.0),),
    ),
    Scenario(
        "django-loop", "Django over WSGI, one route, no threads", "bench.load.django_app:application", SMALL,
        interface="wsgi", threads=1, closes=True, targets=(Target(Figure.CPU_OF_BEST, 1.0),),
    ),
    Scenario(
        "wsgi-sleep", f"the WSGI application sleeps 10 ms, {MANY_THREADS} threads", "bench.load.wsgi_apps:sleeping",
        SMALL, baseline=None, interface="wsgi", threads=MANY_THREADS,
        targets=(Target(Figure.RATE, MANY_THREADS * 95, at_least=True),),
    ),
    Scenario(
        "wsgi-burn", f"/health while {MANY_THREADS} threads compute", "bench.load.wsgi_apps:burning",
        (*SMALL, "--target", "/health"), connections=1, baseline=None, interface="wsgi", threads=MANY_THREADS + 1,
        beside=("--target", "/burn", "--connections", str(MANY_THREADS)), targets=(Target(Figure.P99, 50_000),),
    ),
)  # fmt: skip
