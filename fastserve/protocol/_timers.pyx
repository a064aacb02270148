"""Time for protocols: clocks, and the worker's one coarse timer wheel.

Every connection is one entry with one deadline, the earliest of whatever it waits for. Deadlines nearly always move
away (a request arrives, keep-alive starts again), so moving one is a store; the wheel finds out when it visits the slot
in which the entry was linked, and links it again where it now belongs. A visit costs O(entries in the slot), an idle
wheel nothing: whoever owns it ticks only while `linked` is not zero.
"""

cimport cython
from libc.math cimport INFINITY
from posix.time cimport CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE, clock_gettime, timespec

cdef double FOREVER = INFINITY
cdef enum:
    SLOTS = 256

TICK: float = 0.1
"""Seconds between two visits: how late a deadline may be noticed."""
cdef double _TICK = TICK


cdef double time_limit(object seconds) except -1:
    return FOREVER if seconds is None or seconds <= 0 else seconds


cdef class Clock:
    """The system's monotonic clock, in seconds."""

    cdef double now(self) noexcept:
        cdef timespec reading
        clock_gettime(CLOCK_MONOTONIC_COARSE, &reading)
        return <double> reading.tv_sec + <double> reading.tv_nsec * 1e-9

    cdef double precise(self) noexcept:
        cdef timespec reading
        clock_gettime(CLOCK_MONOTONIC, &reading)
        return <double> reading.tv_sec + <double> reading.tv_nsec * 1e-9

    def read(self) -> float:
        """Return the present time in seconds."""
        return self.now()


cdef class ManualClock(Clock):
    """A clock that stands still until told: assign to `time`, in seconds. For tests."""

    def __init__(self, time: float = 0.0):
        self.time = time

    cdef double now(self) noexcept:
        return self.time

    cdef double precise(self) noexcept:
        return self.time


# What is collected together is cleared one after the other, and freed while its neighbours on the wheel still point to
# it, unless it leaves the wheel first: it must know its wheel until then. No cycle goes through that reference alone.
@cython.no_gc_clear
cdef class TimerEntry:
    """Something with at most one deadline."""

    def __cinit__(self):
        self.deadline = FOREVER

    def __dealloc__(self):
        cdef TimerWheel wheel = self._wheel
        if wheel is not None:
            wheel._unlink(self)

    cdef int expired(self, double now) except -1:
        return 0


cdef class TimerWheel:
    """256 slots of a tenth of a second; deadlines beyond the horizon are looked at again when it is reached."""

    def __init__(self, now: float = 0.0, on_first=None):
        self._visited = now
        self.on_first = on_first

    cdef int set(self, TimerEntry entry, double deadline, double now) except -1:
        entry.deadline = deadline
        if entry._wheel is not None:
            if deadline >= entry._due:
                return 0
            self._unlink(entry)
        elif deadline == FOREVER:
            return 0
        return self._link(entry, deadline, now)

    cdef void cancel(self, TimerEntry entry) noexcept:
        entry.deadline = FOREVER
        if entry._wheel is not None:
            self._unlink(entry)

    cdef int advance(self, double now) except -1:
        cdef long long tick = <long long> (self._visited / _TICK)
        cdef long long last = <long long> (now / _TICK)
        cdef list due
        cdef TimerEntry entry
        cdef void* current
        if last - tick > SLOTS:
            tick = last - SLOTS
        self._visited = now
        while tick < last:
            tick += 1
            if self._slots[tick % SLOTS] is NULL:
                continue
            # Strong references: an expiry may close, and so unlink and free, any other entry.
            due = []
            current = self._slots[tick % SLOTS]
            while current is not NULL:
                due.append(<TimerEntry> current)
                current = (<TimerEntry> current)._next_entry
            for entry in due:
                if entry._wheel is not self or entry._slot != tick % SLOTS:
                    continue
                self._unlink(entry)
                if entry.deadline <= now:
                    entry.deadline = FOREVER
                    entry.expired(now)
                elif entry.deadline != FOREVER:
                    self._link(entry, entry.deadline, now)
        return 0

    def tick(self, now: float) -> None:
        """Visit every slot up to `now`, in seconds, and expire what is due."""
        self.advance(now)

    cdef int _link(self, TimerEntry entry, double deadline, double now) except -1:
        cdef long long tick = <long long> (deadline / _TICK) + 1
        cdef long long current = <long long> (max(now, self._visited) / _TICK)
        if tick <= current:
            tick = current + 1
        elif tick >= current + SLOTS:
            tick = current + SLOTS - 1
        entry._due = <double> tick * _TICK
        entry._slot = <int> (tick % SLOTS)
        entry._wheel = self
        entry._previous_entry = NULL
        entry._next_entry = self._slots[entry._slot]
        if entry._next_entry is not NULL:
            (<TimerEntry> entry._next_entry)._previous_entry = <void*> entry
        self._slots[entry._slot] = <void*> entry
        self.linked += 1
        if self.linked == 1:
            # An idle wheel is not visited: its past is of no interest.
            self._visited = max(now, self._visited)
            if self.on_first is not None:
                self.on_first()
        return 0

    cdef void _unlink(self, TimerEntry entry) noexcept:
        if entry._previous_entry is NULL:
            self._slots[entry._slot] = entry._next_entry
        else:
            (<TimerEntry> entry._previous_entry)._next_entry = entry._next_entry
        if entry._next_entry is not NULL:
            (<TimerEntry> entry._next_entry)._previous_entry = entry._previous_entry
        entry._previous_entry = entry._next_entry = NULL
        entry._wheel = None
        self.linked -= 1
