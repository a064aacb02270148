"""The memory that a supervisor and its workers share, so that neither has to ask the other.

A *cell* is the record of one worker process: its state, its heartbeat, its counts, what it is working on. A *slot* is a
worker's stable place; the supervisor writes there which cell gets the connections that are passed to the slot. Words
are 64 bits, aligned, and written whole; only the count of connections has several writers, and is added to atomically:
whoever passes a connection on counts it for the receiver already, so that two who pass at the same time do not both
take the same worker for the least loaded.

A process that is killed between counting and passing leaves one connection too many in the receiver's count, for as
long as the receiver lives. The supervisor clears a cell when its process has ended.
"""

import mmap
import os
import time

from libc.stdint cimport int64_t

cdef extern from *:
    """
    static inline int64_t board_load(const int64_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
    static inline void board_store(int64_t *word, int64_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }
    static inline void board_add(int64_t *word, int64_t change) { __atomic_fetch_add(word, change, __ATOMIC_ACQ_REL); }
    static inline void board_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
    """
    int64_t board_load(const int64_t* word) noexcept nogil
    void board_store(int64_t* word, int64_t value) noexcept nogil
    void board_add(int64_t* word, int64_t change) noexcept nogil
    void board_fence() noexcept nogil

cdef enum:
    MAGIC = 0x66736264
    HEADER = 8                  # words; then one word per slot; then, from the next cache line on, the cells
    LINE = 8                    # words of a cache line, which is a cell
    TEXT = 1024                 # bytes of a text: two of length and DESCRIPTION_SIZE of UTF-8; a cell has two
    DESCRIPTION_SIZE = 1000
    READ_ATTEMPTS = 100         # to read a text while others are being written; more would take a broken writer
    NO_CELL = 0xFFFF            # in a message that passes a connection: it is counted nowhere

cdef enum Word:
    PID
    STATE
    HEARTBEAT                   # nanoseconds on the monotonic clock
    CONNECTIONS
    REQUESTS
    RUNNING
    GENERATION
    SEQUENCE                    # how many texts have been written; its lowest bit says which of the two is the latest

FREE: int = 0
"""State of a cell that nobody uses."""
STARTING: int = 1
"""State of a worker that does not serve yet."""
READY: int = 2
"""State of a worker that serves and takes connections from others."""
DRAINING: int = 3
"""State of a worker that stops."""

cdef enum:
    _READY = 2

FRESH: float = 2.0
"""Seconds after its latest heartbeat for which a worker counts as one that answers."""
cdef double _FRESH = FRESH
cdef double NANOSECOND = 1e-9


