# The worker's own epoll: accepts, receives and sends by itself, inside any event loop.
#
#   Hub               one epoll instance, known to the loop as a single readable descriptor
#   Source            where it gets new connections from:
#   NativeListener      a listening socket
#   NativeChannel       what other workers pass on
#   NativeStream      a connected socket in it: the Stream of a connection

cimport cython
from libc.stdint cimport int64_t, uint32_t

from fastserve._buffer cimport Buffer
from fastserve.protocol._connection cimport Stream, WorkerState
from fastserve.transport._balance cimport Balancer


cdef extern from "<netinet/in.h>":
    cdef struct sockaddr_in6:
        pass


@cython.final
cdef class Hub:
    cdef WorkerState worker
    cdef Balancer balancer          # None where there are no other workers
    cdef object loop
    cdef int fd                     # the epoll instance, -1 once closed
    cdef Buffer memory              # what every receive goes to; one stream at a time
    cdef bint lent                  # a connection is looking at it
    cdef set streams                # the open ones: epoll knows them by borrowed pointers
    cdef list sources               # the open ones, likewise
    cdef dict listeners             # index of a bind -> one of its NativeListeners, open or closed
    cdef list ended                 # closed streams whose connection is yet to be told; alive until the batch is over
    cdef bint batching              # inside _run()
    cdef bint scheduled             # _tell_ended() is on the loop's list

    cdef int _control(self, int operation, int fd, uint32_t events, void* owner, int tag) except -1
    # Serve a connection; the descriptor is the hub's from here on. `counted`: by the balancer, already.
    cdef int adopt(self, NativeStream stream, int fd, bint counted) except -1
    cdef int end(self, NativeStream stream) except -1


cdef class Source:
    cdef Hub hub
    cdef readonly object socket     # socket.socket: owns the descriptor; None once closed
    cdef int fd
    cdef readonly bint accepting    # in the epoll set
    cdef object timer               # runs while accepting pauses for want of descriptors or memory

    # Take what has come, up to BATCH_ACCEPTS; returns how many, fewer when there are no more. `divert`: some of it may
    # be passed to other workers.
    cdef int accept_some(self, bint divert) except -1
    cdef int _exhausted(self, int error) except -1


@cython.final
cdef class NativeListener(Source):
    cdef int family
    cdef int index                  # of the bind, the same in every worker
    cdef object server              # this end as scope["server"] shows it; None where it depends on the connection


@cython.final
cdef class NativeChannel(Source):
    pass


@cython.final
cdef class FilePart:
    # A part of a file that is yet to be sent.
    cdef int fd                     # ours
    cdef int64_t offset
    cdef int64_t count


@cython.final
cdef class NativeStream(Stream):
    cdef Hub hub
    cdef NativeListener listener    # of the connection's bind; None where this worker does not have it
    cdef int index                  # of that bind
    cdef int fd                     # -1 once closed
    cdef bint registered            # in the epoll set
    cdef uint32_t interest          # the events it is registered for
    cdef bint reading               # the protocol wants bytes
    cdef bint read_ended            # the peer has ended its half
    cdef bint closing               # close once the queue is sent
    cdef bint shutting              # end our half once the queue is sent
    cdef list queue                 # bytes objects and FileParts that the kernel has not taken, or None
    cdef Py_ssize_t sent            # bytes of queue[0] that it has; 0 if that is a FilePart
    cdef Py_ssize_t queued          # bytes it has not, in all
    cdef object reason              # why the stream ended: OSError or None
    cdef sockaddr_in6 peer          # of a TCP connection

    cdef int ready(self, uint32_t events) except -1
    cdef int receive(self) except -1
    cdef int _send_queue(self) except -1
    cdef int _send_pieces(self) except -1
    cdef int _send_part(self, FilePart part) except -1
    # sendfile(2) until the kernel takes no more, or enough: `offset` and `count` are moved on. False: the stream ended.
    cdef bint _send_file(self, int fd, int64_t* offset, int64_t* count) except -1
    cdef int _keep(self, bytes data, Py_ssize_t taken) except -1
    cdef int _update(self) except -1
    cdef int _leave(self) except -1
    cdef int _failed(self, int error) except -1
    cdef int _close(self, bint reset) except -1
