/* The vector code of this processor against its scalar twin, without Python: what `make neon` compiles for aarch64 and
 * runs under an emulator, where nothing else of the project can be had.
 *
 * Every input lies between two pages that cannot be touched, once against the first and once against the second, so
 * that a load or a store one byte outside ends the program. What is short is tried exhaustively: every length, every
 * place of the byte that ends a run, every value of it; what is long, at random, each time the same. The UTF-8 check
 * has a decoder of its own here for a judge, besides being asked whole and in two pieces.
 *
 * Exit code 0: all agree. 1: they differ, and the line says where. 2: this processor has no vector code, so there was
 * nothing to compare.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "_mask.h"
#include "_scan.h"
#include "_utf8.h"

enum {
    SHORT = 70,         /* lengths up to this are tried exhaustively: four vectors of 16 bytes, and some */
    LONG = 4096,
    ROUNDS = 20000,     /* random inputs of each kind */
    PADS = 20           /* bytes of ASCII before a character: over a vector */
};

static uint64_t comparisons;
static uint64_t seed = UINT64_C(0x9E3779B97F4A7C15);

static uint64_t random_number(void)
{
    /* xorshift64* */
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return seed * UINT64_C(0x2545F4914F6CDD1D);
}

static size_t random_below(size_t limit)
{
    return (size_t)(random_number() >> 11) % limit;
}

