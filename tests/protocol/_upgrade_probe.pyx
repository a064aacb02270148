"""A protocol that takes connections over: it sends back what it gets. What only Cython can derive from."""

from fastserve._exchange cimport Exchange
from fastserve.protocol._connection cimport Connection, Stream, Upgrade


cdef class EchoUpgrade(Upgrade):
    """Accepts every upgrade but those of HEAD requests and of requests with a body."""

    cdef readonly int asked

    cdef Connection accept(self, Connection connection, Exchange exchange):
        self.asked += 1
        if exchange.method == "HEAD" or not exchange.request_complete:
            return None
        return EchoConnection.__new__(EchoConnection)


cdef class EchoConnection(Connection):
    """Sends back whatever it receives."""

    cdef int opened(self, Stream stream) except -1:
        cdef bytes head = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"
        self.stream = stream
        return stream.write(head, len(head))

    cdef int received(self, const char* data, Py_ssize_t size) except -1:
        return self.stream.write(data, size)

    cdef int ended(self) except -1:
        return self.stream.close()

    cdef int lost(self, object reason) except -1:
        self.stream = None
        return self.worker.closed(self)
