/* Delimiter scanning: where does the run of bytes of one class end?
 *
 *     size_t scan(const uint8_t *data, size_t position, size_t end)
 *
 * returns the first position in [position, end) whose byte is outside the class, or `end`. No byte outside
 * [data, data + end) is ever read. Near the end a vector is loaded so that it finishes at `end` and the bytes before
 * `position` are masked away; only inputs shorter than one vector are walked byte by byte.
 *
 * Three classes (token, target, text: see _chars.h) times the instruction sets: scalar always; SSE4.2 and AVX2 on
 * x86-64, chosen at run time; NEON on aarch64, where it is always there. All run under the same tests: use_scan().
 */
#ifndef FASTSERVE_SCAN_H
#define FASTSERVE_SCAN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "_chars.h"

typedef size_t (*ScanFunction)(const uint8_t *data, size_t position, size_t end);

typedef struct {
    const char *name;
    ScanFunction token;
    ScanFunction target;
    ScanFunction text;
} ScanSet;

/* Scalar: the reference. */

#define FASTSERVE_SCALAR_SCAN(function, class_bit) \
    static size_t function(const uint8_t *data, size_t position, size_t end) \
    { \
        while (position < end && char_is(data[position], class_bit)) \
            position++; \
        return position; \
    }
FASTSERVE_SCALAR_SCAN(scan_token_scalar, CHAR_TOKEN)
FASTSERVE_SCALAR_SCAN(scan_target_scalar, CHAR_TARGET)
FASTSERVE_SCALAR_SCAN(scan_text_scalar, CHAR_TEXT)

/* Counting: the reference again, adding up the bytes it looks at, so that a test can prove that no byte is looked at
 * more than a fixed number of times however the input is cut. */

static uint64_t scan_counter;

#define FASTSERVE_COUNTING_SCAN(function, scalar) \
    static size_t function(const uint8_t *data, size_t position, size_t end) \
    { \
        size_t stop = scalar(data, position, end); \
        scan_counter += stop - position + 1; \
        return stop; \
    }
FASTSERVE_COUNTING_SCAN(scan_token_counting, scan_token_scalar)
FASTSERVE_COUNTING_SCAN(scan_target_counting, scan_target_scalar)
FASTSERVE_COUNTING_SCAN(scan_text_counting, scan_text_scalar)

#if defined(__x86_64__) && defined(__GNUC__)
#define FASTSERVE_SCAN_X86 1
#include <immintrin.h>

/* A byte 0xhl is in an ASCII class when bit h of the class's entry l is set. The shuffle yields 0 for bytes from 0x80
 * on, which puts them outside. Both functions return a mask with a bit for every byte outside the class. */

#define FASTSERVE_SSE __attribute__((target("sse4.2")))
#define FASTSERVE_AVX2 __attribute__((target("avx2")))

FASTSERVE_SSE static inline uint32_t outside_nibbles_sse(const uint8_t *bytes, const uint8_t *nibbles)
{
    __m128i chunk = _mm_loadu_si128((const __m128i *)(const void *)bytes);
    __m128i low = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)nibbles), chunk);
    __m128i high = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)nibbles_high),
                                    _mm_and_si128(_mm_srli_epi16(chunk, 4), _mm_set1_epi8(0x0F)));
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_and_si128(low, high), _mm_setzero_si128()));
}

FASTSERVE_SSE static inline uint32_t outside_text_sse(const uint8_t *bytes)
{
    __m128i chunk = _mm_loadu_si128((const __m128i *)(const void *)bytes);
    __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(chunk, _mm_set1_epi8(0x1F)), chunk);
    control = _mm_andnot_si128(_mm_cmpeq_epi8(chunk, _mm_set1_epi8('\t')), control);
    return (uint32_t)_mm_movemask_epi8(_mm_or_si128(control, _mm_cmpeq_epi8(chunk, _mm_set1_epi8(0x7F))));
}

