/*
 * Modular powers of eight numbers at a time, one in each lane of the 512-bit registers of processors with AVX-512 IFMA,
 * or of one number whose limbs lie in all lanes (further below).
 *
 * Optional: where it was not compiled, or the processor has no such instructions, gmpy2 does the work, with the same
 * results. Gueron and Krasnov, "Software Implementation of Modular Exponentiation, Using Advanced Vector Instructions
 * Architectures" (WAIFI 2012) is where almost-Montgomery multiplication on vectors comes from; lanes hold numbers of
 * their own here, as in Intel's multi-buffer libraries.
 *
 * A number is `limbs` limbs of 52 bits, lowest first; limb i of all eight lies in one vector. With R = 2^(52 limbs):
 *
 * - n is odd and 4 n <= R. What goes into a multiplication is below 2 n and its limbs below 2^52, which is also what
 *   comes out: (a b + m n) / R < (4 n^2 + R n) / R <= 2 n, as m < R. The last step takes n away once, by mask.
 * - No accumulator overflows. A column of the product a b gets at most 2 `limbs` halves below 2^52 (low ones of its own
 *   pairs of limbs, high ones of the column before), whether each pair is added twice or, squaring, once and doubled;
 *   m n adds as many, and the column below a carry below 2^12. So a column stays below (4 limbs + 1) 2^52, which is
 *   below 2^64 up to 1023 limbs; MOST_LIMBS is less.
 *
 * Which instructions run and which addresses are used depends on lengths and counts only, but for powers_buckets, whose
 * exponents are public. Selecting by a secret digit reads every entry of a table and keeps one by mask.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 8
#define MOST_LIMBS 512
/* Limbs that are selected together; numbers have a multiple of it, and so an even number of limbs. */
#define TOGETHER 4

enum { DONE, REFUSED, NO_MEMORY };

/* The SHA-256 of this file, by which its library is known. */
const char *powers_source(void) { return POWERS_SOURCE; }

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

#define KERNEL __attribute__((target("avx512f,avx512ifma")))
#define INLINE KERNEL static inline __attribute__((always_inline))

typedef __m512i Vector;

/* A modulus in limbs, the same in all lanes. `inverse` is -1/n mod 2^52, `square` R^2 mod n, `columns` room for a product. */
typedef struct {
    int64_t limbs, words;
    Vector *n, *square, *unit, *columns;
    Vector inverse;
} Modulus;

/* 1 if this processor and its operating system have what the functions below need. */
int powers_supported(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512ifma");
}

/* `words` words of 64 bits to limbs of 52, in one lane; a place outside of the words is 0. */
static void to_lane(int64_t limbs, int64_t words, const uint64_t *number, Vector *out, int64_t lane)
{
    for (int64_t limb = 0; limb < limbs; limb++) {
        int64_t word = 52 * limb / 64, shift = 52 * limb % 64;
        uint64_t bits = word < words ? number[word] >> shift : 0;
        bits |= shift > 12 && word + 1 < words ? number[word + 1] << (64 - shift) : 0;
        ((uint64_t *)(out + limb))[lane] = bits & ((1ULL << 52) - 1);
    }
}

static void from_lane(int64_t limbs, int64_t words, const Vector *number, int64_t lane, uint64_t *out)
{
    for (int64_t word = 0; word < words; word++) {
        uint64_t bits = 0;
        for (int64_t limb = 64 * word / 52; limb < limbs && 52 * limb < 64 * (word + 1); limb++) {
            uint64_t value = ((const uint64_t *)(number + limb))[lane];
            int64_t place = 52 * limb - 64 * word;
            bits |= place < 0 ? value >> -place : value << place;
        }
        out[word] = bits;
    }
}

KERNEL static void to_all_lanes(int64_t limbs, int64_t words, const uint64_t *number, Vector *out)
{
    to_lane(limbs, words, number, out, 0);
    for (int64_t limb = 0; limb < limbs; limb++) {
        out[limb] = _mm512_set1_epi64(*(const int64_t *)(out + limb));
    }
}

/* `value`, read whatever a mask says later: without it the compiler makes a masked read, which may not take place. */
INLINE Vector surely_read(Vector value)
{
    __asm__("" : "+v"(value));
    return value;
}

