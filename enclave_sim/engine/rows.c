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

/* Compiled twice where that is possible: for any processor, and for those with wide registers. The numbers are the same. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_THIS_PROCESSOR __attribute__((target_clones("avx2", "default")))
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
                     double factor, double top, double *restrict steps)
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
        steps[row] = x == x ? step : 0.0;
    }
}

/* Add to the table each cell's sum of these steps. */
int rows_sum(int64_t rows, const int64_t *cells, const double *terms, double lower, double upper, double centre,
             double divisor, double factor, int64_t top, int64_t table_end, int64_t *table)
{
    double steps[CHUNK];
    for (int64_t start = 0; start < rows; start += CHUNK) {
        int64_t length = rows - start < CHUNK ? rows - start : CHUNK;
        steps_of(length, terms + start, lower, upper, centre, divisor, factor, (double)top, steps);
        for (int64_t row = 0; row < length; row++) {
            uint64_t cell = (uint64_t)cells[start + row];
            if (cell >= (uint64_t)table_end) {
                return OUT_OF_RANGE;
            }
            table[cell] += (int64_t)steps[row];
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
