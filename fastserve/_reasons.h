/* Every reason for which a request is rejected: its name, HTTP status and text, in one table.
 *
 * A new reason is one line here and one line in the enum of _parser.pxd. Texts go to logs, never numbers alone.
 */
#ifndef FASTSERVE_REASONS_H
#define FASTSERVE_REASONS_H

#define FASTSERVE_REASONS(X) \
    X(REASON_NONE, 0, "none") \
    /* request line */ \
    X(REASON_TLS_HANDSHAKE, 400, "TLS handshake on a plain HTTP port") \
    X(REASON_HTTP2_PREFACE, 505, "HTTP/2 connection preface on an HTTP/1.1 port") \
    X(REASON_EMPTY_LINES, 400, "more than one empty line before the request line") \
    X(REASON_BAD_METHOD, 400, "invalid byte in the method") \
    X(REASON_MISSING_TARGET, 400, "request line without a target") \
    X(REASON_BAD_TARGET_BYTE, 400, "invalid byte in the request target") \
    X(REASON_BAD_TARGET, 400, "invalid request target") \
    X(REASON_BAD_ASTERISK, 400, "asterisk-form target is for OPTIONS only") \
    X(REASON_BAD_SCHEME, 400, "scheme of the absolute-form target is neither http nor https") \
    X(REASON_BAD_AUTHORITY, 400, "invalid authority in the request target") \
    X(REASON_HTTP09, 400, "request line without a version (HTTP/0.9)") \
    X(REASON_BAD_VERSION, 400, "invalid HTTP version") \
    X(REASON_UNSUPPORTED_VERSION, 505, "unsupported HTTP version") \
    X(REASON_REQUEST_LINE_TOO_LONG, 414, "request line too long") \
    /* line ends and field syntax */ \
    X(REASON_BARE_LF, 400, "bare LF in the head") \
    X(REASON_BARE_CR, 400, "bare CR in the head") \
    X(REASON_LEADING_SPACE, 400, "white space before the first field") \
    X(REASON_OBS_FOLD, 400, "obsolete line folding") \
    X(REASON_EMPTY_NAME, 400, "empty field name") \
    X(REASON_SPACE_BEFORE_COLON, 400, "white space between field name and colon") \
    X(REASON_MISSING_COLON, 400, "field line without a colon") \
    X(REASON_BAD_NAME_BYTE, 400, "invalid byte in a field name") \
    X(REASON_BAD_VALUE_BYTE, 400, "invalid byte in a field value") \
    X(REASON_TOO_MANY_FIELDS, 431, "too many fields") \
    X(REASON_HEAD_TOO_LARGE, 431, "request head too large") \
    /* what the fields say */ \
    X(REASON_MISSING_HOST, 400, "HTTP/1.1 request without Host") \
    X(REASON_DUPLICATE_HOST, 400, "more than one Host") \
    X(REASON_BAD_HOST, 400, "invalid Host") \
    X(REASON_BAD_CONTENT_LENGTH, 400, "invalid Content-Length") \
    X(REASON_CONTENT_LENGTH_OVERFLOW, 400, "Content-Length out of range") \
    X(REASON_REPEATED_CONTENT_LENGTH, 400, "repeated Content-Length") \
    X(REASON_CONFLICTING_CONTENT_LENGTH, 400, "differing Content-Length values") \
    X(REASON_LENGTH_AND_ENCODING, 400, "Content-Length together with Transfer-Encoding") \
    X(REASON_ENCODING_IN_HTTP10, 400, "Transfer-Encoding in an HTTP/1.0 request") \
    X(REASON_BAD_TRANSFER_ENCODING, 400, "invalid Transfer-Encoding") \
    X(REASON_CHUNKED_NOT_LAST, 400, "chunked is not the last transfer coding") \
    X(REASON_DUPLICATE_CHUNKED, 400, "chunked applied more than once") \
    X(REASON_UNKNOWN_CODING, 501, "unknown transfer coding") \
    /* chunked body */ \
    X(REASON_BAD_CHUNK_SIZE, 400, "invalid chunk size") \
    X(REASON_CHUNK_SIZE_OVERFLOW, 400, "chunk size out of range") \
    X(REASON_BAD_CHUNK_EXTENSION, 400, "invalid chunk extension") \
    X(REASON_CHUNK_EXTENSIONS_TOO_LARGE, 400, "chunk extensions too large") \
    X(REASON_CHUNK_BARE_LF, 400, "bare LF in the chunk framing") \
    X(REASON_CHUNK_BARE_CR, 400, "bare CR in the chunk framing") \
    X(REASON_MISSING_CHUNK_END, 400, "chunk data without its CRLF") \
    X(REASON_TOO_MUCH_FRAMING, 400, "too much chunk framing for too little data") \
    X(REASON_TRAILER_BARE_LF, 400, "bare LF in the trailer section") \
    X(REASON_TRAILER_BARE_CR, 400, "bare CR in the trailer section") \
    X(REASON_BAD_TRAILER, 400, "invalid trailer field") \
    X(REASON_TOO_MANY_TRAILERS, 400, "too many trailer fields") \
    X(REASON_TRAILERS_TOO_LARGE, 400, "trailer section too large")

enum Reason {
#define FASTSERVE_REASON_MEMBER(name, status, text) name,
    FASTSERVE_REASONS(FASTSERVE_REASON_MEMBER)
#undef FASTSERVE_REASON_MEMBER
    REASON_COUNT
};

static inline int fastserve_reason_status(enum Reason reason)
{
    switch (reason) {
#define FASTSERVE_REASON_STATUS(name, status, text) case name: return status;
    FASTSERVE_REASONS(FASTSERVE_REASON_STATUS)
#undef FASTSERVE_REASON_STATUS
    default: return 400;
    }
}

static inline const char *fastserve_reason_text(enum Reason reason)
{
    switch (reason) {
#define FASTSERVE_REASON_TEXT(name, status, text) case name: return text;
    FASTSERVE_REASONS(FASTSERVE_REASON_TEXT)
#undef FASTSERVE_REASON_TEXT
    default: return "unknown";
    }
}

static inline const char *fastserve_reason_name(enum Reason reason)
{
    switch (reason) {
#define FASTSERVE_REASON_NAME(name, status, text) case name: return #name;
    FASTSERVE_REASONS(FASTSERVE_REASON_NAME)
#undef FASTSERVE_REASON_NAME
    default: return "unknown";
    }
}

#endif