/* columns += (x0 + x1 2^52) * y, where y has `length` limbs and columns length + 2 places. */
INLINE void add_rows(Vector *columns, Vector x0, Vector x1, const Vector *y, int64_t length)
{
    Vector y1 = _mm512_setzero_si512(), y2 = y1;
#pragma GCC unroll 4
    for (int64_t place = 0; place < length; place++) {
        Vector y0 = y[place];
        Vector sum = _mm512_madd52hi_epu64(columns[place], x0, y1);
        sum = _mm512_madd52hi_epu64(sum, x1, y2);
        sum = _mm512_madd52lo_epu64(sum, x1, y1);
        columns[place] = _mm512_madd52lo_epu64(sum, x0, y0);
        y2 = y1;
        y1 = y0;
    }
    Vector last = _mm512_madd52hi_epu64(columns[length], x0, y1);
    last = _mm512_madd52lo_epu64(last, x1, y1);
    columns[length] = _mm512_madd52hi_epu64(last, x1, y2);
    columns[length + 1] = _mm512_madd52hi_epu64(columns[length + 1], x1, y1);
}

/* out = columns / R mod n, below 2 n. `out` may be what the columns were made from. */
KERNEL static void reduce(const Modulus *m, Vector *out)
{
    Vector *columns = m->columns, zero = _mm512_setzero_si512();
    Vector n0 = m->n[0], n1 = m->n[1];
    for (int64_t limb = 0; limb < m->limbs; limb += 2, columns += 2) {
        /* x0 + x1 2^52 is what makes the two lowest columns 0. */
        Vector x0 = _mm512_madd52lo_epu64(zero, columns[0], m->inverse);
        Vector carry = _mm512_srli_epi64(_mm512_madd52lo_epu64(columns[0], x0, n0), 52);
        Vector next = _mm512_add_epi64(columns[1], carry);
        next = _mm512_madd52lo_epu64(_mm512_madd52hi_epu64(next, x0, n0), x0, n1);
        Vector x1 = _mm512_madd52lo_epu64(zero, next, m->inverse);
        add_rows(columns, x0, x1, m->n, m->limbs);
        columns[1] = _mm512_add_epi64(columns[1], _mm512_srli_epi64(columns[0], 52));
        columns[2] = _mm512_add_epi64(columns[2], _mm512_srli_epi64(columns[1], 52));
    }
    Vector carry = zero, mask = _mm512_set1_epi64((1LL << 52) - 1);
    for (int64_t limb = 0; limb < m->limbs; limb++) {
        Vector value = _mm512_add_epi64(columns[limb], carry);
        out[limb] = _mm512_and_si512(value, mask);
        carry = _mm512_srli_epi64(value, 52);
    }
}

/* out = a b / R mod n */
KERNEL static void multiply(const Modulus *m, Vector *out, const Vector *a, const Vector *b)
{
    memset(m->columns, 0, (size_t)(2 * m->limbs + 2) * sizeof(Vector));
    for (int64_t limb = 0; limb < m->limbs; limb += 2) {
        add_rows(m->columns + limb, b[limb], b[limb + 1], a, m->limbs);
    }
    reduce(m, out);
}

/* out = a a / R mod n: pairs of different limbs once, doubled, then the squares of limbs. */
KERNEL static void square(const Modulus *m, Vector *out, const Vector *a)
{
    Vector *columns = m->columns;
    memset(columns, 0, (size_t)(2 * m->limbs + 2) * sizeof(Vector));
    for (int64_t limb = 0; limb < m->limbs; limb += 2) {
        Vector x0 = a[limb], x1 = a[limb + 1];
        columns[2 * limb + 1] = _mm512_madd52lo_epu64(columns[2 * limb + 1], x0, x1);
        columns[2 * limb + 2] = _mm512_madd52hi_epu64(columns[2 * limb + 2], x0, x1);
        add_rows(columns + 2 * limb + 2, x0, x1, a + limb + 2, m->limbs - limb - 2);
    }
    for (int64_t limb = 0; limb < m->limbs; limb++) {
        Vector low = columns[2 * limb], high = columns[2 * limb + 1];
        columns[2 * limb] = _mm512_madd52lo_epu64(_mm512_add_epi64(low, low), a[limb], a[limb]);
        columns[2 * limb + 1] = _mm512_madd52hi_epu64(_mm512_add_epi64(high, high), a[limb], a[limb]);
    }
    reduce(m, out);
}

