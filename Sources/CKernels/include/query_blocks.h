/* Arithmetic of several queries at once, CKV_BLOCK of them side by side: number q of row i stands at i * CKV_BLOCK + q.
 * A number of a pool row is read and widened once for several queries, and what is done per position is done for a
 * whole vector of queries. Each query's sums are those of the kernels for one query, the same operations in the same
 * order, so its bits are the same alone and in company.
 *
 * As in CKernels.h no kernel checks an index, and none touches a byte outside the spans that its arguments describe.
 * Where a block has fewer queries, numbers of the missing ones are read, written and mean nothing. */

#ifndef CKERNELS_QUERY_BLOCKS_H
#define CKERNELS_QUERY_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

/* Queries of one block. */
#define CKV_BLOCK 16

/* Over rows of a matrix, as in ckv_row_kernels. */
struct ckv_block_row_kernels {
  /* sums[i * CKV_BLOCK + q] = row_dots of row i and the vector q, for q < queries <= CKV_BLOCK; at least one. Vectors
   * are `vector_stride` apart. */
  void (*_Nonnull block_dots)(const void *_Nonnull matrix, size_t stride, const uint32_t *_Nullable rows, size_t count,
                              const float *_Nonnull vectors, size_t vector_stride, size_t queries, size_t width,
                              float *_Nonnull sums);
  /* sums[q * sum_stride + c] = what row_sum makes of the weights [i * CKV_BLOCK + q] and scales[q], for q < queries. */
  void (*_Nonnull block_sums)(const void *_Nonnull matrix, size_t stride, const uint32_t *_Nullable rows,
                              const float *_Nonnull weights, size_t count, const float *_Nonnull scales,
                              size_t queries, size_t width, float *_Nonnull sums, size_t sum_stride);
};

struct ckv_block_kernels {
  struct ckv_block_row_kernels f32, f16, bf16;

  /* scores_f32 for each query: table rows, scores and coefficients are rows of CKV_BLOCK. Writes the greatest of each
   * query, as scores_f32 returns it. */
  void (*_Nonnull scores)(const float *_Nullable table, const uint32_t *_Nullable indices,
                          const float *_Nullable columns, size_t column_stride, const float *_Nullable coefficients,
                          size_t dimensions, float scale, size_t count, float *_Nonnull scores,
                          float *_Nonnull greatest);
  /* exp_sum_f32 for each query of `count` rows. */
  void (*_Nonnull exp_sums)(float *_Nonnull values, size_t count, const float *_Nonnull shifts,
                            double *_Nonnull totals);
  /* totals[q] = the sum of `count` rows' values, added up as head_totals_f32 adds those of a head. */
  void (*_Nonnull totals)(const float *_Nonnull values, size_t count, double *_Nonnull totals);
  /* sums[d * CKV_BLOCK + q] = dot_f32 of the weights [i * CKV_BLOCK + q] and column d, of `count` positions. Where
   * `last` is not NULL, each query has one position more: the numbers last[d * CKV_BLOCK + q] follow the columns. */
  void (*_Nonnull column_sums)(const float *_Nonnull weights, const float *_Nonnull columns, size_t column_stride,
                               size_t dimensions, size_t count, const float *_Nullable last, float *_Nonnull sums);
  /* sums[rows[i] * CKV_BLOCK + q] += table[j * CKV_BLOCK + q], i ascending, where j = indices[i], or i itself where
   * `indices` is NULL. */
  void (*_Nonnull scatter)(float *_Nonnull sums, const uint32_t *_Nonnull rows, const float *_Nonnull table,
                           const uint32_t *_Nullable indices, size_t count);
  /* A bit per query for which some row is zero in each of `parts` arrays, `part_stride` apart, of `count` rows. */
  unsigned (*_Nonnull empty_rows)(const float *_Nonnull sums, size_t parts, size_t part_stride, size_t count);
};

/* target[i * CKV_BLOCK + q] = table[rows[i] * CKV_BLOCK + q]. */
void ckv_gather_blocks_f32(const float *_Nonnull table, const uint32_t *_Nonnull rows, size_t count,
                           float *_Nonnull target);

/* totals[h * CKV_BLOCK + q] = head_totals_f32 of query q, of the rows in which it has a number other than 0: head h's
 * number of row i stands at sums[h * part_stride + i * CKV_BLOCK + q], h < parts <= CKV_GROUP. Only of the queries
 * whose bits are set; what is written of the others means nothing. */
void ckv_compact_totals_f32(const float *_Nonnull sums, size_t parts, size_t part_stride, size_t count,
                            unsigned queries, double *_Nonnull totals);

/* ckv_silu_f32 for queries side by side, of which query q sees the first counts[q] of `count` positions: its bias
 * counts from the last of those, and its weights behind them are 0. */
void ckv_silu_blocks_f32(float *_Nonnull scores, const float *_Nullable bias, const uint32_t *_Nonnull counts,
                         size_t count);

/* places[rows[i]] = i for the `used` rows, then ranks[i] = places[indices[i]]. */
void ckv_rank_u32(const uint32_t *_Nonnull rows, size_t used, uint32_t *_Nonnull places,
                  const uint32_t *_Nonnull indices, size_t count, uint32_t *_Nonnull ranks);

#endif