FASTSERVE_AVX2 static inline uint32_t outside_nibbles_avx2(const uint8_t *bytes, const uint8_t *nibbles)
{
    __m256i chunk = _mm256_loadu_si256((const __m256i *)(const void *)bytes);
    __m256i low_table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)nibbles));
    __m256i high_table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)nibbles_high));
    __m256i low = _mm256_shuffle_epi8(low_table, chunk);
    __m256i high = _mm256_shuffle_epi8(high_table,
                                       _mm256_and_si256(_mm256_srli_epi16(chunk, 4), _mm256_set1_epi8(0x0F)));
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_and_si256(low, high), _mm256_setzero_si256()));
}

FASTSERVE_AVX2 static inline uint32_t outside_text_avx2(const uint8_t *bytes)
{
    __m256i chunk = _mm256_loadu_si256((const __m256i *)(const void *)bytes);
    __m256i control = _mm256_cmpeq_epi8(_mm256_min_epu8(chunk, _mm256_set1_epi8(0x1F)), chunk);
    control = _mm256_andnot_si256(_mm256_cmpeq_epi8(chunk, _mm256_set1_epi8('\t')), control);
    return (uint32_t)_mm256_movemask_epi8(_mm256_or_si256(control, _mm256_cmpeq_epi8(chunk, _mm256_set1_epi8(0x7F))));
}

#define FASTSERVE_SSE_SCAN(function, outside, scalar) \
    FASTSERVE_SSE static size_t function(const uint8_t *data, size_t position, size_t end) \
    { \
        uint32_t mask; \
        while (end - position >= 16) { \
            mask = outside(data + position); \
            if (mask) \
                return position + (size_t)__builtin_ctz(mask); \
            position += 16; \
        } \
        if (end < 16) \
            return scalar(data, position, end); \
        if (position == end) \
            return end; \
        mask = outside(data + end - 16) >> (16 - (end - position)); \
        return mask ? position + (size_t)__builtin_ctz(mask) : end; \
    }

#define FASTSERVE_AVX2_SCAN(function, outside, narrow) \
    FASTSERVE_AVX2 static size_t function(const uint8_t *data, size_t position, size_t end) \
    { \
        uint32_t mask; \
        while (end - position >= 32) { \
            mask = outside(data + position); \
            if (mask) \
                return position + (size_t)__builtin_ctz(mask); \
            position += 32; \
        } \
        if (end < 32) \
            return narrow(data, position, end); \
        if (position == end) \
            return end; \
        mask = outside(data + end - 32) >> (32 - (end - position)); \
        return mask ? position + (size_t)__builtin_ctz(mask) : end; \
    }

#define OUTSIDE_TOKEN_SSE(bytes) outside_nibbles_sse(bytes, nibbles_token)
#define OUTSIDE_TARGET_SSE(bytes) outside_nibbles_sse(bytes, nibbles_target)
#define OUTSIDE_TOKEN_AVX2(bytes) outside_nibbles_avx2(bytes, nibbles_token)
#define OUTSIDE_TARGET_AVX2(bytes) outside_nibbles_avx2(bytes, nibbles_target)
FASTSERVE_SSE_SCAN(scan_token_sse, OUTSIDE_TOKEN_SSE, scan_token_scalar)
FASTSERVE_SSE_SCAN(scan_target_sse, OUTSIDE_TARGET_SSE, scan_target_scalar)
FASTSERVE_SSE_SCAN(scan_text_sse, outside_text_sse, scan_text_scalar)
FASTSERVE_AVX2_SCAN(scan_token_avx2, OUTSIDE_TOKEN_AVX2, scan_token_sse)
FASTSERVE_AVX2_SCAN(scan_target_avx2, OUTSIDE_TARGET_AVX2, scan_target_sse)
FASTSERVE_AVX2_SCAN(scan_text_avx2, outside_text_avx2, scan_text_sse)
#endif

#if defined(__aarch64__) && defined(__ARM_NEON)
#define FASTSERVE_SCAN_NEON 1
#include <arm_neon.h>

