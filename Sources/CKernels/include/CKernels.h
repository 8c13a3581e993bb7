/* The arithmetic of the engine, in C, chosen once for the CPU it runs on.
 *
 * Serial C is the meaning of every kernel. The other levels return the same bits: each output element is built by the
 * same operations in the same order, fused multiply-adds included, so that a row encoded alone, in a batch, or on
 * another machine is the same row. Sums run over the lanes and the order stated at each kernel.
 *
 * Matrices need the alignment of a byte, panels and biases that of 64, the rest that of their elements. No kernel reads
 * or writes outside the spans its arguments describe, and none checks an index: callers do. Counts and strides are in
 * elements. NaN and infinities pass through as the stated operations pass them. */

#ifndef CKERNELS_H
#define CKERNELS_H

#include "attention_functions.h"
#include "hash_codes.h"
#include "query_blocks.h"

#include <stddef.h>
#include <stdint.h>

/* Outputs of one panel of packed weights. */
#define CKV_PANEL 16

/* Lanes of the sums below: lane l adds up what stands at places l, l + 16, l + 32, ...; then the upper half of the
 * lanes is added to the lower half until one is left. Lanes past the end take part as zeros. */
#define CKV_LANES 16

/* Heads that share a pass over rows; their numbers lie side by side. */
#define CKV_GROUP 4

/* How a matrix's elements are kept. */
enum ckv_format { CKV_F32, CKV_F16, CKV_BF16 };

/* Kernels over rows of a matrix whose elements are f32, f16 or bf16. `matrix` points at the first wanted column of row
 * 0, rows are `stride` elements apart; row i of a call is rows[i], or i itself where `rows` is NULL. */
struct ckv_row_kernels {
  /* sums[i] = sum over c < width of matrix[row i][c] * vector[c], in CKV_LANES lanes. */
  void (*_Nonnull row_dots)(const void *_Nonnull matrix, size_t stride, const uint32_t *_Nullable rows, size_t count,
                            const float *_Nonnull vector, size_t width, float *_Nonnull sums);
  /* sums[i * CKV_GROUP + h] = the same over columns bounds[h] <= c < bounds[h + 1] of matrix and vector, whose lanes
   * begin at bounds[h]. CKV_GROUP + 1 bounds, ascending; a head may have no columns. */
  void (*_Nonnull head_dots)(const void *_Nonnull matrix, size_t stride, const uint32_t *_Nullable rows, size_t count,
                             const float *_Nonnull vector, const size_t *_Nonnull bounds, float *_Nonnull sums);
  /* sums[c] = scale * (sum over i of weights[i] * matrix[row i][c], fused, i ascending, from zero). */
  void (*_Nonnull row_sum)(const void *_Nonnull matrix, size_t stride, const uint32_t *_Nullable rows,
                           const float *_Nonnull weights, size_t count, float scale, size_t width,
                           float *_Nonnull sums);
  /* The same with scales[h] and weights[i * CKV_GROUP + h] for columns bounds[h] <= c < bounds[h + 1]. */
  void (*_Nonnull head_sums)(const void *_Nonnull matrix, size_t stride, const uint32_t *_Nullable rows,
                             const float *_Nonnull weights, size_t count, const float *_Nonnull scales,
                             const size_t *_Nonnull bounds, float *_Nonnull sums);
  /* target[i * target_stride + c] = matrix[row i][c], exactly. */
  void (*_Nonnull widen_rows)(const void *_Nonnull matrix, size_t stride, const uint32_t *_Nullable rows, size_t count,
                              size_t width, float *_Nonnull target, size_t target_stride);
  /* Column c of row i of the target = matrix[row i][c] in `format`, rounded to nearest, ties to even, where that holds
   * less; a NaN stays one. The target's rows are `target_stride` bytes apart and need the alignment of a byte. */
  void (*_Nonnull copy_rows)(const void *_Nonnull matrix, size_t stride, const uint32_t *_Nullable rows, size_t count,
                             size_t width, void *_Nonnull target, size_t target_stride, enum ckv_format format);
};

/* Every kernel of one level. */
struct ckv_kernels {
  struct ckv_row_kernels f32, f16, bf16;

