# permessage-deflate (RFC 7692): the negotiation, and the two streams of one connection.

cimport cython

cdef enum:
    # Bytes of a message from which it is compressed. Below that it fits in one packet with room to spare, compressed or
    # not, and compressing it would cost several times what all else costs that is done for it.
    DEFLATE_THRESHOLD = 256


@cython.final
cdef class Deflate:
    # As negotiated.
    cdef readonly bint server_no_context_takeover
    cdef readonly bint client_no_context_takeover
    cdef readonly int server_max_window_bits
    cdef readonly int client_max_window_bits
    # zlib's objects, each made at its first use; None between messages where no context is taken over.
    cdef object _inflater
    cdef object _deflater
    cdef int _final_blocks          # that the message under way has had

    # Inflate a piece of a message. What was inflated of the same message before is `history`. Returns None when that
    # is more than `limit` bytes (-1: no limit); no more than one byte over it is ever made. Raises InflateError for
    # what is not deflate.
    cdef bytes inflate(self, bytes piece, Py_ssize_t limit, const char* history, Py_ssize_t history_size)
    cdef object _new_inflater(self, const char* history, Py_ssize_t history_size, list parts)
    # The message is whole: forget what the next one may not refer to.
    cdef void inflated(self) noexcept
    # The payload of a compressed message, as two bytes objects; the last four bytes of the second are not sent.
    cdef tuple deflate(self, object data)


# The accepted offer among the values (bytes) of the request's Sec-WebSocket-Extensions fields: (Deflate, the response's
# value as bytes), or (None, None).
cpdef tuple negotiate(list field_values)
