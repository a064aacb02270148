"""The end of a worker as its connections see it: handed on to another worker, or closed in good time."""

import pytest

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
LAST = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello"


class Taker:
    """Another worker, as a stream that can be handed on sees it."""

    def __init__(self, willing=True):
        self.willing = willing
        self.asked = []

    def __call__(self, fresh):
        self.asked.append(fresh)
        return self.willing


def reply(exchange):
    exchange.start(200, [(b"content-length", b"5")])
    exchange.body(b"hello")


# --- closing


def test_without_grace_idle_connections_close_at_once(bench, answer):
    b = bench(answer())
    fresh, idle = b.connect(), b.connect()
    idle.feed(GET)
    b.worker.drain()
    assert fresh.closed
    assert idle.closed


def test_who_was_idle_for_longer_than_the_grace_closes_at_once(bench, answer):
    b = bench(answer())
    old, young = b.connect(), b.connect()
    old.feed(GET)
    b.pass_time(2)
    young.feed(GET)
    b.worker.drain(idle_grace=1.0)
    assert old.closed
    assert not young.closed
    b.pass_time(0.7)
    assert not young.closed
    b.pass_time(0.3)
    assert young.closed
    assert not young.aborted


def test_a_request_in_the_grace_is_the_last(bench, answer):
    b = bench(answer())
    stream = b.connect()
    stream.feed(GET)
    b.worker.drain(idle_grace=1.0)
    b.pass_time(0.5)
    stream.feed(GET)
    assert stream.take() == OK + LAST
    assert stream.closed


def test_a_new_connection_in_the_grace_is_served_once(bench, answer):
    b = bench(answer())
    b.worker.drain(idle_grace=1.0)
    asking, silent = b.connect(), b.connect()
    asking.feed(GET)
    assert asking.take() == LAST
    assert asking.closed
    assert not silent.closed
    b.pass_time(1.1)
    assert silent.closed


def test_keep_alive_that_ends_before_the_grace_stays(bench, answer):
    b = bench(answer(), timeout_keep_alive=0.5)
    stream = b.connect()
    stream.feed(GET)
    b.worker.drain(idle_grace=60.0)
    b.pass_time(0.7)
    assert stream.closed


def test_response_whose_head_is_on_its_way_earns_the_grace(bench):
    b = bench()
    stream = b.connect()
    stream.feed(GET)
    exchange = b.calls[0]
    exchange.start(200, [(b"content-length", b"5")])
    exchange.body(b"he", more=True)
    b.loop.run()
    b.worker.drain(idle_grace=1.0)
    exchange.body(b"llo")
    b.loop.run()
    assert stream.take() == OK
    assert not stream.closed
    stream.feed(GET)
    reply(b.calls[1])
    b.loop.run()
    assert stream.take() == LAST
    assert stream.closed


def test_response_that_has_not_begun_is_the_last(bench):
    b = bench()
    stream = b.connect()
    stream.feed(GET)
    b.worker.drain(idle_grace=1.0)
    reply(b.calls[0])
    b.loop.run()
    assert stream.take() == LAST
    assert stream.closed


def test_half_a_head_is_waited_for(bench, answer):
    b = bench(answer())
    stream = b.connect()
    stream.feed(GET[:-3])
    b.worker.drain(idle_grace=1.0)
    b.pass_time(3)
    assert not stream.closed
    stream.feed(GET[-3:])
    assert stream.take() == LAST
    assert stream.shut


def test_request_that_waits_in_the_kernel_is_answered(bench, answer):
    b = bench(answer())
    stream = b.connect()
    stream.feed(GET)
    stream.take()
    b.pass_time(2)
    stream.unread = True
    b.worker.drain(idle_grace=1.0)
    assert not stream.closed
    stream.unread = False
    stream.feed(GET)
    assert stream.take() == LAST
    assert stream.closed


def test_request_that_waits_in_the_kernel_when_keep_alive_ends_is_answered(bench, answer):
    b = bench(answer())
    stream = b.connect()
    stream.feed(GET)
    stream.unread = True
    b.pass_time(6)
    assert not stream.closed
    stream.unread = False
    stream.feed(GET)
    assert stream.take() == OK + OK
    b.pass_time(6)
    assert stream.closed


# --- handing on


def test_idle_and_fresh_connections_are_handed_on_at_once(bench, answer):
    b = bench(answer())
    fresh, idle = b.connect(), b.connect()
    fresh.taker, idle.taker = Taker(), Taker()
    idle.feed(GET)
    b.worker.drain(hand_on=True)
    assert fresh.handed_on
    assert idle.handed_on
    assert (fresh.taker.asked, idle.taker.asked) == ([True], [False])
    assert not fresh.closed
    assert not idle.closed
    told = []
    b.worker.on_idle = lambda: told.append(True)
    fresh.lose()
    idle.lose()
    assert told == [True]


def test_what_came_from_another_worker_is_not_fresh_again(bench, answer):
    b = bench(answer(), timeout_header=10.0, timeout_keep_alive=3.0)
    resting, fresh = b.connect(resumed=True), b.connect()
    b.pass_time(3.1)
    assert resting.closed
    assert not fresh.closed
    moved = b.connect(resumed=True)
    moved.taker = Taker()
    b.worker.drain(hand_on=True)
    assert moved.taker.asked == [False]


