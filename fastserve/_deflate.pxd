# permessage-deflate (RFC 7692): the negotiation, and the two streams of one connection.

cdef class Deflate:
    # As negotiated.
    cdef readonly bint server_no_context_takeover
    cdef readonly bint client_no_context_takeover
    cdef readonly int server_max_window_bits
    cdef readonly int client_max_window_bits
    # zlib's objects, each made at its first use; None between messages where no context is taken over.
    cdef object _inflater
    cdef object _deflater
    cdef int _final_blocks          # of the message being inflated

    # Inflate a piece of a message to at most `limit` bytes (0: no limit) and return them. What was inflated earlier of
    # the same message is `history`. Raises InflateError when there would be more, or for what is not deflate.
    cdef bytes inflate(self, bytes piece, Py_ssize_t limit, const char* history, Py_ssize_t history_size)
    # The message has ended, or is dropped: forget what the next one may not refer to.
    cdef int inflated(self) except -1
    # One whole message, as the two parts of its payload.
    cdef tuple deflate(self, object data)

# (Deflate, value of the response's Sec-WebSocket-Extensions field) for the values of the request's fields of this name,
# (None, None) when none of the offers can be accepted.
cpdef tuple negotiate(list field_values)
