"""permessage-deflate (RFC 7692): the negotiation, and the two streams of one connection.

Offers are taken in the client's order, and the first that can be met is accepted; one with an unknown, repeated or
malformed parameter is declined, as section 5.1 asks. Windows are of 12 bits in both directions where the client lets
us choose: 4 KiB of context each, which keeps most of the gain at an eighth of the memory. A server window of 8 bits
cannot be met: zlib's raw deflate has none below 9, and the client would not find what it refers to.

The streams are CPython's zlib objects. Each is made with the first compressed message of its direction, and let go
after every message where the context is not taken over: an idle connection that never compressed has neither.

A sender may end a stream with a final block inside a message, and go on with a new one (section 7.2.3.4). zlib's object
ends there; another follows, whose window is filled with what this message has yielded. What earlier messages left in
the window is not kept across a final block; no known sender refers to it.
"""

import re
import zlib

cdef bytes NAME = b"permessage-deflate"
cdef int WINDOW_BITS = 12       # what we choose
cdef int MAX_WINDOW_BITS = 15   # without a word about it (section 7.1.2)
cdef int MIN_WINDOW_BITS = 9    # what zlib can do
# A window of 16 KiB and hash tables of 16 KiB, as uvicorn has it; zlib's default would take 128 KiB more.
cdef int MEMORY_LEVEL = 5
# In one message. Each costs a new stream; a sender that flushes in this way needs one.
cdef int FINAL_BLOCKS_LIMIT = 16

# What a message is completed with (section 7.2.2). Section 7.2.3.4 has a sender put a byte behind a final block, so
# that this is an empty block there too; behind one without, it is nothing to inflate.
cdef bytes TAIL = b"\x00\x00\xff\xff"

cdef bytes CHARACTER = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
# One parameter or the name of an extension, and what ends it. A quoted value is a token in quotes (RFC 6455 section
# 9.1), in which every character may be escaped.
cdef object PIECE = re.compile(
    rb"[ \t]*(TOKEN+)[ \t]*(?:=[ \t]*(?:(TOKEN+)|\"((?:\\?TOKEN)+)\")[ \t]*)?([;,]|\Z)".replace(b"TOKEN", CHARACTER)
)
# Elements of a list may be empty (RFC 9110 section 5.6.1).
cdef object EMPTY = re.compile(rb"[ \t,]*")
cdef object WINDOW = re.compile(rb"[89]|1[0-5]")


class InflateError(ValueError):
    """What was to be inflated is not deflate; the text says why."""


cdef class Deflate:
    """The compression of one connection, as negotiated."""

    def __cinit__(self):
        self.server_max_window_bits = MAX_WINDOW_BITS
        self.client_max_window_bits = MAX_WINDOW_BITS

    cdef bytes inflate(self, bytes piece, Py_ssize_t limit, const char* history, Py_ssize_t history_size):
        cdef list parts = []
        cdef Py_ssize_t total = 0
        cdef bytes part
        while self._inflater is not None or self._final_blocks == 0 or (piece and piece != TAIL):
            try:
                if self._inflater is None:
                    self._inflater = self._new_inflater(history, history_size, parts)
                part = self._inflater.decompress(piece, limit - total + 1 if limit >= 0 else 0)
            except zlib.error as error:
                raise InflateError("not deflate: " + str(error)) from None
            total += len(part)
            if 0 <= limit < total:
                return None
            parts.append(part)
            if not self._inflater.eof:
                break
            piece = self._inflater.unused_data
            self._inflater = None
            self._final_blocks += 1
            if self._final_blocks > FINAL_BLOCKS_LIMIT:
                raise InflateError("too many final blocks in one message")
        return <bytes> parts[0] if len(parts) == 1 else b"".join(parts)

    cdef object _new_inflater(self, const char* history, Py_ssize_t history_size, list parts):
        # zlib's own raw deflate has a window of 9 bits where 8 were asked for.
        cdef int bits = max(self.client_max_window_bits, MIN_WINDOW_BITS)
        cdef Py_ssize_t window = 1 << bits
        cdef bytes context
        if self._final_blocks == 0:
            return zlib.decompressobj(-bits)
        context = history[max(0, history_size - window):history_size] + b"".join(parts)
        return zlib.decompressobj(-bits, context[max(0, len(context) - window):])

    cdef void inflated(self) noexcept:
        self._final_blocks = 0
        if self.client_no_context_takeover:
            self._inflater = None

    cdef tuple deflate(self, object data):
        cdef object deflater = self._deflater
        if deflater is None:
            deflater = zlib.compressobj(wbits=-self.server_max_window_bits, memLevel=MEMORY_LEVEL)
            if not self.server_no_context_takeover:
                self._deflater = deflater
        return deflater.compress(data), deflater.flush(zlib.Z_SYNC_FLUSH)


