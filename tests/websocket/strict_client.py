"""A WebSocket client on a plain socket, that sends what it is told, right or wrong, and is strict about what comes.

Nothing of it is shared with the server: masking, frames and compression are written a second time here, for being
right and not for being fast.
"""

import base64
import hashlib
import os
import re
import socket
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.websocket.cases.script import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, Payload

KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
EMPTY_BLOCK = b"\x00\x00\xff\xff"
RECEIVE_SIZE = 1 << 20


class Wrong(Exception):
    """What the server did is against RFC 6455, RFC 7692 or the case; the text says what."""


class Reset(Wrong):
    """The connection was reset: what the server sent before may be lost."""


def masked(data: bytes, key: bytes) -> bytes:
    """`data` under the mask, or from under it."""
    size = len(data)
    repeated = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data) ^ int.from_bytes(repeated)).to_bytes(size)


def encode(frame: Frame) -> bytes:
    """The frame as it goes over the wire, its payload included."""
    payload = bytes(frame.payload)
    length = len(payload) if frame.declared is None else frame.declared
    width = frame.width or (7 if length < 126 else 16 if length < 65536 else 64)
    mask_bit = 0x80 if frame.masked else 0
    head = bytearray([frame.fin << 7 | frame.rsv << 4 | frame.opcode])
    if width == 7:
        head.append(mask_bit | length)
    else:
        head.append(mask_bit | (126 if width == 16 else 127))
        head += length.to_bytes(width // 8)
    if not frame.masked:
        return bytes(head) + payload
    key = os.urandom(4)
    return bytes(head) + key + masked(payload, key)


def fragments(opcode: int, payload: bytes, size: int, rsv: int = 0) -> Iterator[Frame]:
    """The payload in frames of `size` bytes, the reserved bits in the first alone; one frame where it is empty."""
    for start in range(0, max(1, len(payload)), size):
        yield Frame(
            opcode if start == 0 else CONTINUATION,
            payload[start : start + size],
            fin=start + size >= len(payload),
            rsv=rsv if start == 0 else 0,
        )


@dataclass(frozen=True)
class Agreed:
    """What permessage-deflate was agreed on (RFC 7692, section 7.1)."""

    server_fresh: bool
    client_fresh: bool
    server_bits: int
    client_bits: int


def read_agreement(offer: str, answer: str) -> Agreed:
    """What the server made of the offer. Raises Wrong where it may not answer so."""
    name, *given = (part.strip() for part in answer.split(";"))
    if name != "permessage-deflate" or "," in answer:
        raise Wrong(f"agreed on {answer!r}")
    parameters: dict[str, str | None] = {}
    for item in given:
        key, equals, value = item.partition("=")
        if key in parameters:
            raise Wrong(f"{key} twice in {answer!r}")
        parameters[key] = value.strip('"') if equals else None
    for flag in ("server_no_context_takeover", "client_no_context_takeover"):
        if parameters.get(flag) is not None:
            raise Wrong(f"{flag} has a value in {answer!r}")
    bits = {"server": 15, "client": 15}
    for side in bits:
        if f"{side}_max_window_bits" in parameters:
            value = parameters[f"{side}_max_window_bits"]
            if value is None or not re.fullmatch(r"[89]|1[0-5]", value):
                raise Wrong(f"window bits of {value!r} in {answer!r}")
            bits[side] = int(value)
    known = {f"{side}_{what}" for side in bits for what in ("no_context_takeover", "max_window_bits")}
    if parameters.keys() - known:
        raise Wrong(f"an unknown parameter in {answer!r}")
    if "client_max_window_bits" in parameters and "client_max_window_bits" not in offer:
        raise Wrong("asked for a window of the client, which did not offer one")
    agreed = Agreed(
        "server_no_context_takeover" in parameters,
        "client_no_context_takeover" in parameters,
        bits["server"],
        bits["client"],
    )
    if not any(_satisfies(one, agreed) for one in offer.split(",")):
        raise Wrong(f"{answer!r} satisfies none of the offers {offer!r}")
    return agreed


def _satisfies(offer: str, agreed: Agreed) -> bool:
    wanted = re.search(r"server_max_window_bits=(\d+)", offer)
    fresh = "server_no_context_takeover" in offer
    return (agreed.server_fresh or not fresh) and (wanted is None or agreed.server_bits <= int(wanted[1]))


class Client:
    """One connection, open after `Client(...)`; Wrong and TimeoutError come from every method that reads.

    `early` is sent behind the opening request without waiting for its answer.
    """

    def __init__(
        self,
        address: tuple[str, int],
        path: str = "/",
        fields: Sequence[tuple[str, str]] = (),
        offer: str | None = None,
        patience: float = 20.0,
        early: Sequence[Frame] = (),
    ) -> None:
        self.patience = patience
        self.agreed: Agreed | None = None
        self.sent_close = False
        self._buffer = bytearray()
        self._deadline = time.monotonic() + patience
        self.socket = socket.create_connection(address, timeout=patience)
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open(f"{address[0]}:{address[1]}", path, [*fields], offer, b"".join(map(encode, early)))
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def _open(self, host: str, path: str, fields: list[tuple[str, str]], offer: str | None, early: bytes) -> None:
        key = base64.b64encode(os.urandom(16))
        head = [
            ("Host", host), ("Upgrade", "websocket"), ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", key.decode()), ("Sec-WebSocket-Version", "13"), *fields,
        ]  # fmt: skip
        if offer is not None:
            head.append(("Sec-WebSocket-Extensions", offer))
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head), "", ""]
        self.socket.sendall("\r\n".join(lines).encode() + early)
        while b"\r\n\r\n" not in self._buffer:
            if not self._receive():
                raise Wrong(f"closed in the opening handshake, after {bytes(self._buffer)!r}")
        answer, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer[:] = rest
        status, *lines = answer.decode("latin-1").split("\r\n")
        self.fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        if not status.startswith("HTTP/1.1 101 "):
            raise Wrong(f"not upgraded: {status}")
        wanted = base64.b64encode(hashlib.sha1(key + KEY_SUFFIX).digest()).decode()
        if self.field("sec-websocket-accept") != wanted:
            raise Wrong("a Sec-WebSocket-Accept that is not this key's")
        if (self.field("upgrade") or "").lower() != "websocket" or (
            self.field("connection") or ""
        ).lower() != "upgrade":
            raise Wrong("101 without Upgrade: websocket and Connection: Upgrade")
        answered = self.field("sec-websocket-extensions")
        if answered is not None:
            if offer is None:
                raise Wrong(f"agreed on {answered!r}, which nobody offered")
            self._agree(read_agreement(offer, answered))

    def field(self, name: str) -> str | None:
        """The value of the field in the server's answer, None where it has none."""
        return ", ".join(value for key, value in self.fields if key == name) if name in dict(self.fields) else None

    def _agree(self, agreed: Agreed) -> None:
        self.agreed = agreed
        self._new_compressor()
        self._new_decompressor()

    def _new_compressor(self) -> None:
        assert self.agreed is not None
        # zlib has no window of 8 bits without a header; what is compressed with 9 might need it.
        self._compressor = zlib.compressobj(wbits=-max(9, self.agreed.client_bits))

    def _new_decompressor(self) -> None:
        assert self.agreed is not None
        self._decompressor = zlib.decompressobj(wbits=-self.agreed.server_bits)

    # --- out

    def send(self, data: bytes) -> None:
        """All of it; less where the server has gone away meanwhile, which what is read next tells."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def send_frames(self, *frames: Frame) -> None:
        self.send(b"".join(map(encode, frames)))
        self.sent_close = self.sent_close or any(frame.opcode == CLOSE for frame in frames)

    def compress(self, payload: bytes) -> bytes:
        """The payload of a message as permessage-deflate has it (RFC 7692, section 7.2.1)."""
        assert self.agreed is not None
        data = self._compressor.compress(payload) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        if self.agreed.client_fresh:
            self._new_compressor()
        return data.removesuffix(EMPTY_BLOCK) or b"\x00"

    def send_message(self, opcode: int, payload: Payload, fragment: int | None = None) -> None:
        """A whole message, compressed where that was agreed on."""
        data, rsv = bytes(payload), 0
        if self.agreed is not None:
            data, rsv = self.compress(data), 4
        self.send_frames(*fragments(opcode, data, fragment or max(1, len(data)), rsv))

    # --- in

    def read_frame(self) -> Frame | None:
        """The next frame; None at the end of the connection. Raises TimeoutError after `patience`."""
        self._deadline = time.monotonic() + self.patience
        while (found := self._parse_head()) is None:
            if not self._receive():
                if self._buffer:
                    raise Wrong("the connection ended within a frame")
                return None
        first, start, length = found
        while len(self._buffer) < start + length:
            if not self._receive():
                raise Wrong("the connection ended within a frame")
        payload = bytes(memoryview(self._buffer)[start : start + length])
        del self._buffer[: start + length]
        frame = Frame(first & 0x0F, payload, bool(first & 0x80), first >> 4 & 0x7)
        self._check(frame)
        return frame

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing at all arrives for so long."""
        self._deadline = time.monotonic() + seconds
        try:
            if not self._buffer:
                self._receive()
        except TimeoutError:
            return True
        return False

    def _receive(self) -> bool:
        """Whether there was more; False at the end."""
        self.socket.settimeout(max(0.001, self._deadline - time.monotonic()))
        try:
            data = self.socket.recv(RECEIVE_SIZE)
        except ConnectionResetError:
            raise Reset("the connection was reset") from None
        finally:
            self.socket.settimeout(self.patience)
        self._buffer += data
        return bool(data)

    def _parse_head(self) -> tuple[int, int, int] | None:
        """The first byte, where the payload begins, and its length."""
        if len(self._buffer) < 2:
            return None
        first, second = self._buffer[:2]
        if second & 0x80:
            raise Wrong("a masked frame from the server")
        width = {126: 2, 127: 8}.get(second, 0)
        if len(self._buffer) < 2 + width:
            return None
        length = int.from_bytes(self._buffer[2 : 2 + width]) if width else second
        if (width == 2 and length < 126) or (width == 8 and not 65536 <= length < 2**63):
            raise Wrong(f"a length of {length} in {width} bytes")
        return first, 2 + width, length

    @staticmethod
    def _check(frame: Frame) -> None:
        if frame.opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise Wrong(f"the opcode {frame.opcode:#x}")
        if frame.opcode >= CLOSE and (not frame.fin or len(frame.payload) > 125 or frame.rsv):
            raise Wrong("a control frame in fragments, too long or with reserved bits")
        if frame.opcode == CLOSE and len(frame.payload) == 1:
            raise Wrong("a close frame of one byte")

    def read_message(self) -> Frame | None:
        """The next message as one frame, decompressed, or control frame; None at the end of the connection.

        A ping is answered, and not told: a server may ask at any time whether there is somebody.
        """
        parts: list[bytes] = []
        opcode = rsv = 0
        while (frame := self.read_frame()) is not None:
            if frame.opcode == PING:
                self.send_frames(Frame(PONG, frame.payload))
                continue
            if frame.opcode >= CLOSE:
                if parts:
                    raise Wrong("a message in fragments with a control frame between them")
                return frame
            if bool(parts) != (frame.opcode == CONTINUATION):
                raise Wrong("a fragment in the wrong place")
            if parts and frame.rsv:
                raise Wrong("reserved bits in a fragment that is not the first")
            if not parts:
                opcode, rsv = frame.opcode, frame.rsv
            parts.append(bytes(frame.payload))
            if frame.fin:
                payload = self._decode(opcode, rsv, b"".join(parts))
                return Frame(opcode, payload)
        if parts:
            raise Wrong("the connection ended within a message")
        return None

    def _decode(self, opcode: int, rsv: int, payload: bytes) -> bytes:
        if rsv & 3 or (rsv and self.agreed is None):
            raise Wrong(f"reserved bits {rsv}")
        if rsv:
            assert self.agreed is not None
            try:
                payload = self._decompressor.decompress(payload + EMPTY_BLOCK)
            except zlib.error as error:
                raise Wrong(f"what is compressed cannot be read with what was agreed on: {error}") from None
            if self.agreed.server_fresh:
                self._new_decompressor()
        if opcode == TEXT:
            try:
                payload.decode()
            except UnicodeDecodeError as error:
                raise Wrong(f"a text that is not UTF-8: {error}") from None
        return payload
