"""The PROXY protocol, versions 1 and 2: what a load balancer says of a connection before its first byte.

A connection begins here where the option is on. If its peer is trusted a header must come, whole and in time, and
nothing is guessed: whatever else comes is answered with an error and the end. From other peers no header is taken; the
connection is served as what it is. Either way the stream goes to HTTP then, and the header's addresses are the stream's
from there on: scope, logs and the trust in X-Forwarded-For all see them.

A connection that had a header stays with its worker: another would not know what it said.

The text of version 1 and the numbers of version 2 are those of haproxy's proxy-protocol.txt. Header and trailer of
version 2 may carry more (TLVs): of these a checksum is verified, and TLS between client and proxy noted.
"""

import os
import socket

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp

from fastserve._buffer cimport Buffer, new_buffer
from fastserve._exchange cimport Endpoint
from fastserve.protocol._connection cimport Connection, Stream, WorkerState
from fastserve.protocol._http1 cimport Http1Connection

cdef enum:
    TEXT_LIMIT = 107            # bytes of a header of version 1, CRLF included
    SIGNATURE_SIZE = 12
    FIXED_SIZE = 16             # of version 2, up to its addresses
    SAMPLE_SIZE = 64            # bytes of a rejected header that are shown in the log
    VERSION_LOCAL = 0x20
    VERSION_PROXY = 0x21
    FAMILY_UNKNOWN = 0x00
    FAMILY_TCP4 = 0x11
    FAMILY_TCP6 = 0x21
    FAMILY_UNIX = 0x31
    TLV_CRC32C = 0x03
    TLV_SSL = 0x20
    SSL_CLIENT = 0x01           # in the first byte of TLV_SSL: the client came over TLS

cdef bytes SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
cdef bytes TEXT_START = b"PROXY "
cdef double UNREAD = 0.2        # seconds in which the transport brings what the kernel has received already


cdef uint32_t _crc32c(const uint8_t* data, Py_ssize_t size, Py_ssize_t hole) noexcept:
    # RFC 3720 section 12.1, the four bytes at `hole` taken as zero.
    cdef uint32_t crc = 0xFFFFFFFF
    cdef Py_ssize_t index
    cdef int _bit
    for index in range(size):
        if not hole <= index < hole + 4:
            crc ^= data[index]
        for _bit in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


cdef inline int _two(const uint8_t* data) noexcept:
    return data[0] << 8 | data[1]


cdef str _path(const uint8_t* data):
    # The 108 bytes of a Unix address; the path ends at the first NUL, an abstract name begins with one.
    cdef bytes whole = data[:108]
    cdef bytes path = whole.rstrip(b"\0") if data[0] == 0 else whole.partition(b"\0")[0]
    return os.fsdecode(path)


cdef object _text_port(bytes text):
    # A decimal number without anything that some readers take and others do not, or None.
    if not text.isdigit() or len(text) > 5 or (text[0] == 0x30 and len(text) > 1):
        return None
    number = int(text)
    return number if number < 65536 else None


