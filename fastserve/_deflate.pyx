"""permessage-deflate (RFC 7692): the negotiation, and the two streams of one connection."""


cdef class Deflate:
    """The compression of one connection, as negotiated."""

    cdef bytes inflate(self, bytes piece, Py_ssize_t limit, const char* history, Py_ssize_t history_size):
        raise NotImplementedError

    cdef int inflated(self) except -1:
        raise NotImplementedError

    cdef tuple deflate(self, object data):
        raise NotImplementedError


cpdef tuple negotiate(list field_values):
    """Choose among the client's offers."""
    return None, None