cdef class Board:
    """The shared memory: made here, or attached to by the descriptor of one that was.

    fd: the descriptor of a board; it becomes this object's own. Without it a new board of `slots` slots and `cells`
    cells is made. Raises OSError where there is no memory, ValueError for what is no board.

    Cells and slots are numbered from 0; another number is an IndexError, and so is any after `close`.
    """

    def __init__(self, fd: int | None = None, *, slots: int = 256, cells: int = 512):
        cdef Py_ssize_t words
        self.fd = -1
        if fd is None:
            if not (slots > 0 and 0 < cells < NO_CELL):
                raise ValueError("A board has at least one slot, and at least one cell and fewer than 65535.")
            self.fd = os.memfd_create("fastserve", os.MFD_CLOEXEC)
            os.ftruncate(self.fd, _first_cell(slots) * 8 + cells * (LINE * 8 + 2 * TEXT))
        else:
            self.fd = fd
        self._memory = mmap.mmap(self.fd, 0)
        whole = memoryview(self._memory)
        if fd is None:
            header = whole[:HEADER * 8].cast("q")
            header[0], header[1], header[2] = MAGIC, slots, cells
        else:
            if len(whole) < HEADER * 8 or whole[:8].cast("q")[0] != MAGIC:
                raise ValueError(f"Descriptor {fd} is not a board.")
            slots, cells = whole[8:24].cast("q")
        self._first = _first_cell(slots)
        words = self._first + cells * LINE
        self._words = whole[:words * 8].cast("q")
        self._texts = whole[words * 8:]
        self.slots = slots
        self.cells = cells

    def close(self) -> None:
        """Give back memory and descriptor; others who are attached do not notice."""
        if self.fd < 0:
            return
        self.slots = self.cells = 0
        self._words = None
        self._texts = None
        self._memory.close()
        os.close(self.fd)
        self.fd = -1

    # --- slots

    def slot_cell(self, slot: int) -> int:
        """Return the cell whose worker gets the connections passed to `slot`; -1 for none."""
        if not 0 <= slot < self.slots:
            raise IndexError(f"no slot {slot}")
        return self.cell_of(slot)

    def set_slot_cell(self, slot: int, cell: int) -> None:
        """From now on connections passed to `slot` are for the worker of `cell`; -1 for none. The supervisor's."""
        if not 0 <= slot < self.slots:
            raise IndexError(f"no slot {slot}")
        if cell != -1:
            self._cell(cell)
        board_store(&self._words[HEADER + <Py_ssize_t> slot], <int64_t> cell + 1)

    # --- cells

    def clear(self, cell: int) -> None:
        """Make `cell` free, all counts zero: its process has ended, or is about to be started."""
        cdef int64_t* words = self._cell(cell)
        cdef int word
        self._texts[<Py_ssize_t> cell * 2 * TEXT] = self._texts[<Py_ssize_t> cell * 2 * TEXT + 1] = 0
        board_add(words + GENERATION, 1)
        for word in range(LINE):
            if word != GENERATION:
                board_store(words + word, 0)

    def pid(self, cell: int) -> int:
        """Return the process id, 0 while it is not known."""
        return board_load(self._cell(cell) + PID)

    def set_pid(self, cell: int, pid: int) -> None:
        """Set the process id."""
        board_store(self._cell(cell) + PID, pid)

    def state(self, cell: int) -> int:
        """Return FREE, STARTING, READY or DRAINING."""
        return board_load(self._cell(cell) + STATE)

    def set_state(self, cell: int, state: int) -> None:
        """Set the state; only in READY other workers pass connections to this one."""
        board_store(self._cell(cell) + STATE, state)

    def heartbeat(self, cell: int) -> float:
        """Return when the latest heartbeat was, in seconds of time.monotonic(); 0.0 before the first."""
        return <double> board_load(self._cell(cell) + HEARTBEAT) * NANOSECOND

    def set_heartbeat(self, cell: int, heartbeat: float) -> None:
        """Set the time of the latest heartbeat, in seconds of time.monotonic(). For tests; workers call `beat`."""
        board_store(self._cell(cell) + HEARTBEAT, int(heartbeat / NANOSECOND))

    def connections(self, cell: int) -> int:
        """Return how many connections the worker has, those included that are on their way to it."""
        return board_load(self._cell(cell) + CONNECTIONS)

    def set_connections(self, cell: int, connections: int) -> None:
        """Set the number of connections: for workers whose transport does not count them here by itself."""
        board_store(self._cell(cell) + CONNECTIONS, connections)

    def requests(self, cell: int) -> int:
        """Return the number of responses completed as of the latest heartbeat."""
        return board_load(self._cell(cell) + REQUESTS)

    def running(self, cell: int) -> int:
        """Return the number of requests running as of the latest heartbeat."""
        return board_load(self._cell(cell) + RUNNING)

    def beat(self, cell: int, requests: int, running: int, description: str) -> None:
        """The heartbeat of the worker of `cell`, with its counts.

        description: its oldest running requests, for whoever asks what it was doing when it died; what is beyond 1000
        bytes of UTF-8 is cut off.
        """
        cdef int64_t* words = self._cell(cell)
        cdef bytes text = description.encode("utf-8", "backslashreplace")[:DESCRIPTION_SIZE]
        cdef Py_ssize_t size = len(text)
        cdef int64_t sequence = board_load(words + SEQUENCE) + 1
        cdef Py_ssize_t start = _text(cell, sequence)
        cdef const unsigned char[::1] source
        # Not over the latest: it stays whole if this process is killed here.
        board_fence()
        self._texts[start] = size & 255
        self._texts[start + 1] = size >> 8
        if size:
            source = text
            self._texts[start + 2:start + 2 + size] = source
        board_store(words + SEQUENCE, sequence)
        board_store(words + REQUESTS, requests)
        board_store(words + RUNNING, running)
        board_store(words + HEARTBEAT, time.monotonic_ns())

    def description(self, cell: int) -> str:
        """Return the description of the latest heartbeat, "" before the first."""
        cdef int64_t* words = self._cell(cell)
        cdef int64_t sequence
        cdef Py_ssize_t start
        cdef bytes text = b""
        for _ in range(READ_ATTEMPTS):
            sequence = board_load(words + SEQUENCE)
            start = _text(cell, sequence)
            size = min(self._texts[start] | self._texts[start + 1] << 8, <int> DESCRIPTION_SIZE)
            text = bytes(self._texts[start + 2:start + 2 + size])
            board_fence()
            if board_load(words + SEQUENCE) == sequence:
                break
        # A character may have been cut in two.
        return text.decode("utf-8", "ignore")

    # --- for the transport

    cdef int cell_of(self, Py_ssize_t slot) noexcept:
        if not 0 <= slot < self.slots:
            return -1
        return <int> board_load(&self._words[HEADER + slot]) - 1

    cdef bint takes(self, Py_ssize_t cell, double now) noexcept:
        cdef int64_t* words
        if not 0 <= cell < self.cells:
            return False
        words = &self._words[self._first + cell * LINE]
        return (board_load(words + STATE) == _READY
                and now - <double> board_load(words + HEARTBEAT) * NANOSECOND < _FRESH)

    cdef int64_t connections_of(self, Py_ssize_t cell) noexcept:
        if not 0 <= cell < self.cells:
            return 0
        return board_load(&self._words[self._first + cell * LINE + CONNECTIONS])

    cdef int generation_of(self, Py_ssize_t cell) noexcept:
        if not 0 <= cell < self.cells:
            return 0
        return board_load(&self._words[self._first + cell * LINE + GENERATION]) & 127

    cdef void add_connection(self, Py_ssize_t cell, int64_t change) noexcept:
        if 0 <= cell < self.cells:
            board_add(&self._words[self._first + cell * LINE + CONNECTIONS], change)

    cdef void add_passed(self, Py_ssize_t cell, int generation, int64_t change) noexcept:
        if self.generation_of(cell) == generation:
            self.add_connection(cell, change)

    cdef int64_t* _cell(self, Py_ssize_t cell) except NULL:
        if not 0 <= cell < self.cells:
            raise IndexError(f"no cell {cell}")
        return &self._words[self._first + cell * LINE]


cdef Py_ssize_t _first_cell(Py_ssize_t slots) noexcept:
    return (HEADER + slots + LINE - 1) // LINE * LINE


cdef Py_ssize_t _text(Py_ssize_t cell, int64_t sequence) noexcept:
    return (2 * cell + (sequence & 1)) * TEXT
