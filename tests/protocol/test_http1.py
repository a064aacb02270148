"""HTTP/1.1 connections, seen from the wire: what goes in, what comes out, and when."""

import re

import pytest
from tests.protocol._upgrade_probe import EchoUpgrade

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


def parse(wire: bytes) -> list[tuple[int, dict[bytes, bytes], bytes]]:
    """Split what a server sent into (status, fields, body); bodies by Content-Length or chunked only."""
    responses = []
    while wire:
        head, _, wire = wire.partition(b"\r\n\r\n")
        line, *rest = head.split(b"\r\n")
        fields = dict(field.split(b": ", 1) for field in rest)
        status = int(line.split(b" ")[1])
        body = b""
        if b"content-length" in fields:
            size = int(fields[b"content-length"])
            body, wire = wire[:size], wire[size:]
        elif fields.get(b"transfer-encoding") == b"chunked":
            while True:
                size_text, _, wire = wire.partition(b"\r\n")
                size = int(size_text, 16)
                if size == 0:
                    assert wire.startswith(b"\r\n")
                    wire = wire[2:]
                    break
                body += wire[:size]
                assert wire[size : size + 2] == b"\r\n"
                wire = wire[size + 2 :]
        responses.append((status, fields, body))
    return responses


# --- requests and their responses


def test_answers_and_keeps_the_connection(bench, answer):
    stream = bench(answer()).connect()
    stream.feed(GET)
    assert stream.take() == OK
    assert not stream.closed
    stream.feed(GET)
    assert stream.take() == OK


def test_request_reaches_the_handler_whole(bench, answer):
    b = bench(answer())
    stream = b.connect()
    stream.feed(b"PUT /a%20b/c?q=1&r HTTP/1.1\r\nHost: example.org\r\nX-Tag:  two words \r\nX-Tag: again\r\n\r\n")
    request = b.calls[0].request
    assert request.method == "PUT"
    assert request.target == b"/a%20b/c?q=1&r"
    assert request.raw_path == b"/a%20b/c"
    assert request.query == b"q=1&r"
    assert request.http_version == "1.1"
    assert request.fields == [(b"host", b"example.org"), (b"x-tag", b"two words"), (b"x-tag", b"again")]
    assert request.request_complete


@pytest.mark.parametrize("split", range(1, len(GET)))
def test_head_in_two_reads(bench, answer, split):
    stream = bench(answer()).connect()
    stream.feed(GET[:split])
    assert stream.take() == b""
    stream.feed(GET[split:])
    assert stream.take() == OK


def test_pipelined_requests_leave_in_one_send_and_in_order(bench):
    def echo(exchange):
        path = exchange.request.raw_path
        exchange.start(200, [(b"content-length", b"%d" % len(path))])
        exchange.body(path)

    stream = bench(echo).connect()
    stream.feed(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(16)))
    assert [body for _, _, body in parse(stream.take())] == [b"/%d" % number for number in range(16)]
    assert stream.writes == 1


def test_pipelined_request_waits_for_the_response_before_it(bench):
    b = bench()
    stream = b.connect()
    stream.feed(GET + GET)
    assert len(b.calls) == 1
    b.calls[0].start(200, [(b"content-length", b"1")])
    b.calls[0].body(b"1")
    assert parse(stream.take())[0][2] == b"1"
    b.loop.run()
    assert len(b.calls) == 2
    b.calls[1].start(200, [(b"content-length", b"1")])
    b.calls[1].body(b"2")
    assert parse(stream.take())[0][2] == b"2"


def test_pipelining_without_reading_stops_the_server(bench, answer):
    b = bench(answer(b"x" * 1000))
    stream = b.connect(capacity=5000)
    for _ in range(100):
        stream.feed(GET * 100)
        if stream.paused:
            break
    assert stream.paused
    assert stream.waiting < 200_000
    answered = len(b.calls)
    assert answered < 1000
    while stream.waiting:
        stream.capacity = None
        stream.drain()
    assert len(b.calls) > answered
    assert not stream.paused
    stream.feed(GET)
    assert all(status == 200 for status, _, _ in parse(stream.take()))


def test_http10_closes(bench, answer):
    stream = bench(answer()).connect()
    stream.feed(b"GET / HTTP/1.0\r\n\r\n")
    assert stream.take() == OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    assert stream.closed


