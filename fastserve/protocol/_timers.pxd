# Time for protocols: a clock that tests can replace, and one coarse timer wheel per worker.

cimport cython

cdef class Clock:
    # Seconds on a clock that never goes back; coarse (a few milliseconds), read from user space.
    cdef double now(self) noexcept
    # The same, to the microsecond; reading it takes ten times as long.
    cdef double precise(self) noexcept


@cython.final
cdef class ManualClock(Clock):
    cdef public double time


cdef class TimerEntry:
    # What can be put on the wheel: at most one deadline each.
    cdef double deadline        # FOREVER when none
    cdef TimerWheel _wheel      # the wheel it is linked into, or None
    cdef double _due            # when its slot will be visited; never later than the deadline by more than a tick
    cdef int _slot
    cdef void* _previous_entry  # borrowed: an entry that is freed leaves the wheel
    cdef void* _next_entry

    # The deadline has passed. The entry is off the wheel and may be set again.
    cdef int expired(self, double now) except -1


@cython.final
cdef class TimerWheel:
    cdef void* _slots[256]      # heads of doubly linked lists
    cdef double _visited        # time up to which slots have been visited
    cdef readonly Py_ssize_t linked
    cdef public object on_first  # called without arguments when the first entry is linked; starts the ticking

    # Moving a deadline further away, or to FOREVER, is two stores: the entry stays where it is and is looked at again
    # when its slot comes by.
    cdef int set(self, TimerEntry entry, double deadline, double now) except -1
    cdef void cancel(self, TimerEntry entry) noexcept
    cdef int advance(self, double now) except -1
    cdef int _link(self, TimerEntry entry, double deadline, double now) except -1
    cdef void _unlink(self, TimerEntry entry) noexcept


cdef double FOREVER

# The seconds that an option allows, of which None and 0 are no limit: FOREVER.
cdef double time_limit(object seconds) except -1
