/*
 * Adding rows up, as entries.py and terms.py do it in numpy and bit for bit the same, in one pass over each array.
 *
 * Optional: where it was not compiled, numpy does the work. Every index is checked before it is used: a function that
 * finds one out of range stops and returns 1, and its caller refuses the rows. Integers never wrap: a table's numbers are
 * sums of fewer than 2^37 rows of at most 2^17 each. Floating point is that of IEEE 754 doubles, an operation at a time
 * (compiled without contraction): what these functions do to a number is what numpy's functions do to it.
 */

#include <stdint.h>

#define OUT_OF_RANGE 1
#define CHUNK 1024

/* Compiled for any processor, and where that is possible also for those with wide registers. The numbers are the same. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_THIS_PROCESSOR __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_THIS_PROCESSOR
#endif

/* The SHA-256 of this file, by which its library is known. */
const char *rows_source(void) { return ROWS_SOURCE; }

/*
 * Of each row: starts[code] + unit - first, and one more in that place of `counts`. Codes are below `codes_end`, units from
 * `first` to below first + stride; counts has `counts_end` places.
 */
#define CELLS(name, type)                                                                                              \
    int name(int64_t rows, const int64_t *units, int64_t first, int64_t stride, const type *codes,                    \
             int64_t codes_end, const int64_t *starts, int64_t *cells, int64_t counts_end, int64_t *counts)            \
    {                                                                                                                  \
        for (int64_t row = 0; row < rows; row++) {                                                                     \
            uint64_t unit = (uint64_t)units[row] - (uint64_t)first;                                                    \
            uint64_t code = (uint64_t)(int64_t)codes[row];                                                             \
            if (unit >= (uint64_t)stride || code >= (uint64_t)codes_end) {                                             \
                return OUT_OF_RANGE;                                                                                   \
            }                                                                                                          \
            uint64_t cell = (uint64_t)starts[code] + unit;                                                             \
            if (cell >= (uint64_t)counts_end) {                                                                        \
                return OUT_OF_RANGE;                                                                                   \
            }                                                                                                          \
            cells[row] = (int64_t)cell;                                                                                \
            counts[cell]++;                                                                                            \
        }                                                                                                              \
        return 0;                                                                                                      \
    }

CELLS(rows_cells_1, uint8_t)
CELLS(rows_cells_4, int32_t)
CELLS(rows_cells_8, int64_t)

/* Add to the table how many rows each cell has, of those where the mask is not 0. */
int rows_count(int64_t rows, const int64_t *cells, const uint8_t *mask, int64_t table_end, int64_t *table)
{
    for (int64_t row = 0; row < rows; row++) {
        if ((uint64_t)cells[row] >= (uint64_t)table_end) {
            return OUT_OF_RANGE;
        }
        table[cells[row]] += mask[row] != 0;
    }
    return 0;
}

/*
 * Of each of some terms floor((clip(x) - centre) / divisor * factor + 1/2), cut to [-top, top], which is at most 2^16; 0
 * for NaN. Without branches, so that a compiler works on several at a time.
 */
FOR_THIS_PROCESSOR
static void steps_of(int64_t rows, const double *terms, double lower, double upper, double centre, double divisor,
                     double factor, double top, int32_t *restrict steps)
{
    for (int64_t row = 0; row < rows; row++) {
        double x = terms[row];
        double kept = x == x ? x : centre;
        kept = kept < lower ? lower : kept;
        kept = kept > upper ? upper : kept;
        kept = (kept - centre) / divisor * factor + 0.5;
        kept = kept > -top ? kept : -top;
        kept = kept < top + 0.5 ? kept : top + 0.5;
        double towards_zero = (double)(int32_t)kept;
        double step = towards_zero - (kept < towards_zero ? 1.0 : 0.0);
        steps[row] = (int32_t)(x == x ? step : 0.0);
    }
}

