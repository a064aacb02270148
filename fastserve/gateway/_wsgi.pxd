# WSGI (PEP 3333) in the event loop: exchanges to calls of an application.
#
#   WsgiGateway     what calls have in common; its own calls run in the loop
#   WsgiCall        one call of the application: start_response and write
#   LoopCall        one that runs in the loop

cimport cython
from libc.stdint cimport int64_t

from fastserve._exchange cimport Exchange, Handler
from fastserve.gateway._environ cimport EnvironBuilder
from fastserve.gateway._threads cimport Work
from fastserve.gateway._wsgi_input cimport RequestBody


cdef class WsgiGateway(Handler):
    cdef object application
    cdef object loop
    cdef EnvironBuilder environs
    cdef object logger
    cdef readonly int64_t spooled   # bytes of responses in temporary files
    cdef int64_t limit_spool        # of these
    cdef dict statuses              # "200 OK" -> (200, None or the reason phrase where it is not the usual one)

    cdef tuple parse_status(self, object status)
    cdef int failed(self, str where, object error) except -1


cdef class WsgiCall(Work):
    cdef WsgiGateway gateway
    cdef Exchange exchange          # None once the call is over
    cdef RequestBody body           # of a request that did not arrive at once, or None
    cdef bint waiting               # for the rest of it
    cdef bint started               # start_response has been called

    # The environ, with the call's own things in it.
    cdef dict environ(self)
    # Take the response's head in the place of an earlier one. Raises for what cannot be sent.
    cdef int begin(self, int status, bytes reason, object fields) except -1
    # Whether the head is on its way.
    cdef bint sent(self) noexcept
    # An interim response, 103; the fields are bytes.
    cdef int hint(self, list fields) except -1
    # Body bytes, not the last.
    cdef int put(self, bytes piece) except -1
    # The request is complete: call the application.
    cdef int run(self) except -1
    # Take what has come of the body; True when that is all.
    cdef bint collect(self) except -1
    # What has been received cannot be kept: nobody is called.
    cdef int lose_body(self, object error) except -1
    # The request was cut short: nobody is called.
    cdef int give_up(self) except -1
    cdef int discard_body(self) except -1


@cython.final
cdef class LoopCall(WsgiCall):
    cdef object result              # what the application returned, until it is closed
    cdef object pieces              # its iterator
    cdef object context             # contextvars.Context that all of it runs in
    cdef bint single                # the first piece is the only one
    cdef bint is_file               # they are blocks of a file: more than what was announced is no mistake
    cdef bint stepping              # inside the application's iterator
    cdef bint ended                 # the iterator has no more
    # What the application has written and the client has not taken.
    cdef object spool               # a temporary file, or None
    cdef int64_t spool_end          # bytes written into it
    cdef int64_t spool_sent         # bytes of these that are sent

    cdef int begin_call(self) except -1
    cdef int answer(self, object result) except -1
    cdef int send(self, object piece, bint more) except -1
    # Whether the rest of a file is sent as a whole.
    cdef bint send_file(self, object result) except -1
    cdef int go_on(self) except -1
    # Into the file, and from there; ConnectionError where there is too much in such files.
    cdef int keep(self, bytes piece) except -1
    cdef bytes take_kept(self)
    cdef int drop_kept(self) except -1
    cdef int step(self) except -1
    cdef int give_in(self) except -1
    cdef int finish(self, object error) except -1
    cdef object close(self, object error)


# Seconds on the monotonic clock.
cdef double now() noexcept
cdef object call_application(WsgiCall call, dict environ)
# Method and path, for the log.
cdef str request_line(Exchange exchange)
cdef bytes checked_piece(object piece)
# (descriptor, offset, size) of the rest of a file of the system, or None.
cdef tuple rest_of_file(object result)
# Whether all pieces of an iterator are there, so that asking for the next one runs none of the application's code.
cdef bint is_made(object pieces) noexcept
# Whether len() of it says how many pieces there are, and that is one.
cdef bint is_single(object result) noexcept
