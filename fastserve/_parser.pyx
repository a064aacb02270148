"""HTTP/1.1 request heads and chunked bodies: bytes in, spans out (RFC 9112).

Both parsers are state machines over plain structs. A state names what comes next; `position` of a head is the first
byte not looked at yet, so a call goes on exactly where the last one stopped and a head sent byte by byte costs as
many steps as one sent whole. Runs of one character class (method, target, names, values) are left to the vector
scans of _scan.h; what stops a run is judged here. Within parse_head() the states stand in the order in which a head
passes through them, so that straight-line code is the common case.

Input is rejected at the first byte that makes it invalid. Bytes are judged when they are seen; the meaning of an
element (the form of a target, the value of Host) when its end is. Either way the reason and the offset are the same
however the input was cut.

What RFC 9112 leaves open is decided here, always for the reading that nobody on the way can share differently:
  - a repeated Content-Length is rejected, even when the values are the same, and so is a list ("5, 5");
  - Transfer-Encoding is exactly one "chunked": no parameters, no empty list elements, no other coding;
  - an unknown expectation is ignored, as is Upgrade in HTTP/1.0;
  - HTTP/1.2 to 1.9 are read as HTTP/1.1 (RFC 9110 section 2.5), any other major version is rejected;
  - an empty Host is valid (RFC 9110 section 7.2 asks clients without an authority for it), one that is only a port
    is not;
  - "PRI" with "*" is the HTTP/2 preface, whatever follows.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, strcmp

from fastserve._chars cimport (
    CHAR_HEX,
    CHAR_QUOTED,
    CHAR_REG_NAME,
    CHAR_TEXT,
    CHAR_TOKEN,
    char_hex_value,
    char_is,
    char_lower,
)
from fastserve._names cimport (
    NAME_CONNECTION,
    NAME_CONTENT_LENGTH,
    NAME_EXPECT,
    NAME_FORWARDED,
    NAME_HOST,
    NAME_LAST_MEANINGFUL,
    NAME_OTHER,
    NAME_TE,
    NAME_TRANSFER_ENCODING,
    NAME_UPGRADE,
    name_lookup,
    name_slots_fill,
)
from fastserve._scan cimport (
    SCAN_SETS,
    scan,
    scan_counter,
    scan_counter_reset,
    scan_set_available,
    scan_sets,
    scan_use,
)


cdef extern from "_reasons.h" nogil:
    int fastserve_reason_status(Reason reason) noexcept
    const char* fastserve_reason_text(Reason reason) noexcept
    const char* fastserve_reason_name(Reason reason) noexcept


cdef enum:
    CR = 13
    LF = 10
    TAB = 9
    SPACE = 32

cdef enum HeadState:
    HEAD_START                  # before the request line
    HEAD_EMPTY_LINE_LF          # behind the CR of an empty line before it
    HEAD_TLS                    # behind a first byte that only a TLS record has
    HEAD_METHOD
    HEAD_TARGET
    HEAD_VERSION
    HEAD_LINE_LF                # behind the CR of the request line
    HEAD_FIELD                  # at the start of a field line or of the empty line
    HEAD_NAME
    HEAD_VALUE_SPACE            # white space before a value
    HEAD_VALUE
    HEAD_VALUE_LF               # behind the CR of a field line
    HEAD_END_LF                 # behind the CR of the empty line
    HEAD_DONE
    HEAD_REJECTED

cdef enum Seen:
    # Bits of RequestHead.seen.
    SEEN_EMPTY_LINE = 1
    SEEN_HOST = 2
    SEEN_CHUNKED = 4
    SEEN_CLOSE = 8
    SEEN_KEEP_ALIVE = 16
    SEEN_CONNECTION_UPGRADE = 32
    SEEN_UPGRADE = 64
    SEEN_EXPECT_CONTINUE = 128
    SEEN_TE_TRAILERS = 256
    SEEN_FORWARDED = 512


# Rejections

cdef int reason_status(Reason reason) noexcept nogil:
    return fastserve_reason_status(reason)


cdef const char* reason_text(Reason reason) noexcept nogil:
    return fastserve_reason_text(reason)


cdef const char* reason_code(Reason reason) noexcept nogil:
    return fastserve_reason_name(reason) + 7


cdef Py_ssize_t reject(RequestHead* head, Reason reason, Py_ssize_t offset) noexcept nogil:
    head.reason = reason
    head.error_offset = <uint32_t>offset
    head.state = HEAD_REJECTED
    return -1


# Everything at hand has been read. Once that is all a head may have, no more will help.
cdef inline Py_ssize_t suspend(RequestHead* head, uint32_t state, Py_ssize_t position,
                               Py_ssize_t mark) noexcept nogil:
    if position >= <Py_ssize_t>head.limits.head:
        return reject(head, REASON_HEAD_TOO_LARGE, head.limits.head)
    head.state = state
    head.position = <uint32_t>position
    head.mark = <uint32_t>mark
    return 0


# Authorities (RFC 3986 section 3.2, RFC 9110 section 4.2). Each function returns the first position behind what it
# read, or ~position (negative) of the byte that is wrong; `end` when something is missing there.

cdef Py_ssize_t read_ipv4(const uint8_t* data, Py_ssize_t position, Py_ssize_t end) noexcept nogil:
    cdef int octet
    cdef int value
    cdef Py_ssize_t start
    for octet in range(4):
        if octet:
            if position == end or data[position] != c'.':
                return ~position
            position += 1
        start = position
        value = 0
        while position < end and c'0' <= data[position] <= c'9':
            value = value * 10 + data[position] - c'0'
            if value > 255 or (position > start and data[start] == c'0'):
                return ~position
            position += 1
        if position == start:
            return ~position
    return position


# The inside of the brackets: all of [position, end).
cdef Py_ssize_t read_ipv6(const uint8_t* data, Py_ssize_t position, Py_ssize_t end) noexcept nogil:
    cdef int groups = 0
    cdef bint compressed = False
    cdef Py_ssize_t start
    cdef Py_ssize_t ipv4
    if position < end and data[position] == c':':
        if position + 1 == end or data[position + 1] != c':':
            return ~(position + 1)
        compressed = True
        position += 2
    while position < end:
        start = position
        while position < end and position - start < 4 and char_is(data[position], CHAR_HEX):
            position += 1
        if position < end and data[position] == c'.':
            ipv4 = read_ipv4(data, start, end)
            if ipv4 < 0:
                return ipv4
            if groups > 6:
                return ~start
            groups += 2
            position = ipv4
            if position < end:
                return ~position
            break
        if position == start or groups == 8:
            return ~position if position == start else ~start
        groups += 1
        if position == end:
            break
        if data[position] != c':':
            return ~position
        position += 1
        if position < end and data[position] == c':':
            if compressed:
                return ~position
            compressed = True
            position += 1
        elif position == end:
            return ~position
    if groups == 8 and compressed or groups < 8 and not compressed:
        return ~end
    return position


cdef Py_ssize_t read_future_address(const uint8_t* data, Py_ssize_t position, Py_ssize_t end) noexcept nogil:
    cdef Py_ssize_t start = position + 1
    position = start
    while position < end and char_is(data[position], CHAR_HEX):
        position += 1
    if position == start or position == end or data[position] != c'.':
        return ~position
    start = position + 1
    position = start
    while position < end and (char_is(data[position], CHAR_REG_NAME) or data[position] == c':'):
        position += 1
    return position if position == end and position > start else ~position


# uri-host [ ":" port ], all of [position, end). An empty host with a port is an error, wholly empty is not.
cdef Py_ssize_t read_authority(const uint8_t* data, Py_ssize_t position, Py_ssize_t end) noexcept nogil:
    cdef Py_ssize_t start = position
    cdef Py_ssize_t close
    if position < end and data[position] == c'[':
        position += 1
        close = position
        while close < end and data[close] != c']':
            close += 1
        if close == end:
            return ~end
        if position < close and data[position] | 0x20 == c'v':
            position = read_future_address(data, position, close)
        else:
            position = read_ipv6(data, position, close)
        if position < 0:
            return position
        position += 1
    else:
        while position < end:
            if char_is(data[position], CHAR_REG_NAME):
                position += 1
            elif data[position] == c'%':
                if position + 1 == end or not char_is(data[position + 1], CHAR_HEX):
                    return ~(position + 1)
                if position + 2 == end or not char_is(data[position + 2], CHAR_HEX):
                    return ~(position + 2)
                position += 3
            else:
                break
        if position == start and position < end:
            return ~position
    if position < end:
        if data[position] != c':':
            return ~position
        position += 1
        while position < end and c'0' <= data[position] <= c'9':
            position += 1
    return position if position == end else ~position


# Elements of a head

cdef inline bint equals_lower(const uint8_t* data, const char* lower, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(size):
        if char_lower(data[i]) != <uint8_t>lower[i]:
            return False
    return True


# The next element of a comma-separated list, without the white space around it; empty ones too. Returns where to go on,
# behind the comma: more than `end` once the list is over.
cdef Py_ssize_t next_element(const uint8_t* data, Py_ssize_t position, Py_ssize_t end, Py_ssize_t* start,
                             Py_ssize_t* size) noexcept nogil:
    cdef Py_ssize_t stop
    while position < end and (data[position] == SPACE or data[position] == TAB):
        position += 1
    start[0] = position
    while position < end and data[position] != c',':
        position += 1
    stop = position
    while stop > start[0] and (data[stop - 1] == SPACE or data[stop - 1] == TAB):
        stop -= 1
    size[0] = stop - start[0]
    return position + 1


# Whether a list has this element, in any case. `lower` is lower-case.
cdef bint list_contains(const uint8_t* data, Py_ssize_t position, Py_ssize_t end, const char* lower,
                        Py_ssize_t lower_size) noexcept nogil:
    cdef Py_ssize_t start
    cdef Py_ssize_t size
    while position <= end:
        position = next_element(data, position, end, &start, &size)
        if size == lower_size and equals_lower(data + start, lower, size):
            return True
    return False


# The bits of RequestHead.seen for the connection options that mean something here (RFC 9110 section 7.6.1).
cdef uint32_t connection_options(const uint8_t* data, Py_ssize_t position, Py_ssize_t end) noexcept nogil:
    cdef Py_ssize_t start
    cdef Py_ssize_t size
    cdef uint32_t seen = 0
    while position <= end:
        position = next_element(data, position, end, &start, &size)
        if size == 10 and equals_lower(data + start, b"keep-alive", 10):
            seen |= SEEN_KEEP_ALIVE
        elif size == 5 and equals_lower(data + start, b"close", 5):
            seen |= SEEN_CLOSE
        elif size == 7 and equals_lower(data + start, b"upgrade", 7):
            seen |= SEEN_CONNECTION_UPGRADE
    return seen


# A target in another form than "/...". 0, or -1 when rejected.
cdef int check_target(RequestHead* head, const uint8_t* data, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    cdef Py_ssize_t position
    cdef Py_ssize_t result
    cdef const uint8_t* method = data + head.method.start
    if head.method.size == 7 and memcmp(method, b"CONNECT", 7) == 0:
        # authority-form: the port is not optional
        result = read_authority(data, start, end)
        if result < 0:
            return <int>reject(head, REASON_BAD_AUTHORITY, ~result)
        if not c'0' <= data[end - 1] <= c'9':
            return <int>reject(head, REASON_BAD_AUTHORITY, end)
        position = end - 1
        while position > start and c'0' <= data[position] <= c'9':
            position -= 1
        if data[position] != c':':
            return <int>reject(head, REASON_BAD_AUTHORITY, end)
        return 0
    if data[start] == c'/':
        return 0
    if data[start] == c'*':
        if end - start > 1:
            return <int>reject(head, REASON_BAD_TARGET, start + 1)
        if head.method.size == 3 and memcmp(method, b"PRI", 3) == 0:
            return <int>reject(head, REASON_HTTP2_PREFACE, head.method.start)
        if head.method.size != 7 or memcmp(method, b"OPTIONS", 7) != 0:
            return <int>reject(head, REASON_BAD_ASTERISK, start)
        return 0
    # absolute-form
    position = start
    while position < end and (char_is(data[position], CHAR_TOKEN)):
        position += 1
    if position == start or end - position < 3 or memcmp(data + position, b"://", 3) != 0:
        return <int>reject(head, REASON_BAD_TARGET, start)
    if not (position - start == 4 and equals_lower(data + start, b"http", 4)
            or position - start == 5 and equals_lower(data + start, b"https", 5)):
        return <int>reject(head, REASON_BAD_SCHEME, start)
    start = position + 3
    position = start
    while position < end and data[position] != c'/' and data[position] != c'?':
        position += 1
    result = read_authority(data, start, position)
    if position == start:
        result = ~position
    if result < 0:
        return <int>reject(head, REASON_BAD_AUTHORITY, ~result)
    return 0


cdef int apply_content_length(RequestHead* head, const uint8_t* data, Py_ssize_t start,
                              Py_ssize_t end) noexcept nogil:
    cdef Py_ssize_t position = start
    cdef int64_t length = 0
    cdef int digit
    while position < end:
        digit = data[position] - c'0'
        if digit < 0 or digit > 9:
            return <int>reject(head, REASON_BAD_CONTENT_LENGTH, position)
        if length > (INT64_MAX - digit) // 10:
            return <int>reject(head, REASON_CONTENT_LENGTH_OVERFLOW, position)
        length = length * 10 + digit
        position += 1
    if start == end:
        return <int>reject(head, REASON_BAD_CONTENT_LENGTH, start)
    if head.content_length >= 0:
        return <int>reject(head, REASON_REPEATED_CONTENT_LENGTH if head.content_length == length
                           else REASON_CONFLICTING_CONTENT_LENGTH, head.name.start)
    if head.seen & SEEN_CHUNKED:
        return <int>reject(head, REASON_LENGTH_AND_ENCODING, head.name.start)
    head.content_length = length
    return 0


cdef int apply_transfer_encoding(RequestHead* head, const uint8_t* data, Py_ssize_t start,
                                 Py_ssize_t end) noexcept nogil:
    cdef Py_ssize_t position = start
    cdef Py_ssize_t coding
    if head.minor == 0:
        return <int>reject(head, REASON_ENCODING_IN_HTTP10, head.name.start)
    while True:
        coding = position
        while position < end and char_is(data[position], CHAR_TOKEN):
            position += 1
        if position == coding:
            return <int>reject(head, REASON_BAD_TRANSFER_ENCODING, position)
        if position - coding == 7 and equals_lower(data + coding, b"chunked", 7):
            if head.seen & SEEN_CHUNKED:
                return <int>reject(head, REASON_DUPLICATE_CHUNKED, coding)
            head.seen |= SEEN_CHUNKED
        elif head.seen & SEEN_CHUNKED:
            return <int>reject(head, REASON_CHUNKED_NOT_LAST, coding)
        else:
            return <int>reject(head, REASON_UNKNOWN_CODING, coding)
        while position < end and (data[position] == SPACE or data[position] == TAB):
            position += 1
        if position == end:
            break
        if data[position] != c',':
            return <int>reject(head, REASON_BAD_TRANSFER_ENCODING, position)
        position += 1
        while position < end and (data[position] == SPACE or data[position] == TAB):
            position += 1
    if head.content_length >= 0:
        return <int>reject(head, REASON_LENGTH_AND_ENCODING, head.name.start)
    return 0


# A field that decides about the exchange. 0, or -1 when rejected.
cdef int apply_field(RequestHead* head, const uint8_t* data, uint32_t known, Py_ssize_t start,
                     Py_ssize_t end) noexcept nogil:
    cdef Py_ssize_t result
    if known == NAME_HOST:
        if head.seen & SEEN_HOST:
            return <int>reject(head, REASON_DUPLICATE_HOST, head.name.start)
        head.seen |= SEEN_HOST
        result = read_authority(data, start, end)
        if result < 0:
            return <int>reject(head, REASON_BAD_HOST, ~result)
    elif known == NAME_CONNECTION:
        head.seen |= connection_options(data, start, end)
    elif known == NAME_CONTENT_LENGTH:
        return apply_content_length(head, data, start, end)
    elif known == NAME_TRANSFER_ENCODING:
        return apply_transfer_encoding(head, data, start, end)
    elif known == NAME_UPGRADE:
        head.seen |= SEEN_UPGRADE
    elif known == NAME_EXPECT:
        if list_contains(data, start, end, b"100-continue", 12):
            head.seen |= SEEN_EXPECT_CONTINUE
    elif known == NAME_TE:
        if list_contains(data, start, end, b"trailers", 8):
            head.seen |= SEEN_TE_TRAILERS
    elif known >= NAME_FORWARDED:
        head.seen |= SEEN_FORWARDED
    return 0


# What all fields together say. `position` is the CR of the empty line. 0, or -1 when rejected.
cdef int finish_head(RequestHead* head, Py_ssize_t position) noexcept nogil:
    cdef uint32_t seen = head.seen
    cdef uint32_t flags = 0
    if head.minor == 0:
        if seen & SEEN_KEEP_ALIVE and not seen & SEEN_CLOSE:
            flags = HEAD_KEEP_ALIVE
    else:
        if not seen & SEEN_HOST:
            return <int>reject(head, REASON_MISSING_HOST, position)
        if not seen & SEEN_CLOSE:
            flags = HEAD_KEEP_ALIVE
        if seen & SEEN_UPGRADE and seen & SEEN_CONNECTION_UPGRADE:
            flags |= HEAD_UPGRADE
        if seen & SEEN_EXPECT_CONTINUE:
            flags |= HEAD_EXPECT_CONTINUE
    if seen & SEEN_CHUNKED:
        flags |= HEAD_CHUNKED
    if seen & SEEN_TE_TRAILERS:
        flags |= HEAD_TE_TRAILERS
    if seen & SEEN_FORWARDED:
        flags |= HEAD_FORWARDED
    head.flags = flags
    head.state = HEAD_DONE
    return 0


cdef void reset_head(RequestHead* head) noexcept nogil:
    head.minor = 0
    head.flags = 0
    head.content_length = -1
    head.field_count = 0
    head.reason = REASON_NONE
    head.error_offset = 0
    head.state = HEAD_START
    head.position = 0
    head.mark = 0
    head.seen = 0
    head.method.start = 0
    head.method.size = 0
    head.target.start = 0
    head.target.size = 0
    head.name.start = 0
    head.name.size = 0


# The byte that stopped a field name instead of a colon.
cdef Py_ssize_t reject_name(RequestHead* head, uint8_t byte, Py_ssize_t position) noexcept nogil:
    if byte == LF:
        return reject(head, REASON_BARE_LF, position)
    if byte == CR:
        return reject(head, REASON_MISSING_COLON, position)
    if byte == SPACE or byte == TAB:
        return reject(head, REASON_SPACE_BEFORE_COLON, position)
    return reject(head, REASON_BAD_NAME_BYTE, position)


# The byte at the start of a field line that neither starts a name nor ends the head.
cdef Py_ssize_t reject_field_start(RequestHead* head, uint8_t byte, Py_ssize_t position) noexcept nogil:
    if byte == LF:
        return reject(head, REASON_BARE_LF, position)
    if byte == SPACE or byte == TAB:
        return reject(head, REASON_OBS_FOLD if head.field_count else REASON_LEADING_SPACE, position)
    if byte == c':':
        return reject(head, REASON_EMPTY_NAME, position)
    return reject(head, REASON_BAD_NAME_BYTE, position)


cdef Py_ssize_t parse_head(RequestHead* head, const char* data, Py_ssize_t size) noexcept nogil:
    cdef const uint8_t* bytes = <const uint8_t*>data
    cdef uint32_t state = head.state
    cdef Py_ssize_t position = head.position
    cdef Py_ssize_t mark = head.mark
    cdef Py_ssize_t line_end
    cdef Py_ssize_t stop
    cdef Py_ssize_t at
    cdef uint8_t byte
    cdef uint32_t known
    cdef uint32_t count
    cdef FieldSpan* field
    if size > <Py_ssize_t>head.limits.head:
        size = head.limits.head

    if state == HEAD_START or state == HEAD_EMPTY_LINE_LF:
        while True:
            if position >= size:
                return suspend(head, state, position, mark)
            byte = bytes[position]
            if state == HEAD_EMPTY_LINE_LF:
                if byte != LF:
                    return reject(head, REASON_BARE_CR, position)
                state = HEAD_START
                position += 1
                continue
            if byte != CR:
                break
            if head.seen & SEEN_EMPTY_LINE:
                return reject(head, REASON_EMPTY_LINES, position)
            head.seen |= SEEN_EMPTY_LINE
            state = HEAD_EMPTY_LINE_LF
            position += 1
        if byte == LF:
            return reject(head, REASON_BARE_LF, position)
        mark = position
        head.method.start = <uint32_t>position
        state = HEAD_METHOD
        if byte == 0x16:
            state = HEAD_TLS
            position += 1

    if state < HEAD_LINE_LF:
        # Within the request line. Only its CR may stand at line_end.
        line_end = <Py_ssize_t>head.method.start + head.limits.request_line
        stop = size if size < line_end else line_end

        if state == HEAD_TLS:
            if position >= size:
                return suspend(head, state, position, mark)
            return reject(head, REASON_TLS_HANDSHAKE if bytes[position] == 3 else REASON_BAD_METHOD, mark)

        if state == HEAD_METHOD:
            while position < stop and char_is(bytes[position], CHAR_TOKEN):
                position += 1
            if position >= size:
                return suspend(head, state, position, mark)
            byte = bytes[position]
            if position == line_end and byte != CR:
                return reject(head, REASON_REQUEST_LINE_TOO_LONG, position)
            if byte != SPACE or position == mark:
                if byte == LF:
                    return reject(head, REASON_BARE_LF, position)
                if byte == CR:
                    return reject(head, REASON_MISSING_TARGET, position)
                return reject(head, REASON_BAD_METHOD, position)
            head.method.size = <uint32_t>(position - mark)
            position += 1
            mark = position
            state = HEAD_TARGET

        if state == HEAD_TARGET:
            position = <Py_ssize_t>scan.target(bytes, position, stop) if position < stop else position
            if position >= size:
                return suspend(head, state, position, mark)
            byte = bytes[position]
            if position == line_end and byte != CR:
                return reject(head, REASON_REQUEST_LINE_TOO_LONG, position)
            if byte != SPACE or position == mark:
                if byte == LF:
                    return reject(head, REASON_BARE_LF, position)
                if position == mark:
                    return reject(head, REASON_MISSING_TARGET, position)
                return reject(head, REASON_HTTP09 if byte == CR else REASON_BAD_TARGET_BYTE, position)
            head.target.start = <uint32_t>mark
            head.target.size = <uint32_t>(position - mark)
            if (bytes[mark] != c'/' or head.method.size == 7) and check_target(head, bytes, mark, position) < 0:
                return -1
            position += 1
            mark = position
            state = HEAD_VERSION

        # HEAD_VERSION
        if position == mark and size - position >= 10 and line_end - position >= 8 \
                and memcmp(bytes + position, b"HTTP/1.1\r\n", 10) == 0:
            head.minor = 1
            position += 10
            state = HEAD_FIELD
        else:
            while True:
                if position >= size:
                    return suspend(head, HEAD_VERSION, position, mark)
                byte = bytes[position]
                if position == line_end and byte != CR:
                    return reject(head, REASON_REQUEST_LINE_TOO_LONG, position)
                at = position - mark
                if byte == LF:
                    return reject(head, REASON_BARE_LF, position)
                if at == 8:
                    if byte != CR:
                        return reject(head, REASON_BAD_VERSION, position)
                    position += 1
                    state = HEAD_LINE_LF
                    break
                if byte == CR:
                    return reject(head, REASON_HTTP09 if at == 0 else REASON_BAD_VERSION, position)
                if at == 5 and c'0' <= byte <= c'9':
                    if byte != c'1':
                        return reject(head, REASON_UNSUPPORTED_VERSION, position)
                elif at == 7 and c'0' <= byte <= c'9':
                    head.minor = 0 if byte == c'0' else 1
                elif at == 5 or at == 7 or byte != <uint8_t>(b"HTTP/1.1"[at]):
                    return reject(head, REASON_BAD_VERSION, position)
                position += 1

    if state == HEAD_LINE_LF:
        if position >= size:
            return suspend(head, state, position, mark)
        if bytes[position] != LF:
            return reject(head, REASON_BARE_CR, position)
        position += 1
        state = HEAD_FIELD

    count = head.field_count
    while True:
        if state == HEAD_FIELD:
            if position >= size:
                break
            byte = bytes[position]
            if byte == CR:
                position += 1
                state = HEAD_END_LF
            else:
                if not char_is(byte, CHAR_TOKEN):
                    head.field_count = count
                    return reject_field_start(head, byte, position)
                if count == head.limits.fields:
                    head.field_count = count
                    return reject(head, REASON_TOO_MANY_FIELDS, position)
                mark = position
                state = HEAD_NAME

        if state == HEAD_NAME:
            position = <Py_ssize_t>scan.token(bytes, position, size)
            if position >= size:
                break
            byte = bytes[position]
            if byte != c':':
                head.field_count = count
                return reject_name(head, byte, position)
            head.name.start = <uint32_t>mark
            head.name.size = <uint32_t>(position - mark)
            position += 1
            state = HEAD_VALUE_SPACE

        if state == HEAD_VALUE_SPACE:
            while position < size and (bytes[position] == SPACE or bytes[position] == TAB):
                position += 1
            if position >= size:
                break
            mark = position
            state = HEAD_VALUE

        if state == HEAD_VALUE:
            position = <Py_ssize_t>scan.text(bytes, position, size)
            if position >= size:
                break
            byte = bytes[position]
            if byte != CR:
                head.field_count = count
                return reject(head, REASON_BARE_LF if byte == LF else REASON_BAD_VALUE_BYTE, position)
            position += 1
            state = HEAD_VALUE_LF

        if state == HEAD_VALUE_LF:
            if position >= size:
                break
            if bytes[position] != LF:
                head.field_count = count
                return reject(head, REASON_BARE_CR, position)
            at = position - 1
            while at > mark and (bytes[at - 1] == SPACE or bytes[at - 1] == TAB):
                at -= 1
            position += 1
            state = HEAD_FIELD
            known = name_lookup(bytes + head.name.start, head.name.size)
            field = &head.fields[count]
            count += 1
            field.name = head.name
            field.value.start = <uint32_t>mark
            field.value.size = <uint32_t>(at - mark)
            field.known = known
            if known <= NAME_LAST_MEANINGFUL and known != NAME_OTHER:
                if apply_field(head, bytes, known, mark, at) < 0:
                    head.field_count = count
                    return -1
            continue

        # HEAD_END_LF, HEAD_DONE or HEAD_REJECTED
        if state != HEAD_END_LF:
            return -1 if state == HEAD_REJECTED else position
        if position >= size:
            break
        head.field_count = count
        if bytes[position] != LF:
            return reject(head, REASON_BARE_CR, position)
        if finish_head(head, position - 1) < 0:
            return -1
        position += 1
        head.position = <uint32_t>position
        return position

    head.field_count = count
    return suspend(head, state, position, mark)


# Chunked bodies (RFC 9112 section 7.1)

cdef enum ChunkState:
    CHUNK_SIZE                  # `mark` counts the digits
    CHUNK_EXT_NEXT              # white space that a ";" must follow
    CHUNK_EXT_NAME_START
    CHUNK_EXT_NAME
    CHUNK_EXT_NAME_END          # white space behind a name: "=" or ";" must follow
    CHUNK_EXT_VALUE_START
    CHUNK_EXT_VALUE
    CHUNK_EXT_QUOTED
    CHUNK_EXT_ESCAPE            # behind a backslash in a quoted string
    CHUNK_EXT_QUOTED_END
    CHUNK_SIZE_LF
    CHUNK_DATA
    CHUNK_DATA_CR
    CHUNK_DATA_LF
    TRAILER_START
    TRAILER_NAME
    TRAILER_VALUE
    TRAILER_LF
    TRAILER_END_LF
    CHUNKED_DONE
    CHUNKED_REJECTED

cdef enum:
    # A body may have this many bytes of framing, and as many more for each byte of data. Chunks of three bytes and more
    # never meet the bound; one-byte chunks do after about twenty thousand.
    FRAMING_ALLOWANCE = 65536
    FRAMING_PER_BYTE = 2
    # What one call looks at, so that offsets fit their 32 bits.
    CHUNKED_CALL_SIZE = 1 << 30
    # Leading zeros carry nothing: sixteen digits hold every size there is.
    CHUNK_SIZE_DIGITS = 16


cdef void reset_chunked(ChunkedBody* body) noexcept nogil:
    body.done = 0
    body.reason = REASON_NONE
    body.error_offset = 0
    body.state = CHUNK_SIZE
    body.remaining = 0
    body.overhead = 0
    body.received = 0
    body.extension_bytes = 0
    body.trailer_bytes = 0
    body.trailer_count = 0
    body.mark = 0


cdef Py_ssize_t reject_chunked(ChunkedBody* body, Reason reason, Py_ssize_t offset) noexcept nogil:
    body.reason = reason
    body.error_offset = <uint32_t>offset
    body.state = CHUNKED_REJECTED
    return -1


# The state behind one byte of a chunk extension, -1 when it may not stand there.
cdef int next_extension_state(uint32_t state, uint8_t byte) noexcept nogil:
    cdef bint space = byte == SPACE or byte == TAB
    if state == CHUNK_EXT_QUOTED:
        if byte == c'"':
            return CHUNK_EXT_QUOTED_END
        if byte == c'\\':
            return CHUNK_EXT_ESCAPE
        return CHUNK_EXT_QUOTED if char_is(byte, CHAR_QUOTED) else -1
    if state == CHUNK_EXT_ESCAPE:
        return CHUNK_EXT_QUOTED if char_is(byte, CHAR_TEXT) else -1
    if state == CHUNK_EXT_NAME_START:
        if char_is(byte, CHAR_TOKEN):
            return CHUNK_EXT_NAME
        return CHUNK_EXT_NAME_START if space else -1
    if state == CHUNK_EXT_VALUE_START:
        if byte == c'"':
            return CHUNK_EXT_QUOTED
        if char_is(byte, CHAR_TOKEN):
            return CHUNK_EXT_VALUE
        return CHUNK_EXT_VALUE_START if space else -1
    # What is left may be followed by the next extension.
    if byte == c';':
        return CHUNK_EXT_NAME_START
    if state == CHUNK_EXT_NAME:
        if char_is(byte, CHAR_TOKEN):
            return CHUNK_EXT_NAME
        if byte == c'=':
            return CHUNK_EXT_VALUE_START
        return CHUNK_EXT_NAME_END if space else -1
    if state == CHUNK_EXT_NAME_END:
        if byte == c'=':
            return CHUNK_EXT_VALUE_START
        return CHUNK_EXT_NAME_END if space else -1
    if state == CHUNK_EXT_VALUE and char_is(byte, CHAR_TOKEN):
        return CHUNK_EXT_VALUE
    return CHUNK_EXT_NEXT if space else -1


cdef Py_ssize_t parse_chunked(ChunkedBody* body, const char* data, Py_ssize_t size, Span* piece) noexcept nogil:
    cdef const uint8_t* bytes = <const uint8_t*>data
    cdef Py_ssize_t position = 0
    cdef uint32_t state = body.state
    cdef uint8_t byte
    cdef int digit
    cdef int following
    piece.start = 0
    piece.size = 0
    if size > CHUNKED_CALL_SIZE:
        size = CHUNKED_CALL_SIZE
    if state == CHUNKED_REJECTED:
        return -1
    while position < size:
        if state == CHUNK_DATA:
            piece.start = <uint32_t>position
            if <uint64_t>(size - position) < body.remaining:
                piece.size = <uint32_t>(size - position)
            else:
                piece.size = <uint32_t>body.remaining
                state = CHUNK_DATA_CR
            body.remaining -= piece.size
            body.received += piece.size
            position += piece.size
            break
        byte = bytes[position]

        if state <= CHUNK_SIZE_LF or state == CHUNK_DATA_CR or state == CHUNK_DATA_LF:
            body.overhead += 1
            if body.overhead > FRAMING_ALLOWANCE + FRAMING_PER_BYTE * body.received:
                return reject_chunked(body, REASON_TOO_MUCH_FRAMING, position)

        if state == CHUNK_SIZE:
            digit = char_hex_value(byte)
            if digit >= 0:
                if body.mark == CHUNK_SIZE_DIGITS or body.remaining > <uint64_t>(INT64_MAX >> 4):
                    return reject_chunked(body, REASON_CHUNK_SIZE_OVERFLOW, position)
                body.mark += 1
                body.remaining = body.remaining << 4 | <uint64_t>digit
            elif byte == LF:
                return reject_chunked(body, REASON_CHUNK_BARE_LF, position)
            elif body.mark == 0:
                return reject_chunked(body, REASON_BAD_CHUNK_SIZE, position)
            elif byte == CR:
                state = CHUNK_SIZE_LF
            elif byte == c';' or byte == SPACE or byte == TAB:
                state = CHUNK_EXT_NAME_START if byte == c';' else CHUNK_EXT_NEXT
                body.extension_bytes += 1
                if body.extension_bytes > body.limits.extensions:
                    return reject_chunked(body, REASON_CHUNK_EXTENSIONS_TOO_LARGE, position)
            else:
                return reject_chunked(body, REASON_BAD_CHUNK_SIZE, position)
            position += 1

        elif state < CHUNK_SIZE_LF:
            if byte == LF:
                return reject_chunked(body, REASON_CHUNK_BARE_LF, position)
            if byte == CR and (state == CHUNK_EXT_NAME or state == CHUNK_EXT_VALUE or state == CHUNK_EXT_QUOTED_END):
                state = CHUNK_SIZE_LF
            else:
                following = next_extension_state(state, byte)
                if following < 0:
                    return reject_chunked(body, REASON_BAD_CHUNK_EXTENSION, position)
                state = following
                body.extension_bytes += 1
                if body.extension_bytes > body.limits.extensions:
                    return reject_chunked(body, REASON_CHUNK_EXTENSIONS_TOO_LARGE, position)
            position += 1

        elif state == CHUNK_SIZE_LF:
            if byte != LF:
                return reject_chunked(body, REASON_CHUNK_BARE_CR, position)
            state = CHUNK_DATA if body.remaining else TRAILER_START
            position += 1

        elif state == CHUNK_DATA_CR:
            if byte != CR:
                return reject_chunked(body, REASON_CHUNK_BARE_LF if byte == LF else REASON_MISSING_CHUNK_END, position)
            state = CHUNK_DATA_LF
            position += 1

        elif state == CHUNK_DATA_LF:
            if byte != LF:
                return reject_chunked(body, REASON_CHUNK_BARE_CR, position)
            body.mark = 0
            state = CHUNK_SIZE
            position += 1

        elif state == TRAILER_END_LF:
            if byte != LF:
                return reject_chunked(body, REASON_TRAILER_BARE_CR, position)
            body.done = 1
            state = CHUNKED_DONE
            position += 1
            break

        elif state == CHUNKED_DONE:
            break

        elif state == TRAILER_START and byte == CR:
            state = TRAILER_END_LF
            position += 1

        else:
            if state == TRAILER_START:
                if body.trailer_count == body.limits.trailer_fields and char_is(byte, CHAR_TOKEN):
                    return reject_chunked(body, REASON_TOO_MANY_TRAILERS, position)
                body.trailer_count += 1
            if body.trailer_bytes == body.limits.trailers:
                return reject_chunked(body, REASON_TRAILERS_TOO_LARGE, position)
            body.trailer_bytes += 1
            if state == TRAILER_LF:
                if byte != LF:
                    return reject_chunked(body, REASON_TRAILER_BARE_CR, position)
                state = TRAILER_START
            elif byte == LF:
                return reject_chunked(body, REASON_TRAILER_BARE_LF, position)
            elif state == TRAILER_VALUE:
                if byte == CR:
                    state = TRAILER_LF
                elif not char_is(byte, CHAR_TEXT):
                    return reject_chunked(body, REASON_BAD_TRAILER, position)
            elif char_is(byte, CHAR_TOKEN):
                state = TRAILER_NAME
            elif state == TRAILER_NAME and byte == c':':
                state = TRAILER_VALUE
            else:
                return reject_chunked(body, REASON_BAD_TRAILER, position)
            position += 1

    body.state = state
    return position


# The scan in use

cdef int choose_scan(bytes name) except -1:
    cdef int i
    for i in range(SCAN_SETS):
        if strcmp(scan_sets[i].name, <const char*>name) == 0 and scan_set_available(&scan_sets[i]):
            scan_use(&scan_sets[i])
            return 0
    raise ValueError(f"no such scan here: {name.decode()}")


def scan_implementations() -> list:
    """The names of the delimiter scans this build has and this processor runs, slowest first.

    "counting" is the scalar scan with a work counter, for tests; the last name is the one in use by default.
    """
    cdef int i
    return [scan_sets[i].name.decode() for i in range(SCAN_SETS) if scan_set_available(&scan_sets[i])]


def use_scan(name: str) -> None:
    """Use the named delimiter scan in this process; for tests and measurements.

    Raises ValueError for a name that scan_implementations() does not have.
    """
    choose_scan(name.encode())


def scan_work(reset: bool = False) -> int:
    """Bytes looked at by the "counting" scan since the last reset."""
    cdef uint64_t work = scan_counter
    if reset:
        scan_counter_reset()
    return work


def rejection_reasons() -> dict:
    """Every reason for which a request is rejected: name -> (HTTP status, text)."""
    cdef int number
    cdef int count = REASON_COUNT
    return {
        reason_code(<Reason>number).decode(): (
            fastserve_reason_status(<Reason>number), fastserve_reason_text(<Reason>number).decode(),
        )
        for number in range(1, count)
    }


# Names of which no other shares the first slot are found with one comparison; more are a hint to change the hash.
displaced_names = name_slots_fill()
use_scan(scan_implementations().pop())
