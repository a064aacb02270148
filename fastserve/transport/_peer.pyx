"""Who is at the other end of a Unix socket, in the kernel's words (SO_PEERCRED, unix(7)).

No process can claim another's credentials there, so they serve where a TCP peer has its address.
"""

from libc.stdint cimport int32_t, uint32_t

from fastserve.transport._socket cimport SO_PEERCRED, SOL_SOCKET, getsockopt, socklen_t

cdef struct Credentials:
    # struct ucred, which some headers hide.
    int32_t pid
    uint32_t uid
    uint32_t gid


cdef long peer_uid(int fd) noexcept:
    cdef Credentials credentials
    cdef socklen_t size = sizeof(credentials)
    if getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0 or credentials.uid == <uint32_t> -1:
        return -1
    return credentials.uid