def test_http10_keep_alive(bench, answer):
    stream = bench(answer()).connect()
    stream.feed(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert parse(stream.take())[0][1][b"connection"] == b"keep-alive"
    assert not stream.closed


def test_http10_body_without_length_ends_with_the_connection(bench):
    def unbounded(exchange):
        exchange.start(200, [])
        exchange.body(b"one", more=True)
        exchange.body(b"two")

    stream = bench(unbounded).connect()
    stream.feed(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert stream.take() == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nonetwo"
    assert stream.closed


def test_connection_close_from_the_client(bench, answer):
    stream = bench(answer()).connect()
    stream.feed(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert parse(stream.take())[0][1][b"connection"] == b"close"
    assert stream.closed


@pytest.mark.parametrize("value", [b"close", b"CLOSE", b"x-a, Close"])
def test_connection_close_from_the_application(bench, answer, value):
    stream = bench(answer(b"hello", 200, (b"Connection", value))).connect()
    stream.feed(GET)
    wire = stream.take()
    assert wire.count(b"connection: ") == 1
    assert stream.closed


def test_chunked_response(bench):
    def chunks(exchange):
        exchange.start(200, [])
        exchange.body(b"abc", more=True)
        exchange.body(b"x" * 26, more=True)
        exchange.body(b"")

    stream = bench(chunks).connect()
    stream.feed(GET)
    assert stream.take() == (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1a\r\n" + b"x" * 26 + b"\r\n0\r\n\r\n"
    )


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 304)])
def test_responses_without_a_body_keep_their_length(bench, method, status):
    def respond(exchange):
        exchange.start(status, [(b"content-length", b"5")])
        exchange.body(b"hello" if method == b"HEAD" else b"")

    stream = bench(respond).connect()
    stream.feed(method + b" / HTTP/1.1\r\nHost: x\r\n\r\n")
    wire = stream.take()
    assert b"content-length: 5\r\n" in wire
    assert wire.endswith(b"\r\n\r\n")
    assert not stream.closed


@pytest.mark.parametrize("fields", [[], [(b"content-length", b"0")], [(b"content-length", b"2")]])
@pytest.mark.parametrize("pieces", [[b""], [b"no"], [b"not", b"at all"]])
def test_204_has_neither_length_nor_chunks_nor_body(bench, fields, pieces):
    def respond(exchange):
        exchange.start(204, fields)
        for piece in pieces[:-1]:
            exchange.body(piece, more=True)
        exchange.body(pieces[-1])

    stream = bench(respond).connect()
    for _ in range(2):
        stream.feed(GET)
        assert stream.take() == b"HTTP/1.1 204 No Content\r\n\r\n"
    assert not stream.closed


def test_304_has_the_length_of_what_it_stands_for_and_no_body(bench):
    def respond(exchange):
        exchange.start(304, [(b"content-length", b"2")])
        exchange.body(b"none")

    stream = bench(respond).connect()
    stream.feed(GET)
    assert stream.take() == b"HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\n"
    assert not stream.closed