/* number -= n in the lanes where number >= n */
KERNEL static void subtract_once(const Modulus *m, Vector *number, Vector *difference)
{
    Vector borrow = _mm512_setzero_si512(), mask = _mm512_set1_epi64((1LL << 52) - 1);
    for (int64_t limb = 0; limb < m->limbs; limb++) {
        Vector value = _mm512_sub_epi64(_mm512_sub_epi64(number[limb], m->n[limb]), borrow);
        difference[limb] = _mm512_and_si512(value, mask);
        borrow = _mm512_srli_epi64(value, 63);
    }
    __mmask8 smaller = _mm512_test_epi64_mask(borrow, borrow);
    for (int64_t limb = 0; limb < m->limbs; limb++) {
        number[limb] = _mm512_mask_mov_epi64(difference[limb], smaller, number[limb]);
    }
}

/* number = number / R mod n, below n, to `count` numbers of words. */
KERNEL static void give_back(const Modulus *m, Vector *number, int64_t count, uint64_t *out)
{
    multiply(m, number, number, m->unit);
    subtract_once(m, number, m->columns);
    for (int64_t lane = 0; lane < count; lane++) {
        from_lane(m->limbs, m->words, number, lane, out + lane * m->words);
    }
}

/* The modulus and behind it room for `more` vectors, in one block at `block`; NULL if there is none. */
KERNEL static Vector *prepare(Modulus *m, int64_t limbs, int64_t words, const uint64_t *n, const uint64_t *square,
                              uint64_t inverse, int64_t more, int64_t *bytes, Vector **block)
{
    if (limbs < 1 || limbs % TOGETHER || limbs > MOST_LIMBS || words < 1 || 52 * limbs < 64 * words - 62) {
        return NULL;
    }
    *bytes = (5 * limbs + 2 + more) * (int64_t)sizeof(Vector);
    *block = aligned_alloc(sizeof(Vector), (size_t)*bytes);
    if (*block == NULL) {
        return NULL;
    }
    *m = (Modulus){limbs, words, *block, *block + limbs, *block + 2 * limbs, *block + 3 * limbs,
                   _mm512_set1_epi64((int64_t)inverse)};
    to_all_lanes(limbs, words, n, m->n);
    to_all_lanes(limbs, words, square, m->square);
    memset(m->unit, 0, (size_t)limbs * sizeof(Vector));
    m->unit[0] = _mm512_set1_epi64(1);
    return *block + 5 * limbs + 2;
}

/* Forget what was computed with secrets; the barrier keeps the compiler from leaving it out. */
static int finish(Vector *block, int64_t bytes)
{
    memset(block, 0, (size_t)bytes);
    __asm__ volatile("" : : "r"(block) : "memory");
    free(block);
    return DONE;
}

/* `width` bits (at most 16) of an exponent, from bit `place` on. */
static uint64_t digit_of(const uint64_t *exponent, int64_t words, int64_t place, int64_t width)
{
    int64_t word = place / 64, shift = place % 64;
    uint64_t bits = word < words ? exponent[word] >> shift : 0;
    bits |= shift && word + 1 < words ? exponent[word + 1] << (64 - shift) : 0;
    return bits & ((1ULL << width) - 1);
}

#define POWER_BITS 5
#define POWER_ENTRIES (1 << POWER_BITS)

