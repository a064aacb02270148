"""The exceptions that fastserve raises by itself, each with the facts its reader needs as attributes."""


class RequestRejected(Exception):
    """The peer sent bytes that are not a valid HTTP/1.1 request; the connection cannot be read any further.

    status: the HTTP status code that answers it (400, 414, 431, 501 or 505).
    reason: what is wrong, as a sentence fragment for a log line.
    code: the same as an identifier, such as "BARE_LF"; fastserve._parser.rejection_reasons() lists them all.
    offset: of the offending byte, from the first byte of the request (empty line before it included).
    """

    def __init__(self, status: int, reason: str, code: str, offset: int) -> None:
        super().__init__(status, reason, code, offset)
        self.status = status
        self.reason = reason
        self.code = code
        self.offset = offset

    def __str__(self) -> str:
        return f"{self.reason} (byte {self.offset})"


class RequestIncomplete(ConnectionError):
    """A WSGI application reads a body of which the client has not sent all, and it never will."""


class ClientDisconnected(OSError):
    """The client of a WebSocket is gone, and the application sends."""