  /* columns[o * column_stride + r] = (sum over k ascending of rows[r][k] * weight[o][k], from zero) + bias[o], for
   * r < row_count, o < outputs. Weights as ckv_pack_panels_f32 lays them; biases padded to whole panels. */
  void (*_Nonnull project_f32)(const float *_Nonnull rows, size_t row_stride, size_t row_count, size_t width,
                               const float *_Nonnull panels, const float *_Nonnull bias, size_t outputs,
                               float *_Nonnull columns, size_t column_stride);
  /* indices[r] = the lowest o with the greatest sum, sums as in project_f32; NaN never wins, and 0 if nothing is
   * above -infinity. Biases of padding outputs must be -infinity. */
  void (*_Nonnull route_f32)(const float *_Nonnull rows, size_t row_stride, size_t row_count, size_t width,
                             const float *_Nonnull panels, const float *_Nonnull bias, size_t outputs,
                             uint32_t *_Nonnull indices);

  /* scores[i] = scale * (start + sum over d ascending of coefficients[d] * columns[d * column_stride + i]), where
   * start is table[j * table_stride], j = indices[i] or i itself where `indices` is NULL, or scores[i] as it came where
   * `table` is NULL. Returns the greatest, NaN left aside, or -infinity. Places in the table below 2^31. */
  float (*_Nonnull scores_f32)(const float *_Nullable table, size_t table_stride, const uint32_t *_Nullable indices,
                               const float *_Nullable columns, size_t column_stride,
                               const float *_Nullable coefficients, size_t dimensions, float scale, size_t count,
                               float *_Nonnull scores);
  /* values[i] = e^(values[i] - shift), within 2 units in the last place. Returns the sum: runs of 1,024 in CKV_LANES
   * lanes, the runs added up in 64 bits. */
  double (*_Nonnull exp_sum_f32)(float *_Nonnull values, size_t count, float shift);
  /* Of `count` rows of CKV_GROUP values, for the heads h whose bit is set in `heads`: value = e^(scale * value - the
   * greatest scale * value of that head, NaN left aside). The others' values stay. */
  void (*_Nonnull head_exp_f32)(float *_Nonnull values, size_t count, float scale, unsigned heads);
  /* totals[h] = the sum of `count` rows' values of head h: runs of 256 rows, each 1,024 values in four groups of
   * CKV_LANES lanes in turn, (first + second) + (third + fourth), of which lanes (h + (h + 8)) + ((h + 4) + (h + 12))
   * are head h's; the runs added up in 64 bits. */
  void (*_Nonnull head_totals_f32)(const float *_Nonnull values, size_t count, double *_Nonnull totals);
  /* The sum of a[i] * b[i]: four groups of CKV_LANES lanes in turn, (first + second) + (third + fourth). */
  float (*_Nonnull dot_f32)(const float *_Nonnull a, const float *_Nonnull b, size_t count);
  /* target[c] += coefficients[d * coefficient_stride] * rows[d * row_stride + c], fused, d ascending, for d < count. */
  void (*_Nonnull add_rows_f32)(const float *_Nonnull rows, size_t row_stride, const float *_Nonnull coefficients,
                                size_t coefficient_stride, size_t count, size_t width, float *_Nonnull target);
  /* Writes the places and the values of what is not zero, in order; returns how many. `rows` and `weights` have room
   * for `count`. */
  size_t (*_Nonnull compact_f32)(const float *_Nonnull sums, size_t count, uint32_t *_Nonnull rows,
                                 float *_Nonnull weights);
  /* The same for rows of CKV_GROUP values: those with a value that is not zero. */
  size_t (*_Nonnull compact_heads_f32)(const float *_Nonnull sums, size_t count, uint32_t *_Nonnull rows,
                                       float *_Nonnull weights);
  /* Writes each of the numbers below `row_count` that is among `indices` once, ascending; returns how many. Every index
   * is below `row_count`; `marks` and `rows` have room for that many. */
  size_t (*_Nonnull used_rows_u32)(const uint32_t *_Nonnull indices, size_t count, size_t row_count,
                                   uint8_t *_Nonnull marks, uint32_t *_Nonnull rows);
  /* The first place that holds NaN or an infinity; `count` if none does. */
  size_t (*_Nonnull first_nonfinite_f32)(const float *_Nonnull values, size_t count);
  /* The greatest of `count` numbers; 0 of none. */
  uint32_t (*_Nonnull max_u32)(const uint32_t *_Nonnull values, size_t count);
};