/* table[digit] of every limb, all entries being read. */
KERNEL static void select_power(int64_t limbs, const Vector *table, uint64_t digit, Vector *out)
{
    Vector chosen = _mm512_set1_epi64((int64_t)digit);
    for (int64_t limb = 0; limb < limbs; limb += TOGETHER) {
        Vector kept[TOGETHER] = {_mm512_setzero_si512()};
        for (int64_t entry = 0; entry < POWER_ENTRIES; entry++) {
            __mmask8 mask = _mm512_cmpeq_epi64_mask(chosen, _mm512_set1_epi64(entry));
            for (int64_t next = 0; next < TOGETHER; next++) {
                Vector read = surely_read(table[entry * limbs + limb + next]);
                kept[next] = _mm512_mask_mov_epi64(kept[next], mask, read);
            }
        }
        memcpy(out + limb, kept, sizeof kept);
    }
}

/* base^exponent mod n of `count` bases below n, at most 8. Numbers have `words` words of 64 bits, the exponent its own. */
KERNEL int powers_of(int64_t limbs, int64_t words, const uint64_t *n, const uint64_t *square_of_r, uint64_t inverse,
                     int64_t count, const uint64_t *bases, int64_t exponent_words, const uint64_t *exponent,
                     uint64_t *out)
{
    if (count < 1 || count > LANES || exponent_words < 1) {
        return REFUSED;
    }
    Modulus m;
    Vector *block;
    int64_t bytes;
    Vector *table =
        prepare(&m, limbs, words, n, square_of_r, inverse, (POWER_ENTRIES + 2) * limbs, &bytes, &block);
    if (table == NULL) {
        return NO_MEMORY;
    }
    Vector *power = table + POWER_ENTRIES * limbs, *chosen = power + limbs;
    memset(table, 0, (size_t)(2 * limbs) * sizeof(Vector));
    for (int64_t lane = 0; lane < count; lane++) {
        to_lane(limbs, words, bases + lane * words, table + limbs, lane);
    }
    multiply(&m, table, m.square, m.unit);
    multiply(&m, table + limbs, table + limbs, m.square);
    for (int64_t entry = 2; entry < POWER_ENTRIES; entry++) {
        multiply(&m, table + entry * limbs, table + (entry - 1) * limbs, table + limbs);
    }
    int64_t place = (64 * exponent_words - 1) / POWER_BITS * POWER_BITS;
    select_power(limbs, table, digit_of(exponent, exponent_words, place, POWER_BITS), power);
    while (place > 0) {
        place -= POWER_BITS;
        for (int64_t bit = 0; bit < POWER_BITS; bit++) {
            square(&m, power, power);
        }
        select_power(limbs, table, digit_of(exponent, exponent_words, place, POWER_BITS), chosen);
        multiply(&m, power, power, chosen);
    }
    give_back(&m, power, count, out);
    return finish(block, bytes);
}

/*
 * The table of one base: windows * 2^width numbers of `limbs` limbs, at [(window << width) + digit] the number
 * base^(digit 2^(width window)) R mod n. Eight windows at a time.
 */
KERNEL int powers_table(int64_t limbs, int64_t words, const uint64_t *n, const uint64_t *square_of_r, uint64_t inverse,
                        const uint64_t *base, int64_t width, int64_t windows, uint64_t *table)
{
    if (width < 1 || width > 8 || windows < 1) {
        return REFUSED;
    }
    Modulus m;
    Vector *block;
    int64_t bytes;
    Vector *step = prepare(&m, limbs, words, n, square_of_r, inverse, 3 * limbs, &bytes, &block);
    if (step == NULL) {
        return NO_MEMORY;
    }
    Vector *steps = step + limbs, *power = steps + limbs;
    to_all_lanes(limbs, words, base, step);
    multiply(&m, step, step, m.square);
    for (int64_t first = 0; first < windows; first += LANES) {
        for (int64_t lane = 0; lane < LANES; lane++) {
            for (int64_t limb = 0; limb < limbs; limb++) {
                steps[limb] = _mm512_mask_mov_epi64(steps[limb], (__mmask8)(1 << lane), step[limb]);
            }
            for (int64_t bit = 0; bit < width && first + lane < windows; bit++) {
                square(&m, step, step);
            }
        }
        multiply(&m, power, m.square, m.unit);
        for (int64_t digit = 0; digit < 1 << width; digit++) {
            for (int64_t lane = 0; lane < LANES && first + lane < windows; lane++) {
                uint64_t *entry = table + (((first + lane) << width) + digit) * limbs;
                for (int64_t limb = 0; limb < limbs; limb++) {
                    entry[limb] = ((const uint64_t *)(power + limb))[lane];
                }
            }
            multiply(&m, power, power, steps);
        }
    }
    return finish(block, bytes);
}

