"""Threads beside the event loop: one queue of work for them, and one list of what they have to tell.

Everything here happens under the interpreter's lock, which is only given up where the code says so; no other lock
guards the data.

Only one thread executes Python at a time, whatever their number. So putting work into the queue wakes at most one
thread, and that one, when it runs and there is more, the next: a thread that gives the interpreter's lock up in the
middle of its work (it waits for a database) has its follower by then, and one that does not empties the queue by
itself, without any other being woken in vain. The thread that ended last begins first: its memory is warm.

A thread that waits for a client (hold) is of no use to other clients: another one works in its place until it goes on,
as far as STAND_INS allows. Which of them is one too many then does not matter: the first that has nothing in hand ends.

What a thread has to tell goes into a list, and the loop is told once that the list is not empty, through an eventfd.
By the time that the loop runs, the list often has the news of many: one wakeup and one turn of the loop for all.
"""

import threading

from cpython.pythread cimport (
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_release_lock,
)
from libc.stdint cimport uint64_t

from fastserve._exchange cimport Responder

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int value, int flags)
    int EFD_NONBLOCK, EFD_CLOEXEC

cdef extern from "<unistd.h>" nogil:
    Py_ssize_t read(int fd, void* data, size_t size)
    Py_ssize_t write(int fd, const void* data, size_t size)
    int close(int fd)


cdef enum:
    STAND_INS = 28                  # threads in the place of others that wait for clients


cdef class Work(Responder):
    """What a thread performs."""

    cdef int perform(self) except -1:
        raise NotImplementedError

    cdef int listen(self) except -1:
        return 0

    cdef str thread(self):
        return None if self.slot is None else self.slot.name


cdef class Slot:
    """One of the threads. name: as it is in the log."""

    def __cinit__(self):
        self.idle = PyThread_allocate_lock()
        self.hold = PyThread_allocate_lock()
        if self.idle is NULL or self.hold is NULL:
            raise MemoryError
        PyThread_acquire_lock(self.idle, 1)
        PyThread_acquire_lock(self.hold, 1)

    def __dealloc__(self):
        if self.idle is not NULL:
            PyThread_free_lock(self.idle)
        if self.hold is not NULL:
            PyThread_free_lock(self.hold)

    def __init__(self, name: str):
        self.name = name


cdef class Threads:
    """`count` threads beside `loop`, named `name` and a number; they end with the process if nobody ends them before.

    logger: told of what must not happen.
    """

    def __init__(self, count: int, loop, logger, name: str = "wsgi"):
        self.fd = -1
        self.loop = loop
        self.logger = logger
        self.idle = []
        self.news = []
        self.slots = []
        self.count = count
        self.name = name
        self.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        if self.fd < 0:
            raise OSError("no eventfd")
        loop.add_reader(self.fd, self._listen)
        for _ in range(count):
            self._start()

    def __dealloc__(self):
        if self.fd >= 0:
            close(self.fd)

    @property
    def busy(self) -> int:
        """How many threads perform something."""
        cdef Slot slot
        cdef int count = 0
        for slot in self.slots:
            if slot.work is not None:
                count += 1
        return count

    def end(self, timeout: float) -> list[Slot]:
        """Have the threads end as soon as they have nothing to do, and wait for it up to `timeout` seconds.

        Returns those that have not: they go on, and nobody hears of what they do.
        """
        cdef Slot slot
        self.ending = True
        while self.idle:
            PyThread_release_lock((<Slot> self.idle.pop()).idle)
        left = []
        for slot in list(self.slots):
            slot.thread.join(0 if slot.work is not None else timeout)
            if slot.thread.is_alive():
                left.append(slot)
        if self.fd >= 0:
            self.loop.remove_reader(self.fd)
            close(self.fd)
            self.fd = -1
        return left

    # --- in the loop

    cdef int put(self, Work work) except -1:
        work.queued = True
        work._behind = None
        if self.last is None:
            self.first = work
        else:
            self.last._behind = work
        self.last = work
        self.waiting += 1
        return self._wake()

    cdef int remove(self, Work work) except -1:
        cdef Work before = None
        cdef Work each = self.first
        while each is not None and each is not work:
            before = each
            each = each._behind
        if each is None:
            return 0
        if before is None:
            self.first = work._behind
        else:
            before._behind = work._behind
        if self.last is work:
            self.last = before
        work._behind = None
        work.queued = False
        self.waiting -= 1
        return 0

    cdef int release(self, Work work) except -1:
        if work.held:
            work.held = False
            PyThread_release_lock(work.slot.hold)
        return 0

    def _listen(self) -> None:
        """Hear what the threads have to tell; called by the loop."""
        cdef uint64_t count
        cdef list news = self.news
        cdef Work work
        read(self.fd, &count, sizeof(count))
        self.news = []
        self.signalled = False
        for work in news:
            work.told = False
            try:
                work.listen()
            except Exception as error:
                self.logger.error("Exception on a connection", exc_info=error)

    # --- in a thread

    def _serve(self, slot: Slot) -> None:
        """Perform what there is; the thread."""
        cdef Work work
        while True:
            if len(self.slots) - self.away > self.count and not self.ending:
                self.slots.remove(slot)
                if self.first is not None:
                    self._wake()
                return
            work = self._take()
            if work is None:
                if self.ending:
                    return
                self.idle.append(slot)
                with nogil:
                    PyThread_acquire_lock(slot.idle, 1)
                self.waking = False
                continue
            slot.work = work
            work.slot = slot
            try:
                work.perform()
            except BaseException as error:
                self.logger.error("Exception in thread %s", slot.name, exc_info=error)
            work.slot = None
            slot.work = None
            work = None

    cdef Work _take(self):
        cdef Work work = self.first
        if work is None:
            return None
        self.first = work._behind
        if self.first is None:
            self.last = None
        else:
            self._wake()
        work._behind = None
        work.queued = False
        self.waiting -= 1
        return work

    cdef int _wake(self) except -1:
        if self.idle and not self.waking:
            self.waking = True
            PyThread_release_lock((<Slot> self.idle.pop()).idle)
        return 0

    cdef int tell(self, Work work) except -1:
        cdef uint64_t one = 1
        if work.told:
            return 0
        work.told = True
        self.news.append(work)
        if not self.signalled and self.fd >= 0:
            self.signalled = True
            write(self.fd, &one, sizeof(one))
        return 0

    cdef int hold(self, Work work) except -1:
        cdef Slot slot = work.slot
        work.held = True
        self.tell(work)
        self.away += 1
        if len(self.slots) - self.away < self.count and len(self.slots) < self.count + STAND_INS and not self.ending:
            try:
                self._start()
            except RuntimeError as error:
                self.logger.warning("No thread in the place of %s, which waits for a client: %s", slot.name, error)
        with nogil:
            PyThread_acquire_lock(slot.hold, 1)
        self.away -= 1
        return 0

    cdef int _start(self) except -1:
        cdef Slot slot
        self.started += 1
        slot = Slot(f"{self.name}-{self.started}")
        slot.thread = threading.Thread(target=self._serve, args=(slot,), name=slot.name, daemon=True)
        self.slots.append(slot)
        try:
            slot.thread.start()
        except RuntimeError:
            self.slots.remove(slot)
            raise
        return 0