cdef class ProxyHeader:
    """One header, read from its bytes.

    After read() has returned a positive number: `local`, the connection is what it seems; else `client`, `server` and
    `tls`, what the proxy says of it.
    """

    cdef Py_ssize_t read(self, const uint8_t* data, Py_ssize_t size) except -2:
        if size == 0:
            return 0
        self.reason = "PROXY protocol header is malformed"
        if memcmp(data, <const char*> SIGNATURE, min(size, SIGNATURE_SIZE)) == 0:
            return self._binary(data, size)
        if memcmp(data, <const char*> TEXT_START, min(size, 6)) == 0:
            return self._text(data, size)
        self.reason = "a PROXY protocol header was expected"
        return -1

    cdef Py_ssize_t _text(self, const uint8_t* data, Py_ssize_t size) except -2:
        cdef bytes head = PyBytes_FromStringAndSize(<const char*> data, min(size, TEXT_LIMIT))
        cdef Py_ssize_t end = head.find(b"\n")
        cdef list words
        cdef int family
        if end < 0:
            return -1 if size >= TEXT_LIMIT else 0
        if head[end - 1] != c"\r":
            return -1
        words = head[:end - 1].split(b" ")
        if words[1] == b"UNKNOWN":
            self.local = True
            return end + 1
        if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
            return -1
        family = socket.AF_INET if words[1] == b"TCP4" else socket.AF_INET6
        ports = (_text_port(words[4]), _text_port(words[5]))
        if None in ports:
            return -1
        try:
            hosts = [
                socket.inet_ntop(family, socket.inet_pton(family, word.decode("ascii"))) for word in words[2:4]
            ]
        except (OSError, ValueError):
            return -1
        self.client = (hosts[0], ports[0])
        self.server = (hosts[1], ports[1])
        return end + 1

    cdef Py_ssize_t _binary(self, const uint8_t* data, Py_ssize_t size) except -2:
        cdef Py_ssize_t whole
        if size > SIGNATURE_SIZE and data[12] != VERSION_LOCAL and data[12] != VERSION_PROXY:
            return -1
        if size < FIXED_SIZE:
            return 0
        whole = FIXED_SIZE + _two(data + 14)
        if whole > PROXY_HEADER_LIMIT:
            self.reason = "PROXY protocol header is too long"
            return -1
        if size < whole:
            return 0
        if data[12] == VERSION_LOCAL or data[13] == FAMILY_UNKNOWN:
            # Whatever is in it is to be skipped.
            self.local = True
            return whole
        return whole if self._addresses(data[13], data, whole) else -1

    cdef bint _addresses(self, int family, const uint8_t* data, Py_ssize_t size) except -1:
        cdef const uint8_t* at = data + FIXED_SIZE
        cdef Py_ssize_t left = size - FIXED_SIZE
        if family == FAMILY_TCP4 and left >= 12:
            self.client = (socket.inet_ntop(socket.AF_INET, at[:4]), _two(at + 8))
            self.server = (socket.inet_ntop(socket.AF_INET, at[4:8]), _two(at + 10))
            return self._extras(data, size, FIXED_SIZE + 12)
        if family == FAMILY_TCP6 and left >= 36:
            self.client = (socket.inet_ntop(socket.AF_INET6, at[:16]), _two(at + 32))
            self.server = (socket.inet_ntop(socket.AF_INET6, at[16:32]), _two(at + 34))
            return self._extras(data, size, FIXED_SIZE + 36)
        if family == FAMILY_UNIX and left >= 216:
            self.server = (_path(at + 108), None)
            return self._extras(data, size, FIXED_SIZE + 216)
        return False

    cdef bint _extras(self, const uint8_t* header, Py_ssize_t size, Py_ssize_t start) except -1:
        # TLVs: a byte of type, two of length, the value. Whether they are as they should be.
        cdef Py_ssize_t position = start
        cdef Py_ssize_t length
        cdef const uint8_t* value
        while position < size:
            if size - position < 3:
                return False
            length = _two(header + position + 1)
            value = header + position + 3
            if length > size - position - 3:
                return False
            if header[position] == TLV_SSL:
                if length < 5:
                    return False
                self.tls = value[0] & SSL_CLIENT != 0
            elif header[position] == TLV_CRC32C:
                if length != 4 or _crc32c(header, size, position + 3) != (
                        <uint32_t> _two(value) << 16 | <uint32_t> _two(value + 2)):
                    self.reason = "PROXY protocol header has a wrong checksum"
                    return False
            position += 3 + length
        return True


def read_proxy_header(data: bytes) -> tuple[int, ProxyHeader]:
    """Read the header at the start of `data`: its size (0: more is to come, -1: rejected), and what it says."""
    cdef ProxyHeader header = ProxyHeader.__new__(ProxyHeader)
    cdef const uint8_t* text = data
    return header.read(text, len(data)), header


