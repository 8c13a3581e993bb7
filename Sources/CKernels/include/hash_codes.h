/* Hash codes: one bit per rotation, the sign of its dot product with a key; made, compared and matched. The same bits
 * at every level. As in CKernels.h no kernel checks an index, and none touches a byte outside the spans that its
 * arguments describe.
 *
 * A code has `words` 64-bit words, position after position; bit b is bit b % 64 of word b / 64. */

#ifndef CKERNELS_HASH_CODES_H
#define CKERNELS_HASH_CODES_H

#include <stddef.h>
#include <stdint.h>

/* Bits of a word, and those that are made side by side: tables and coefficients have whole steps of numbers. */
#define CKV_HASH_WORD 64
#define CKV_HASH_STEP 16

struct ckv_hash_kernels {
  /* Bits first ..< first + bits of a code's word: bit first + b of code i is set where
   *   start + sum over d ascending of coefficients[d * CKV_HASH_WORD + b] * columns[d * column_stride + i] > 0,
   * fused; start is table[s * step_stride + j * row_stride + b % CKV_HASH_STEP], s = b / CKV_HASH_STEP, j = indices[i],
   * or i itself where `indices` is NULL. Lower bits of the word stay, higher ones are cleared. `first` is a multiple of
   * CKV_HASH_STEP, first + bits at most CKV_HASH_WORD, bits at least 1; code i's word is codes[i * words]. The numbers
   * of a last step that are beyond `bits` are read and mean nothing. */
  void (*_Nonnull signs_f32)(const float *_Nonnull table, size_t step_stride, size_t row_stride,
                             const uint32_t *_Nullable indices, const float *_Nullable columns, size_t column_stride,
                             const float *_Nullable coefficients, size_t dimensions, size_t first, size_t bits,
                             size_t count, size_t words, uint64_t *_Nonnull codes);
  /* Writes the places of the `top` codes that differ from the query's in the fewest bits, ascending; of codes that
   * differ in as many the later place wins. `top` is 1 to `count`; `distances` has room for `count`, `places` for
   * `top`. */
  void (*_Nonnull nearest_u64)(const uint64_t *_Nonnull codes, const uint64_t *_Nonnull query, size_t words,
                               size_t count, size_t top, uint32_t *_Nonnull distances, uint32_t *_Nonnull places);
  /* Writes the places of the codes whose bits first ..< first + bits equal the query's, ascending; returns how many.
   * `places` has room for `count`, `bits` is at least 1. */
  size_t (*_Nonnull matching_u64)(const uint64_t *_Nonnull codes, const uint64_t *_Nonnull query, size_t words,
                                  size_t first, size_t bits, size_t count, uint32_t *_Nonnull places);
  /* The sum of the squares of `count` numbers, in 64 bits: in CKV_LANES lanes, as sums are added up elsewhere. */
  double (*_Nonnull square_sum_f32)(const float *_Nonnull values, size_t count);
};

/* target[i] = source[rows[i]], of `words` words each. */
void ckv_gather_codes_u64(const uint64_t *_Nonnull source, const uint32_t *_Nonnull rows, size_t words, size_t count,
                          uint64_t *_Nonnull target);

#endif
