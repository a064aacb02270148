/* Unmasking (RFC 6455 section 5.3), with the question that comes next answered in the same pass: is it all ASCII?
 *
 *     int unmask(uint8_t *target, const uint8_t *source, size_t size, uint32_t key)
 *
 * writes the `size` bytes of `source`, XORed with the four bytes of `key` over and over, to `target`, which is `source`
 * itself or does not overlap it; `key` is as it lies in memory, and starts with its first byte (mask_key_at() turns it
 * for the middle of a payload). Returns whether a byte from 0x80 on was among what it wrote. No byte outside either
 * is touched.
 *
 * Scalar always; SSE2 and AVX2 on x86-64, NEON on aarch64. All run under the same tests.
 */
#ifndef FASTSERVE_MASK_H
#define FASTSERVE_MASK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef int (*UnmaskFunction)(uint8_t *target, const uint8_t *source, size_t size, uint32_t key);

typedef struct {
    const char *name;
    UnmaskFunction unmask;
} MaskSet;

static inline uint32_t mask_key_at(uint32_t key, size_t offset)
{
    uint8_t bytes[8];
    memcpy(bytes, &key, 4);
    memcpy(bytes + 4, &key, 4);
    memcpy(&key, bytes + (offset & 3), 4);
    return key;
}

/* Scalar: the reference. */
static int unmask_scalar(uint8_t *target, const uint8_t *source, size_t size, uint32_t key)
{
    uint8_t bytes[4];
    uint8_t seen = 0;
    size_t i;
    memcpy(bytes, &key, 4);
    for (i = 0; i < size; i++) {
        target[i] = source[i] ^ bytes[i & 3];
        seen |= target[i];
    }
    return seen >> 7;
}

/* What is left behind the last vector, and what is shorter than one: eight bytes at a time, then what is left of them
 * in one more word. */
static inline uint64_t unmask_words(uint8_t *target, const uint8_t *source, size_t size, uint32_t key)
{
    uint64_t both = ((uint64_t)key << 32) | key;
    uint64_t seen = 0;
    uint64_t word;
    while (size >= 8) {
        memcpy(&word, source, 8);
        word ^= both;
        memcpy(target, &word, 8);
        seen |= word;
        source += 8;
        target += 8;
        size -= 8;
    }
    if (size >= 4) {
        uint32_t half;
        memcpy(&half, source, 4);
        half ^= key;
        memcpy(target, &half, 4);
        seen |= half;
        source += 4;
        target += 4;
        size -= 4;
    }
    if (size) {
        uint8_t bytes[4];
        size_t i;
        memcpy(bytes, &key, 4);
        for (i = 0; i < size; i++) {
            target[i] = source[i] ^ bytes[i];
            seen |= target[i];
        }
    }
    return seen & UINT64_C(0x8080808080808080);
}

#if defined(__x86_64__) && defined(__GNUC__)
#define FASTSERVE_MASK_X86 1
#include <immintrin.h>

static int unmask_sse2(uint8_t *target, const uint8_t *source, size_t size, uint32_t key)
{
    __m128i keys = _mm_set1_epi32((int)key);
    __m128i seen = _mm_setzero_si128();
    while (size >= 16) {
        __m128i chunk = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)source), keys);
        _mm_storeu_si128((__m128i *)(void *)target, chunk);
        seen = _mm_or_si128(seen, chunk);
        source += 16;
        target += 16;
        size -= 16;
    }
    return (_mm_movemask_epi8(seen) != 0) | (unmask_words(target, source, size, key) != 0);
}

__attribute__((target("avx2")))
static int unmask_avx2(uint8_t *target, const uint8_t *source, size_t size, uint32_t key)
{
    __m256i keys = _mm256_set1_epi32((int)key);
    __m256i seen = _mm256_setzero_si256();
    int found;
    while (size >= 64) {
        __m256i first = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(const void *)source), keys);
        __m256i second = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(const void *)(source + 32)), keys);
        _mm256_storeu_si256((__m256i *)(void *)target, first);
        _mm256_storeu_si256((__m256i *)(void *)(target + 32), second);
        seen = _mm256_or_si256(seen, _mm256_or_si256(first, second));
        source += 64;
        target += 64;
        size -= 64;
    }
    while (size >= 32) {
        __m256i chunk = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(const void *)source), keys);
        _mm256_storeu_si256((__m256i *)(void *)target, chunk);
        seen = _mm256_or_si256(seen, chunk);
        source += 32;
        target += 32;
        size -= 32;
    }
    found = _mm256_movemask_epi8(seen) != 0;
    if (size >= 16) {
        __m128i chunk = _mm_loadu_si128((const __m128i *)(const void *)source);
        chunk = _mm_xor_si128(chunk, _mm256_castsi256_si128(keys));
        _mm_storeu_si128((__m128i *)(void *)target, chunk);
        found |= _mm_movemask_epi8(chunk) != 0;
        source += 16;
        target += 16;
        size -= 16;
    }
    return found | (unmask_words(target, source, size, key) != 0);
}
#endif

#if defined(__aarch64__) && defined(__ARM_NEON)
#define FASTSERVE_MASK_NEON 1
#include <arm_neon.h>

static int unmask_neon(uint8_t *target, const uint8_t *source, size_t size, uint32_t key)
{
    uint8x16_t keys = vreinterpretq_u8_u32(vdupq_n_u32(key));
    uint8x16_t seen = vdupq_n_u8(0);
    while (size >= 16) {
        uint8x16_t chunk = veorq_u8(vld1q_u8(source), keys);
        vst1q_u8(target, chunk);
        seen = vorrq_u8(seen, chunk);
        source += 16;
        target += 16;
        size -= 16;
    }
    return (vmaxvq_u8(seen) > 0x7F) | (unmask_words(target, source, size, key) != 0);
}
#endif

/* Slowest first; the best that this processor runs is the last one available. */
static const MaskSet mask_sets[] = {
    {"scalar", unmask_scalar},
#ifdef FASTSERVE_MASK_X86
    {"sse2", unmask_sse2},
    {"avx2", unmask_avx2},
#endif
#ifdef FASTSERVE_MASK_NEON
    {"neon", unmask_neon},
#endif
};
enum { MASK_SETS = sizeof(mask_sets) / sizeof(mask_sets[0]) };

static inline int mask_set_available(const MaskSet *set)
{
#ifdef FASTSERVE_MASK_X86
    __builtin_cpu_init();
    if (strcmp(set->name, "avx2") == 0)
        return __builtin_cpu_supports("avx2") != 0;
#endif
    return 1;
}

/* The set in use. */
static MaskSet mask = {"scalar", unmask_scalar};

static inline void mask_use(const MaskSet *set)
{
    mask = *set;
}

#endif