enum ckv_level { CKV_SERIAL = 0, CKV_AVX2 = 1, CKV_AVX512 = 2 };

/* The kernels in use: the highest level the CPU has, or what the environment variable CKVDB_ISA (serial, avx2, avx512)
 * allows. Chosen on the first call, then the same pointer for ever. Callable from any thread. */
const struct ckv_kernels *_Nonnull ckv_kernels_active(void);

/* The kernels of one level, or NULL if this CPU or this build does not have it. */
const struct ckv_kernels *_Nullable ckv_kernels_at(enum ckv_level level);

/* The kernels for several queries at once of the level in use, and of one level. */
const struct ckv_block_kernels *_Nonnull ckv_block_kernels_active(void);
const struct ckv_block_kernels *_Nullable ckv_block_kernels_at(enum ckv_level level);

/* The same for hash codes. */
const struct ckv_hash_kernels *_Nonnull ckv_hash_kernels_active(void);
const struct ckv_hash_kernels *_Nullable ckv_hash_kernels_at(enum ckv_level level);

/* For tests: makes one level the active one, or with a level below zero the default again. False, and no change, if
 * the level is missing. */
_Bool ckv_kernels_force(int level);

/* Weights as torch.nn.Linear keeps them, [outputs, width], into panels: panel p holds, for k ascending, the weights k
 * of outputs 16 p ... 16 p + 15, zero past the last. `panels` holds ceil(outputs / 16) * 16 * width. */
void ckv_pack_panels_f32(const float *_Nonnull weights, size_t outputs, size_t width, float *_Nonnull panels);

/* sums[indices[i]] += weights[i], i ascending. */
void ckv_scatter_add_f32(float *_Nonnull sums, const uint32_t *_Nonnull indices, const float *_Nonnull weights,
                         size_t count);

/* target[rows[i]] = values[i]. */
void ckv_spread_f32(const float *_Nonnull values, const uint32_t *_Nonnull rows, size_t count,
                    float *_Nonnull target);

/* The same for rows of CKV_GROUP values. */
void ckv_spread_heads_f32(const float *_Nonnull values, const uint32_t *_Nonnull rows, size_t count,
                          float *_Nonnull target);

/* weights[i * CKV_GROUP + h] = own[h * own_stride + i] for h < own_count, table[j * CKV_GROUP + h] for the others,
 * where j = indices[i], or i itself where `indices` is NULL. `weights` may be `table` then. */
void ckv_gather_heads_f32(const float *_Nonnull table, const uint32_t *_Nullable indices, const float *_Nonnull own,
                          size_t own_stride, size_t own_count, size_t count, float *_Nonnull weights);

/* sums[rows[i] * CKV_GROUP + h] += the same, i ascending. */
void ckv_scatter_heads_f32(float *_Nonnull sums, const uint32_t *_Nonnull rows, const float *_Nonnull table,
                           const uint32_t *_Nullable indices, const float *_Nonnull own, size_t own_stride,
                           size_t own_count, size_t count);

/* Asks for a span's cache lines, for a reader some microseconds later. Nothing is read. */
void ckv_prefetch(const void *_Nonnull start, size_t byte_count);

/* Column d of row i of the target = columns[d * column_stride + i] in `format`, as copy_rows rounds. */
void ckv_copy_columns_f32(const float *_Nonnull columns, size_t column_stride, size_t dimensions, size_t count,
                          void *_Nonnull target, size_t target_stride, enum ckv_format format);

/* Unpacks values first ..< first + count of a column of unsigned integers, `bits` (0 to 31) each: value i takes bits
 * [i bits, (i + 1) bits) of the column, lowest bit of the lowest byte first. Returns the greatest; reads no byte
 * outside the column's `byte_count`, which must hold them all. */
uint32_t ckv_unpack_bits_u32(const uint8_t *_Nonnull bytes, size_t byte_count, unsigned bits, size_t first,
                             size_t count, uint32_t *_Nonnull values);

#endif
