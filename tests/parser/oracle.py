"""A slow twin of the head and chunked-body parsers, written from RFC 9110, 9112 and 3986 alone.

It reads one byte after the other from a whole input, starts from scratch each time, and knows nothing of states,
scans or resuming: whatever the fast parser does differently shows. Where the RFCs leave a choice the twin makes the
one written at the top of fastserve/_parser.pyx.
"""

import re
from dataclasses import dataclass, field
from typing import NoReturn

TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
TEXT = frozenset([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
TARGET = frozenset(range(0x21, 0x7F)) - frozenset(b"#")
QUOTED = frozenset([0x09, 0x20, 0x21, *range(0x23, 0x5C), *range(0x5D, 0x7F), *range(0x80, 0x100)])
DIGITS = frozenset(b"0123456789")
HEX = frozenset(b"0123456789abcdefABCDEF")

# RFC 3986 section 3.2.2
DEC_OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9][0-9]|[0-9])"
IPV4 = rb"(?:" + DEC_OCTET + rb"\.){3}" + DEC_OCTET
H16 = rb"[0-9A-Fa-f]{1,4}"
LS32 = rb"(?:" + H16 + rb":" + H16 + rb"|" + IPV4 + rb")"
IPV6 = (
    b"|".join(
        [
            rb"(?:%(h)s:){6}%(l)s",
            rb"::(?:%(h)s:){5}%(l)s",
            rb"(?:%(h)s)?::(?:%(h)s:){4}%(l)s",
            rb"(?:(?:%(h)s:){0,1}%(h)s)?::(?:%(h)s:){3}%(l)s",
            rb"(?:(?:%(h)s:){0,2}%(h)s)?::(?:%(h)s:){2}%(l)s",
            rb"(?:(?:%(h)s:){0,3}%(h)s)?::%(h)s:%(l)s",
            rb"(?:(?:%(h)s:){0,4}%(h)s)?::%(l)s",
            rb"(?:(?:%(h)s:){0,5}%(h)s)?::%(h)s",
            rb"(?:(?:%(h)s:){0,6}%(h)s)?::",
        ]
    )
    .replace(b"%(h)s", H16)
    .replace(b"%(l)s", LS32)
)
IPVFUTURE = rb"[vV][0-9A-Fa-f]+\.[-A-Za-z0-9._~!$&'()*+,;=:]+"
REG_NAME = rb"(?:[-A-Za-z0-9._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})"
AUTHORITY = re.compile(rb"(?P<host>\[(?:" + IPV6 + rb"|" + IPVFUTURE + rb")\]|" + REG_NAME + rb"+)(?P<port>:[0-9]*)?")


class Incomplete(Exception):
    """More bytes are needed."""


class Rejected(Exception):
    """code and offset; offset None where only a range can be told (start, end)."""

    def __init__(self, code: str, offset: int, end: int | None = None) -> None:
        super().__init__(code, offset)
        self.code = code
        self.offset = offset
        self.end = offset if end is None else end


@dataclass
class Head:
    method: str = ""
    target: bytes = b""
    minor: int = 0
    keep_alive: bool = False
    chunked: bool = False
    expect_continue: bool = False
    upgrade: bool = False
    te_trailers: bool = False
    content_length: int | None = None
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)


def authority_is_valid(text: bytes) -> bool:
    return AUTHORITY.fullmatch(text) is not None


