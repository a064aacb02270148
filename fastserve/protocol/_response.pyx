"""Response heads: what the application gives, validated and serialised in one pass.

Names are written in lower case and must be tokens; values must be free of control bytes (tab excepted), so CR, LF and
NUL never reach the wire. Fields that decide how the body is framed are taken note of, so that there is exactly one
framing: Content-Length and Transfer-Encoding together are an error, and what makes no sense in the response at hand
(a length in a 204, say) is left out. An application that gives its own Date or Server replaces ours.
"""

from http import HTTPStatus
from time import gmtime

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.sequence cimport PySequence_Fast, PySequence_Fast_GET_SIZE
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy
from libc.time cimport time

from fastserve._buffer cimport Buffer
from fastserve._chars cimport CHAR_TEXT, CHAR_TOKEN, char_is, char_lower

cdef extern from *:
    """
    static inline int fastserve_is_pair_of_bytes(PyObject *pair) {
        return PyTuple_CheckExact(pair) && PyTuple_GET_SIZE(pair) == 2 &&
            PyBytes_CheckExact(PyTuple_GET_ITEM(pair, 0)) && PyBytes_CheckExact(PyTuple_GET_ITEM(pair, 1));
    }

    static inline int fastserve_is_latin1(PyObject *text) {
        return PyUnicode_Check(text) && PyUnicode_READY(text) == 0 && PyUnicode_KIND(text) == PyUnicode_1BYTE_KIND;
    }

    static inline int fastserve_is_pair_of_text(PyObject *pair) {
        return PyTuple_CheckExact(pair) && PyTuple_GET_SIZE(pair) == 2 &&
            fastserve_is_latin1(PyTuple_GET_ITEM(pair, 0)) && fastserve_is_latin1(PyTuple_GET_ITEM(pair, 1));
    }
    """
    bint is_pair_of_bytes "fastserve_is_pair_of_bytes" (PyObject* pair) noexcept
    bint is_pair_of_text "fastserve_is_pair_of_text" (PyObject* pair) noexcept
    Py_ssize_t size_of_text "PyUnicode_GET_LENGTH" (PyObject* text) noexcept
    const char* data_of_text "(const char *)PyUnicode_1BYTE_DATA" (PyObject* text) noexcept
    PyObject* item_of_sequence "PySequence_Fast_GET_ITEM" (object sequence, Py_ssize_t index) noexcept
    PyObject* item_of_tuple "PyTuple_GET_ITEM" (PyObject* pair, Py_ssize_t index) noexcept
    Py_ssize_t size_of_bytes "PyBytes_GET_SIZE" (PyObject* text) noexcept
    const char* data_of_bytes "PyBytes_AS_STRING" (PyObject* text) noexcept

cdef enum FieldKind:
    FINAL_HEAD
    INTERIM_HEAD
    TRAILER_SECTION

cdef enum:
    OWN_DATE = 1
    OWN_SERVER = 2

cdef list _CLASSES = ["Informational", "Success", "Redirection", "Client Error", "Server Error"]
cdef tuple _DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
cdef tuple _MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

