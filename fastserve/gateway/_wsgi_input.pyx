"""The body of a request for a WSGI application: `wsgi.input` (PEP 3333).

It is collected before the application is called: up to 1 MiB in memory, more than that in a temporary file without a
name. A slow client occupies no thread this way, and the application reads without waiting. Requests without a body,
which are most, share one file that is empty.
"""

import contextlib
import io
import tempfile

from cpython.bytes cimport PyBytes_GET_SIZE


class EmptyInput(io.RawIOBase):
    """`wsgi.input` of requests without a body: always at its end, and never closed, since many requests share it."""

    def readable(self) -> bool:
        """Whether it can be read from: yes."""
        return True

    def seekable(self) -> bool:
        """Whether it has positions: one."""
        return True

    def seek(self, offset, whence=0, /) -> int:
        """Stay at position 0."""
        return 0

    def tell(self) -> int:
        """Return the position, 0."""
        return 0

    def read(self, size=-1, /) -> bytes:
        """Return no bytes."""
        return b""

    def readall(self) -> bytes:
        """Return no bytes."""
        return b""

    def readinto(self, buffer, /) -> int:
        """Read no bytes."""
        return 0

    def readline(self, size=-1, /) -> bytes:
        """Return no bytes."""
        return b""

    def readlines(self, hint=-1, /) -> list[bytes]:
        """Return no lines."""
        return []

    def close(self) -> None:
        """Do nothing."""


cdef object _EMPTY = EmptyInput()


cdef object empty_input():
    return _EMPTY


cdef class RequestBody:
    """The bytes of one request's body as they arrive."""

    def __cinit__(self):
        self.pieces = []

    cdef int add(self, bytes data) except -1:
        self.size += PyBytes_GET_SIZE(data)
        if self.file is not None:
            self.file.write(data)
            return 0
        self.pieces.append(data)
        if self.size > BODY_IN_MEMORY:
            self.file = tempfile.TemporaryFile()
            self.file.write(b"".join(self.pieces))
            self.pieces = None
        return 0

    cdef int end(self) except -1:
        if self.file is not None:
            self.file.flush()
        return 0

    cdef object open(self):
        cdef object file = self.file
        cdef list pieces = self.pieces
        if file is not None:
            file.seek(0)
            return file
        self.pieces = None
        if not pieces:
            return empty_input()
        return io.BytesIO(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    cdef int discard(self) except -1:
        cdef object file = self.file
        self.file = None
        self.pieces = None
        if file is not None:
            # What it has not written yet has no room perhaps.
            with contextlib.suppress(OSError):
                file.close()
        return 0
