# Response heads: status, fields and trailers of the application, validated and serialised in one pass (RFC 9112
# sections 4 and 5, RFC 9110 section 5.5).

cimport cython
from libc.stdint cimport int64_t

from fastserve._buffer cimport Buffer


cdef struct HeadFacts:
    int64_t content_length      # -1 when the application gave none
    unsigned char chunked       # truth values in one byte each: it asked for Transfer-Encoding: chunked
    unsigned char close         # it gave Connection: close
    unsigned char connection    # it gave a Connection field
    unsigned char no_length     # set before: the response must not carry a Content-Length (204)


@cython.final
cdef class ResponseWriter:
    cdef bytes _defaults            # date, server and configured fields, as on the wire; refreshed each second
    cdef bytes _defaults_no_date
    cdef bytes _defaults_no_server
    cdef bytes _defaults_bare
    cdef long _second               # the time in _defaults
    cdef bint _date
    cdef list _fields               # of (name, value)
    cdef list _status_lines         # status - 100 -> bytes

    # Append status line, default fields and the application's, without the line that ends the head. Raises
    # RuntimeError for what must not reach the wire; what is behind out.size then is garbage. `reason` is the phrase, or
    # None for the usual one; with `text` the fields are text, of Latin-1 characters, instead of bytes.
    cdef int write_head(self, Buffer out, int status, bytes reason, object fields, bint text,
                        HeadFacts* facts) except -1
    # The same for the response that changes the protocol (101); complete.
    cdef int write_switch(self, Buffer out, object fields) except -1
    # The same for another 1xx response: no default fields, and complete.
    cdef int write_interim(self, Buffer out, int status, object fields) except -1
    # Trailer fields, without the CRLF that ends the section.
    cdef int write_trailers(self, Buffer out, object fields) except -1
    cdef int _write_fields(self, Buffer out, object fields, HeadFacts* facts, int kind, bint text) except -1
    cdef int _refresh(self, long second) except -1
