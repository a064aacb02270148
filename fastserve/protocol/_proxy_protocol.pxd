# The PROXY protocol, versions 1 and 2: what a load balancer says of a connection before its first byte.

cimport cython
from libc.stdint cimport uint8_t

from fastserve._buffer cimport Buffer
from fastserve._exchange cimport Endpoint
from fastserve.protocol._connection cimport Connection
from fastserve.protocol._http1 cimport Http1Connection


cdef enum:
    PROXY_HEADER_LIMIT = 16384      # bytes of a header, TLVs included; version 1 has at most 107


@cython.final
cdef class ProxyHeader:
    # What a header says.
    cdef readonly bint local        # the proxy speaks for itself, or does not know: the connection is what it seems
    cdef readonly object client     # (host, port), or None: a Unix socket
    cdef readonly object server     # (host, port), or (path, None)
    cdef readonly bint tls          # the client came over TLS
    cdef readonly str reason        # why it is rejected

    # The bytes of the header at `data`, 0 when there is more to come, or -1: `reason` says why.
    cdef Py_ssize_t read(self, const uint8_t* data, Py_ssize_t size) except -2
    cdef Py_ssize_t _text(self, const uint8_t* data, Py_ssize_t size) except -2
    cdef Py_ssize_t _binary(self, const uint8_t* data, Py_ssize_t size) except -2
    cdef bint _addresses(self, int family, const uint8_t* data, Py_ssize_t size) except -1
    cdef bint _extras(self, const uint8_t* header, Py_ssize_t size, Py_ssize_t start) except -1


@cython.final
cdef class ProxyProtocolConnection(Connection):
    # Serves a stream until the header is read, and passes it on.
    cdef object trusted             # TrustedPeers
    cdef Http1Connection successor  # gets the stream
    cdef Buffer input               # an incomplete header, or None
    cdef bint left                  # another worker has the stream
    cdef double read_deadline       # seconds on the worker's clock
    cdef double idle_since

    cdef bint _expected(self, Endpoint endpoint) except -1
    cdef int _take(self, const uint8_t* data, Py_ssize_t size) except -1
    cdef int _reject(self, int status, str reason, const uint8_t* data, Py_ssize_t size) except -1
    # Pass the stream on; `more`: bytes for the successor follow at once.
    cdef Http1Connection _hand_over(self, bint more)
    cdef int _finish(self) except -1
