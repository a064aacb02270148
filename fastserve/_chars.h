/* Character classes of RFC 9110, 9112 and 3986, each defined once.
 *
 * A class is a constant expression over a byte. From it the compiler makes both forms the parser needs: a bit in the
 * 256-entry table (scalar code) and the 16-entry nibble table (vector shuffles), so the two can never disagree.
 */
#ifndef FASTSERVE_CHARS_H
#define FASTSERVE_CHARS_H

#include <stdint.h>

#define FS_IN(c, low, high) ((c) >= (low) && (c) <= (high))
#define FS_ALPHA(c) (FS_IN(c, 'a', 'z') || FS_IN(c, 'A', 'Z'))
#define FS_DIGIT(c) FS_IN(c, '0', '9')
#define FS_HEX(c) (FS_DIGIT(c) || FS_IN(c, 'a', 'f') || FS_IN(c, 'A', 'F'))

/* tchar, RFC 9110 section 5.6.2 */
#define FS_TOKEN(c) \
    (FS_ALPHA(c) || FS_DIGIT(c) || (c) == '!' || FS_IN(c, '#', '\'') || (c) == '*' || (c) == '+' || (c) == '-' || \
     (c) == '.' || (c) == '^' || (c) == '_' || (c) == '`' || (c) == '|' || (c) == '~')

/* What a field value may hold: field-vchar with SP and HTAB, RFC 9110 section 5.5 */
#define FS_TEXT(c) ((c) == '\t' || FS_IN(c, 0x20, 0x7E) || (c) >= 0x80)

/* What a request target may hold. RFC 3986 forbids more ('"', '<', '>', '\\', '^', '`', '{', '|', '}'), but browsers
 * send those in queries and nothing on the way gives them a meaning. '#' would start a fragment, which is never sent. */
#define FS_TARGET(c) (FS_IN(c, 0x21, 0x7E) && (c) != '#')

/* unreserved and sub-delims, RFC 3986 section 2: a registered name without its percent-encoded triplets */
#define FS_REG_NAME(c) \
    (FS_ALPHA(c) || FS_DIGIT(c) || (c) == '-' || (c) == '.' || (c) == '_' || (c) == '~' || (c) == '!' || \
     (c) == '$' || FS_IN(c, '&', ',') || (c) == ';' || (c) == '=')

/* qdtext, RFC 9110 section 5.6.4 */
#define FS_QUOTED(c) (FS_TEXT(c) && (c) != '"' && (c) != '\\')

enum {
    CHAR_TOKEN = 1,
    CHAR_TEXT = 2,
    CHAR_TARGET = 4,
    CHAR_REG_NAME = 8,
    CHAR_QUOTED = 16,
    CHAR_HEX = 32
};

#define FS_CLASSES(c) \
    ((FS_TOKEN(c) ? CHAR_TOKEN : 0) | (FS_TEXT(c) ? CHAR_TEXT : 0) | (FS_TARGET(c) ? CHAR_TARGET : 0) | \
     (FS_REG_NAME(c) ? CHAR_REG_NAME : 0) | (FS_QUOTED(c) ? CHAR_QUOTED : 0) | (FS_HEX(c) ? CHAR_HEX : 0))
#define FS_ROW4(c) FS_CLASSES(c), FS_CLASSES((c) + 1), FS_CLASSES((c) + 2), FS_CLASSES((c) + 3)
#define FS_ROW16(c) FS_ROW4(c), FS_ROW4((c) + 4), FS_ROW4((c) + 8), FS_ROW4((c) + 12)

static const uint8_t char_classes[256] = {
    FS_ROW16(0x00), FS_ROW16(0x10), FS_ROW16(0x20), FS_ROW16(0x30), FS_ROW16(0x40), FS_ROW16(0x50),
    FS_ROW16(0x60), FS_ROW16(0x70), FS_ROW16(0x80), FS_ROW16(0x90), FS_ROW16(0xA0), FS_ROW16(0xB0),
    FS_ROW16(0xC0), FS_ROW16(0xD0), FS_ROW16(0xE0), FS_ROW16(0xF0),
};

/* Bit h of entry l says whether the byte 0xhl is in the class: ASCII classes only, h runs from 0 to 7. */
#define FS_NIBBLE(CLASS, l) \
    ((CLASS(0x00 + (l)) ? 1 : 0) | (CLASS(0x10 + (l)) ? 2 : 0) | (CLASS(0x20 + (l)) ? 4 : 0) | \
     (CLASS(0x30 + (l)) ? 8 : 0) | (CLASS(0x40 + (l)) ? 16 : 0) | (CLASS(0x50 + (l)) ? 32 : 0) | \
     (CLASS(0x60 + (l)) ? 64 : 0) | (CLASS(0x70 + (l)) ? 128 : 0))
#define FS_NIBBLES(CLASS) \
    { FS_NIBBLE(CLASS, 0), FS_NIBBLE(CLASS, 1), FS_NIBBLE(CLASS, 2), FS_NIBBLE(CLASS, 3), \
      FS_NIBBLE(CLASS, 4), FS_NIBBLE(CLASS, 5), FS_NIBBLE(CLASS, 6), FS_NIBBLE(CLASS, 7), \
      FS_NIBBLE(CLASS, 8), FS_NIBBLE(CLASS, 9), FS_NIBBLE(CLASS, 10), FS_NIBBLE(CLASS, 11), \
      FS_NIBBLE(CLASS, 12), FS_NIBBLE(CLASS, 13), FS_NIBBLE(CLASS, 14), FS_NIBBLE(CLASS, 15) }

static const uint8_t nibbles_token[16] = FS_NIBBLES(FS_TOKEN);
static const uint8_t nibbles_target[16] = FS_NIBBLES(FS_TARGET);
static const uint8_t nibbles_high[16] = {1, 2, 4, 8, 16, 32, 64, 128, 0, 0, 0, 0, 0, 0, 0, 0};

static inline int char_is(uint8_t byte, int classes)
{
    return char_classes[byte] & classes;
}

/* The value of a hexadecimal digit, -1 for any other byte. */
static inline int char_hex_value(uint8_t byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    byte |= 0x20;
    if (byte >= 'a' && byte <= 'f')
        return byte - 'a' + 10;
    return -1;
}

/* ASCII lower case; any other byte as it is. */
static inline uint8_t char_lower(uint8_t byte)
{
    return (uint8_t)(byte + ((uint8_t)(byte - 'A') < 26 ? 0x20 : 0));
}

#endif
