"""Connections from one worker to another.

The kernel spreads new connections over the workers' listeners by hash, and long-lived ones pile up by chance. So a
worker that has clearly more than the least loaded one passes what it accepts on to that one. What is above the mean
because a worker has come later, or others have left, it hands on between two requests; and a worker that is retired
all it has.

Every slot has a *channel*, a pair of Unix stream sockets that outlives its workers: whoever serves the slot receives,
everybody may send. A message is four bytes and one descriptor (SCM_RIGHTS):

    cell (16 bits, low byte first), index of the bind, flags: 1 = between two requests, the rest the cell's generation

Each is sent and received in one piece, by as many senders and receivers as there are. Nobody waits: a channel that is
full, or any error, means that the connection stays where it is. A message that is in the channel when its receiver dies
is received by the next one; the connection is then counted where it is served, and no longer where it was meant to be.
"""

import socket

from libc.errno cimport EAGAIN, EINTR, ENOBUFS, ENOMEM, errno
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

from fastserve.protocol._timers cimport Clock
from fastserve.transport._board cimport Board
from fastserve.transport._socket cimport (
    CMSG_DATA,
    CMSG_FIRSTHDR,
    CMSG_LEN,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    SCM_RIGHTS,
    SOL_SOCKET,
    cmsghdr,
    iovec,
    msghdr,
    recvmsg,
    sendmsg,
)

cdef enum:
    MESSAGE = 4                 # bytes
    CONTROL = 8                 # words of 64 bits: room for a control message with one descriptor
    FLAG_IDLE = 1
    LEAST_BAND = 2              # connections more than the least loaded worker has that are never too many
    LEAST_UNEVEN = 3            # the same for connections that are there already

cdef double PAUSE = 0.05        # seconds