#define CHECK(condition, ...) \
    do { \
        comparisons++; \
        if (!(condition)) { \
            printf("%s: ", #condition); \
            printf(__VA_ARGS__); \
            printf("\n"); \
            exit(1); \
        } \
    } while (0)

/* Memory whose neighbours on both sides must not be touched. */
typedef struct {
    uint8_t *begin;
    uint8_t *end;
} Guarded;

static Guarded guarded(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t room = (size + page - 1) / page * page;
    uint8_t *all = mmap(NULL, room + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED || mprotect(all, page, PROT_NONE) || mprotect(all + page + room, page, PROT_NONE)) {
        perror("no guarded memory");
        exit(1);
    }
    return (Guarded){all + page, all + page + room};
}

/* `size` bytes of the memory: at its end or at its beginning. */
static uint8_t *placed(Guarded memory, size_t size, int at_end)
{
    return at_end ? memory.end - size : memory.begin;
}

/* --- runs of a class of characters */

static void compare_scan(const char *name, ScanFunction scalar, ScanFunction vector, Guarded memory)
{
    size_t length, place, start, round;
    int value, at_end;
    for (at_end = 0; at_end < 2; at_end++) {
        for (length = 0; length <= SHORT; length++) {
            uint8_t *data = placed(memory, length, at_end);
            memset(data, 'a', length);
            for (start = 0; start <= length; start++)
                CHECK(vector(data, start, length) == length, "%s: %zu bytes from %zu", name, length, start);
            for (place = 0; place < length; place++) {
                for (value = 0; value < 256; value++) {
                    data[place] = (uint8_t)value;
                    /* From the beginning, from the middle of a vector, from the byte itself and the one behind it. */
                    for (start = 0; start <= place + 1; start = start < place ? (start ? place : place / 2 + 1)
                                                                             : start + 1)
                        CHECK(vector(data, start, length) == scalar(data, start, length),
                              "%s: 0x%02x at %zu of %zu bytes from %zu", name, value, place, length, start);
                }
                data[place] = 'a';
            }
        }
        for (round = 0; round < ROUNDS; round++) {
            uint8_t *data;
            length = random_below(LONG);
            data = placed(memory, length, at_end);
            for (place = 0; place < length; place++)
                data[place] = random_below(64) ? (uint8_t)(0x21 + random_below(94)) : (uint8_t)random_number();
            for (start = 0; start < length; start = vector(data, start, length) + 1)
                CHECK(vector(data, start, length) == scalar(data, start, length),
                      "%s: round %zu, %zu bytes from %zu", name, round, length, start);
        }
    }
}

/* --- unmasking */

static void compare_unmask(const char *name, UnmaskFunction vector, const Guarded *memories)
{
    static uint8_t expected[LONG];
    size_t length, place, round;
    int at_end, in_place;
    for (round = 0; round < ROUNDS; round++) {
        /* Lengths of one vector and its neighbourhood in turn, then any. */
        length = round < 8 * 300 ? round % 300 : random_below(LONG);
        for (at_end = 0; at_end < 2; at_end++) {
            for (in_place = 0; in_place < 2; in_place++) {
                uint32_t key = round % 7 ? (uint32_t)random_number() : 0;
                uint8_t *source = placed(memories[0], length, at_end);
                uint8_t *target = in_place ? source : placed(memories[1], length, !at_end);
                int ascii = (int)random_below(2);
                for (place = 0; place < length; place++)
                    source[place] = (uint8_t)(ascii ? random_number() & 0x7F : random_number());
                if (ascii)
                    unmask_scalar(source, source, length, key);  /* ASCII comes out of it */
                ascii = unmask_scalar(expected, source, length, key);
                CHECK(vector(target, source, length, key) == ascii,
                      "%s: round %zu, %zu bytes, key %08x", name, round, length, (unsigned)key);
                CHECK(memcmp(target, expected, length) == 0,
                      "%s: round %zu, %zu bytes, key %08x", name, round, length, (unsigned)key);
            }
        }
    }
    /* One byte that is not ASCII, at every place. */
    for (at_end = 0; at_end < 2; at_end++) {
        for (length = 1; length <= 3 * SHORT; length++) {
            uint8_t *source = placed(memories[0], length, at_end);
            uint32_t key = (uint32_t)random_number();
            for (place = 0; place < length; place++) {
                memset(source, 'a', length);
                source[place] = 0x80;
                unmask_scalar(source, source, length, key);
                CHECK(vector(source, source, length, key) == 1, "%s: 0x80 at %zu of %zu bytes", name, place, length);
                CHECK(source[place] == 0x80, "%s: 0x80 at %zu of %zu bytes", name, place, length);
            }
        }
    }
}

/* --- UTF-8 */

/* By the table of RFC 3629 section 4 and nothing else: the bytes up to the first that no text may have there; `missing`
 * is how many the last character lacks. */
static size_t judge(const uint8_t *data, size_t size, size_t *missing)
{
    size_t position = 0;
    *missing = 0;
    while (position < size) {
        static const struct {
            uint8_t first, last, low, high, more;
        } rows[] = {
            {0x00, 0x7F, 0x80, 0xBF, 0}, {0xC2, 0xDF, 0x80, 0xBF, 1}, {0xE0, 0xE0, 0xA0, 0xBF, 2},
            {0xE1, 0xEC, 0x80, 0xBF, 2}, {0xED, 0xED, 0x80, 0x9F, 2}, {0xEE, 0xEF, 0x80, 0xBF, 2},
            {0xF0, 0xF0, 0x90, 0xBF, 3}, {0xF1, 0xF3, 0x80, 0xBF, 3}, {0xF4, 0xF4, 0x80, 0x8F, 3},
        };
        const size_t count = sizeof(rows) / sizeof(rows[0]);
        size_t row = 0, i;
        while (row < count && (data[position] < rows[row].first || data[position] > rows[row].last))
            row++;
        if (row == count)
            return position;
        position++;
        for (i = 0; i < rows[row].more; i++, position++) {
            if (position == size) {
                *missing = rows[row].more - i;
                return size;
            }
            if (data[position] < (i ? 0x80 : rows[row].low) || data[position] > (i ? 0xBF : rows[row].high))
                return position;
        }
    }
    return size;
}

/* Whole, and cut at `cut`, with the set in use. */
static void check_utf8(const char *name, const uint8_t *data, size_t size, size_t cut)
{
    size_t missing, found;
    size_t expected = judge(data, size, &missing);
    Utf8 state;
    utf8_reset(&state);
    CHECK(utf8_check(&state, data, size) == expected, "%s: %zu bytes", name, size);
    CHECK(expected < size || state.missing == missing, "%s: the end of %zu bytes", name, size);
    utf8_reset(&state);
    found = utf8_check(&state, data, cut);
    if (found == cut)
        found += utf8_check(&state, data + cut, size - cut);
    CHECK(found == expected, "%s: %zu bytes, cut at %zu", name, size, cut);
}

static void compare_utf8(const Utf8Set *set, Guarded memory)
{
    static const uint8_t edges[] = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF};
    size_t length, place, round, pad, i;
    int at_end;
    uint32_t bytes;
    for (at_end = 0; at_end < 2; at_end++) {
        for (length = 0; length <= 3 * SHORT; length++) {
            uint8_t *data = placed(memory, length, at_end);
            memset(data, 0x7F, length);
            CHECK(set->ascii_run(data, length) == length, "%s: %zu bytes", set->name, length);
            for (place = 0; place < length; place++) {
                int value;
                for (value = 0x80; value < 256; value += 0x15) {
                    data[place] = (uint8_t)value;
                    CHECK(set->ascii_run(data, length) == place,
                          "%s: 0x%02x at %zu of %zu bytes", set->name, value, place, length);
                }
                data[place] = 0x7F;
            }
        }
    }
    utf8_use(set);
    /* Every three bytes behind one vector; every first two of four, with the rest at the edges of its ranges. */
    for (bytes = 0; bytes < 1 << 24; bytes += 1 + (bytes >> 16 < 0xC0) * 7) {
        uint8_t *data = placed(memory, 16 + 3, 1);
        memset(data, 'a', 16);
        data[16] = (uint8_t)(bytes >> 16);
        data[17] = (uint8_t)(bytes >> 8);
        data[18] = (uint8_t)bytes;
        check_utf8(set->name, data, 16 + 3, 16 + bytes % 3);
    }
    for (pad = 0; pad <= PADS; pad++) {
        for (bytes = 0; bytes < 1 << 16; bytes++) {
            for (i = 0; i < sizeof(edges) * sizeof(edges); i += pad % 3 ? 7 : 1) {
                uint8_t *data = placed(memory, pad + 4, (int)(i & 1));
                memset(data, 'a', pad);
                data[pad] = (uint8_t)(0xF0 | bytes >> 12);
                data[pad + 1] = (uint8_t)(bytes >> 4);
                data[pad + 2] = edges[i / sizeof(edges)];
                data[pad + 3] = edges[i % sizeof(edges)];
                check_utf8(set->name, data, pad + 4, pad + i % 5);
            }
            bytes += 15 * (pad % 4 != 0);
        }
    }
    for (round = 0; round < ROUNDS; round++) {
        uint8_t *data;
        length = random_below(LONG);
        data = placed(memory, length, (int)(round & 1));
        place = 0;
        while (place < length) {
            size_t run = random_below(80);
            uint32_t point = (uint32_t)random_below(0x110000);
            while (run-- && place < length)
                data[place++] = (uint8_t)random_below(0x80);
            if (length - place < 4)
                continue;
            if (point < 0x800) {
                data[place++] = (uint8_t)(0xC0 | point >> 6);
            } else if (point < 0x10000) {
                data[place++] = (uint8_t)(0xE0 | point >> 12);
                data[place++] = (uint8_t)(0x80 | (point >> 6 & 0x3F));
            } else {
                data[place++] = (uint8_t)(0xF0 | point >> 18);
                data[place++] = (uint8_t)(0x80 | (point >> 12 & 0x3F));
                data[place++] = (uint8_t)(0x80 | (point >> 6 & 0x3F));
            }
            data[place++] = (uint8_t)(0x80 | (point & 0x3F));
        }
        if (length && round % 3 == 0)
            data[random_below(length)] = (uint8_t)random_number();
        check_utf8(set->name, data, length, random_below(length + 1));
    }
}