cdef class ProxyProtocolConnection(Connection):
    """The beginning of a connection where the PROXY protocol is spoken; made by Worker for each."""

    cdef int opened(self, Stream stream) except -1:
        cdef WorkerState worker = self.worker
        cdef Endpoint endpoint = stream.endpoint()
        self.stream = stream
        worker.now = worker.clock.now()
        worker.opened(self)
        if stream.resumed or not self._expected(endpoint):
            self._hand_over(False)
            return 0
        self.idle_since = worker.now
        self.read_deadline = worker.now + worker.timeout_header
        worker.wheel.set(self, self.read_deadline, worker.now)
        return self.drain() if worker.draining else 0

    cdef bint _expected(self, Endpoint endpoint) except -1:
        if endpoint.peer_uid >= 0:
            return self.trusted.has_user(endpoint.peer_uid)
        return (None if endpoint.client is None else endpoint.client[0]) in self.trusted

    cdef int received(self, const char* data, Py_ssize_t size) except -1:
        self.worker.now = self.worker.clock.now()
        if self.input is None:
            return self._take(<const uint8_t*> data, size)
        self.input.append(data, size)
        return self._take(<const uint8_t*> self.input.data, self.input.size)

    cdef int _take(self, const uint8_t* data, Py_ssize_t size) except -1:
        # `data` may be that of `input`, which lives until this returns.
        cdef ProxyHeader header = ProxyHeader.__new__(ProxyHeader)
        cdef Py_ssize_t used = header.read(data, size)
        cdef Buffer input = self.input
        cdef Stream stream = self.stream
        cdef Http1Connection successor
        if used < 0:
            return self._reject(400, header.reason, data, size)
        if used == 0:
            if input is None:
                self.input = new_buffer(size)
                self.input.append(<const char*> data, size)
            return 0
        stream.proxied = True
        if not header.local:
            stream.facts = Endpoint(
                header.client, header.server, "https" if header.tls else stream.endpoint().scheme,
                tls=stream.endpoint().tls)
        successor = self._hand_over(used < size)
        if used < size and successor.stream is not None:
            successor.received(<const char*> data + used, size - used)
        return 0

    cdef Http1Connection _hand_over(self, bint more):
        cdef Stream stream = self.stream
        cdef WorkerState worker = self.worker
        cdef Http1Connection successor = self.successor
        # Before we leave: the worker must not take itself for idle in between. It counts the successor once.
        worker.wheel.cancel(self)
        self.successor = None
        self.stream = None
        stream.connection = successor
        # A worker that stops would have it leave at once, with a request on its way.
        successor.running = more
        successor.opened(stream)
        successor.running = False
        worker.closed(self)
        return successor

    cdef int _reject(self, int status, str reason, const uint8_t* data, Py_ssize_t size) except -1:
        cdef Http1Connection successor
        cdef bytes sample = PyBytes_FromStringAndSize(<const char*> data, min(size, SAMPLE_SIZE))
        self.stream.proxied = True
        successor = self._hand_over(True)
        if successor.stream is None:
            return 0
        successor._open_rejected(None, NULL)
        return successor._reject(status, reason, sample)

    cdef int _finish(self) except -1:
        self.worker.wheel.cancel(self)
        return self.stream.close() if self.stream is not None else 0

    cdef int ended(self) except -1:
        return self._finish()

    cdef int expired(self, double now) except -1:
        cdef Buffer input = self.input
        self.worker.now = now
        if self.stream is None:
            return 0
        if input is not None:
            return self._reject(
                408, "PROXY protocol header was not complete in time", <const uint8_t*> input.data, input.size)
        if self.stream.readable():
            return self.worker.wheel.set(self, now + UNREAD, now)
        return self._finish()

    cdef int lost(self, object reason) except -1:
        self.stream = None
        self.input = None
        self.successor = None
        self.worker.wheel.cancel(self)
        return self.worker.closed(self)

    cdef int drain(self) except -1:
        cdef WorkerState worker = self.worker
        if self.stream is None or self.input is not None or self.left:
            return 0
        if worker.handing_on or not worker.draining:
            self.left = self.stream.hand_on(True)
            if self.left:
                worker.wheel.cancel(self)
            worker.surplus = max(0, worker.surplus - 1) if self.left else 0
            return 0
        return worker.wheel.set(self, min(self.read_deadline, self.idle_since + worker.idle_grace), worker.now)