def test_head_response_has_no_chunks(bench):
    def respond(exchange):
        exchange.start(200, [])
        exchange.body(b"ignored")

    stream = bench(respond).connect()
    stream.feed(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
    head, _, rest = stream.take().partition(b"\r\n\r\n")
    assert head == b"HTTP/1.1 200 OK"
    assert parse(rest)[0][2] == b"ignored"


def test_absolute_form(bench, answer):
    b = bench(answer())
    b.connect().feed(b"GET http://real.example:81/p?q HTTP/1.1\r\nHost: other.example\r\n\r\n")
    request = b.calls[0].request
    assert (request.raw_path, request.query) == (b"/p", b"q")
    assert request.fields == [(b"host", b"real.example:81")]


@pytest.mark.parametrize(("target", "path", "query"), [
    (b"http://a", b"/", b""),
    (b"http://a?q", b"/", b"q"),
    (b"HTTPS://a/b", b"/b", b""),
])  # fmt: skip
def test_absolute_form_without_path(bench, answer, target, path, query):
    b = bench(answer())
    b.connect().feed(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (b.calls[0].request.raw_path, b.calls[0].request.query) == (path, query)


def test_asterisk_form(bench, answer):
    b = bench(answer())
    b.connect().feed(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b.calls[0].request.raw_path == b"*"


# --- request bodies


def test_body_with_the_head(bench, answer):
    b = bench(answer())
    stream = b.connect()
    stream.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
    assert b.calls[0].complete
    assert b.calls[0].read() == b"abc"
    assert stream.take() == OK


def test_body_in_pieces(bench):
    b = bench()
    stream = b.connect()
    arrivals = []
    stream.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nab")
    b.calls[0].on_body = lambda: arrivals.append((b.calls[0].read(), b.calls[0].complete))
    assert (b.calls[0].read(), b.calls[0].complete) == (b"ab", False)
    stream.feed(b"cd")
    stream.feed(b"ef")
    assert arrivals == [(b"cd", False), (b"ef", True)]


def test_chunks_of_one_read_are_joined(bench):
    b = bench()
    stream = b.connect()
    stream.feed(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n")
    assert (b.calls[0].read(), b.calls[0].complete) == (b"abcde", False)
    stream.feed(b"1\r\nf\r\n0\r\n\r\n")
    assert (b.calls[0].read(), b.calls[0].complete) == (b"f", True)


def test_next_request_behind_a_chunked_body(bench, answer):
    b = bench(answer())
    stream = b.connect()
    stream.feed(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + GET)
    assert len(b.calls) == 2
    assert stream.take() == OK + OK


def test_reading_pauses_while_the_application_does_not_consume(bench):
    b = bench()
    stream = b.connect()
    stream.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
    fed = 0
    while not stream.paused:
        stream.feed(b"x" * 10000)
        fed += 10000
    assert fed == 70000
    b.pass_time(500)
    assert not stream.closed
    assert len(b.calls[0].read()) == fed
    assert not stream.paused


def test_continue_is_sent_when_the_body_is_asked_for(bench):
    b = bench()
    stream = b.connect()
    stream.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert stream.take() == b""
    b.calls[0].read()
    b.calls[0].read()
    stream.feed(b"abc")
    assert stream.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    b.calls[0].start(200, [(b"content-length", b"5")])
    b.calls[0].body(b"hello")
    assert stream.take() == OK


def test_final_response_instead_of_continue_closes(bench, answer):
    stream = bench(answer(b"no", 403)).connect()
    stream.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    status, fields, _ = parse(stream.take())[0]
    assert (status, fields[b"connection"]) == (403, b"close")
    assert stream.shut


def test_small_unread_body_is_dropped_and_the_connection_kept(bench, answer):
    b = bench(answer())
    stream = b.connect()
    stream.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    assert stream.take() == OK
    stream.feed(b"x" * 1000 + GET)
    assert stream.take() == OK
    assert b.calls[1].request.method == "GET"


def test_large_unread_body_ends_the_connection_after_the_response(bench, answer):
    b = bench(answer())
    stream = b.connect()
    stream.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n")
    assert parse(stream.take())[0][1][b"connection"] == b"close"
    assert stream.shut
    assert not stream.closed, "closing now would reset the connection and lose the response"
    stream.feed(b"x" * 100000)
    stream.end()
    assert stream.closed
    assert len(b.calls) == 1


def test_unread_chunked_body_is_dropped_up_to_a_bound(bench, answer):
    stream = bench(answer()).connect()
    stream.feed(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert stream.take() == OK
    for _ in range(10):
        stream.feed(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
    assert stream.shut


def test_body_over_the_limit_is_refused_before_it_is_read(bench, answer):
    b = bench(answer(), limit_request_body=10)
    stream = b.connect()
    stream.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n")
    assert parse(stream.take())[0][0] == 413
    assert stream.shut
    assert not b.calls


def test_chunked_body_over_the_limit(bench):
    b = bench(limit_request_body=10)
    stream = b.connect()
    gone = []
    stream.feed(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n")
    b.calls[0].on_disconnect = lambda: gone.append(True)
    stream.feed(b"8\r\n12345678\r\n")
    assert parse(stream.take())[0][0] == 413
    assert gone == [True]
    b.calls[0].start(200, [])
    b.calls[0].body(b"too late")
    assert stream.take() == b""


def test_malformed_chunk_in_a_running_request(bench):
    b = bench()
    stream = b.connect()
    stream.feed(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    stream.feed(b"zz\r\n")
    assert parse(stream.take())[0][0] == 400
    assert b.calls[0].request.disconnected
    assert not b.calls[0].complete


def test_malformed_chunk_after_the_response_started_resets(bench):
    b = bench()
    stream = b.connect()
    stream.feed(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    b.calls[0].start(200, [])
    b.calls[0].body(b"part", more=True)
    stream.feed(b"zz\r\n")
    assert stream.aborted
    assert b"400" not in stream.take()


# --- ends


def test_half_closed_client_is_answered(bench):
    b = bench()
    stream = b.connect()
    gone = []
    stream.feed(GET)
    b.calls[0].on_disconnect = lambda: gone.append(True)
    stream.end()
    assert gone == [True]
    b.calls[0].start(200, [(b"content-length", b"5")])
    b.calls[0].body(b"hello")
    assert stream.take() == OK
    b.loop.run()
    assert stream.closed


def test_half_closed_client_with_pipelined_requests(bench):
    b = bench()
    stream = b.connect()
    stream.feed(GET * 3)
    stream.end()
    for number in range(3):
        b.calls[number].start(200, [(b"content-length", b"5")])
        b.calls[number].body(b"hello")
        b.loop.run()
    assert stream.take() == OK * 3
    assert stream.closed


def test_end_between_requests_closes(bench, answer):
    stream = bench(answer()).connect()
    stream.feed(GET)
    stream.end()
    assert stream.closed


def test_body_cut_short_is_a_disconnect(bench):
    b = bench()
    stream = b.connect()
    gone = []
    stream.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nab")
    b.calls[0].on_disconnect = lambda: gone.append(b.calls[0].complete)
    stream.end()
    assert gone == [False]


def test_lost_connection_tells_the_handler_and_swallows_output(bench):
    b = bench()
    stream = b.connect()
    gone = []
    stream.feed(GET)
    b.calls[0].on_disconnect = lambda: gone.append(True)
    stream.lose(ConnectionResetError())
    assert gone == [True]
    b.calls[0].start(200, [])
    b.calls[0].body(b"x", more=True)
    b.calls[0].body(b"y")
    assert b.worker.connections == 0


# --- deadlines


def test_silent_connection_is_closed(bench):
    b = bench(timeout_header=10)
    stream = b.connect()
    b.pass_time(9.5)
    assert not stream.closed
    b.pass_time(0.5)
    assert stream.closed
    assert stream.take() == b""


def test_head_that_trickles_in_is_refused(bench):
    b = bench(timeout_header=10)
    stream = b.connect()
    for byte in GET[:20]:
        stream.feed(bytes([byte]))
        b.pass_time(0.3)
    assert not stream.shut
    b.pass_time(3)
    assert parse(stream.take())[0][0] == 408
    assert stream.shut


def test_trickling_next_head_is_refused_too(bench, answer):
    b = bench(answer(), timeout_header=3, timeout_keep_alive=100)
    stream = b.connect()
    stream.feed(GET)
    stream.take()
    b.pass_time(50)
    stream.feed(b"GET")
    b.pass_time(3)
    assert parse(stream.take())[0][0] == 408


def test_keep_alive_ends(bench, answer):
    b = bench(answer(), timeout_keep_alive=5)
    stream = b.connect()
    for _ in range(3):
        stream.feed(GET)
        b.pass_time(4)
    assert not stream.closed
    b.pass_time(1)
    assert stream.closed


def test_keep_alive_does_not_end_a_running_request(bench):
    b = bench(timeout_keep_alive=5)
    stream = b.connect()
    stream.feed(GET)
    b.pass_time(1000)
    assert not stream.closed


def test_body_that_stalls_is_refused(bench):
    b = bench(timeout_body=20)
    stream = b.connect()
    stream.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nab")
    b.pass_time(15)
    stream.feed(b"c")
    b.pass_time(15)
    assert not stream.shut
    b.pass_time(5)
    assert parse(stream.take())[0][0] == 408
    assert b.calls[0].request.disconnected


def test_client_that_does_not_read_is_reset(bench, answer):
    b = bench(answer(b"x" * 100000), timeout_write=30)
    stream = b.connect(capacity=1000)
    stream.feed(GET)
    b.pass_time(29)
    assert not stream.aborted
    b.pass_time(1)
    assert stream.aborted


def test_request_deadline_before_the_response(bench):
    b = bench(timeout_request=2)
    stream = b.connect()
    cancelled = []
    stream.feed(GET)
    b.calls[0].on_cancel = lambda: cancelled.append(True)
    b.pass_time(2)
    assert parse(stream.take())[0][0] == 504
    assert cancelled == [True]
    assert stream.closed


def test_request_deadline_after_the_response_started(bench):
    b = bench(timeout_request=2)
    stream = b.connect()
    stream.feed(GET)
    b.calls[0].start(200, [])
    b.calls[0].body(b"part", more=True)
    b.pass_time(2)
    assert stream.aborted
    assert b"504" not in stream.take()


def test_lingering_ends(bench):
    b = bench()
    stream = b.connect()
    stream.feed(b"garbage\r\n\r\n")
    assert stream.shut
    assert not stream.closed
    b.pass_time(3)
    assert stream.closed


# --- what handlers do wrong


def test_failure_before_anything_was_sent(bench):
    def fail(exchange):
        exchange.fail()

    stream = bench(fail).connect()
    stream.feed(GET)
    status, fields, body = parse(stream.take())[0]
    assert (status, body, fields[b"connection"]) == (500, b"Internal Server Error", b"close")
    assert stream.closed


def test_failure_with_a_head_that_was_held(bench):
    def fail(exchange):
        exchange.start(200, [(b"x-secret", b"1")])
        exchange.fail()

    stream = bench(fail).connect()
    stream.feed(GET)
    wire = stream.take()
    assert parse(wire)[0][0] == 500
    assert b"x-secret" not in wire


def test_failure_after_body_bytes_closes_without_an_end(bench):
    def fail(exchange):
        exchange.start(200, [])
        exchange.body(b"part", more=True)
        exchange.fail()

    stream = bench(fail).connect()
    stream.feed(GET)
    assert stream.take().endswith(b"4\r\npart\r\n")
    assert stream.closed


@pytest.mark.parametrize(("status", "fields", "message"), [
    (200, [(b"na me", b"v")], "Invalid HTTP header name"),
    (200, [(b"", b"v")], "Invalid HTTP header name"),
    (200, [(b"a:", b"v")], "Invalid HTTP header name"),
    (200, [(b"a", b"v\r\nx: y")], "Invalid HTTP header value"),
    (200, [(b"a", b"v\0")], "Invalid HTTP header value"),
    (200, [(b"a", "text")], "must be bytes"),
    (99, [], "Invalid HTTP status code"),
    (101, [], "Invalid HTTP status code"),
    (600, [], "Invalid HTTP status code"),
    (200, [(b"content-length", b"-1")], "Invalid Content-Length"),
    (200, [(b"content-length", b"1_0")], "Invalid Content-Length"),
    (200, [(b"content-length", b"1"), (b"content-length", b"2")], "more than one Content-Length"),
    (200, [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")], "both Content-Length and Transfer"),
    (200, [(b"transfer-encoding", b"gzip")], "other than chunked"),
])  # fmt: skip
def test_bad_heads_never_reach_the_wire(bench, status, fields, message):
    errors = []

    def respond(exchange):
        try:
            exchange.start(status, fields)
        except RuntimeError as error:
            errors.append(str(error))
        exchange.start(200, [(b"content-length", b"5")])
        exchange.body(b"hello")

    stream = bench(respond).connect()
    stream.feed(GET)
    assert stream.take() == OK
    assert re.search(message, errors[0])


@pytest.mark.parametrize("size", [1, 7, 8, 9, 16, 17])
def test_every_byte_at_every_place_of_a_field(bench, size):
    token = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    accepted, refused = [], []
    for place in range(size):
        for byte in range(256):
            text = b"a" * place + bytes([byte]) + b"z" * (size - place - 1)
            (accepted if byte in token else refused).append((text, b"v"))
            (refused if (byte < 32 and byte != 9) or byte == 127 else accepted).append((b"x-value", text))
    expected = b"".join(name.lower() + b": " + value + b"\r\n" for name, value in accepted)

    def respond(exchange):
        for field in refused:
            with pytest.raises(RuntimeError, match="Invalid HTTP header"):
                exchange.start(200, [field])
        exchange.start(200, [*accepted, (b"content-length", b"5")])
        exchange.body(b"hello")

    stream = bench(respond).connect()
    stream.feed(GET)
    assert expected in stream.take()


@pytest.mark.parametrize(("pieces", "message"), [
    ([b"hello!"], "longer than Content-Length"),
    ([b"hel", b"lo!"], "longer than Content-Length"),
    ([b"hell"], "shorter than Content-Length"),
])  # fmt: skip
def test_body_against_its_length(bench, pieces, message):
    def respond(exchange):
        exchange.start(200, [(b"content-length", b"5")])
        for piece in pieces[:-1]:
            exchange.body(piece, more=True)
        with pytest.raises(RuntimeError, match=message):
            exchange.body(pieces[-1])
        exchange.fail()

    stream = bench(respond).connect()
    stream.feed(GET)
    assert len(stream.take().partition(b"\r\n\r\n")[2]) in (3, len(b"Internal Server Error"))
    assert stream.closed


# --- interim responses and trailers


def test_early_hints_go_ahead_of_a_held_head(bench):
    def respond(exchange):
        exchange.start(200, [(b"content-length", b"5")])
        exchange.inform(103, [(b"link", b"</a.css>; rel=preload")])
        exchange.body(b"hello")

    stream = bench(respond).connect()
    stream.feed(GET)
    assert stream.take() == b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n" + OK


def test_early_hints_are_not_for_http10(bench):
    def respond(exchange):
        exchange.inform(103, [(b"link", b"</a.css>; rel=preload")])
        exchange.start(200, [(b"content-length", b"5")])
        exchange.body(b"hello")

    stream = bench(respond).connect()
    stream.feed(b"GET / HTTP/1.0\r\n\r\n")
    assert stream.take() == OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")


@pytest.mark.parametrize("wanted", [True, False])
def test_trailers(bench, wanted):
    def respond(exchange):
        exchange.start(200, [(b"trailer", b"x-sum")], trailers=True)
        exchange.body(b"hello")
        exchange.trailers([(b"X-Sum", b"1")])

    stream = bench(respond).connect()
    stream.feed(b"GET / HTTP/1.1\r\nHost: x\r\n" + (b"TE: trailers\r\n" if wanted else b"") + b"\r\n")
    end = b"x-sum: 1\r\n\r\n" if wanted else b"\r\n"
    assert stream.take().endswith(b"\r\n\r\n5\r\nhello\r\n0\r\n" + end)
    assert not stream.closed


# --- the worker


def test_drain_closes_idle_connections_and_finishes_running_ones(bench):
    b = bench()
    idle, busy = b.connect(), b.connect()
    idle.feed(GET)
    b.calls[0].start(200, [(b"content-length", b"5")])
    b.calls[0].body(b"hello")
    b.loop.run()
    busy.feed(GET)
    b.worker.drain()
    assert idle.closed
    assert not busy.closed
    b.calls[1].start(200, [(b"content-length", b"5")])
    b.calls[1].body(b"hello")
    b.loop.run()
    assert parse(busy.take())[0][1][b"connection"] == b"close"
    assert busy.closed


def test_running_requests_are_named(bench):
    b = bench()
    b.connect().feed(b"GET /slow%0a?x HTTP/1.1\r\nHost: x\r\n\r\n")
    b.clock.time += 3
    (request,) = b.worker.running()
    assert request.method == "GET"
    assert request.path == "/slow%0a"
    assert request.client == "127.0.0.1:50000"
    assert request.age == pytest.approx(3)


def test_concurrency_limit(bench):
    b = bench(limit_concurrency=2)
    first = b.connect()
    first.feed(GET)
    second = b.connect()
    second.feed(GET)
    assert parse(second.take())[0][::2] == (503, b"Service Unavailable")
    assert len(b.calls) == 1


def test_rejections_are_logged_with_peer_reason_and_bytes(bench, caplog):
    stream = bench().connect()
    stream.feed(b"GET / HTTP/1.1\r\nHost: x\r\nA: \x00\x1b[31m\r\n\r\n")
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith("Invalid HTTP request received. 127.0.0.1:50000 - 400: ")
    assert "\\x00\\x1b[31m" in message


def test_rejections_are_logged_at_a_bounded_rate(bench, caplog):
    b = bench()
    for _ in range(200):
        b.connect().feed(b"\0")
    assert len(caplog.records) == 10
    assert b.worker.rejected == 200
    b.clock.time += 2
    b.connect().feed(b"\0")
    assert "190 more warnings" in caplog.text


def test_large_bodies_are_not_mixed_up_with_what_is_corked(bench):
    body = bytes(range(256)) * 400

    def respond(exchange):
        exchange.start(200, [])
        exchange.body(b"small", more=True)
        exchange.body(body, more=True)
        exchange.body(b"end")

    stream = bench(respond).connect()
    stream.feed(GET + GET)
    assert [text for _, _, text in parse(stream.take())] == [b"small" + body + b"end"] * 2


def test_upgrade_that_nobody_offers_is_served_as_http(bench, answer, caplog):
    stream = bench(answer()).connect()
    stream.feed(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n")
    assert stream.take() == OK
    assert [record.getMessage() for record in caplog.records] == ["Unsupported upgrade request."]


def test_connect_is_refused(bench):
    b = bench()
    stream = b.connect()
    stream.feed(b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n")
    assert parse(stream.take())[0][0] == 400
    assert not b.calls


UPGRADE = b"%s / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: other, Echo\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"


@pytest.mark.parametrize("cut", [None, 10, len(UPGRADE) - 3])
def test_upgrade_takes_the_connection_over_and_loses_nothing(bench, answer, cut):
    b = bench(answer())
    b.worker.add_upgrade(b"echo", EchoUpgrade())
    stream = b.connect()
    whole = UPGRADE % b"GET" + b"sent at once"
    for piece in [whole] if cut is None else [whole[:cut], whole[cut:]]:
        stream.feed(piece)
    assert stream.take() == SWITCHED + b"sent at once"
    stream.feed(GET)
    assert stream.take() == GET, "no HTTP any more"
    assert not b.calls
    b.pass_time(100)
    assert not stream.closed, "deadlines are the new protocol's"
    assert b.worker.connections == 1
    stream.end()
    assert stream.closed


def test_upgrade_behind_a_pipelined_request_waits_for_its_response(bench):
    b = bench()
    b.worker.add_upgrade(b"echo", EchoUpgrade())
    stream = b.connect()
    stream.feed(GET + UPGRADE % b"GET" + b"more")
    assert stream.take() == b""
    b.calls[0].start(200, [(b"content-length", b"5")])
    b.calls[0].body(b"hello")
    b.loop.run()
    assert stream.take() == OK + SWITCHED + b"more"


def test_upgrade_that_is_declined_is_served_as_http(bench, answer):
    b = bench(answer())
    upgrade = EchoUpgrade()
    b.worker.add_upgrade(b"echo", upgrade)
    stream = b.connect()
    stream.feed(UPGRADE % b"HEAD")
    assert stream.take().startswith(b"HTTP/1.1 200 OK")
    assert upgrade.asked == 1
    assert len(b.calls) == 1


def test_lingering_is_bounded_against_a_client_that_trickles(bench):
    b = bench()
    stream = b.connect()
    stream.feed(b"garbage\r\n\r\n")
    for _ in range(40):
        assert not stream.closed
        stream.feed(b"x")
        b.pass_time(0.5)
    for _ in range(40):
        stream.feed(b"x")
        b.pass_time(0.5)
    assert stream.closed


def test_bytes_that_arrive_inside_the_handler_wait_their_turn(bench):
    """As under an application that runs the event loop inside its own step."""
    order = []

    def handle(exchange):
        path = exchange.request.raw_path
        order.append(path)
        if path == b"/1":
            stream.feed(b"GET /3 HTTP/1.1\r\nHost: x\r\n\r\nGET /4 HT" + b"TP/1.1\r\nHost: x\r\nX: " + b"x" * 5000)
        exchange.start(200, [(b"content-length", b"2")])
        exchange.body(path)

    b = bench(handle)
    stream = b.connect()
    stream.feed(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
    b.loop.run()
    stream.feed(b"\r\n\r\n")
    assert order == [b"/1", b"/2", b"/3", b"/4"]
    assert [body for _, _, body in parse(stream.take())] == order
    b.function = None