int main(void)
{
    Guarded memories[2];
    int sets = 0;
    size_t i;
    /* Line by line: what was said before a fault is seen. */
    setvbuf(stdout, NULL, _IOLBF, 0);
    memories[0] = guarded(LONG);
    memories[1] = guarded(LONG);
    for (i = 2; i < SCAN_SETS; i++) {
        if (!scan_set_available(&scan_sets[i]))
            continue;
        printf("scanning, %s\n", scan_sets[i].name);
        compare_scan("token", scan_token_scalar, scan_sets[i].token, memories[0]);
        compare_scan("target", scan_target_scalar, scan_sets[i].target, memories[0]);
        compare_scan("text", scan_text_scalar, scan_sets[i].text, memories[0]);
        sets++;
    }
    for (i = 1; i < MASK_SETS; i++) {
        if (!mask_set_available(&mask_sets[i]))
            continue;
        printf("unmasking, %s\n", mask_sets[i].name);
        compare_unmask(mask_sets[i].name, mask_sets[i].unmask, memories);
        sets++;
    }
    for (i = 0; i < UTF8_SETS; i++) {
        if (!utf8_set_available(&utf8_sets[i]))
            continue;
        printf("UTF-8, %s\n", utf8_sets[i].name);
        compare_utf8(&utf8_sets[i], memories[0]);
        sets += i > 0;
    }
    if (sets == 0) {
        printf("no vector code for this processor\n");
        return 2;
    }
    printf("%d sets of vector code agree with the scalar code: %llu comparisons\n", sets,
           (unsigned long long)comparisons);
    return 0;
}
