# Who is at the other end of a Unix socket, in the kernel's words.

# The user that the process had when it connected; -1 where the kernel does not say (no Unix socket).
cdef long peer_uid(int fd) noexcept
