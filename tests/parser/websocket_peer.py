"""The client's side of a WebSocket, slow and plain: frames to send, and what a server's frames say."""

import itertools
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from fastserve._deflate import Deflate, negotiate

FINAL, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = b"\x9c\x01\xf3\x7a"
TAIL = b"\x00\x00\xff\xff"


def masked(payload: bytes, key: bytes = KEY) -> bytes:
    """RFC 6455 section 5.3, literally."""
    return bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))


def frame(opcode: int, payload: bytes = b"", *, final: bool = True, bits: int = 0, key: bytes = KEY) -> bytes:
    """A client's frame."""
    size = len(payload)
    head = bytes([(FINAL if final else 0) | bits | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += bytes([0x80 | 126]) + struct.pack("!H", size)
    else:
        head += bytes([0x80 | 127]) + struct.pack("!Q", size)
    return head + key + masked(payload, key)


def fragmented(opcode: int, pieces: list[bytes], *, bits: int = 0, between: bytes = b"") -> bytes:
    """A message of so many frames, with other frames `between` them."""
    last = len(pieces) - 1
    return between.join(
        frame(CONTINUATION if index else opcode, piece, final=index == last, bits=0 if index else bits)
        for index, piece in enumerate(pieces)
    )


def close(code: int | None = None, reason: bytes = b"") -> bytes:
    """A client's close frame."""
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


def cut(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """`data` in the pieces between `cuts`."""
    edges = [0, *sorted(cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges) if start < end]


def read_frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(first byte, payload) of a server's frames, which are whole and not masked."""
    while data:
        size, start = data[1], 2
        assert size < 128, "masked"
        if size == 126:
            size, start = struct.unpack("!H", data[2:4])[0], 4
            assert size >= 126
        elif size == 127:
            size, start = struct.unpack("!Q", data[2:10])[0], 10
            assert size >= 65536
        assert len(data) >= start + size
        yield data[0], data[start : start + size]
        data = data[start + size :]


class Compression:
    """A client's permessage-deflate with the parameters of the server's answer; `server` is the server's Deflate."""

    def __init__(self, offer: bytes) -> None:
        server, _ = negotiate([offer])
        assert server is not None
        self.server: Deflate = server
        self._deflater: Any = None
        self._inflater: Any = None

    def deflate(self, data: bytes, level: int = 6) -> bytes:
        """The payload of a compressed message."""
        if self._deflater is None or self.server.client_no_context_takeover:
            self._deflater = zlib.compressobj(level, wbits=-max(9, self.server.client_max_window_bits))
        data = self._deflater.compress(data) + self._deflater.flush(zlib.Z_SYNC_FLUSH)
        # zlib flushes nothing twice; an empty message is one empty block (RFC 7692 section 7.2.3.6).
        return data.removesuffix(TAIL) or b"\x00"

    def inflate(self, payload: bytes) -> bytes:
        """What a compressed message of the server says."""
        if self._inflater is None or self.server.server_no_context_takeover:
            self._inflater = zlib.decompressobj(-self.server.server_max_window_bits)
        data: bytes = self._inflater.decompress(payload + TAIL)
        assert not self._inflater.eof
        return data

    def read(self, data: bytes) -> list[tuple[int, bytes]]:
        """(opcode, payload) of a server's frames, inflated."""
        found = []
        for first, payload in read_frames(data):
            assert first & FINAL
            assert first & (RSV2 | RSV3) == 0
            found.append((first & 15, self.inflate(payload) if first & RSV1 else payload))
        return found