/* Add to the table each cell's sum of these steps. */
int rows_sum(int64_t rows, const int64_t *cells, const double *terms, double lower, double upper, double centre,
             double divisor, double factor, int64_t top, int64_t table_end, int64_t *table)
{
    int32_t steps[CHUNK];
    for (int64_t start = 0; start < rows; start += CHUNK) {
        int64_t length = rows - start < CHUNK ? rows - start : CHUNK;
        steps_of(length, terms + start, lower, upper, centre, divisor, factor, (double)top, steps);
        for (int64_t row = 0; row < length; row++) {
            uint64_t cell = (uint64_t)cells[start + row];
            if (cell >= (uint64_t)table_end) {
                return OUT_OF_RANGE;
            }
            table[cell] += steps[row];
        }
    }
    return 0;
}

/* Add to each unit's place the squares of its entries; the table has a row of `units` entries for each group. */
FOR_THIS_PROCESSOR
void rows_squares(int64_t groups, int64_t units, const int64_t *table, int64_t *squares)
{
    for (int64_t group = 0; group < groups; group++) {
        const int64_t *entries = table + group * units;
        for (int64_t unit = 0; unit < units; unit++) {
            squares[unit] += entries[unit] * entries[unit];
        }
    }
}

/* Whether each code's group is one of `groups`, or `groups` itself, which stands for none. */
static int are_groups(int64_t codes_end, const int64_t *group_of, int64_t groups)
{
    for (int64_t code = 0; code < codes_end; code++) {
        if ((uint64_t)group_of[code] > (uint64_t)groups) {
            return 0;
        }
    }
    return 1;
}

/*
 * Of rows by unit, ascending: which units have more than `most_squares` as the sum of their groups' squared numbers of rows,
 * or rows in more than `most_groups` groups. Their rows, from and up to, go to `over`, two places a unit, and how many they
 * are to `found`. Those with `most_rows` rows or fewer cannot be: most_rows squared is at most most_squares, and most_rows
 * at most most_groups. Unless `present` is 0: of all other units, add to it how many each group has.
 *
 * `own` and `present` have groups + 1 places, the last for none; `own` is all 0, and left so.
 */
#define UNITS(name, unit_type, code_type)                                                                              \
    int name(int64_t rows, const unit_type *units, const code_type *codes, int64_t codes_end, const int64_t *group_of, \
             int64_t groups, int64_t most_rows, int64_t most_squares, int64_t most_groups, int64_t *restrict own,      \
             int64_t *restrict present, int64_t over_end, int64_t *restrict over, int64_t *found)                      \
    {                                                                                                                  \
        if (!are_groups(codes_end, group_of, groups)) {                                                                \
            return OUT_OF_RANGE;                                                                                       \
        }                                                                                                              \
        int64_t places = 0;                                                                                            \
        for (int64_t start = 0, stop = 0; start < rows; start = stop) {                                                \
            unit_type unit = units[start];                                                                             \
            for (stop = start + 1; stop < rows && units[stop] == unit; stop++) {                                       \
            }                                                                                                          \
            if (stop < rows && units[stop] < unit) {                                                                   \
                return OUT_OF_RANGE;                                                                                   \
            }                                                                                                          \
            if (stop - start <= most_rows && !present) {                                                               \
                continue;                                                                                              \
            }                                                                                                          \
            int64_t squares = 0, touched = 0;                                                                          \
            for (int64_t row = start; row < stop; row++) {                                                             \
                uint64_t code = (uint64_t)(int64_t)codes[row];                                                         \
                if (code >= (uint64_t)codes_end) {                                                                     \
                    return OUT_OF_RANGE;                                                                               \
                }                                                                                                      \
                int64_t before = own[group_of[code]]++;                                                                \
                squares += 2 * before + 1;                                                                             \
                touched += before == 0;                                                                                \
            }                                                                                                          \
            squares -= own[groups] * own[groups];                                                                      \
            touched -= own[groups] != 0;                                                                               \
            int64_t is_within = squares <= most_squares && touched <= most_groups;                                     \
            for (int64_t row = start; row < stop; row++) {                                                             \
                int64_t group = group_of[codes[row]];                                                                  \
                if (present) {                                                                                         \
                    present[group] += is_within & (own[group] != 0);                                                   \
                }                                                                                                      \
                own[group] = 0;                                                                                        \
            }                                                                                                          \
            if (!is_within) {                                                                                          \
                if (places + 2 > over_end) {                                                                           \
                    return OUT_OF_RANGE;                                                                               \
                }                                                                                                      \
                over[places++] = start;                                                                                \
                over[places++] = stop;                                                                                 \
            }                                                                                                          \
        }                                                                                                              \
        *found = places / 2;                                                                                           \
        return 0;                                                                                                      \
    }

