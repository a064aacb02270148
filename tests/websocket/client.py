"""A WebSocket client on a blocking socket: wsproto reads and writes the frames, the handshake is spelled out.

So a test sees the response to its handshake as it was on the wire, and every event in the order in which it came. An
event is a tuple: ("text", str), ("bytes", bytes), ("ping", bytes), ("pong", bytes), ("close", code, reason), and
("end",) when the server has closed the connection.
"""

import base64
import os

from wsproto import ConnectionType, events
from wsproto.connection import Connection, ConnectionState
from wsproto.extensions import PerMessageDeflate

from tests.parity.wire import Client, request

END = ("end",)


def handshake(target, *fields, host="parity", key=None):
    """The bytes of an opening handshake; `fields` are further field lines."""
    key = key or base64.b64encode(os.urandom(16)).decode()
    opening = ["Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
    return request("GET", target, *opening, *fields, host=host)


class WebSocketClient(Client):
    """Connects and shakes hands. `response` is the server's answer, complete with its body where it is no 101.

    With `deflate` the client offers permessage-deflate; `deflated` tells whether it was taken. `early` is sent together
    with the handshake; `before` is a request that is sent, and answered, before.
    """

    def __init__(self, address, target, *fields, tls=None, deflate=False, early=b"", before=b"", **options):
        super().__init__(address, tls)
        extension = PerMessageDeflate()
        if deflate:
            fields = (*fields, f"Sec-WebSocket-Extensions: permessage-deflate; {extension.offer()}")
        self._fragments = []
        self._events = []
        self._frames = None
        try:
            if before:
                self.send(before)
                assert self.read_response("GET").status == 200
            self.send(handshake(target, *fields, **options) + early)
            self.response = self.read_response("GET")
        except BaseException:
            self.close()
            raise
        self.deflated = False
        if self.accepted:
            for value in self.field_values("sec-websocket-extensions"):
                extension.finalize(value)
            self.deflated = extension.enabled()
            self._frames = Connection(ConnectionType.CLIENT, [extension] if self.deflated else [])

    @property
    def accepted(self):
        return self.response is not None and self.response.status == 101

    @property
    def subprotocol(self):
        return next(iter(self.field_values("sec-websocket-protocol")), None)

    def field_values(self, name):
        """The values of the response's fields called `name`, in lower case, however the server writes it."""
        fields = (line.partition(": ") for line in self.response.fields)
        return [value for field, _, value in fields if field.lower() == name]

    def text(self, text, fin=True):
        self.send(self._frames.send(events.TextMessage(text, message_finished=fin)))

    def bytes(self, data, fin=True):
        self.send(self._frames.send(events.BytesMessage(data, message_finished=fin)))

    def ping(self, payload=b""):
        self.send(self._frames.send(events.Ping(payload)))

    def say_close(self, code=1000, reason=None):
        self.send(self._frames.send(events.CloseConnection(code, reason)))

    def receive(self):
        """The next event. A ping is answered, and told."""
        while not self._events:
            if not self.buffer and not self._more():
                return END
            self._frames.receive_data(self._take(len(self.buffer)))
            for event in self._frames.events():
                self._note(event)
        return self._events.pop(0)

    def receive_message(self):
        """The next event that is no ping."""
        while (event := self.receive())[0] == "ping":
            pass
        return event

    def finish(self):
        """All events until the server has closed the connection; its close is answered."""
        seen = []
        while (event := self.receive()) != END:
            seen.append(event)
        return seen

    def _note(self, event):
        match event:
            case events.TextMessage(data=data, message_finished=finished):
                self._fragments.append(data)
                if finished:
                    self._events.append(("text", "".join(self._fragments)))
                    self._fragments.clear()
            case events.BytesMessage(data=data, message_finished=finished):
                self._fragments.append(bytes(data))
                if finished:
                    self._events.append(("bytes", b"".join(self._fragments)))
                    self._fragments.clear()
            case events.Ping(payload=payload):
                # Who has said close says nothing more.
                if self._frames.state is ConnectionState.OPEN:
                    self.send(self._frames.send(event.response()))
                self._events.append(("ping", bytes(payload)))
            case events.Pong(payload=payload):
                self._events.append(("pong", bytes(payload)))
            case events.CloseConnection(code=code, reason=reason):
                if self._frames.state.name == "REMOTE_CLOSING":
                    self.send(self._frames.send(event.response()))
                self._events.append(("close", int(code), reason or ""))
