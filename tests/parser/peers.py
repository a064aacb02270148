"""One request head through llhttp (httptools) and h11, in the words of ours."""

from dataclasses import dataclass

import h11
import httptools

from tests.parser._raw import RawHead


@dataclass
class Parsed:
    method: str
    target: bytes
    version: str
    fields: list[tuple[bytes, bytes]]
    keep_alive: bool | None  # None: this parser does not say


class Collector:
    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.complete = False
        self.keep_alive = False
        self.parser = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True
        self.keep_alive = self.parser.should_keep_alive()


def by_llhttp(data: bytes) -> Parsed | str:
    """The head, or the name of the error; "incomplete" when llhttp waits for more."""
    collector = Collector()
    parser = collector.parser
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        if not collector.complete:
            return str(error)
    if not collector.complete:
        return "incomplete"
    return Parsed(
        parser.get_method().decode(),
        collector.target,
        parser.get_http_version(),
        collector.fields,
        collector.keep_alive,
    )


def by_h11(data: bytes) -> Parsed | str:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        return str(error)
    if not isinstance(event, h11.Request):
        return "incomplete"
    return Parsed(event.method.decode(), event.target, event.http_version.decode(), list(event.headers), None)


def by_us(data: bytes) -> Parsed | str:
    head = RawHead()
    result = head.parse(data)
    if result == 0:
        return "incomplete"
    if result < 0:
        return str(head.rejected()[1])
    message = head.accepted()
    return Parsed(
        message["method"], message["target"], f"1.{message['minor']}", message["fields"], message["keep_alive"]
    )
