/* The well-known field names: one table for the parser, which recognises them, and _fields, which shares their objects.
 *
 * X(identifier, lower-case name, sharing). SHARED values may be kept beyond their request and handed to the next one
 * that repeats them (see _fields.pyx); PRIVATE ones differ with every request or belong to one client.
 * Those up to NAME_LAST_MEANINGFUL mean something to the parser itself.
 */
#ifndef FASTSERVE_NAMES_H
#define FASTSERVE_NAMES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SHARED 1
#define PRIVATE 0

#define FASTSERVE_NAMES(X) \
    X(NAME_HOST, "host", SHARED) \
    X(NAME_CONTENT_LENGTH, "content-length", PRIVATE) \
    X(NAME_TRANSFER_ENCODING, "transfer-encoding", SHARED) \
    X(NAME_CONNECTION, "connection", SHARED) \
    X(NAME_UPGRADE, "upgrade", SHARED) \
    X(NAME_EXPECT, "expect", SHARED) \
    X(NAME_TE, "te", SHARED) \
    X(NAME_FORWARDED, "forwarded", PRIVATE) \
    X(NAME_X_FORWARDED_FOR, "x-forwarded-for", PRIVATE) \
    X(NAME_X_FORWARDED_HOST, "x-forwarded-host", SHARED) \
    X(NAME_X_FORWARDED_PORT, "x-forwarded-port", SHARED) \
    X(NAME_X_FORWARDED_PREFIX, "x-forwarded-prefix", SHARED) \
    X(NAME_X_FORWARDED_PROTO, "x-forwarded-proto", SHARED) \
    X(NAME_ACCEPT, "accept", SHARED) \
    X(NAME_ACCEPT_CHARSET, "accept-charset", SHARED) \
    X(NAME_ACCEPT_ENCODING, "accept-encoding", SHARED) \
    X(NAME_ACCEPT_LANGUAGE, "accept-language", SHARED) \
    X(NAME_ACCESS_CONTROL_REQUEST_HEADERS, "access-control-request-headers", SHARED) \
    X(NAME_ACCESS_CONTROL_REQUEST_METHOD, "access-control-request-method", SHARED) \
    X(NAME_AUTHORIZATION, "authorization", PRIVATE) \
    X(NAME_CACHE_CONTROL, "cache-control", SHARED) \
    X(NAME_CDN_LOOP, "cdn-loop", SHARED) \
    X(NAME_CF_CONNECTING_IP, "cf-connecting-ip", PRIVATE) \
    X(NAME_CF_IPCOUNTRY, "cf-ipcountry", SHARED) \
    X(NAME_CF_RAY, "cf-ray", PRIVATE) \
    X(NAME_CF_VISITOR, "cf-visitor", SHARED) \
    X(NAME_CONTENT_DISPOSITION, "content-disposition", PRIVATE) \
    X(NAME_CONTENT_ENCODING, "content-encoding", SHARED) \
    X(NAME_CONTENT_LANGUAGE, "content-language", SHARED) \
    X(NAME_CONTENT_TYPE, "content-type", SHARED) \
    X(NAME_COOKIE, "cookie", PRIVATE) \
    X(NAME_DATE, "date", PRIVATE) \
    X(NAME_DNT, "dnt", SHARED) \
    X(NAME_FROM, "from", PRIVATE) \
    X(NAME_HTTP2_SETTINGS, "http2-settings", SHARED) \
    X(NAME_IF_MATCH, "if-match", PRIVATE) \
    X(NAME_IF_MODIFIED_SINCE, "if-modified-since", PRIVATE) \
    X(NAME_IF_NONE_MATCH, "if-none-match", PRIVATE) \
    X(NAME_IF_RANGE, "if-range", PRIVATE) \
    X(NAME_IF_UNMODIFIED_SINCE, "if-unmodified-since", PRIVATE) \
    X(NAME_KEEP_ALIVE, "keep-alive", SHARED) \
    X(NAME_LAST_EVENT_ID, "last-event-id", PRIVATE) \
    X(NAME_MAX_FORWARDS, "max-forwards", SHARED) \
    X(NAME_ORIGIN, "origin", SHARED) \
    X(NAME_PRAGMA, "pragma", SHARED) \
    X(NAME_PREFER, "prefer", SHARED) \
    X(NAME_PRIORITY, "priority", SHARED) \
    X(NAME_PROXY_AUTHORIZATION, "proxy-authorization", PRIVATE) \
    X(NAME_PROXY_CONNECTION, "proxy-connection", SHARED) \
    X(NAME_PURPOSE, "purpose", SHARED) \
    X(NAME_RANGE, "range", PRIVATE) \
    X(NAME_REFERER, "referer", PRIVATE) \
    X(NAME_SAVE_DATA, "save-data", SHARED) \
    X(NAME_SEC_CH_UA, "sec-ch-ua", SHARED) \
    X(NAME_SEC_CH_UA_MOBILE, "sec-ch-ua-mobile", SHARED) \
    X(NAME_SEC_CH_UA_PLATFORM, "sec-ch-ua-platform", SHARED) \
    X(NAME_SEC_FETCH_DEST, "sec-fetch-dest", SHARED) \
    X(NAME_SEC_FETCH_MODE, "sec-fetch-mode", SHARED) \
    X(NAME_SEC_FETCH_SITE, "sec-fetch-site", SHARED) \
    X(NAME_SEC_FETCH_USER, "sec-fetch-user", SHARED) \
    X(NAME_SEC_GPC, "sec-gpc", SHARED) \
    X(NAME_SEC_PURPOSE, "sec-purpose", SHARED) \
    X(NAME_SEC_WEBSOCKET_EXTENSIONS, "sec-websocket-extensions", SHARED) \
    X(NAME_SEC_WEBSOCKET_KEY, "sec-websocket-key", PRIVATE) \
    X(NAME_SEC_WEBSOCKET_PROTOCOL, "sec-websocket-protocol", PRIVATE) \
    X(NAME_SEC_WEBSOCKET_VERSION, "sec-websocket-version", SHARED) \
    X(NAME_TRACEPARENT, "traceparent", PRIVATE) \
    X(NAME_TRACESTATE, "tracestate", PRIVATE) \
    X(NAME_TRAILER, "trailer", SHARED) \
    X(NAME_TRUE_CLIENT_IP, "true-client-ip", PRIVATE) \
    X(NAME_UPGRADE_INSECURE_REQUESTS, "upgrade-insecure-requests", SHARED) \
    X(NAME_USER_AGENT, "user-agent", SHARED) \
    X(NAME_VIA, "via", SHARED) \
    X(NAME_X_AMZN_TRACE_ID, "x-amzn-trace-id", PRIVATE) \
    X(NAME_X_API_KEY, "x-api-key", PRIVATE) \
    X(NAME_X_CLOUD_TRACE_CONTEXT, "x-cloud-trace-context", PRIVATE) \
    X(NAME_X_CORRELATION_ID, "x-correlation-id", PRIVATE) \
    X(NAME_X_CSRF_TOKEN, "x-csrf-token", PRIVATE) \
    X(NAME_X_CSRFTOKEN, "x-csrftoken", PRIVATE) \
    X(NAME_X_FORWARDED_SERVER, "x-forwarded-server", SHARED) \
    X(NAME_X_HTTP_METHOD_OVERRIDE, "x-http-method-override", SHARED) \
    X(NAME_X_REAL_IP, "x-real-ip", PRIVATE) \
    X(NAME_X_REQUEST_ID, "x-request-id", PRIVATE) \
    X(NAME_X_REQUESTED_WITH, "x-requested-with", SHARED) \
    X(NAME_X_SCHEME, "x-scheme", SHARED)