cdef class Balancer:
    """Passes the connections of one worker to others.

    board: where every worker's connections are counted. slot, cell: the worker's own. The channels of the other slots,
    and of its own for its successor, are added with `add_slot`.
    """

    def __init__(self, board: Board, slot: int, cell: int):
        cdef int each
        self.board = board
        self.slot = slot
        self.cell = cell
        self._clock = Clock()
        self._sockets = []
        for each in range(MAX_SLOTS):
            self._channels[each] = -1

    def add_slot(self, slot: int, channel: socket.socket) -> None:
        """From now on connections may be passed to `slot`, by way of the send end of its channel.

        The socket becomes the balancer's. Raises ValueError for a slot beyond 255.
        """
        if not 0 <= slot < MAX_SLOTS:
            raise ValueError(f"no connections can be passed to slot {slot}")
        channel.setblocking(False)
        self._sockets.append(channel)
        self._channels[<int> slot] = channel.fileno()
        self._end = max(self._end, slot + 1)

    def close(self) -> None:
        """Pass nothing on any more; closes the channels."""
        self._end = 0
        for channel in self._sockets:
            channel.close()
        self._sockets = []

    def surplus(self) -> int:
        """Connections above the mean that this worker should pass on; 0 while the workers are about even.

        New connections are spread as they come, but who has just started has missed those that are there already.
        """
        cdef long long own = self.board.connections_of(self.cell)
        cdef long long least = 0
        cdef long long others[2]
        cdef long long workers, mean
        if own < LEAST_UNEVEN or self._least_loaded(self._clock.now(), &least, others) < 0:
            return 0
        workers = others[1] + 1
        mean = (own + others[0] + workers - 1) // workers
        return own - mean if own - least >= max(LEAST_UNEVEN, mean // 8) else 0

    cdef int count(self, int change) noexcept:
        self.board.add_connection(self.cell, change)
        return 0

    cdef bint divert(self, int fd, int index) noexcept:
        cdef long long own = self.board.connections_of(self.cell) + 1
        cdef long long least = 0
        cdef long long others[2]        # connections, workers
        cdef int slot
        if own < LEAST_BAND:
            return False
        slot = self._least_loaded(self._clock.now(), &least, others)
        if slot < 0 or own - least < max(LEAST_BAND, (own + others[0]) // (others[1] + 1) // 8):
            return False
        return self._pass(slot, fd, index, 0)

    cdef bint may_hand_on(self) noexcept:
        return self._clock.now() >= self._paused_until

    cdef bint hand_on(self, int fd, int index, bint fresh) noexcept:
        cdef double now = self._clock.now()
        cdef int flags = 0 if fresh else FLAG_IDLE
        cdef int successor = self.board.cell_of(self.slot)
        cdef long long least = 0
        cdef long long others[2]
        cdef int slot
        if now < self._paused_until:
            return False
        # The successor has the same settings and, where they differ, the newer code.
        if successor != self.cell and self.board.takes(successor, now) and self._pass(self.slot, fd, index, flags):
            return True
        slot = self._least_loaded(now, &least, others)
        if slot >= 0 and self._pass(slot, fd, index, flags):
            return True
        self._paused_until = now + PAUSE
        return False

    cdef bint settle(self, const Passed* passed) noexcept:
        if passed.cell == self.cell and passed.generation == self.board.generation_of(self.cell):
            return True
        self.board.add_passed(passed.cell, passed.generation, -1)
        return False

    cdef int _least_loaded(self, double now, long long* connections, long long* others) noexcept:
        # The slot of the least loaded other worker, or -1, with its number of connections; in `others` the sum of
        # connections of all others, and how many others there are.
        cdef int found = -1
        cdef int slot
        cdef int cell
        cdef long long count
        others[0] = others[1] = 0
        for slot in range(self._end):
            if self._channels[slot] < 0:
                continue
            cell = self.board.cell_of(slot)
            if cell == self.cell or not self.board.takes(cell, now):
                continue
            count = self.board.connections_of(cell)
            others[0] += count
            others[1] += 1
            if found < 0 or count < connections[0]:
                found = slot
                connections[0] = count
        return found

    cdef bint _pass(self, int slot, int fd, int index, int flags) noexcept:
        cdef unsigned char[MESSAGE] text
        cdef uint64_t[CONTROL] control
        cdef iovec part
        cdef msghdr message
        cdef cmsghdr* rights
        cdef int cell = self.board.cell_of(slot)
        cdef int generation = self.board.generation_of(cell)
        cdef ssize_t sent
        if not 0 <= slot < self._end or self._channels[slot] < 0 or cell < 0:
            return False
        text[0] = cell & 255
        text[1] = cell >> 8
        text[2] = index
        text[3] = flags | generation << 1
        part.iov_base = text
        part.iov_len = MESSAGE
        memset(&message, 0, sizeof(message))
        memset(control, 0, sizeof(control))
        message.msg_iov = &part
        message.msg_iovlen = 1
        message.msg_control = control
        message.msg_controllen = CMSG_SPACE(sizeof(int))
        rights = CMSG_FIRSTHDR(&message)
        rights.cmsg_level = SOL_SOCKET
        rights.cmsg_type = SCM_RIGHTS
        rights.cmsg_len = CMSG_LEN(sizeof(int))
        memcpy(CMSG_DATA(rights), &fd, sizeof(int))
        # Counted first: from the moment it is sent the receiver may end the connection.
        self.board.add_connection(cell, 1)
        while True:
            sent = sendmsg(self._channels[slot], &message, MSG_NOSIGNAL | MSG_DONTWAIT)
            if sent >= 0 or errno != EINTR:
                break
        if sent < 0:
            self.board.add_passed(cell, generation, -1)
            return False
        return True


cdef Received receive_passed(int channel, Passed* passed) noexcept:
    cdef unsigned char[MESSAGE] text
    cdef uint64_t[CONTROL] control
    cdef iovec part
    cdef msghdr message
    cdef cmsghdr* rights
    cdef ssize_t size
    part.iov_base = text
    part.iov_len = MESSAGE
    memset(&message, 0, sizeof(message))
    message.msg_iov = &part
    message.msg_iovlen = 1
    message.msg_control = control
    message.msg_controllen = CMSG_SPACE(sizeof(int))
    while True:
        size = recvmsg(channel, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)
        if size >= 0 or errno != EINTR:
            break
    if size < 0 and errno in (EAGAIN, ENOMEM, ENOBUFS):
        return NOTHING
    if size != MESSAGE:
        return FINISHED
    passed.cell = text[0] | text[1] << 8
    passed.index = text[2]
    passed.idle = text[3] & FLAG_IDLE
    passed.generation = text[3] >> 1
    passed.fd = -1
    rights = CMSG_FIRSTHDR(&message)
    if rights is not NULL and rights.cmsg_type == SCM_RIGHTS and rights.cmsg_len >= CMSG_LEN(sizeof(int)):
        memcpy(&passed.fd, CMSG_DATA(rights), sizeof(int))
    return RECEIVED