/*
 * Add to the table each group's sum of the steps of rows, or how many of them have a mask that is not 0; without a mask, all.
 * Only of rows that are in one of `spans` spans: pairs of places, from and up to. The table has groups + 1 places, the last
 * for none.
 */
#define GROUPS(type, sum_name, count_name)                                                                             \
    int sum_name(int64_t rows, const type *codes, int64_t codes_end, const int64_t *group_of, int64_t groups,          \
                 int64_t spans, const int64_t *span, const double *terms, double lower, double upper, double centre,   \
                 double divisor, double factor, int64_t top, int64_t *restrict table)                                  \
    {                                                                                                                  \
        int32_t steps[CHUNK];                                                                                          \
        if (!are_groups(codes_end, group_of, groups)) {                                                                \
            return OUT_OF_RANGE;                                                                                       \
        }                                                                                                              \
        for (int64_t each = 0; each < spans; each++) {                                                                 \
            int64_t stop = span[2 * each + 1];                                                                         \
            if (span[2 * each] < 0 || stop > rows) {                                                                   \
                return OUT_OF_RANGE;                                                                                   \
            }                                                                                                          \
            for (int64_t start = span[2 * each]; start < stop; start += CHUNK) {                                       \
                int64_t length = stop - start < CHUNK ? stop - start : CHUNK;                                          \
                steps_of(length, terms + start, lower, upper, centre, divisor, factor, (double)top, steps);            \
                for (int64_t row = 0; row < length; row++) {                                                           \
                    uint64_t code = (uint64_t)(int64_t)codes[start + row];                                             \
                    if (code >= (uint64_t)codes_end) {                                                                 \
                        return OUT_OF_RANGE;                                                                           \
                    }                                                                                                  \
                    table[group_of[code]] += steps[row];                                                               \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
        return 0;                                                                                                      \
    }                                                                                                                  \
                                                                                                                       \
    int count_name(int64_t rows, const type *codes, int64_t codes_end, const int64_t *group_of, int64_t groups,        \
                   int64_t spans, const int64_t *span, const uint8_t *mask, int64_t *restrict table)                   \
    {                                                                                                                  \
        if (!are_groups(codes_end, group_of, groups)) {                                                                \
            return OUT_OF_RANGE;                                                                                       \
        }                                                                                                              \
        for (int64_t each = 0; each < spans; each++) {                                                                 \
            if (span[2 * each] < 0 || span[2 * each + 1] > rows) {                                                     \
                return OUT_OF_RANGE;                                                                                   \
            }                                                                                                          \
            for (int64_t row = span[2 * each]; row < span[2 * each + 1]; row++) {                                      \
                uint64_t code = (uint64_t)(int64_t)codes[row];                                                         \
                if (code >= (uint64_t)codes_end) {                                                                     \
                    return OUT_OF_RANGE;                                                                               \
                }                                                                                                      \
                table[group_of[code]] += !mask || mask[row] != 0;                                                      \
            }                                                                                                          \
        }                                                                                                              \
        return 0;                                                                                                      \
    }

#define CODES(bytes, type)                                                                                             \
    UNITS(rows_units_4_##bytes, int32_t, type)                                                                         \
    UNITS(rows_units_8_##bytes, int64_t, type)                                                                         \
    GROUPS(type, rows_group_sum_##bytes, rows_group_count_##bytes)

CODES(1, uint8_t)
CODES(2, uint16_t)
CODES(4, int32_t)
CODES(8, int64_t)

/* Whether there is a NaN. */
FOR_THIS_PROCESSOR
int rows_have_nan(int64_t rows, const double *terms)
{
    int64_t found = 0;
    for (int64_t row = 0; row < rows; row++) {
        found |= terms[row] != terms[row];
    }
    return found != 0;
}
