"""WebSocket messages (RFC 6455, RFC 7692): bytes from a client to messages, messages to bytes; no I/O."""


cdef class MessageReader:
    """The messages in what a client sends."""

    def __init__(self, Py_ssize_t max_size=0, Deflate deflate=None):
        self._max_size = max_size
        self._deflate = deflate

    cdef Incoming read(self, const char* data, Py_ssize_t size, Py_ssize_t* used) except <Incoming> -1:
        raise NotImplementedError

    cdef Incoming _read(self, const uint8_t* data, Py_ssize_t size, Py_ssize_t* used) except <Incoming> -1:
        raise NotImplementedError

    cdef Incoming _fail(self, int code, str reason) except <Incoming> -1:
        raise NotImplementedError


cdef class MessageWriter:
    """Messages to a client as frames."""

    def __init__(self, Deflate deflate=None):
        self._deflate = deflate

    cdef int write_text(self, Buffer output, str text) except -1:
        raise NotImplementedError

    cdef int write_binary(self, Buffer output, object data) except -1:
        raise NotImplementedError

    cdef int write_control(self, Buffer output, int opcode, const char* data, Py_ssize_t size) except -1:
        raise NotImplementedError

    cdef int write_close(self, Buffer output, int code, str reason) except -1:
        raise NotImplementedError

    cdef int write_head(self, Buffer output, int opcode, Py_ssize_t size) except -1:
        raise NotImplementedError

    cdef bint compresses(self, Py_ssize_t size) noexcept:
        return False

    cdef int _write_deflated(self, Buffer output, int opcode, object data) except -1:
        raise NotImplementedError


cdef bint close_code_valid(int code) noexcept:
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999