enum {
    NAME_OTHER,
#define FASTSERVE_NAME_MEMBER(identifier, name, sharing) identifier,
    FASTSERVE_NAMES(FASTSERVE_NAME_MEMBER)
#undef FASTSERVE_NAME_MEMBER
    NAME_COUNT
};
#define NAME_LAST_MEANINGFUL NAME_X_FORWARDED_PROTO

typedef struct {
    const char *text;
    uint8_t size;
    uint8_t shared;
} KnownName;

static const KnownName known_names[NAME_COUNT] = {
    {"", 0, PRIVATE},
#define FASTSERVE_NAME_ROW(identifier, name, sharing) {name, sizeof(name) - 1, sharing},
    FASTSERVE_NAMES(FASTSERVE_NAME_ROW)
#undef FASTSERVE_NAME_ROW
};

#undef SHARED
#undef PRIVATE

/* A hash table over the length and three letters: the first, the last and the one at three quarters. The multiplier
 * leaves no two names in one slot (a test looks), and probing keeps the table right when somebody adds a name that
 * falls on another. */
#define NAME_SLOT_BITS 9
#define NAME_SLOTS (1 << NAME_SLOT_BITS)
static uint8_t name_slots[NAME_SLOTS];

static inline uint32_t name_slot(const uint8_t *name, size_t size)
{
    uint32_t letters = (uint32_t)(name[0] | 0x20) | (uint32_t)(name[size - 1] | 0x20) << 8 |
                       (uint32_t)(name[size * 3 >> 2] | 0x20) << 16 | (uint32_t)size << 24;
    return (letters * UINT32_C(0x3A48967B)) >> (32 - NAME_SLOT_BITS);
}

/* Fills the table; returns the number of names that did not get their first slot. */
static inline int name_slots_fill(void)
{
    int displaced = 0;
    for (uint32_t number = 1; number < NAME_COUNT; number++) {
        uint32_t slot = name_slot((const uint8_t *)known_names[number].text, known_names[number].size);
        if (name_slots[slot])
            displaced++;
        while (name_slots[slot])
            slot = (slot + 1) % NAME_SLOTS;
        name_slots[slot] = (uint8_t)number;
    }
    return displaced;
}

/* Compares tokens only: for the bytes of a token, setting 0x20 maps nothing but letters onto letters. */
static inline int name_equals(const uint8_t *name, const char *lower, size_t size)
{
    const uint64_t fold = UINT64_C(0x2020202020202020);
    uint64_t ours, theirs;
    if (size >= 8) {
        for (size_t i = 0; i + 8 < size; i += 8) {
            memcpy(&theirs, name + i, 8);
            memcpy(&ours, lower + i, 8);
            if ((theirs | fold) != ours)
                return 0;
        }
        memcpy(&theirs, name + size - 8, 8);
        memcpy(&ours, lower + size - 8, 8);
        return (theirs | fold) == ours;
    }
    for (size_t i = 0; i < size; i++)
        if ((name[i] | 0x20) != lower[i])
            return 0;
    return 1;
}

/* The number of a field name in any case, NAME_OTHER when it is not in the table. `name` is a token, `size` > 0. */
static inline uint32_t name_lookup(const uint8_t *name, size_t size)
{
    uint32_t slot = name_slot(name, size);
    uint32_t number;
    while ((number = name_slots[slot])) {
        if (known_names[number].size == size && name_equals(name, known_names[number].text, size))
            return number;
        slot = (slot + 1) % NAME_SLOTS;
    }
    return NAME_OTHER;
}

#endif