def elements(fields: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """The elements of a list field over all its lines, in lower case."""
    return [part.strip(b" \t").lower() for key, value in fields if key == name for part in value.split(b",")]


class HeadReader:
    """Reads one head from the start of `data`; `at` is where it is."""

    def __init__(self, data: bytes, request_line: int, head: int, fields: int) -> None:
        self.data = data
        self.at = 0
        self.limit_request_line = request_line
        self.limit_head = head
        self.limit_fields = fields

    def byte(self) -> int:
        if self.at >= self.limit_head:
            raise Rejected("HEAD_TOO_LARGE", self.limit_head)
        if self.at >= len(self.data):
            raise Incomplete
        return self.data[self.at]

    def line_byte(self) -> int:
        """Within the request line."""
        byte = self.byte()
        if self.at == self.line_start + self.limit_request_line and byte != 0x0D:
            raise Rejected("REQUEST_LINE_TOO_LONG", self.at)
        return byte

    def fail(self, code: str) -> NoReturn:
        raise Rejected(code, self.at)

    def lf(self) -> None:
        if self.byte() != 0x0A:
            self.fail("BARE_CR")
        self.at += 1

    def read(self) -> Head:
        head = Head()
        if self.byte() == 0x0D:
            self.at += 1
            self.lf()
            if self.byte() == 0x0D:
                self.fail("EMPTY_LINES")
        if self.byte() == 0x0A:
            self.fail("BARE_LF")
        self.line_start = self.at
        self.request_line(head)
        while self.byte() != 0x0D:
            self.field_line(head)
        self.at += 1
        self.lf()
        self.finish(head)
        return head

    def request_line(self, head: Head) -> None:
        data = self.data
        if self.byte() == 0x16:
            self.at += 1
            if self.byte() == 0x03:
                raise Rejected("TLS_HANDSHAKE", self.line_start)
            raise Rejected("BAD_METHOD", self.line_start)
        start = self.at
        while (byte := self.line_byte()) in TOKEN:
            self.at += 1
        if byte == 0x0A:
            self.fail("BARE_LF")
        if byte == 0x0D:
            self.fail("MISSING_TARGET")
        if byte != 0x20 or self.at == start:
            self.fail("BAD_METHOD")
        head.method = data[start : self.at].decode()
        self.at += 1
        start = self.at
        while (byte := self.line_byte()) in TARGET:
            self.at += 1
        if byte == 0x0A:
            self.fail("BARE_LF")
        if self.at == start:
            self.fail("MISSING_TARGET")
        if byte == 0x0D:
            self.fail("HTTP09")
        if byte != 0x20:
            self.fail("BAD_TARGET_BYTE")
        head.target = data[start : self.at]
        self.check_target(head, start)
        self.at += 1
        start = self.at
        for expected in (b"H", b"T", b"T", b"P", b"/", DIGITS, b".", DIGITS):
            byte = self.line_byte()
            if byte == 0x0A:
                self.fail("BARE_LF")
            if byte == 0x0D and self.at == start:
                self.fail("HTTP09")
            if byte not in expected:
                self.fail("BAD_VERSION")
            if self.at == start + 5 and byte != 0x31:
                self.fail("UNSUPPORTED_VERSION")
            self.at += 1
        head.minor = min(data[self.at - 1] - 0x30, 1)
        byte = self.line_byte()
        if byte == 0x0A:
            self.fail("BARE_LF")
        if byte != 0x0D:
            self.fail("BAD_VERSION")
        self.at += 1
        self.lf()

    def check_target(self, head: Head, start: int) -> None:
        target = head.target
        if head.method == "CONNECT":
            match = AUTHORITY.fullmatch(target)
            if not match or not match["port"] or match["port"] == b":":
                raise Rejected("BAD_AUTHORITY", start, self.at)
        elif target.startswith(b"/"):
            pass
        elif target.startswith(b"*"):
            if target != b"*":
                raise Rejected("BAD_TARGET", start + 1)
            if head.method == "PRI":
                raise Rejected("HTTP2_PREFACE", self.line_start)
            if head.method != "OPTIONS":
                raise Rejected("BAD_ASTERISK", start)
        else:
            match = re.match(rb"([^:/?@\[\]()<>,;\\\"={}]+)://([^/?]*)", target)
            if not match:
                raise Rejected("BAD_TARGET", start)
            if match[1].lower() not in (b"http", b"https"):
                raise Rejected("BAD_SCHEME", start)
            if not authority_is_valid(match[2]):
                raise Rejected("BAD_AUTHORITY", start + match.start(2), start + match.end(2))

    def field_line(self, head: Head) -> None:
        data = self.data
        start = self.at
        byte = self.byte()
        if byte == 0x0A:
            self.fail("BARE_LF")
        if byte in b" \t":
            self.fail("OBS_FOLD" if head.fields else "LEADING_SPACE")
        if byte == 0x3A:
            self.fail("EMPTY_NAME")
        if byte not in TOKEN:
            self.fail("BAD_NAME_BYTE")
        if len(head.fields) == self.limit_fields:
            self.fail("TOO_MANY_FIELDS")
        while (byte := self.byte()) in TOKEN:
            self.at += 1
        if byte != 0x3A:
            self.fail(
                {0x0A: "BARE_LF", 0x0D: "MISSING_COLON", 0x20: "SPACE_BEFORE_COLON", 0x09: "SPACE_BEFORE_COLON"}.get(
                    byte, "BAD_NAME_BYTE"
                )
            )
        name = data[start : self.at].lower()
        self.at += 1
        while self.byte() in b" \t":
            self.at += 1
        value_start = self.at
        while (byte := self.byte()) in TEXT:
            self.at += 1
        if byte != 0x0D:
            self.fail("BARE_LF" if byte == 0x0A else "BAD_VALUE_BYTE")
        value = data[value_start : self.at].rstrip(b" \t")
        self.at += 1
        self.lf()
        self.apply(head, name, value, start, value_start)
        head.fields.append((name, value))

    def apply(self, head: Head, name: bytes, value: bytes, start: int, value_start: int) -> None:
        if name == b"host":
            if any(key == b"host" for key, _ in head.fields):
                raise Rejected("DUPLICATE_HOST", start)
            if value and not authority_is_valid(value):
                raise Rejected("BAD_HOST", value_start, value_start + len(value))
        elif name == b"content-length":
            digits = re.match(rb"[0-9]*", value)
            assert digits
            for end in range(1, digits.end() + 1):
                if int(value[:end]) > 2**63 - 1:
                    raise Rejected("CONTENT_LENGTH_OVERFLOW", value_start + end - 1)
            if not value or digits.end() < len(value):
                raise Rejected("BAD_CONTENT_LENGTH", value_start + digits.end())
            if head.content_length is not None:
                same = head.content_length == int(value)
                raise Rejected("REPEATED_CONTENT_LENGTH" if same else "CONFLICTING_CONTENT_LENGTH", start)
            if head.chunked:
                raise Rejected("LENGTH_AND_ENCODING", start)
            head.content_length = int(value)
        elif name == b"transfer-encoding":
            if head.minor == 0:
                raise Rejected("ENCODING_IN_HTTP10", start)
            at = 0
            while True:
                coding = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]*").match(value, at)
                assert coding
                if not coding[0]:
                    raise Rejected("BAD_TRANSFER_ENCODING", value_start + at)
                if coding[0].lower() == b"chunked":
                    if head.chunked:
                        raise Rejected("DUPLICATE_CHUNKED", value_start + at)
                    head.chunked = True
                else:
                    raise Rejected("CHUNKED_NOT_LAST" if head.chunked else "UNKNOWN_CODING", value_start + at)
                comma = re.compile(rb"[ \t]*(,[ \t]*)?").match(value, coding.end())
                assert comma
                at = comma.end()
                if comma[1] is None:
                    if at < len(value):
                        raise Rejected("BAD_TRANSFER_ENCODING", value_start + at)
                    break
            if head.content_length is not None:
                raise Rejected("LENGTH_AND_ENCODING", start)

    def finish(self, head: Head) -> None:
        connection = elements(head.fields, b"connection")
        names = {name for name, _ in head.fields}
        head.te_trailers = b"trailers" in elements(head.fields, b"te")
        if head.minor == 0:
            head.keep_alive = b"keep-alive" in connection and b"close" not in connection
            return
        if b"host" not in names:
            raise Rejected("MISSING_HOST", self.at - 2)
        head.keep_alive = b"close" not in connection
        head.upgrade = b"upgrade" in connection and b"upgrade" in names
        head.expect_continue = b"100-continue" in elements(head.fields, b"expect")


