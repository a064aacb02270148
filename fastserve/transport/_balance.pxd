# Connections from one worker to another: who gets them, and the messages that carry their descriptors.

cimport cython
from fastserve.protocol._timers cimport Clock
from fastserve.transport._board cimport Board


cdef enum:
    MAX_SLOTS = 256             # slots one worker can pass connections to


@cython.final
cdef class Balancer:
    cdef readonly Board board
    cdef readonly int slot
    cdef readonly int cell
    cdef Clock _clock
    cdef list _sockets              # own what _channels names
    cdef int[MAX_SLOTS] _channels   # send end of each slot's channel, -1 where there is none
    cdef int _end                   # slots below this may have one
    cdef double _paused_until       # after nobody took a connection: not worth trying before

    cdef int count(self, int change) noexcept
    # A new connection: True when it has been passed on, and `fd` is to be closed.
    cdef bint divert(self, int fd, int index) noexcept
    # The same for a connection that has to go, wherever to. `fresh`: it has not sent a request yet.
    cdef bint hand_on(self, int fd, int index, bint fresh) noexcept
    cdef bint may_hand_on(self) noexcept
    # Of a message that has arrived: is the connection in our own count?
    cdef bint settle(self, const Passed* passed) noexcept
    cdef int _least_loaded(self, double now, long long* connections, long long* others) noexcept
    cdef bint _pass(self, int slot, int fd, int index, int flags) noexcept


cdef struct Passed:
    int fd
    int cell                    # where it is counted, NO_CELL for nowhere
    int generation              # of that cell
    int index                   # of the bind it was accepted on
    bint idle                   # it has been served before: between two requests


cdef enum Received:
    NOTHING                     # no message waits
    RECEIVED                    # one was there; `fd` is -1 if its descriptor was lost
    FINISHED                    # there will be no more


cdef Received receive_passed(int channel, Passed* passed) noexcept