/* In each lane entries[digit of the lane], all entries being read. */
KERNEL static void select_entry(int64_t limbs, const uint64_t *entries, int64_t width, const uint64_t *digits,
                                Vector *out)
{
    Vector chosen = _mm512_loadu_si512(digits);
    for (int64_t limb = 0; limb < limbs; limb += TOGETHER) {
        Vector kept[TOGETHER] = {_mm512_setzero_si512()};
        for (int64_t place = 0; place < 1 << width; place++) {
            __mmask8 mask = _mm512_cmpeq_epi64_mask(chosen, _mm512_set1_epi64(place));
            const uint64_t *entry = entries + place * limbs + limb;
            for (int64_t next = 0; next < TOGETHER; next++) {
                Vector read = surely_read(_mm512_set1_epi64((int64_t)entry[next]));
                kept[next] = _mm512_mask_mov_epi64(kept[next], mask, read);
            }
        }
        memcpy(out + limb, kept, sizeof kept);
    }
}

/* base^exponent mod n of `count` exponents, at most 8, of exponent_words words each, with the base's table. */
KERNEL int powers_of_fixed(int64_t limbs, int64_t words, const uint64_t *n, const uint64_t *square_of_r,
                           uint64_t inverse, const uint64_t *table, int64_t width, int64_t windows, int64_t count,
                           int64_t exponent_words, const uint64_t *exponents, uint64_t *out)
{
    if (width < 1 || width > 8 || windows < 1 || count < 1 || count > LANES || exponent_words < 1) {
        return REFUSED;
    }
    Modulus m;
    Vector *block;
    int64_t bytes;
    Vector *power = prepare(&m, limbs, words, n, square_of_r, inverse, 2 * limbs, &bytes, &block);
    if (power == NULL) {
        return NO_MEMORY;
    }
    uint64_t digits[LANES] = {0};
    for (int64_t window = 0; window < windows; window++) {
        for (int64_t lane = 0; lane < count; lane++) {
            digits[lane] = digit_of(exponents + lane * exponent_words, exponent_words, width * window, width);
        }
        Vector *entry = window ? power + limbs : power;
        select_entry(limbs, table + (window << width) * limbs, width, digits, entry);
        if (window) {
            multiply(&m, power, power, entry);
        }
    }
    give_back(&m, power, count, out);
    memset(digits, 0, sizeof digits);
    __asm__ volatile("" : : "r"(digits) : "memory");
    return finish(block, bytes);
}

/*
 * For eight digits of public exponents, digit l being `width` bits from bit shift + l width on: the product over all bases
 * of (base / R)^digit mod n. Every base goes into the bucket of its digit, in each lane another; then bucket 1 once, bucket
 * 2 twice ... is the product of the products from the top.
 */
KERNEL int powers_buckets(int64_t limbs, int64_t words, const uint64_t *n, const uint64_t *square_of_r,
                          uint64_t inverse, int64_t count, const uint64_t *bases, int64_t exponent_words,
                          const uint64_t *exponents, int64_t shift, int64_t width, uint64_t *out)
{
    if (count < 0 || exponent_words < 1 || shift < 0 || width < 1 || width > 16) {
        return REFUSED;
    }
    Modulus m;
    Vector *block;
    int64_t bytes, last = (1 << width) - 1;
    Vector *buckets = prepare(&m, limbs, words, n, square_of_r, inverse, (last + 5) * limbs, &bytes, &block);
    if (buckets == NULL) {
        return NO_MEMORY;
    }
    Vector *running = buckets + (last + 1) * limbs, *product = running + limbs;
    Vector *bucket = product + limbs, *base = bucket + limbs;
    multiply(&m, running, m.square, m.unit);
    memcpy(product, running, (size_t)limbs * sizeof(Vector));
    for (int64_t place = 0; place <= last; place++) {
        memcpy(buckets + place * limbs, running, (size_t)limbs * sizeof(Vector));
    }
    for (int64_t item = 0; item < count; item++) {
        uint64_t places[LANES];
        for (int64_t lane = 0; lane < LANES; lane++) {
            int64_t place = shift + lane * width;
            uint64_t digit = digit_of(exponents + item * exponent_words, exponent_words, place, width);
            places[lane] = digit * (uint64_t)limbs * LANES + (uint64_t)lane;
        }
        Vector index = _mm512_loadu_si512(places);
        to_all_lanes(limbs, words, bases + item * words, base);
        for (int64_t limb = 0; limb < limbs; limb++) {
            bucket[limb] = _mm512_i64gather_epi64(index, (const long long *)(buckets + limb), 8);
        }
        multiply(&m, bucket, bucket, base);
        for (int64_t limb = 0; limb < limbs; limb++) {
            _mm512_i64scatter_epi64((long long *)(buckets + limb), index, bucket[limb], 8);
        }
    }
    for (int64_t place = last; place > 0; place--) {
        multiply(&m, running, running, buckets + place * limbs);
        multiply(&m, product, product, running);
    }
    give_back(&m, product, LANES, out);
    return finish(block, bytes);
}

