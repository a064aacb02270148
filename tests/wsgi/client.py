"""Requests on bare sockets, and whether a server has taken what was sent to it."""

import time

from tests.parity.wire import Client, Response, request

PATIENCE = 25.0


class Connection(Client):
    """A connection; the names of fields are read in small letters, since applications write them as they like."""

    def read_head(self):
        response = super().read_head()
        if response is not None:
            named = (line.partition(":") for line in response.fields)
            response.fields = [f"{name.lower()}: {value.strip()}" for name, _, value in named]
        return response

    def receive_until(self, words):
        """All up to and with `words`, whatever it is; fails if the server closes before."""
        data = self._until(words)
        assert data is not None, self.buffer
        return data


def connect(process, tls=None, path=None):
    """A connection to a server process, or to the Unix socket `path`."""
    client = Connection(path or ("127.0.0.1", process.port), tls)
    client.socket.settimeout(PATIENCE)
    return client


def ask(process, target, *fields, method="GET", tls=None, **more) -> Response:
    """The answer to one request on a connection of its own."""
    with connect(process, tls) as client:
        client.send(request(method, target, *fields, **more))
        return answer(client, method)


def answer(client, method="GET") -> Response:
    """The next response that is not an interim one."""
    while (response := client.read_response(method)) is not None and response.status < 200:
        pass
    assert response is not None, "closed without an answer"
    return response


def chunks(body, size):
    """`body` in the chunked coding, in chunks of `size` bytes."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def wait_until_taken(client):
    """Wait until the server has read all that was sent: the receive queue of its socket is empty."""
    ends = f":{client.socket.getpeername()[1]:04X}", f":{client.socket.getsockname()[1]:04X}"
    deadline = time.monotonic() + PATIENCE
    while not _is_empty(*ends):
        assert time.monotonic() < deadline, "the server does not read"
        time.sleep(0.001)


def _is_empty(local, remote):
    """Whether the connection with these two ports, written as the kernel's table writes them, holds nothing unread."""
    with open("/proc/net/tcp") as table:
        for row in map(str.split, table):
            if row[1].endswith(local) and row[2].endswith(remote):
                return row[4].endswith(":00000000")
    return False