cdef list _offers(bytes value):
    """[(name, [(parameter, value or None)])] of a field value. Raises ValueError if it is malformed."""
    cdef list offers = []
    cdef list parameters = None
    cdef Py_ssize_t position = 0
    cdef bytes delimiter = b","
    while position < len(value) or delimiter == b";":
        if parameters is None:
            position = EMPTY.match(value, position).end()
            if position == len(value):
                break
        match = PIECE.match(value, position)
        if match is None:
            raise ValueError("malformed extensions")
        name, plain, quoted, delimiter = match.groups()
        if quoted is not None:
            plain = quoted.replace(b"\\", b"")
        if parameters is None:
            if plain is not None:
                raise ValueError("malformed extensions")
            parameters = []
            offers.append((name.lower(), parameters))
        else:
            parameters.append((name.lower(), plain))
        if delimiter == b",":
            parameters = None
        position = match.end()
    return offers


cdef Deflate _accept(list parameters):
    """The compression that meets this offer, or None to decline it."""
    cdef Deflate deflate = Deflate.__new__(Deflate)
    cdef set seen = set()
    deflate.server_max_window_bits = WINDOW_BITS
    for name, value in parameters:
        if name in seen:
            return None
        seen.add(name)
        if name == b"server_no_context_takeover" and value is None:
            deflate.server_no_context_takeover = True
        elif name == b"client_no_context_takeover" and value is None:
            deflate.client_no_context_takeover = True
        elif name == b"client_max_window_bits" and value is None:
            deflate.client_max_window_bits = WINDOW_BITS
        elif value is None or WINDOW.fullmatch(value) is None:
            return None
        elif name == b"client_max_window_bits":
            deflate.client_max_window_bits = min(int(value), WINDOW_BITS)
        elif name == b"server_max_window_bits" and int(value) >= MIN_WINDOW_BITS:
            deflate.server_max_window_bits = min(int(value), WINDOW_BITS)
        else:
            return None
    return deflate


cpdef tuple negotiate(list field_values):
    """Choose among the client's offers: (Deflate, the response's field value), or (None, None).

    `field_values` are the values, bytes, of the request's Sec-WebSocket-Extensions fields. RFC 7692 section 5. Raises
    ValueError where they are malformed or hold nothing, with which the handshake fails (RFC 6455 section 9.1).
    """
    cdef bytes value
    cdef list offers = []
    cdef bytes response
    cdef Deflate deflate
    for value in field_values:
        offers += _offers(value)
    if field_values and not offers:
        raise ValueError("malformed extensions")
    for name, parameters in offers:
        deflate = _accept(parameters) if name == NAME else None
        if deflate is None:
            continue
        response = NAME
        if deflate.server_no_context_takeover:
            response += b"; server_no_context_takeover"
        if deflate.client_no_context_takeover:
            response += b"; client_no_context_takeover"
        response += b"; server_max_window_bits=%d" % deflate.server_max_window_bits
        # The parameter may only be in the response if it was in the offer (section 7.1.2.2).
        if deflate.client_max_window_bits < MAX_WINDOW_BITS:
            response += b"; client_max_window_bits=%d" % deflate.client_max_window_bits
        return deflate, response
    return None, None
