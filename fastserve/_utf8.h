/* UTF-8 (RFC 3629) checked as it arrives: no overlong forms, no surrogates, nothing beyond U+10FFFF.
 *
 * Between characters, runs of ASCII are skipped by vectors. Within one, the state holds how many bytes are missing and
 * the range that the next of them must be in: only the second byte of a character has a narrower one than 80..BF
 * (RFC 3629 section 4), and with it the first byte that makes the text invalid is known as soon as it is there.
 *
 *     size_t ascii_run(const uint8_t *data, size_t size)
 *
 * returns the number of bytes below 0x80 at the start, by scalar code, SSE2, AVX2 or NEON; no byte outside is read.
 */
#ifndef FASTSERVE_UTF8_H
#define FASTSERVE_UTF8_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    uint8_t missing;    /* bytes until the character is whole; 0 between characters */
    uint8_t low;        /* the next byte's range, while any is missing */
    uint8_t high;
} Utf8;

typedef size_t (*AsciiRunFunction)(const uint8_t *data, size_t size);

typedef struct {
    const char *name;
    AsciiRunFunction ascii_run;
} Utf8Set;

/* Scalar: the reference. */
static size_t ascii_run_scalar(const uint8_t *data, size_t size)
{
    size_t position = 0;
    while (position < size && data[position] < 0x80)
        position++;
    return position;
}

#if defined(__x86_64__) && defined(__GNUC__)
#define FASTSERVE_UTF8_X86 1
#include <immintrin.h>

static size_t ascii_run_sse2(const uint8_t *data, size_t size)
{
    size_t position = 0;
    while (size - position >= 16) {
        int found = _mm_movemask_epi8(_mm_loadu_si128((const __m128i *)(const void *)(data + position)));
        if (found)
            return position + (size_t)__builtin_ctz((unsigned)found);
        position += 16;
    }
    return position + ascii_run_scalar(data + position, size - position);
}

__attribute__((target("avx2")))
static size_t ascii_run_avx2(const uint8_t *data, size_t size)
{
    size_t position = 0;
    while (size - position >= 32) {
        int found = _mm256_movemask_epi8(_mm256_loadu_si256((const __m256i *)(const void *)(data + position)));
        if (found)
            return position + (size_t)__builtin_ctz((unsigned)found);
        position += 32;
    }
    return position + ascii_run_sse2(data + position, size - position);
}
#endif

#if defined(__aarch64__) && defined(__ARM_NEON)
#define FASTSERVE_UTF8_NEON 1
#include <arm_neon.h>

static size_t ascii_run_neon(const uint8_t *data, size_t size)
{
    size_t position = 0;
    while (size - position >= 16) {
        if (vmaxvq_u8(vld1q_u8(data + position)) > 0x7F)
            break;
        position += 16;
    }
    return position + ascii_run_scalar(data + position, size - position);
}
#endif

/* Slowest first; the best that this processor runs is the last one available. */
static const Utf8Set utf8_sets[] = {
    {"scalar", ascii_run_scalar},
#ifdef FASTSERVE_UTF8_X86
    {"sse2", ascii_run_sse2},
    {"avx2", ascii_run_avx2},
#endif
#ifdef FASTSERVE_UTF8_NEON
    {"neon", ascii_run_neon},
#endif
};
enum { UTF8_SETS = sizeof(utf8_sets) / sizeof(utf8_sets[0]) };

static inline int utf8_set_available(const Utf8Set *set)
{
#ifdef FASTSERVE_UTF8_X86
    __builtin_cpu_init();
    if (strcmp(set->name, "avx2") == 0)
        return __builtin_cpu_supports("avx2") != 0;
#endif
    return 1;
}

/* The set in use. */
static Utf8Set utf8 = {"scalar", ascii_run_scalar};

static inline void utf8_use(const Utf8Set *set)
{
    utf8 = *set;
}

static inline void utf8_reset(Utf8 *state)
{
    state->missing = 0;
}

/* Begin a character with a byte from 0x80 on; 0 if none begins with it. */
static inline int utf8_begin(Utf8 *state, uint8_t byte)
{
    if (byte < 0xC2 || byte > 0xF4)
        return 0;
    state->low = byte == 0xE0 ? 0xA0 : byte == 0xF0 ? 0x90 : 0x80;
    state->high = byte == 0xED ? 0x9F : byte == 0xF4 ? 0x8F : 0xBF;
    state->missing = (uint8_t)(1 + (byte >= 0xE0) + (byte >= 0xF0));
    return 1;
}

static size_t utf8_check(Utf8 *state, const uint8_t *data, size_t size)
{
    size_t position = 0;
    while (position < size) {
        uint8_t byte = data[position];
        if (state->missing) {
            if (byte < state->low || byte > state->high)
                return position;
            state->missing--;
            state->low = 0x80;
            state->high = 0xBF;
            position++;
        } else if (byte >= 0x80) {
            if (!utf8_begin(state, byte))
                return position;
            position++;
            if (size - position >= state->missing) {
                /* The whole character is here, as almost every one is. */
                if (data[position] < state->low || data[position] > state->high)
                    return position;
                if (state->missing > 1 && (data[position + 1] & 0xC0) != 0x80)
                    return position + 1;
                if (state->missing > 2 && (data[position + 2] & 0xC0) != 0x80)
                    return position + 2;
                position += state->missing;
                state->missing = 0;
            }
        } else if (size - position >= 16) {
            position += utf8.ascii_run(data + position, size - position);
        } else {
            position++;
        }
    }
    return size;
}

#endif
