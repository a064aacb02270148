"""The soak counts what it says: every way for a request to fail is told apart, and excused by proof only."""

import asyncio
import dataclasses
import json
import socket
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bench.soak import __main__ as soak
from bench.soak.accounts import Cause, Kill, Run, inconsistencies, judge, read_diaries
from bench.soak.app import Diary
from bench.soak.client import Client, Outcome, Record, User
from bench.soak.report import scenario_text
from bench.soak.run import Result, Soak, longest_gap, run
from bench.soak.scenarios import SCENARIOS
from bench.soak.servers import FASTSERVE, RECYCLE_AFTER, SERVERS, Feature, connections_of, execute

WORKER = 4711


def right(request: str, worker: int = WORKER) -> bytes:
    body = f"{worker} {request} ....".encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


Behaviour = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


async def answers(request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(right(request))


async def answers_by_another_worker(request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(right(request, WORKER + 1))


async def answers_slowly(request: str, writer: asyncio.StreamWriter) -> None:
    for byte in right(request):
        writer.write(bytes([byte]))
        await asyncio.sleep(0)


async def announces_the_end(request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(right(request).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    writer.close()


async def answers_and_closes(request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(right(request))
    writer.close()


async def closes(request: str, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def resets(request: str, writer: asyncio.StreamWriter) -> None:
    reset(writer)


async def breaks_off(request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(right(request)[:-1])
    writer.close()


async def breaks_off_in_the_head(request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(right(request)[:20])
    writer.close()


async def is_unavailable(request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")


async def answers_somebody_else(request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(right(request + "0"))


async def answers_too_much(request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(right(request) + b"!")


async def tells_no_length(request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(right(request).replace(b"Content-Length", b"Content-Size"))


async def is_silent(request: str, writer: asyncio.StreamWriter) -> None:
    pass


async def stalls(request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(right(request)[:-1])


def reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def converse(behaviours: list[Behaviour], user: User, requests: int) -> Client:
    """One user against a server that does for each request the next of `behaviours`, and answers after the last.

    The user is in a hurry only where no answer is to come.
    """

    async def both() -> Client:
        todo = iter(behaviours)
        patience = iter([0.2 if behaviour in (is_silent, stalls) else 60.0 for behaviour in behaviours])
        writers: list[asyncio.StreamWriter] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            while not writer.is_closing():
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except (asyncio.IncompleteReadError, OSError):
                    break
                client.timeout = next(patience, 60.0)
                await next(todo, answers)(head.split(b" ")[1][1:].decode(), writer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        client = Client(server.sockets[0].getsockname(), [user], next(patience, 60.0))
        async with server:
            await client.run(requests)
            for writer in writers:
                writer.close()
            await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)
        return client

    return asyncio.run(both())


class TestClient:
    @pytest.mark.parametrize("user", [User.BUSY, User.RECONNECTING])
    @pytest.mark.parametrize("behaviour", [answers, answers_slowly, announces_the_end, answers_and_closes])
    def test_a_right_answer_is_no_failure(self, user: User, behaviour: Behaviour) -> None:
        client = converse([behaviour] * 3, user, 3)
        assert [record.outcome for record in client.records] == [Outcome.ANSWERED] * 3
        assert len({record.request for record in client.records}) == 3
        assert all(record.worker == WORKER and record.began <= record.ended for record in client.records)

    @pytest.mark.parametrize(
        ("behaviour", "outcome"),
        [
            (closes, Outcome.CLOSED),
            (resets, Outcome.RESET),
            (breaks_off, Outcome.TRUNCATED),
            (breaks_off_in_the_head, Outcome.TRUNCATED),
            (is_unavailable, Outcome.STATUS),
            (answers_somebody_else, Outcome.WRONG),
            (answers_too_much, Outcome.WRONG),
            (tells_no_length, Outcome.WRONG),
            (is_silent, Outcome.TIMEOUT),
            (stalls, Outcome.TIMEOUT),
        ],
    )
    @pytest.mark.parametrize("user", [User.BUSY, User.RECONNECTING])
    def test_each_failure_has_its_name(self, user: User, behaviour: Behaviour, outcome: Outcome) -> None:
        client = converse([answers, behaviour, answers], user, 3)
        first, failed, after = client.records
        assert (first.outcome, failed.outcome, after.outcome) == (Outcome.ANSWERED, outcome, Outcome.ANSWERED)
        assert failed.worker == 0
        assert after.connection != failed.connection

    def test_nobody_listening_is_refused(self) -> None:
        with socket.socket() as unlistened:
            unlistened.bind(("127.0.0.1", 0))
            client = Client(unlistened.getsockname(), [User.RECONNECTING])
            asyncio.run(client.run(2))
        assert [record.outcome for record in client.records] == [Outcome.REFUSED] * 2

    def test_a_record_tells_its_connections_past(self) -> None:
        first, second, third = converse([answers, answers_by_another_worker, closes], User.BUSY, 3).records
        assert (first.served, first.before) == (0, 0)
        assert (second.served, second.before, second.worker) == (1, WORKER, WORKER + 1)
        assert (third.served, third.before, third.worker) == (2, WORKER + 1, 0)
        assert first.connection == second.connection == third.connection
        assert first.opened == third.opened == first.began
        assert third.connection.startswith("127.0.0.")

    def test_a_reconnecting_user_has_a_connection_for_each_request(self) -> None:
        client = converse([], User.RECONNECTING, 5)
        assert len({record.connection for record in client.records}) == 5
        assert all(record.served == 0 for record in client.records)

    def test_a_connection_closed_between_requests_is_told_apart_from_a_lost_request(self) -> None:
        client = converse([answers_and_closes], User.BUSY, 2)
        assert [record.outcome for record in client.records] == [Outcome.ANSWERED] * 2
        assert client.idle_ends == {"closed": 1}
        assert client.records[0].connection != client.records[1].connection

    def test_a_connection_that_was_announced_to_end_is_not_reused(self) -> None:
        client = converse([announces_the_end], User.BUSY, 2)
        assert client.idle_ends == {}
        assert client.records[1].served == 0

    def test_records_survive_their_way_to_the_harness(self) -> None:
        for record in converse([answers, closes], User.BUSY, 2).records:
            assert Record.from_row(json.loads(json.dumps(record.as_row()))) == record

    def test_a_stopped_client_finishes_the_requests_under_way(self) -> None:
        client = None

        async def stops(request: str, writer: asyncio.StreamWriter) -> None:
            assert client is not None
            client.stop()
            await answers_slowly(request, writer)

        async def both() -> None:
            nonlocal client

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                head = await reader.readuntil(b"\r\n\r\n")
                await stops(head.split(b" ")[1][1:].decode(), writer)
                writer.close()

            async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
                client = Client(server.sockets[0].getsockname(), [User.PAUSING])
                await client.run()

        asyncio.run(both())
        assert client is not None
        assert [record.outcome for record in client.records] == [Outcome.ANSWERED]


def lost(outcome: Outcome = Outcome.RESET, began: float = 9.9, ended: float = 10.1, opened: float = 9.0) -> Record:
    return Record("r", User.BUSY, outcome, "", began, ended, "127.0.0.3:1000", opened, 3, 0, WORKER)


KILL = Kill(10.0, WORKER, frozenset({"127.0.0.3:1000"}))
ELSEWHERE = Kill(10.0, WORKER, frozenset({"127.0.0.3:1001"}))


class TestJudge:
    @pytest.mark.parametrize(
        ("record", "runs", "kill"),
        [
            pytest.param(lost(), [Run(WORKER, 9.9, None)], KILL, id="begun"),
            pytest.param(lost(Outcome.TRUNCATED), [Run(WORKER, 9.9, None)], KILL, id="begun and partly answered"),
            pytest.param(lost(), [Run(WORKER, 9.9, 9.99)], KILL, id="ended just before"),
            pytest.param(lost(), [Run(WORKER, 9.9, None)], ELSEWHERE, id="the diary is proof enough"),
        ],
    )
    def test_what_ran_in_a_killed_worker_is_put_down_to_it(self, record: Record, runs: list[Run], kill: Kill) -> None:
        failure = judge(record, runs, [Kill(5.0, 1, frozenset()), kill], None)
        assert (failure.cause, failure.worker) == (Cause.RUNNING, WORKER)
        assert f"worker {WORKER}" in str(failure)

    def test_what_a_killed_worker_had_not_begun_is_a_class_of_its_own(self) -> None:
        failure = judge(lost(), [], [KILL], None)
        assert (failure.cause, failure.worker) == (Cause.NOT_BEGUN, WORKER)

    @pytest.mark.parametrize(
        ("record", "runs", "kills"),
        [
            pytest.param(lost(), [], [], id="nobody was killed"),
            pytest.param(lost(), [], [ELSEWHERE], id="the killed worker did not hold the connection"),
            pytest.param(lost(opened=10.01, began=10.01), [], [KILL], id="the connection is younger than the kill"),
            pytest.param(lost(ended=9.95), [], [KILL], id="it failed before the kill"),
            pytest.param(lost(ended=9.95), [Run(WORKER, 9.9, None)], [KILL], id="it failed while running"),
            pytest.param(lost(), [Run(WORKER, 8.0, 8.5)], [KILL], id="it had long ended"),
            pytest.param(lost(), [Run(WORKER + 1, 9.9, None)], [KILL], id="another worker ran it"),
            pytest.param(lost(Outcome.TIMEOUT, ended=20.0), [Run(WORKER, 9.9, None)], [KILL], id="the client hung"),
        ],
    )
    def test_whatever_is_not_proven_is_unexplained(self, record: Record, runs: list[Run], kills: list[Kill]) -> None:
        assert judge(record, runs, kills, None).cause is Cause.UNEXPLAINED

    @pytest.mark.parametrize(
        ("outcome", "opened", "cause"),
        [
            (Outcome.REFUSED, 10.5, Cause.AFTER_STOP),
            (Outcome.RESET, 10.5, Cause.AFTER_STOP),
            (Outcome.CLOSED, 10.5, Cause.AFTER_STOP),
            (Outcome.TRUNCATED, 10.5, Cause.UNEXPLAINED),
            (Outcome.STATUS, 10.5, Cause.UNEXPLAINED),
            (Outcome.TIMEOUT, 10.5, Cause.UNEXPLAINED),
            (Outcome.CLOSED, 9.5, Cause.UNEXPLAINED),
        ],
    )
    def test_a_stopping_server_may_turn_new_connections_away_only(
        self, outcome: Outcome, opened: float, cause: Cause
    ) -> None:
        record = lost(outcome, began=10.6, ended=10.7, opened=opened)
        assert judge(record, [], [], 10.0).cause is cause

    def test_a_request_that_ran_was_not_turned_away(self) -> None:
        record = lost(Outcome.CLOSED, began=10.6, ended=10.7, opened=10.6)
        assert judge(record, [Run(WORKER, 10.6, None)], [], 10.0).cause is Cause.UNEXPLAINED


class TestDiaries:
    def test_are_read_as_they_were_written(self, tmp_path: Path) -> None:
        diary = Diary(tmp_path)
        diary.note("begin", "a")
        diary.note("begin", "b")
        diary.note("end", "a")
        runs = read_diaries(tmp_path)
        ((a,), (b,)) = runs["a"], runs["b"]
        assert a.ended is not None
        assert a.began <= b.began <= a.ended
        assert b.ended is None

    def test_contradictions_are_found(self) -> None:
        record = dataclasses.replace(lost(Outcome.ANSWERED), worker=WORKER)
        mine = Run(WORKER, 9.9, 10.0)
        assert inconsistencies([record], {"r": [mine]}) == []
        assert inconsistencies([record], {}) == ["r was answered by 4711, but ran in []"]
        assert inconsistencies([record], {"r": [Run(1, 9.9, 10.0)]}) == ["r was answered by 4711, but ran in [1]"]
        assert inconsistencies([lost()], {"r": [mine, mine]}) == ["r ran 2 times, in 4711, 4711"]


class TestExecution:
    HOLDER = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
held = [listener.accept()[0] for _ in range(2)]
print("held", flush=True)
listener.accept()
"""

    def test_tells_the_connections_that_the_process_held(self) -> None:
        with subprocess.Popen([sys.executable, "-c", self.HOLDER], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            clients = [
                socket.create_connection(("127.0.0.1", port), source_address=(f"127.0.0.{n}", 0)) for n in (2, 3)
            ]
            try:
                assert process.stdout.readline() == "held\n"
                ends = {":".join(map(str, client.getsockname())) for client in clients}
                assert connections_of(process.pid, port) == ends
                _, held = execute(process.pid, port)
                assert held == ends
                assert process.wait(60) == -9
            finally:
                for client in clients:
                    client.close()


class TestServers:
    def test_recycling_is_asked_for_where_it_is_meant(self) -> None:
        commands = {
            name: server.server(2, Feature.RECYCLE).arguments(SCENARIOS[0])  # type: ignore[arg-type]
            for name, server in SERVERS.items()
        }
        for name, command in commands.items():
            assert command is not None
            assert (str(RECYCLE_AFTER) in command) == (Feature.RECYCLE in SERVERS[name].features)

    def test_an_unknown_server_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            soak.main(["--server", "apache"])
        assert "choose from fastserve, uvicorn" in capsys.readouterr().err


class TestReport:
    def test_the_longest_gap_reaches_from_the_begin_to_the_end(self) -> None:
        records = [lost(Outcome.ANSWERED, ended=ended) for ended in (3.0, 1.0, 4.0)]
        assert longest_gap(records, 0.0, 4.5) == 2.0
        assert longest_gap(records, 0.5, 9.0) == 5.0
        assert longest_gap([lost(ended=3.0)], 0.0, 9.0) == 9.0

    def test_names_the_requests_that_died_with_their_worker(self) -> None:
        result = Result(requests=9, failures=[judge(lost(), [Run(WORKER, 9.9, None)], [KILL], None)], latencies=[0.02])
        text = scenario_text(SCENARIOS[0], {FASTSERVE: result, "other": None, "third": "did not start"})
        assert f"running in killed workers: r in {WORKER}" in text
        assert [line.split() for line in text.splitlines()].count(["other", "n/a"]) == 1
        assert "third FAILED: did not start" in text
        assert result.is_flawless()

    def test_a_lost_request_is_shown_with_all_that_is_known(self) -> None:
        result = Result(requests=9, failures=[judge(lost(Outcome.CLOSED), [], [], None)])
        text = scenario_text(SCENARIOS[0], {FASTSERVE: result})
        assert "fastserve UNEXPLAINED: 1 closed without a byte" in text
        assert "connection 127.0.0.3:1000, 0.900 s old, 3 answered on it before, the last by 4711" in text
        assert not result.is_flawless()


class TestHarness:
    SHORT = Soak(seconds=2.0, workers=2, users={User.BUSY: 8, User.RECONNECTING: 4}, timeout=20.0)

    def test_counts_a_quiet_run_and_writes_it_down(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        output = tmp_path / "results" / "soak.json"
        arguments = ["--server", "uvicorn", "--scenario", "steady", "--workers", "2", "--seconds", "2", "--users", "2"]
        assert soak.main([*arguments, "--json", str(output), "--logs", str(tmp_path)]) == 0
        assert "nothing is done [steady]" in capsys.readouterr().out
        (scenario,) = json.loads(output.read_text())["scenarios"]
        figures = scenario["servers"]["uvicorn"]
        assert figures["requests"] > 10
        assert sum(figures["failures"].values()) == 0
        assert (figures["problems"], figures["contradictions"]) == ([], [])
        assert 0 < figures["seconds"]["p50"] <= figures["seconds"]["max"]
        assert "Uvicorn running" in (tmp_path / "steady-uvicorn.log").read_text()

    def test_what_a_killed_worker_takes_with_it_is_explained(self) -> None:
        (scenario,) = (scenario for scenario in SCENARIOS if scenario.name == "kill")
        result = run(SERVERS["uvicorn"], scenario, self.SHORT)
        assert result.notes == ["2 workers killed"]
        # How many there are is uvicorn's affair: one of its workers may hold all connections.
        assert {failure.cause for failure in result.failures} <= {Cause.RUNNING, Cause.NOT_BEGUN}
        assert len({failure.worker for failure in result.failures}) <= 2
        assert result.is_flawless(), result.contradictions + result.problems

    def test_a_server_that_does_not_start_is_reported_with_what_it_said(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert soak.main(["--server", "fastserve --nonsense", "--scenario", "steady"]) == 1
        assert "fastserve --nonsense FAILED" in capsys.readouterr().out