def test_running_request_finishes_and_then_its_connection_is_handed_on(bench):
    b = bench()
    stream = b.connect()
    stream.taker = Taker()
    stream.feed(GET)
    b.worker.drain(hand_on=True)
    assert not stream.handed_on
    reply(b.calls[0])
    b.loop.run()
    assert stream.take() == OK
    assert stream.handed_on
    assert not stream.closed


def test_pipelined_requests_are_all_answered_before(bench, answer):
    b = bench()
    stream = b.connect()
    stream.taker = Taker()
    stream.feed(GET * 3)
    b.worker.drain(hand_on=True)
    for number in range(3):
        assert not stream.handed_on
        reply(b.calls[number])
        b.loop.run()
    assert stream.take() == OK * 3
    assert stream.handed_on


def test_half_a_head_is_answered_here(bench, answer):
    b = bench(answer())
    stream = b.connect()
    stream.taker = Taker()
    stream.feed(GET[:10])
    b.worker.drain(hand_on=True)
    b.pass_time(1)
    assert stream.taker.asked == []
    stream.feed(GET[10:] + GET[:5])
    assert stream.take() == OK
    assert not stream.handed_on
    stream.feed(GET[5:])
    assert stream.take() == OK
    assert stream.handed_on


def test_body_that_is_still_coming_is_waited_for(bench, answer):
    b = bench(answer())
    stream = b.connect()
    stream.taker = Taker()
    stream.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
    assert stream.take() == OK
    b.worker.drain(hand_on=True)
    assert not stream.handed_on
    stream.feed(b"67890")
    assert stream.handed_on


def test_output_leaves_first(bench, answer):
    b = bench(answer(b"x" * 1000))
    stream = b.connect(capacity=100)
    stream.taker = Taker()
    stream.feed(GET)
    b.worker.drain(hand_on=True)
    b.pass_time(1)
    assert stream.taker.asked == []
    stream.drain()
    assert stream.handed_on
    assert len(stream.take()) > 1000


def test_where_nobody_takes_it_it_is_served_on_and_asked_again(bench, answer):
    b = bench(answer())
    stream = b.connect()
    stream.taker = Taker(willing=False)
    stream.feed(GET)
    b.worker.drain(hand_on=True)
    assert len(stream.taker.asked) == 1
    b.pass_time(1)
    assert 8 <= len(stream.taker.asked) <= 13
    stream.feed(GET)
    assert stream.take() == OK + OK
    stream.taker.willing = True
    b.pass_time(0.1)
    assert stream.handed_on


def test_who_is_not_taken_closes_when_that_is_the_end(bench, answer):
    b = bench(answer())
    stream = b.connect()
    stream.taker = Taker(willing=False)
    stream.feed(GET)
    b.worker.drain(hand_on=True)
    b.pass_time(2)
    b.worker.drain(idle_grace=1.0)
    assert stream.closed


def test_keep_alive_ends_while_nobody_takes_it(bench, answer):
    b = bench(answer(), timeout_keep_alive=2.0)
    stream = b.connect()
    stream.taker = Taker(willing=False)
    stream.feed(GET)
    b.worker.drain(hand_on=True)
    b.pass_time(2.1)
    assert stream.closed


def test_streams_that_cannot_move_close_as_always_or_with_their_next_response(bench, answer):
    b = bench(answer(), timeout_keep_alive=2.0)
    asking, silent = b.connect(), b.connect()
    asking.feed(GET)
    silent.feed(GET)
    b.worker.drain(hand_on=True)
    b.pass_time(1)
    assert not asking.closed
    asking.feed(GET)
    assert asking.take() == OK + LAST
    assert asking.closed
    assert not silent.closed
    b.pass_time(1.1)
    assert silent.closed


def test_who_has_been_handed_on_is_left_alone(bench, answer):
    """Until the stream says that it is gone, ticks and steps of the stop go on."""
    b = bench(answer())
    stream = b.connect()
    stream.taker = Taker()
    stream.feed(GET)
    stream.take()
    b.worker.drain(hand_on=True)
    b.worker.drain(idle_grace=0.0)
    b.pass_time(30)
    assert stream.taker.asked == [False]
    assert not stream.closed
    assert stream.take() == b""


def test_client_that_has_ended_its_half_is_not_handed_on(bench):
    b = bench()
    stream = b.connect()
    stream.taker = Taker()
    stream.feed(GET)
    stream.end()
    b.worker.drain(hand_on=True)
    reply(b.calls[0])
    b.loop.run()
    assert stream.take() == OK
    assert stream.closed
    assert stream.taker.asked == []


def test_one_that_fails_does_not_hold_up_the_others(bench, answer, caplog):
    def broken(fresh):
        raise OSError("broken")

    b = bench(answer())
    streams = [b.connect() for _ in range(5)]
    for stream in streams:
        stream.taker = Taker()
    streams[2].taker = broken
    b.worker.drain(hand_on=True)
    assert [stream.handed_on for stream in streams] == [True, True, False, True, True]
    assert streams[2].aborted
    assert "broken" in caplog.text


@pytest.mark.parametrize("grace", [0.0, 1.0])
def test_a_worker_without_connections_is_idle_at_once(bench, grace):
    b = bench()
    told = []
    b.worker.on_idle = lambda: told.append(True)
    b.worker.drain(hand_on=True, idle_grace=grace)
    assert told == [True]