/*
 * One number across all lanes, for when there are too few to fill them: limb i lies in lane i mod 8 of vector i / 8, and
 * the limbs of a number from `limbs` to 8 `vectors` are 0. Almost-Montgomery multiplication limb by limb of b: with
 * every limb a multiple of n is added that makes the lowest column 0, and all columns move down by one. R, what goes in
 * and what comes out are as above. A column gets four halves below 2^52 for each limb of b, and a carry below 2^12: it
 * stays below (4 * 128 + 1) 2^52.
 */
#define MOST_VECTORS 16

typedef struct {
    int64_t limbs, words, vectors;
    Vector *n, *square, *unit;
    uint64_t inverse;
} OneModulus;

#define LOW_LIMB ((1ULL << 52) - 1)

/* With `vectors` known to the compiler the columns stay in registers. */
INLINE void multiply_one_of(const int vectors, const OneModulus *m, Vector *out, const Vector *a, const Vector *b)
{
    Vector zero = _mm512_setzero_si512(), columns[MOST_VECTORS];
#pragma GCC unroll 16
    for (int place = 0; place < vectors; place++) {
        columns[place] = zero;
    }
    for (int64_t limb = 0; limb < m->limbs; limb++) {
        Vector x = _mm512_set1_epi64(((const int64_t *)b)[limb]);
        columns[0] = _mm512_madd52lo_epu64(columns[0], a[0], x);
        uint64_t low = (uint64_t)_mm_cvtsi128_si64(_mm512_castsi512_si128(columns[0]));
        Vector y = _mm512_set1_epi64((int64_t)((low * m->inverse) & LOW_LIMB));
        columns[0] = _mm512_madd52lo_epu64(columns[0], m->n[0], y);
        /* What is added to the lowest 52 bits makes them 0: it carries unless they were 0 before. */
        uint64_t carry = (low >> 52) + (((low & LOW_LIMB) + LOW_LIMB) >> 52);
#pragma GCC unroll 16
        for (int place = 1; place < vectors; place++) {
            columns[place] = _mm512_madd52lo_epu64(columns[place], a[place], x);
            columns[place] = _mm512_madd52lo_epu64(columns[place], m->n[place], y);
        }
#pragma GCC unroll 16
        for (int place = 0; place < vectors; place++) {
            Vector above = place + 1 < vectors ? columns[place + 1] : zero;
            columns[place] = _mm512_alignr_epi64(above, columns[place], 1);
        }
        columns[0] = _mm512_add_epi64(columns[0], _mm512_zextsi128_si512(_mm_cvtsi64_si128((int64_t)carry)));
#pragma GCC unroll 16
        for (int place = 0; place < vectors; place++) {
            columns[place] = _mm512_madd52hi_epu64(columns[place], a[place], x);
            columns[place] = _mm512_madd52hi_epu64(columns[place], m->n[place], y);
        }
    }
#pragma GCC unroll 16
    for (int place = 0; place < vectors; place++) {
        out[place] = columns[place];
    }
    uint64_t *limbs = (uint64_t *)out, carry = 0;
    for (int64_t limb = 0; limb < m->limbs; limb++) {
        carry += limbs[limb];
        limbs[limb] = carry & LOW_LIMB;
        carry >>= 52;
    }
}