def read_head(data: bytes, request_line: int = 8192, head: int = 65536, fields: int = 100) -> tuple[Head, int]:
    """The head at the start of `data` and its size. Raises Incomplete or Rejected."""
    reader = HeadReader(data, request_line, head, fields)
    return reader.read(), reader.at


class ChunkedReader:
    def __init__(self, data: bytes, extensions: int, trailers: int, trailer_fields: int) -> None:
        self.data = data
        self.at = 0
        self.limit_extensions = extensions
        self.limit_trailers = trailers
        self.limit_trailer_fields = trailer_fields
        self.body = b""
        self.framing = 0
        self.extensions = 0
        self.trailers = 0

    def byte(self) -> int:
        if self.at >= len(self.data):
            raise Incomplete
        return self.data[self.at]

    def framing_byte(self) -> int:
        byte = self.byte()
        if self.framing + 1 > 65536 + 2 * len(self.body):
            self.fail("TOO_MUCH_FRAMING")
        return byte

    def fail(self, code: str) -> NoReturn:
        raise Rejected(code, self.at)

    def step(self) -> None:
        self.at += 1
        self.framing += 1

    def read(self) -> bytes:
        while size := self.size_line():
            if len(self.data) - self.at < size:
                raise Incomplete
            self.body += self.data[self.at : self.at + size]
            self.at += size
            byte = self.framing_byte()
            if byte != 0x0D:
                self.fail("CHUNK_BARE_LF" if byte == 0x0A else "MISSING_CHUNK_END")
            self.step()
            if self.framing_byte() != 0x0A:
                self.fail("CHUNK_BARE_CR")
            self.step()
        count = 0
        while self.byte() != 0x0D:
            if count == self.limit_trailer_fields and self.byte() in TOKEN:
                self.fail("TOO_MANY_TRAILERS")
            count += 1
            self.trailer()
        self.at += 1
        if self.byte() != 0x0A:
            self.fail("TRAILER_BARE_CR")
        self.at += 1
        return self.body

    def size_line(self) -> int:
        digits = b""
        while (byte := self.framing_byte()) in HEX:
            if len(digits) == 16 or int(digits + bytes([byte]), 16) > 2**63 - 1:
                self.fail("CHUNK_SIZE_OVERFLOW")
            digits += bytes([byte])
            self.step()
        if byte == 0x0A:
            self.fail("CHUNK_BARE_LF")
        if not digits or byte not in b"\r; \t":
            self.fail("BAD_CHUNK_SIZE")
        while self.framing_byte() != 0x0D:
            self.extension()
        self.step()
        if self.framing_byte() != 0x0A:
            self.fail("CHUNK_BARE_CR")
        self.step()
        return int(digits, 16)

    def extension_byte(self, allowed: bytes | frozenset[int]) -> None:
        byte = self.framing_byte()
        if byte == 0x0A:
            self.fail("CHUNK_BARE_LF")
        if byte not in allowed:
            self.fail("BAD_CHUNK_EXTENSION")
        if self.extensions == self.limit_extensions:
            self.fail("CHUNK_EXTENSIONS_TOO_LARGE")
        self.extensions += 1
        self.step()

    def bad_white_space(self) -> None:
        while self.framing_byte() in b" \t":
            self.extension_byte(b" \t")

    def token(self) -> None:
        self.extension_byte(TOKEN)
        while self.framing_byte() in TOKEN:
            self.extension_byte(TOKEN)

    def extension(self) -> None:
        """BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ]; white space at the end starts the next one."""
        self.bad_white_space()
        self.extension_byte(b";")
        self.bad_white_space()
        self.token()
        if self.framing_byte() in b" \t":
            self.bad_white_space()
            if self.framing_byte() != 0x3D:
                self.extension_byte(b";")
                self.at -= 1
                self.framing -= 1
                self.extensions -= 1
                return
        if self.framing_byte() != 0x3D:
            if self.framing_byte() not in b"\r;":
                self.extension_byte(b"")
            return
        self.extension_byte(b"=")
        self.bad_white_space()
        if self.framing_byte() == 0x22:
            self.extension_byte(b'"')
            while self.framing_byte() != 0x22:
                if self.framing_byte() == 0x5C:
                    self.extension_byte(b"\\")
                    self.extension_byte(TEXT)
                else:
                    self.extension_byte(QUOTED)
            self.extension_byte(b'"')
        else:
            self.token()
        if self.framing_byte() not in b"\r; \t":
            self.extension_byte(b"")

    def trailer_byte(self) -> int:
        byte = self.byte()
        if self.trailers == self.limit_trailers:
            self.fail("TRAILERS_TOO_LARGE")
        return byte

    def trailer(self) -> None:
        empty = True
        while (byte := self.trailer_byte()) != 0x3A or empty:
            if byte not in TOKEN:
                self.fail("TRAILER_BARE_LF" if byte == 0x0A else "BAD_TRAILER")
            empty = False
            self.at += 1
            self.trailers += 1
        self.at += 1
        self.trailers += 1
        while (byte := self.trailer_byte()) != 0x0D:
            if byte not in TEXT:
                self.fail("TRAILER_BARE_LF" if byte == 0x0A else "BAD_TRAILER")
            self.at += 1
            self.trailers += 1
        self.at += 1
        self.trailers += 1
        if self.trailer_byte() != 0x0A:
            self.fail("TRAILER_BARE_CR")
        self.at += 1
        self.trailers += 1


def read_chunked(
    data: bytes, extensions: int = 4096, trailers: int = 8192, trailer_fields: int = 100
) -> tuple[bytes, int]:
    """The chunked body at the start of `data` and its size with all framing. Raises Incomplete or Rejected."""
    reader = ChunkedReader(data, extensions, trailers, trailer_fields)
    return reader.read(), reader.at
