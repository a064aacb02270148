# The body of a request for a WSGI application: collected first, then read as a file.

cimport cython

cdef enum:
    BODY_IN_MEMORY = 1048576        # bytes beyond which it goes to a temporary file


@cython.final
cdef class RequestBody:
    cdef list pieces                # bytes; None once there is a file, or after open()
    cdef object file                # the temporary file, or None
    cdef readonly Py_ssize_t size   # bytes so far

    cdef int add(self, bytes data) except -1
    # The last piece has been added. This and add() raise OSError where the disk has no room.
    cdef int end(self) except -1
    # All of it as a binary file to read from, until discard().
    cdef object open(self)
    cdef int discard(self) except -1


cdef object empty_input()