KERNEL static void multiply_one_short(const OneModulus *m, Vector *out, const Vector *a, const Vector *b)
{
    multiply_one_of(MOST_VECTORS / 2, m, out, a, b);
}

KERNEL static void multiply_one_long(const OneModulus *m, Vector *out, const Vector *a, const Vector *b)
{
    multiply_one_of(MOST_VECTORS, m, out, a, b);
}

/* out = a b / R mod n, below 2 n. `out` may be a or b. */
KERNEL static void multiply_one(const OneModulus *m, Vector *out, const Vector *a, const Vector *b)
{
    if (m->vectors == MOST_VECTORS) {
        multiply_one_long(m, out, a, b);
    } else {
        multiply_one_short(m, out, a, b);
    }
}

static void to_limbs(int64_t limbs, int64_t words, const uint64_t *number, Vector *out)
{
    for (int64_t limb = 0; limb < limbs; limb++) {
        int64_t word = 52 * limb / 64, shift = 52 * limb % 64;
        uint64_t bits = word < words ? number[word] >> shift : 0;
        bits |= shift > 12 && word + 1 < words ? number[word + 1] << (64 - shift) : 0;
        ((uint64_t *)out)[limb] = bits & LOW_LIMB;
    }
}

/* number = number / R mod n, below n, to words. */
KERNEL static void give_back_one(const OneModulus *m, Vector *number, Vector *difference, uint64_t *out)
{
    multiply_one(m, number, number, m->unit);
    uint64_t *limbs = (uint64_t *)number, *less = (uint64_t *)difference, *n = (uint64_t *)m->n, borrow = 0;
    for (int64_t limb = 0; limb < m->limbs; limb++) {
        uint64_t value = limbs[limb] - n[limb] - borrow;
        less[limb] = value & LOW_LIMB;
        borrow = value >> 63;
    }
    for (int64_t limb = 0; limb < m->limbs; limb++) {
        limbs[limb] = (limbs[limb] & (0 - borrow)) | (less[limb] & (borrow - 1));
    }
    for (int64_t word = 0; word < m->words; word++) {
        uint64_t bits = 0;
        for (int64_t limb = 64 * word / 52; limb < m->limbs && 52 * limb < 64 * (word + 1); limb++) {
            int64_t place = 52 * limb - 64 * word;
            bits |= place < 0 ? limbs[limb] >> -place : limbs[limb] << place;
        }
        out[word] = bits;
    }
}

/* As `prepare`, for one number: room for `more` numbers, which are 0. */
KERNEL static Vector *prepare_one(OneModulus *m, int64_t limbs, int64_t words, const uint64_t *n,
                                  const uint64_t *square, uint64_t inverse, int64_t more, int64_t *bytes,
                                  Vector **block)
{
    if (limbs < 1 || limbs % TOGETHER || limbs > LANES * MOST_VECTORS || words < 1 || 52 * limbs < 64 * words - 62) {
        return NULL;
    }
    int64_t vectors = limbs > LANES * MOST_VECTORS / 2 ? MOST_VECTORS : MOST_VECTORS / 2;
    *bytes = (3 + more) * vectors * (int64_t)sizeof(Vector);
    *block = aligned_alloc(sizeof(Vector), (size_t)*bytes);
    if (*block == NULL) {
        return NULL;
    }
    memset(*block, 0, (size_t)*bytes);
    *m = (OneModulus){limbs, words, vectors, *block, *block + vectors, *block + 2 * vectors, inverse};
    to_limbs(limbs, words, n, m->n);
    to_limbs(limbs, words, square, m->square);
    ((uint64_t *)m->unit)[0] = 1;
    return *block + 3 * vectors;
}

/* Four limbs, which need not lie at a multiple of 32 bytes. */
typedef long long Half __attribute__((vector_size(32), aligned(8), may_alias));

