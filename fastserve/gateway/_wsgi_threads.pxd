# WSGI (PEP 3333) in threads: the loop reads requests and writes responses, threads call the application.

cimport cython
from libc.stdint cimport int64_t

from fastserve._exchange cimport Exchange
from fastserve.gateway._threads cimport Threads, Work
from fastserve.gateway._wsgi cimport WsgiCall, WsgiGateway


@cython.final
cdef class ThreadedGateway(WsgiGateway):
    cdef Threads threads
    cdef readonly Py_ssize_t limit_queue    # calls that may wait for a thread
    cdef readonly double timeout_queue      # seconds that one may wait; 0 is for ever
    cdef readonly long refused              # calls that were answered with 503
    cdef public object on_refused           # called with a sentence for each of them; None or a callable
    cdef Py_ssize_t late_calls              # that were begun before their body was there, and have not ended
    cdef double quiet_until                 # on the loop's clock: a full disk is not told of again before
    cdef object sweeper                     # the loop's timer; None while nothing waits

    cdef int enqueue(self, ThreadCall call) except -1
    cdef int refuse(self, ThreadCall call, str reason) except -1


@cython.final
cdef class ThreadCall(WsgiCall):
    # Fields are written by the side that the comment names: "T" is the thread, "L" the loop.
    cdef dict prepared              # L: the environ, until T takes it
    # The response as far as it has come.
    cdef int status                 # T
    cdef bytes reason               # T
    cdef list fields                # T
    cdef bint under_way             # T: there are body bytes, the head can not be replaced any more
    cdef int64_t left               # T: bytes that Content-Length leaves, -1 if there is none
    cdef bint is_head               # L: the request's method
    cdef bint bodiless              # T: such a request, or a status without a body
    cdef list outbox                # of bytes; T appends, L takes all
    cdef list sending               # L: what it has taken from there
    cdef Py_ssize_t position        # L: how many of these are sent
    cdef Py_ssize_t size            # bytes in both
    cdef bint whole                 # T: nothing more will come
    cdef bint over                  # T: the application has ended
    cdef bint gone                  # L: nobody waits for the response any more
    cdef bint ending                # L: the server stops
    cdef list hints                 # T appends fields of interim responses, L takes all; None while there are none
    # Where the client is slow: what does not fit into the outbox.
    cdef int spool                  # T: the descriptor of a temporary file, or -1
    cdef int64_t spool_end          # T: bytes written
    cdef int64_t spool_sent         # L: bytes of these that are sent
    cdef bint no_spool              # T: the disk has no room
    # A file that the kernel is to send.
    cdef bint sends_files           # L: it would
    cdef bint is_file               # T: what is yielded are blocks of one
    cdef int file                   # T: its descriptor, or -1
    cdef int64_t file_offset        # T
    cdef int64_t file_size          # T: of the rest
    # A body that is read while the application runs.
    cdef bint late                  # the client waits for 100 Continue before it sends the body
    cdef bint asked                 # T: it may send it
    cdef object lost                # L: why what it sent could not be kept, an OSError; or None

    # --- in the loop
    cdef int attend(self) except -1
    cdef int deliver(self) except -1
    cdef bint send_some(self) except -1
    cdef bytes next_piece(self)
    cdef bint has_more(self) noexcept
    cdef int conclude(self) except -1

    # --- in the thread
    cdef int attempt(self) except -1
    cdef int give_all(self, object pieces) except -1
    cdef int stream(self, object result) except -1
    cdef bint give_file(self, object result) except -1
    cdef int finish(self) except -1
    cdef bint account(self, bytes piece) except -1
    cdef bint overflow(self, bytes piece) except -1

    # --- in either
    cdef bint has_room(self) noexcept
