# socket(7) as the transports call it: declarations, and what more than one of them does with a socket.

from libc.string cimport memset


cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t

    cdef struct sockaddr:
        unsigned short sa_family

    cdef struct iovec:
        void* iov_base
        size_t iov_len

    cdef struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
        void* msg_control
        size_t msg_controllen

    cdef struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type

    cdef struct linger:
        int l_onoff
        int l_linger

    cmsghdr* CMSG_FIRSTHDR(msghdr* message)
    unsigned char* CMSG_DATA(cmsghdr* control)
    size_t CMSG_SPACE(size_t size)
    size_t CMSG_LEN(size_t size)
    int accept4(int fd, sockaddr* address, socklen_t* size, int flags)
    int getpeername(int fd, sockaddr* address, socklen_t* size)
    int getsockname(int fd, sockaddr* address, socklen_t* size)
    int getsockopt(int fd, int level, int name, void* value, socklen_t* size)
    int setsockopt(int fd, int level, int name, const void* value, socklen_t size)
    int shutdown(int fd, int how)
    ssize_t recv(int fd, void* data, size_t size, int flags)
    ssize_t recvmsg(int fd, msghdr* message, int flags)
    ssize_t send(int fd, const void* data, size_t size, int flags)
    ssize_t sendmsg(int fd, const msghdr* message, int flags)
    int AF_INET, AF_INET6, AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK
    int MSG_CMSG_CLOEXEC, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_PEEK
    int SCM_RIGHTS, SHUT_WR, SO_ERROR, SO_LINGER, SO_PEERCRED, SOL_SOCKET


cdef enum:
    RECEIVE_SIZE = 262144       # bytes one read may bring


cdef inline Py_ssize_t send_both(int fd, const char* first, Py_ssize_t first_size, const char* second,
                                 Py_ssize_t second_size) noexcept:
    # Two pieces of memory in one sendmsg(2): how many bytes of both it took, or -1 and errno. Never waits.
    cdef iovec[2] pieces
    cdef msghdr message
    pieces[0].iov_base = <void*> first
    pieces[0].iov_len = first_size
    pieces[1].iov_base = <void*> second
    pieces[1].iov_len = second_size
    memset(&message, 0, sizeof(message))
    message.msg_iov = pieces
    message.msg_iovlen = 2
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT)


cdef inline int reset_when_closed(int fd) noexcept:
    # Closing will drop what was not sent, and tell the peer so.
    cdef linger now
    now.l_onoff = 1
    now.l_linger = 0
    return setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now))