/* table[digit], all `entries` numbers of it being read, which lie `step` limbs apart. */
KERNEL static void select_one(const OneModulus *m, const uint64_t *table, int64_t step, int64_t entries,
                              uint64_t digit, Vector *out)
{
    __m256i chosen = _mm256_set1_epi64x((int64_t)digit);
    for (int64_t limb = 0; limb < m->limbs; limb += TOGETHER) {
        __m256i kept = _mm256_setzero_si256();
        for (int64_t each = 0; each < entries; each++) {
            __m256i read = (__m256i)*(const Half *)(table + each * step + limb);
            __asm__("" : "+v"(read));
            kept = _mm256_or_si256(kept, _mm256_and_si256(read, _mm256_cmpeq_epi64(chosen, _mm256_set1_epi64x(each))));
        }
        *(Half *)((uint64_t *)out + limb) = (Half)kept;
    }
}

/* base^exponent mod n of one base below n: `powers_of` with a count of 1, a modulus of at most 128 limbs. */
KERNEL int power_of_one(int64_t limbs, int64_t words, const uint64_t *n, const uint64_t *square_of_r, uint64_t inverse,
                        const uint64_t *base, int64_t exponent_words, const uint64_t *exponent, uint64_t *out)
{
    if (exponent_words < 1) {
        return REFUSED;
    }
    OneModulus m;
    Vector *block;
    int64_t bytes;
    Vector *table = prepare_one(&m, limbs, words, n, square_of_r, inverse, POWER_ENTRIES + 2, &bytes, &block);
    if (table == NULL) {
        return NO_MEMORY;
    }
    int64_t step = m.vectors;
    Vector *power = table + POWER_ENTRIES * step, *chosen = power + step;
    to_limbs(limbs, words, base, table + step);
    multiply_one(&m, table, m.square, m.unit);
    multiply_one(&m, table + step, table + step, m.square);
    for (int64_t entry = 2; entry < POWER_ENTRIES; entry++) {
        multiply_one(&m, table + entry * step, table + (entry - 1) * step, table + step);
    }
    int64_t place = (64 * exponent_words - 1) / POWER_BITS * POWER_BITS;
    const uint64_t *entries = (const uint64_t *)table;
    uint64_t digit = digit_of(exponent, exponent_words, place, POWER_BITS);
    select_one(&m, entries, LANES * step, POWER_ENTRIES, digit, power);
    while (place > 0) {
        place -= POWER_BITS;
        for (int64_t bit = 0; bit < POWER_BITS; bit++) {
            multiply_one(&m, power, power, power);
        }
        digit = digit_of(exponent, exponent_words, place, POWER_BITS);
        select_one(&m, entries, LANES * step, POWER_ENTRIES, digit, chosen);
        multiply_one(&m, power, power, chosen);
    }
    give_back_one(&m, power, chosen, out);
    return finish(block, bytes);
}

/* base^exponent mod n of one exponent, with the base's table: `powers_of_fixed` with a count of 1. */
KERNEL int power_of_fixed_one(int64_t limbs, int64_t words, const uint64_t *n, const uint64_t *square_of_r,
                              uint64_t inverse, const uint64_t *table, int64_t width, int64_t windows,
                              int64_t exponent_words, const uint64_t *exponent, uint64_t *out)
{
    if (width < 1 || width > 8 || windows < 1 || exponent_words < 1) {
        return REFUSED;
    }
    OneModulus m;
    Vector *block;
    int64_t bytes;
    Vector *power = prepare_one(&m, limbs, words, n, square_of_r, inverse, 2, &bytes, &block);
    if (power == NULL) {
        return NO_MEMORY;
    }
    Vector *chosen = power + m.vectors;
    for (int64_t window = 0; window < windows; window++) {
        uint64_t digit = digit_of(exponent, exponent_words, width * window, width);
        Vector *entry = window ? chosen : power;
        select_one(&m, table + (window << width) * limbs, limbs, 1 << width, digit, entry);
        if (window) {
            multiply_one(&m, power, power, chosen);
        }
    }
    give_back_one(&m, power, chosen, out);
    return finish(block, bytes);
}

#else

int powers_supported(void) { return 0; }

#endif