# Fields that say how a message is framed or routed mean nothing in a trailer section, or harm (RFC 9110 section
# 6.5.1).
cdef frozenset _NOT_IN_TRAILERS = frozenset([
    b"content-length", b"transfer-encoding", b"trailer", b"host", b"connection", b"content-encoding", b"content-type",
    b"content-range", b"set-cookie", b"authorization", b"te",
])


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return _CLASSES[status // 100 - 1]


cdef list _STATUS_LINES = [
    f"HTTP/1.1 {status} {_phrase(status)}\r\n".encode("ascii") for status in range(100, 600)
]


def imf_fixdate(second: int) -> bytes:
    """Format a POSIX time in seconds as an HTTP date (RFC 9110 section 5.6.7)."""

    when = gmtime(second)
    return (f"{_DAYS[when.tm_wday]}, {when.tm_mday:02} {_MONTHS[when.tm_mon - 1]} {when.tm_year} "
            f"{when.tm_hour:02}:{when.tm_min:02}:{when.tm_sec:02} GMT").encode("ascii")


cdef inline int64_t _decimal(const char* digits, Py_ssize_t size) noexcept:
    # The value of a Content-Length, -1 when it is not 1*DIGIT or beyond 18 digits.
    cdef int64_t value = 0
    cdef Py_ssize_t index
    if size == 0 or size > 18:
        return -1
    for index in range(size):
        if digits[index] < c"0" or digits[index] > c"9":
            return -1
        value = value * 10 + (digits[index] - c"0")
    return value


cdef inline bint _is(const char* text, Py_ssize_t size, const char* lower, Py_ssize_t lower_size) noexcept:
    # Compare without regard to ASCII case.
    cdef Py_ssize_t index
    if size != lower_size:
        return False
    for index in range(size):
        if (text[index] | 0x20) != lower[index]:
            return False
    return True


# Eight bytes at once, each in its own part of a word. Nearly all bytes are plain; what is not is looked at one by one.

cdef inline uint64_t _load(const unsigned char* source) noexcept:
    cdef uint64_t word
    memcpy(&word, source, 8)
    return word


cdef inline uint64_t _odd_in_name(uint64_t word) noexcept:
    # Not 0 if some byte is neither a lower-case letter nor "-".
    cdef uint64_t letters = (word + 0x1F1F1F1F1F1F1F1FULL) & ~(word + 0x0505050505050505ULL)
    cdef uint64_t others = (word ^ 0x2D2D2D2D2D2D2D2DULL) + 0x7F7F7F7F7F7F7F7FULL
    return (word | (~letters & others)) & 0x8080808080808080ULL


cdef inline uint64_t _odd_in_value(uint64_t word) noexcept:
    # Not 0 if some byte is outside of space to "~".
    return (word | ~(word + 0x6060606060606060ULL) | (word + 0x0101010101010101ULL)) & 0x8080808080808080ULL


cdef inline bint _copy(unsigned char* target, const unsigned char* source, Py_ssize_t size, bint name) noexcept:
    # Eight bytes at a time where all of them are ordinary, else one by one. `name` is a constant: each use is compiled
    # by itself.
    cdef Py_ssize_t position
    cdef uint64_t odd = 0
    cdef uint64_t word
    if size >= 8:
        for position in range(0, size - 7, 8):
            word = _load(source + position)
            odd |= _odd_in_name(word) if name else _odd_in_value(word)
        word = _load(source + size - 8)
        odd |= _odd_in_name(word) if name else _odd_in_value(word)
        if not odd:
            memcpy(target, source, size)
            return True
    for position in range(size):
        if not char_is(source[position], CHAR_TOKEN if name else CHAR_TEXT):
            return False
        target[position] = char_lower(source[position]) if name else source[position]
    return True


cdef bint _copy_name(unsigned char* target, const unsigned char* source, Py_ssize_t size) noexcept:
    # Copies a field name in lower case; False if it is not a token.
    return size > 0 and _copy(target, source, size, True)


cdef bint _copy_value(unsigned char* target, const unsigned char* source, Py_ssize_t size) noexcept:
    # Copies a field value; False if there is a control byte in it.
    return _copy(target, source, size, False)


cdef class ResponseWriter:
    """Serialises response heads; one per worker.

    fields: (name, value) pairs that every response carries, in order, names in lower case; a `server` among them is
    left out where the application gives its own. date: whether responses carry Date, always first.
    """

    def __init__(self, fields: list[tuple[bytes, bytes]], date: bool = True):
        self._fields = list(fields)
        self._date = date
        self._second = -1
        self._status_lines = _STATUS_LINES
        self._refresh(0)

    cdef int _refresh(self, long second) except -1:
        cdef bytes date = b"date: " + imf_fixdate(second) + b"\r\n" if self._date else b""
        cdef bytes fixed = b"".join([name + b": " + value + b"\r\n" for name, value in self._fields])
        cdef bytes no_server = b"".join(
            [name + b": " + value + b"\r\n" for name, value in self._fields if name != b"server"])
        self._defaults = date + fixed
        self._defaults_no_date = fixed
        self._defaults_no_server = date + no_server
        self._defaults_bare = no_server
        self._second = second
        return 0

    cdef int write_head(self, Buffer out, int status, bytes reason, object fields, bint text,
                        HeadFacts* facts) except -1:
        if status < 200 or status > 599:
            raise RuntimeError(f"Invalid HTTP status code {status}.")
        _write_final(self, out, status, reason, fields, text, facts)
        if facts.chunked and facts.content_length >= 0:
            raise RuntimeError("Response has both Content-Length and Transfer-Encoding.")
        if status == 204:
            # Frameworks count the bytes of whatever they are given; none is sent.
            facts.content_length = -1
        return 0

    cdef int write_switch(self, Buffer out, object fields) except -1:
        cdef HeadFacts facts
        _write_final(self, out, 101, None, fields, False, &facts)
        if facts.content_length >= 0 or facts.chunked:
            raise RuntimeError("A response that changes the protocol has no body.")
        return out.append(b"\r\n", 2)

    cdef int write_interim(self, Buffer out, int status, object fields) except -1:
        cdef HeadFacts facts
        cdef bytes line
        if status < 102 or status > 199:
            raise RuntimeError(f"Invalid interim HTTP status code {status}.")
        facts.content_length = -1
        facts.chunked = facts.no_length = False
        line = <bytes> self._status_lines[status - 100]
        out.append(PyBytes_AS_STRING(line), PyBytes_GET_SIZE(line))
        self._write_fields(out, fields, &facts, INTERIM_HEAD, False)
        if facts.content_length >= 0 or facts.chunked:
            raise RuntimeError("An interim response has no body.")
        return out.append(b"\r\n", 2)

    cdef int write_trailers(self, Buffer out, object fields) except -1:
        cdef HeadFacts facts
        for name, _ in fields:
            if bytes(name).lower() in _NOT_IN_TRAILERS:
                raise RuntimeError(f"Field {bytes(name)!r} is not allowed in trailers.")
        self._write_fields(out, fields, &facts, TRAILER_SECTION, False)
        return 0

    cdef int _write_fields(self, Buffer out, object fields, HeadFacts* facts, int kind, bint text) except -1:
        # Returns which of our default fields the application gives itself (OWN_DATE, OWN_SERVER).
        cdef object sequence = PySequence_Fast(fields, "Response headers must be an iterable of (name, value) pairs.")
        cdef Py_ssize_t index = 0
        cdef Py_ssize_t name_size, value_size
        cdef PyObject* pair
        cdef PyObject* name
        cdef PyObject* value
        cdef tuple unusual
        cdef const unsigned char* name_data
        cdef const unsigned char* source
        cdef unsigned char* target
        cdef int64_t length
        cdef int own = 0
        # The references are borrowed: only unusual pairs run code of the application's, which may change the list.
        while index < PySequence_Fast_GET_SIZE(sequence):
            pair = item_of_sequence(sequence, index)
            index += 1
            if not (is_pair_of_text(pair) if text else is_pair_of_bytes(pair)):
                unusual = _pair_of_text(<object> pair) if text else _pair_of_bytes(<object> pair)
                pair = <PyObject*> unusual
            name = item_of_tuple(pair, 0)
            value = item_of_tuple(pair, 1)
            if text:
                name_size = size_of_text(name)
                value_size = size_of_text(value)
                name_data = <const unsigned char*> data_of_text(name)
                source = <const unsigned char*> data_of_text(value)
            else:
                name_size = size_of_bytes(name)
                value_size = size_of_bytes(value)
                name_data = <const unsigned char*> data_of_bytes(name)
                source = <const unsigned char*> data_of_bytes(value)
            if out.capacity - out.size < name_size + value_size + 4:
                out.reserve(name_size + value_size + 4)
            target = <unsigned char*> out.data + out.size
            if not _copy_name(target, name_data, name_size):
                raise RuntimeError("Invalid HTTP header name.")
            target[name_size] = c":"
            target[name_size + 1] = c" "
            if not _copy_value(target + name_size + 2, source, value_size):
                raise RuntimeError("Invalid HTTP header value.")
            target[name_size + 2 + value_size] = c"\r"
            target[name_size + 2 + value_size + 1] = c"\n"

            if kind != TRAILER_SECTION:
                if name_size == 14 and memcmp(target, "content-length", 14) == 0:
                    length = _decimal(<const char*> source, value_size)
                    if length < 0:
                        raise RuntimeError("Invalid Content-Length.")
                    if facts.content_length >= 0:
                        if facts.content_length != length:
                            raise RuntimeError("Response has more than one Content-Length.")
                        continue
                    facts.content_length = length
                    if facts.no_length:
                        continue
                elif name_size == 17 and memcmp(target, "transfer-encoding", 17) == 0:
                    if not _is(<const char*> source, value_size, "chunked", 7):
                        raise RuntimeError("Response has a Transfer-Encoding other than chunked.")
                    # Written again where the framing is decided: the client may be one that cannot have it. A WSGI
                    # application does not decide it (PEP 3333), and only passes on what another server said.
                    facts.chunked = not text
                    continue
                elif name_size == 10 and memcmp(target, "connection", 10) == 0:
                    if _is(<const char*> source, value_size, "close", 5):
                        facts.close = True
                    elif memchr(source, c",", value_size) is not NULL:
                        for option in (<const char*> source)[:value_size].split(b","):
                            if option.strip().lower() == b"close":
                                facts.close = True
                    if text and not facts.close:
                        # Nor this.
                        continue
                    facts.connection = True
                elif name_size == 4 and memcmp(target, "date", 4) == 0:
                    own |= OWN_DATE
                elif name_size == 6 and memcmp(target, "server", 6) == 0:
                    own |= OWN_SERVER
            out.size += name_size + value_size + 4
        return own


cdef inline int _write_final(ResponseWriter self, Buffer out, int status, bytes reason, object fields, bint text,
                             HeadFacts* facts) except -1:
    # Status line, default fields and the application's.
    cdef Py_ssize_t begin = out.size
    cdef bytes line
    cdef bytes defaults
    cdef long second = time(NULL)
    cdef int own
    if second != self._second and self._date:
        self._refresh(second)
    facts.content_length = -1
    facts.chunked = facts.close = facts.connection = False
    facts.no_length = status == 204
    if reason is None:
        line = <bytes> self._status_lines[status - 100]
    else:
        if not _is_text(reason):
            raise RuntimeError("Invalid HTTP reason phrase.")
        line = b"HTTP/1.1 %d %b\r\n" % (status, reason)
    out.append(PyBytes_AS_STRING(line), PyBytes_GET_SIZE(line))
    defaults = self._defaults
    out.append(PyBytes_AS_STRING(defaults), PyBytes_GET_SIZE(defaults))
    own = self._write_fields(out, fields, facts, FINAL_HEAD, text)
    if own:
        # Rare: start again without the defaults that the application replaces.
        out.truncate(begin + PyBytes_GET_SIZE(line))
        if own == OWN_DATE:
            defaults = self._defaults_no_date
        elif own == OWN_SERVER:
            defaults = self._defaults_no_server
        else:
            defaults = self._defaults_bare
        out.append(PyBytes_AS_STRING(defaults), PyBytes_GET_SIZE(defaults))
        facts.content_length = -1
        facts.chunked = facts.close = facts.connection = False
        self._write_fields(out, fields, facts, FINAL_HEAD, text)
    return 0


cdef bint _is_text(bytes text) noexcept:
    cdef const char* data = PyBytes_AS_STRING(text)
    cdef Py_ssize_t index
    for index in range(PyBytes_GET_SIZE(text)):
        if not char_is(<unsigned char> data[index], CHAR_TEXT):
            return False
    return True


cdef tuple _pair_of_text(object pair):
    cdef tuple found
    name, value = pair
    found = (name, value)
    if not is_pair_of_text(<PyObject*> found):
        if isinstance(name, str) and isinstance(value, str):
            raise RuntimeError(f"Response header {name!r} has characters outside of Latin-1.")
        raise RuntimeError(
            f"Response header names and values must be str, not {type(name).__name__} and {type(value).__name__}.")
    return found


cdef tuple _pair_of_bytes(object pair):
    name, value = pair
    return _as_bytes(name), _as_bytes(value)


cdef bytes _as_bytes(object value):
    if type(value) is bytes:
        return <bytes> value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise RuntimeError(f"Response header names and values must be bytes, not {type(value).__name__}.")
