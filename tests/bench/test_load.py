"""The load benchmark measures what it says: the client counts right answers only, the harness reports what failed."""

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.load import __main__ as load
from bench.load.build import program
from bench.load.measure import Cores, Load, measure_load
from bench.load.report import Result, ratio, target_lines
from bench.load.scenarios import SCENARIOS, SMALL, Figure, Scenario, Target
from bench.load.servers import SERVERS, running
from tests.authority import needs_openssl

WEBSOCKET_SCENARIO = next(scenario for scenario in SCENARIOS if scenario.websocket)

RIGHT = b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nHello, World!"


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    program("client", folder)
    program("baseline", folder)
    return folder


def run_client(programs: Path, address: str, *arguments: str) -> dict[str, Any]:
    command = [str(programs / "client"), "--warmup", "0", "--timeout", "30", *arguments, address]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
    assert done.returncode == (1 if figures["errors"] else 0)
    return figures


@pytest.fixture
def baseline(programs: Path) -> Iterator[Callable[..., tuple[str, int]]]:
    """Starts the C server: its address and process id."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> tuple[str, int]:
        process = subprocess.Popen([str(programs / "baseline"), *arguments], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        return process.stdout.readline().split()[-1].removeprefix("http://"), process.pid

    yield start
    for process in started:
        process.kill()
        process.communicate()


class TestClientAgainstTheCServer:
    @pytest.mark.parametrize(
        ("server", "arguments", "length"),
        [
            ((), (), 13),
            ((), ("--pipeline", "16"), 13),
            ((), ("--headers", "browser"), 13),
            ((), ("--header", "X-More: yes", "--target", "/a/path"), 13),
            (("--answer", "10240"), (), 10240),
            (("--answer", "3000000"), ("--connections", "2"), 3000000),
            (("--echo",), ("--method", "POST", "--body-size", "10240"), 10240),
            (("--echo",), ("--method", "POST", "--body-size", "0"), 0),
            (("--echo",), ("--method", "POST", "--body-size", "3000000", "--connections", "2"), 3000000),
            (("--sink",), ("--method", "POST", "--body-size", "3000000", "--connections", "2"), 13),
        ],
    )
    def test_counts_every_request_once(
        self,
        programs: Path,
        baseline: Callable[..., tuple[str, int]],
        server: tuple[str, ...],
        arguments: tuple[str, ...],
        length: int,
    ) -> None:
        address, _ = baseline(*server)
        figures = run_client(
            programs, address, "--requests", "64", "--connections", "8", "--expect-length", str(length), *arguments
        )
        assert figures["requests"] == 64
        assert figures["errors"] == 0
        assert figures["connects"] == 0
        assert figures["bytes_in"] >= 64 * length
        latency = figures["latency_us"]
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"]

    def test_a_reconnecting_client_makes_a_connection_for_each_request(
        self, programs: Path, baseline: Callable[..., tuple[str, int]]
    ) -> None:
        address, _ = baseline()
        figures = run_client(programs, address, "--requests", "200", "--connections", "4", "--reconnect")
        assert (figures["requests"], figures["connects"], figures["errors"]) == (200, 200, 0)

    def test_a_unix_socket_is_served_alike(
        self, programs: Path, baseline: Callable[..., tuple[str, int]], tmp_path: Path
    ) -> None:
        address, _ = baseline("--unix", str(tmp_path / "socket"))
        assert address.startswith("unix:")
        figures = run_client(programs, address, "--requests", "100", "--connections", "4", "--expect-length", "13")
        assert (figures["requests"], figures["errors"]) == (100, 0)

    def test_a_window_of_time_reports_the_servers_own_cpu_time(
        self, programs: Path, baseline: Callable[..., tuple[str, int]]
    ) -> None:
        address, pid = baseline()
        figures = run_client(programs, address, "--duration", "0.2", "--cpu-of", str(pid))
        assert figures["requests"] > 0
        assert 0.2 <= figures["seconds"] < 20
        (process,) = figures["processes"]
        assert process["pid"] == pid
        assert 0 < process["cpu_ns"] / 1e9 <= figures["seconds"] * 1.05

    def test_idle_connections_stay_open_until_the_client_is_told_to_end(
        self, programs: Path, baseline: Callable[..., tuple[str, int]]
    ) -> None:
        address, _ = baseline()
        command = [str(programs / "client"), "--idle", "150", "--hold", address]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
            assert client.stdout is not None
            figures = json.loads(client.stdout.readline())
            assert (figures["answered_connections"], figures["errors"]) == (150, 0)
            rest, _ = client.communicate(timeout=60)
            assert json.loads(rest) == {"kept": 150}


@pytest.fixture
def serve_bytes() -> Iterator[Callable[[list[bytes], bool], str]]:
    """Starts a server that answers each request with the same pieces, one send each, and may close after it.

    With an `opening` the first request of a connection gets that instead.
    """
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(listener: socket.socket, pieces: list[bytes], closes: bool, opening: bytes) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(60)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    if opening:
                        connection.recv(65536)
                        connection.sendall(opening)
                    while connection.recv(65536):
                        for piece in pieces:
                            connection.sendall(piece)
                        if closes:
                            break
                except OSError:
                    continue

    def start(pieces: list[bytes], closes: bool, opening: bytes = b"") -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threads.append(threading.Thread(target=serve, args=(listener, pieces, closes, opening)))
        threads[-1].start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def one_at_a_time(text: bytes) -> list[bytes]:
    return [text[at : at + 1] for at in range(len(text))]


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nHello, \r\n6;x=y\r\nWorld!\r\n0\r\nA: b\r\n\r\n"


class TestClientAgainstOddAnswers:
    @pytest.mark.parametrize(
        ("pieces", "closes"),
        [
            pytest.param([RIGHT], False, id="whole"),
            pytest.param(one_at_a_time(RIGHT), False, id="byte by byte"),
            pytest.param([CHUNKED], False, id="chunked"),
            pytest.param(one_at_a_time(CHUNKED), False, id="chunked byte by byte"),
            pytest.param([b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + RIGHT], False, id="after early hints"),
            pytest.param([b"HTTP/1.1 200 OK\r\n\r\nHello, ", b"World!"], True, id="until close"),
            pytest.param([RIGHT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")], True, id="close announced"),
        ],
    )
    def test_a_right_answer_is_a_request(
        self, programs: Path, serve_bytes: Callable[[list[bytes], bool], str], pieces: list[bytes], closes: bool
    ) -> None:
        address = serve_bytes(pieces, closes)
        figures = run_client(programs, address, "--requests", "5", "--connections", "1", "--expect-length", "13")
        assert (figures["requests"], figures["errors"]) == (5, 0), figures["first_error"]

    @pytest.mark.parametrize(
        ("pieces", "closes", "kind"),
        [
            pytest.param([RIGHT.replace(b"13", b"12")[:-1]], False, "length", id="a byte short"),
            pytest.param([CHUNKED.replace(b"6;x=y\r\nWorld!", b"5\r\nWorld")], False, "length", id="a chunk short"),
            pytest.param([RIGHT.replace(b"200 OK", b"500 No")], False, "status", id="another status"),
            pytest.param([b"220 mail.example.com ESMTP\r\n\r\n"], False, "protocol", id="not HTTP"),
            pytest.param([RIGHT + b"!"], False, "protocol", id="a byte too much"),
            pytest.param([RIGHT * 2], False, "protocol", id="two answers"),
            pytest.param([CHUNKED.replace(b"7\r\n", b"5\r\n")], False, "protocol", id="a chunk longer than its size"),
            pytest.param([CHUNKED.replace(b"7\r\n", b"seven\r\n")], False, "protocol", id="no chunk size"),
            pytest.param([RIGHT.replace(b"13", b"-13")], False, "protocol", id="no content-length"),
            pytest.param([RIGHT[:-1]], True, "closed", id="closed early"),
            pytest.param([], True, "closed", id="closed at once"),
        ],
    )
    def test_a_wrong_answer_is_an_error_and_no_request(
        self,
        programs: Path,
        serve_bytes: Callable[[list[bytes], bool], str],
        pieces: list[bytes],
        closes: bool,
        kind: str,
    ) -> None:
        address = serve_bytes(pieces, closes)
        figures = run_client(
            programs, address, "--requests", "5", "--connections", "1", "--expect-length", "13", "--max-errors", "1"
        )
        assert figures["errors_by_kind"][kind] == figures["errors"] == 1, figures["first_error"]
        assert figures["first_error"].startswith(f"{kind}: ")

    def test_silence_is_a_timeout(self, programs: Path, serve_bytes: Callable[[list[bytes], bool], str]) -> None:
        address = serve_bytes([RIGHT[:-1]], False)
        figures = run_client(programs, address, "--connections", "1", "--timeout", "0.1", "--max-errors", "1")
        assert figures["errors_by_kind"]["timeout"] == figures["errors"] == 1

    def test_nobody_listening_is_a_connect_error(self, programs: Path) -> None:
        with socket.socket() as unlistened:
            unlistened.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{unlistened.getsockname()[1]}"
            figures = run_client(programs, address, "--connections", "1", "--max-errors", "1")
        assert figures["errors_by_kind"]["connect"] == figures["errors"] == 1


SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
BODY = b"abcdefghijklmnopqrstuvwxyzabcdefghijkl"
FRAME = bytes((0x81, len(BODY))) + BODY
FRAGMENTED = b"\x01\x05abcde" + b"\x89\x04ping" + b"\x80" + bytes((len(BODY) - 5,)) + BODY[5:]


class TestWebSocketClient:
    COMMAND = ("--requests", "5", "--connections", "1", "--websocket", "text", "--body-size", str(len(BODY)))

    @pytest.mark.parametrize(
        "pieces",
        [
            pytest.param([FRAME], id="whole"),
            pytest.param(one_at_a_time(FRAME), id="byte by byte"),
            pytest.param([b"\x8a\x00" + FRAME], id="after a pong"),
            pytest.param([FRAGMENTED], id="fragmented"),
            pytest.param(one_at_a_time(FRAGMENTED), id="fragmented byte by byte"),
        ],
    )
    def test_an_echo_is_a_request(self, programs: Path, serve_bytes: Callable[..., str], pieces: list[bytes]) -> None:
        figures = run_client(programs, serve_bytes(pieces, False, SWITCHED), *self.COMMAND)
        assert (figures["requests"], figures["errors"]) == (5, 0), figures["first_error"]

    @pytest.mark.parametrize(
        ("opening", "piece", "error"),
        [
            pytest.param(RIGHT, FRAME, "not upgraded", id="refused"),
            pytest.param(
                SWITCHED.replace(b"s3p", b"S3p"), FRAME, "Sec-WebSocket-Accept", id="the accept of another key"
            ),
            pytest.param(SWITCHED, b"\x82" + FRAME[1:], "another kind", id="binary for text"),
            pytest.param(SWITCHED, FRAME.replace(b"abc", b"abd", 1), "differs", id="another content"),
            pytest.param(SWITCHED, b"\x81\x05abcde", "shorter", id="short"),
            pytest.param(SWITCHED, FRAME.replace(b"&", b"'", 1) + b"m", "longer", id="long"),
            pytest.param(SWITCHED, FRAME + FRAME, "nobody asked for", id="twice"),
            pytest.param(SWITCHED, b"\xc1" + FRAME[1:], "reserved bits", id="compressed"),
            pytest.param(SWITCHED, b"\x81\xa6\0\0\0\0" + BODY, "masked", id="masked"),
            pytest.param(SWITCHED, b"\x80" + FRAME[1:], "a fragment of nothing", id="a continuation"),
            pytest.param(SWITCHED, b"\x88\x02\x03\xe8", "closes the WebSocket", id="closed"),
        ],
    )
    def test_all_else_is_an_error(
        self, programs: Path, serve_bytes: Callable[..., str], opening: bytes, piece: bytes, error: str
    ) -> None:
        figures = run_client(programs, serve_bytes([piece], False, opening), *self.COMMAND, "--max-errors", "1")
        assert figures["errors_by_kind"]["protocol"] == figures["errors"] == 1
        assert error in figures["first_error"]

    @pytest.mark.parametrize(("kind", "size"), [("text", 0), ("text", 125), ("binary", 126), ("binary", 65536)])
    def test_every_length_comes_back_from_a_server(self, programs: Path, kind: str, size: int) -> None:
        with running(SERVERS["uvicorn"], WEBSOCKET_SCENARIO, None) as server:
            figures = run_client(
                programs, server.address, "--requests", "40", "--connections", "4", "--pipeline", "2",
                "--websocket", kind, "--body-size", str(size),
            )  # fmt: skip
        assert (figures["requests"], figures["errors"], figures["connects"]) == (40, 0, 0), figures["first_error"]


class TestHarness:
    SHORT = ("--rounds", "1", "--seconds", "0.5", "--warmup", "0.1")

    def test_prints_a_table_and_writes_the_figures(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        output = tmp_path / "results" / "load.json"
        arguments = ["--server", "c", "--scenario", "small", "--scenario", "sleep", *self.SHORT]
        assert load.main([*arguments, "--json", str(output)]) == 0
        assert "GET, 13-byte answer, 64 connections [small]" in capsys.readouterr().out
        written = json.loads(output.read_text())
        assert written["machine"]["python"].endswith(sys.version.split()[0])
        small, sleep = written["scenarios"]
        assert small["servers"]["c"]["cpu_us"] > 0
        assert small["servers"]["c"]["of_c"]["middle"] == 1
        assert sleep["servers"] == {}

    @needs_openssl
    def test_over_tls(self, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ["--server", "fastserve", "--scenario", "tls", "--rounds", "1"]
        assert load.main([*arguments, "--seconds", "0.5", "--warmup", "0.5"]) == 0, capsys.readouterr().out

    def test_a_server_that_does_not_start_is_reported_with_what_it_said(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert load.main(["--server", "c --nonsense", "--scenario", "small", *self.SHORT]) == 1
        printed = capsys.readouterr().out
        assert "c --nonsense FAILED: c --nonsense ended with 2 before it listened" in printed
        assert "baseline [--port N" in printed

    def test_an_unknown_server_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            load.main(["--server", "apache"])
        assert "choose from fastserve, uvicorn, c" in capsys.readouterr().err

    def test_scenario_names_are_unique(self) -> None:
        assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)


def load_of(cpu_us: float, user_ticks: int = 30, system_ticks: int = 70) -> Load:
    return Load(
        requests=1000, seconds=1.0, cpu_us=cpu_us, user_ticks=user_ticks, system_ticks=system_ticks, busy=1.0,
        waiting=0.0, client_busy=1.0, client_waiting=0.0, rate=1e6 / cpu_us, p50_us=1.0, p90_us=2.0, p99_us=3.0,
        max_us=4.0, errors=0, first_error="",
    )  # fmt: skip


class TestReport:
    def test_a_ratio_is_the_median_of_the_rounds_in_which_both_were_measured(self) -> None:
        mine = Result(loads=[load_of(8), load_of(9), None, load_of(30)])
        theirs = Result(loads=[load_of(20), load_of(20), load_of(20), load_of(40)])
        found = ratio(mine, theirs, "cpu_us")
        assert found is not None
        assert (found.low, found.middle, found.high) == (0.4, 0.45, 0.75)

    def test_a_target_is_met_missed_or_not_measured(self) -> None:
        targets = (Target(Figure.CPU_OF_UVICORN, 0.45), Target(Figure.USER, 2.0), Target(Figure.CPU_OF_C, 1.5))
        scenario = Scenario("x", "x", "m:a", targets=targets)
        row = {"fastserve": Result(loads=[load_of(8)]), "uvicorn": Result(loads=[load_of(20)])}
        assert target_lines({"x": row}, scenario) == [
            "target for fastserve: ≤ 0.45 of uvicorn's CPU: 0.40, met",
            "target for fastserve: ≤ 2 µs of user time: 2.40, MISSED by 20%",
            "target for fastserve: ≤ 1.5 × the C loop's CPU: not measured",
        ]

    def test_the_best_of_the_others_is_the_one_to_beat(self) -> None:
        scenario = Scenario("x", "x", "m:a", targets=(Target(Figure.CPU_OF_BEST, 1.0), Target(Figure.P99, 2.0)))
        row = {
            name: Result(loads=[load_of(cpu)]) for name, cpu in (("fastserve", 8), ("slow", 20), ("best", 5), ("c", 1))
        }
        assert target_lines({"x": row}, scenario) == [
            "target for fastserve: ≤ 1 of the CPU of the best of the others: 1.60, MISSED by 60%",
            "target for fastserve: ≤ 2 µs in the 99th percentile: 3.00, MISSED by 50%",
        ]
        del row["slow"], row["best"]
        assert target_lines({"x": row}, scenario)[0].endswith("not measured")


def test_every_server_has_a_command_or_none_for_every_scenario() -> None:
    for scenario in SCENARIOS:
        commands = {name: server.command(scenario) for name, server in SERVERS.items() if name != "c"}
        assert commands["fastserve"]
        if scenario.interface == "wsgi":
            assert commands["uvicorn"] is None
            assert (commands["bjoern"] is not None) == (scenario.threads == 1)


def test_the_load_beside_is_there_and_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[list[str], subprocess.Popen[str]]] = []
    popen = subprocess.Popen

    def note(command: list[str], **options: Any) -> subprocess.Popen[str]:
        started.append((command, popen(command, **options)))
        return started[-1][1]

    monkeypatch.setattr(subprocess, "Popen", note)
    scenario = Scenario("x", "x", "", SMALL, connections=1, beside=("--target", "/beside", "--connections", "3"))
    load = measure_load(SERVERS["c"], scenario, Cores(None, None), 0.2, 0.0)
    assert load.requests
    assert not load.errors
    (beside, process), (measured, _) = [pair for pair in started if "--connections" in pair[0]]
    assert "/beside" in beside
    assert "/beside" not in measured
    # It went on for as long as there was something to measure, and not a moment longer.
    assert process.returncode == -signal.SIGKILL
