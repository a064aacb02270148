# A stream over the event loop's own transports: TCP, Unix sockets and TLS, on asyncio and uvloop.

cimport cython
from fastserve.protocol._connection cimport Stream, WorkerState
from fastserve.protocol._proxy_protocol cimport ProxyHeader


@cython.final
cdef class Receiver:
    # The worker's one receive buffer; lent to one stream at a time.
    cdef char* data
    cdef object memory          # owns the bytes
    cdef object view            # memoryview of all of it
    cdef bint lent              # a connection is using what was received

cdef class LoopStream(Stream):
    cdef WorkerState worker
    cdef Receiver receiver
    cdef object transport       # None before connection_made and after connection_lost
    cdef int fd                 # for direct send(2); -1 where the bytes must pass through the loop (TLS)
    cdef bint closing           # close() or abort() was called
    cdef bint reading           # the transport reads
    cdef bytearray private      # receives while the shared buffer is lent; None otherwise
    cdef int tls_fd             # the socket below TLS; -1 without TLS
    cdef ProxyHeader header     # what came before TLS; or None
    cdef object lingering       # timer of a TLS connection that waits for the peer's close_notify; or None

    cdef int _deliver(self, const char* data, Py_ssize_t size) except -1
    cdef int _close_transport(self) except -1
    cdef Py_ssize_t _sent(self, Py_ssize_t result) except -1