/* Four mask bits per byte: NEON has no movemask, narrowing by a shift is its nearest relative. */
static inline uint64_t neon_mask(uint8x16_t lanes)
{
    return vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(lanes), 4)), 0);
}

static inline uint64_t outside_nibbles_neon(const uint8_t *bytes, const uint8_t *nibbles)
{
    uint8x16_t chunk = vld1q_u8(bytes);
    uint8x16_t low = vqtbl1q_u8(vld1q_u8(nibbles), vandq_u8(chunk, vdupq_n_u8(0x0F)));
    uint8x16_t high = vqtbl1q_u8(vld1q_u8(nibbles_high), vshrq_n_u8(chunk, 4));
    return neon_mask(vceqq_u8(vandq_u8(low, high), vdupq_n_u8(0)));
}

static inline uint64_t outside_text_neon(const uint8_t *bytes)
{
    uint8x16_t chunk = vld1q_u8(bytes);
    uint8x16_t control = vbicq_u8(vcltq_u8(chunk, vdupq_n_u8(0x20)), vceqq_u8(chunk, vdupq_n_u8('\t')));
    return neon_mask(vorrq_u8(control, vceqq_u8(chunk, vdupq_n_u8(0x7F))));
}

#define FASTSERVE_NEON_SCAN(function, outside, scalar) \
    static size_t function(const uint8_t *data, size_t position, size_t end) \
    { \
        uint64_t mask; \
        while (end - position >= 16) { \
            mask = outside(data + position); \
            if (mask) \
                return position + ((size_t)__builtin_ctzll(mask) >> 2); \
            position += 16; \
        } \
        if (end < 16) \
            return scalar(data, position, end); \
        if (position == end) \
            return end; \
        mask = outside(data + end - 16) >> (4 * (16 - (end - position))); \
        return mask ? position + ((size_t)__builtin_ctzll(mask) >> 2) : end; \
    }

#define OUTSIDE_TOKEN_NEON(bytes) outside_nibbles_neon(bytes, nibbles_token)
#define OUTSIDE_TARGET_NEON(bytes) outside_nibbles_neon(bytes, nibbles_target)
FASTSERVE_NEON_SCAN(scan_token_neon, OUTSIDE_TOKEN_NEON, scan_token_scalar)
FASTSERVE_NEON_SCAN(scan_target_neon, OUTSIDE_TARGET_NEON, scan_target_scalar)
FASTSERVE_NEON_SCAN(scan_text_neon, outside_text_neon, scan_text_scalar)
#endif

/* Slowest first; the best that this processor runs is the last one available. */
static const ScanSet scan_sets[] = {
    {"counting", scan_token_counting, scan_target_counting, scan_text_counting},
    {"scalar", scan_token_scalar, scan_target_scalar, scan_text_scalar},
#ifdef FASTSERVE_SCAN_X86
    {"sse4.2", scan_token_sse, scan_target_sse, scan_text_sse},
    {"avx2", scan_token_avx2, scan_target_avx2, scan_text_avx2},
#endif
#ifdef FASTSERVE_SCAN_NEON
    {"neon", scan_token_neon, scan_target_neon, scan_text_neon},
#endif
};
enum { SCAN_SETS = sizeof(scan_sets) / sizeof(scan_sets[0]) };

static inline int scan_set_available(const ScanSet *set)
{
#ifdef FASTSERVE_SCAN_X86
    __builtin_cpu_init();
    if (strcmp(set->name, "sse4.2") == 0)
        return __builtin_cpu_supports("sse4.2") != 0;
    if (strcmp(set->name, "avx2") == 0)
        return __builtin_cpu_supports("avx2") != 0;
#endif
    return 1;
}

/* The set in use. */
static ScanSet scan = {"scalar", scan_token_scalar, scan_target_scalar, scan_text_scalar};

static inline void scan_use(const ScanSet *set)
{
    scan = *set;
}

static inline void scan_counter_reset(void)
{
    scan_counter = 0;
}

#endif
