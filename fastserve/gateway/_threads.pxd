# Threads beside the event loop: one queue of work for them, and one list of what they have to tell.
#
#   Work        what a thread performs, and the loop hears of
#   Slot        one thread
#   Threads     the threads, the queue, the list

cimport cython
from cpython.pythread cimport PyThread_type_lock

from fastserve._exchange cimport Responder


cdef class Work(Responder):
    cdef Work _behind               # the next one in the queue
    cdef bint queued                # waits for a thread
    cdef bint told                  # is on the list of those that have something to tell
    cdef bint held                  # its thread waits in hold()
    cdef double since               # seconds on the monotonic clock when it was queued
    cdef Slot slot                  # the thread that performs it, or None

    # In a thread: do the work. What it raises is a defect of ours.
    cdef int perform(self) except -1
    # In the loop, after tell().
    cdef int listen(self) except -1


@cython.final
cdef class Slot:
    cdef readonly str name
    cdef PyThread_type_lock idle    # held by the thread while it waits for work
    cdef PyThread_type_lock hold    # held by the thread while its work waits for the loop
    cdef readonly Work work         # what it performs, or None
    cdef object thread


@cython.final
cdef class Threads:
    cdef object loop
    cdef object logger
    cdef readonly list slots        # of all threads
    cdef Py_ssize_t count           # how many of them are to work
    cdef Py_ssize_t away            # how many are in hold()
    cdef str name
    cdef long started               # how many there have been
    cdef list idle                  # slots without work, the latest one last
    cdef Work first                 # the queue
    cdef Work last
    cdef readonly Py_ssize_t waiting  # how many are in it
    cdef bint waking                # a thread has been told of work and does not run yet
    cdef bint ending
    cdef list news                  # of Work
    cdef bint signalled             # the loop has been told that there are news
    cdef int fd                     # an eventfd; -1 once closed

    # --- in the loop
    cdef int put(self, Work work) except -1
    # Take it out of the queue.
    cdef int remove(self, Work work) except -1
    # Let the thread of a work go on that is in hold().
    cdef int release(self, Work work) except -1

    # --- in a thread
    # Have listen() called.
    cdef int tell(self, Work work) except -1
    # Wait until the loop calls release(). Another thread is started in this one's place.
    cdef int hold(self, Work work) except -1
    cdef int _start(self) except -1

    cdef Work _take(self)
    cdef int _wake(self) except -1
