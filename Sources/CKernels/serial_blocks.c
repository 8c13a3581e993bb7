/* The kernels for several queries at once in plain C: query by query what the kernels for one query do. */

#include "levels.h"

#include <math.h>
#include <string.h>

#pragma STDC FP_CONTRACT OFF

static inline size_t row_of(const uint32_t *rows, size_t index) { return rows ? rows[index] : index; }

/* Runs of rows whose numbers of one query are taken out of the block and put back. */
#define RUN 64

static inline void block_dots(const struct ckv_row_kernels *kernels, const unsigned char *matrix, size_t stride,
                              const uint32_t *rows, size_t count, const float *vectors, size_t vector_stride,
                              size_t queries, size_t width, float *sums, enum ckv_format format) {
  if (queries < CKV_BLOCK) memset(sums, 0, count * CKV_BLOCK * sizeof *sums);
  for (size_t first = 0; first < count; first += RUN) {
    const size_t run = count - first < RUN ? count - first : RUN;
    const unsigned char *start = rows ? matrix : matrix + first * stride * element_size(format);
    float dots[RUN];
    for (size_t q = 0; q < queries; q++) {
      kernels->row_dots(start, stride, rows ? rows + first : NULL, run, vectors + q * vector_stride, width, dots);
      for (size_t i = 0; i < run; i++) sums[(first + i) * CKV_BLOCK + q] = dots[i];
    }
  }
}

static inline float load(const struct ckv_row_kernels *kernels, const void *matrix, size_t place,
                         enum ckv_format format) {
  float value;
  kernels->widen_rows((const unsigned char *)matrix + place * element_size(format), 1, NULL, 1, 1, &value, 1);
  return value;
}

static inline void block_sums(const struct ckv_row_kernels *kernels, const void *matrix, size_t stride,
                              const uint32_t *rows, const float *weights, size_t count, const float *scales,
                              size_t queries, size_t width, float *sums, size_t sum_stride, enum ckv_format format) {
  for (size_t c = 0; c < width; c++) {
    float totals[CKV_BLOCK] = {0};
    for (size_t i = 0; i < count; i++) {
      const float value = load(kernels, matrix, row_of(rows, i) * stride + c, format);
      for (size_t q = 0; q < queries; q++) totals[q] = fmaf(weights[i * CKV_BLOCK + q], value, totals[q]);
    }
    for (size_t q = 0; q < queries; q++) sums[q * sum_stride + c] = scales[q] * totals[q];
  }
}

#define DEFINE(name, own)                                                                                             \
  BLOCK_DOTS(name, serial) {                                                                                          \
    block_dots(&ckv_kernels_serial.name, matrix, stride, rows, count, vectors, vector_stride, queries, width, sums,   \
               own);                                                                                                  \
  }                                                                                                                   \
  BLOCK_SUMS(name, serial) {                                                                                          \
    block_sums(&ckv_kernels_serial.name, matrix, stride, rows, weights, count, scales, queries, width, sums,          \
               sum_stride, own);                                                                                      \
  }

DEFINE(f32, CKV_F32)
DEFINE(f16, CKV_F16)
DEFINE(bf16, CKV_BF16)

static void ckv_block_scores_serial(const float *table, const uint32_t *indices, const float *columns,
                                    size_t column_stride, const float *coefficients, size_t dimensions, float scale,
                                    size_t count, float *scores, float *greatest) {
  for (size_t q = 0; q < CKV_BLOCK; q++) greatest[q] = -INFINITY;
  for (size_t i = 0; i < count; i++)
    for (size_t q = 0; q < CKV_BLOCK; q++) {
      float score = table ? table[row_of(indices, i) * CKV_BLOCK + q] : scores[i * CKV_BLOCK + q];
      for (size_t d = 0; d < dimensions; d++)
        score = fmaf(coefficients[d * CKV_BLOCK + q], columns[d * column_stride + i], score);
      score *= scale;
      scores[i * CKV_BLOCK + q] = score;
      greatest[q] = score > greatest[q] ? score : greatest[q];
    }
}

/* The CKV_LANES lanes of a query, added up. */
static float sum_of_lanes(float *lanes) {
  for (size_t half = CKV_LANES / 2; half > 0; half /= 2)
    for (size_t lane = 0; lane < half; lane++) lanes[lane] += lanes[lane + half];
  return lanes[0];
}

static void ckv_block_exp_sums_serial(float *values, size_t count, const float *shifts, double *totals) {
  for (size_t q = 0; q < CKV_BLOCK; q++) {
    totals[q] = 0;
    for (size_t first = 0; first < count; first += EXP_SUM_RUN) {
      const size_t end = count - first < EXP_SUM_RUN ? count : first + EXP_SUM_RUN;
      float lanes[CKV_LANES] = {0};
      for (size_t i = first; i < end; i++) {
        float *value = values + i * CKV_BLOCK + q;
        ckv_kernels_serial.exp_sum_f32(value, 1, shifts[q]);
        lanes[i % CKV_LANES] += *value;
      }
      totals[q] += sum_of_lanes(lanes);
    }
  }
}

static void ckv_block_totals_serial(const float *values, size_t count, double *totals) {
  const size_t run = EXP_SUM_RUN / CKV_GROUP;
  for (size_t q = 0; q < CKV_BLOCK; q++) {
    totals[q] = 0;
    for (size_t first = 0; first < count; first += run) {
      const size_t end = count - first < run ? count : first + run;
      float lanes[CKV_LANES] = {0}, rows[4];
      for (size_t i = first; i < end; i++) lanes[i % CKV_LANES] += values[i * CKV_BLOCK + q];
      for (size_t row = 0; row < 4; row++)
        rows[row] = (lanes[row] + lanes[4 + row]) + (lanes[8 + row] + lanes[12 + row]);
      totals[q] += (rows[0] + rows[2]) + (rows[1] + rows[3]);
    }
  }
}

static void ckv_block_column_sums_serial(const float *weights, const float *columns, size_t column_stride,
                                         size_t dimensions, size_t count, const float *last, float *sums) {
  for (size_t d = 0; d < dimensions; d++)
    for (size_t q = 0; q < CKV_BLOCK; q++) {
      float lanes[4 * CKV_LANES] = {0};
      size_t i = 0;
      for (; i < count; i++)
        lanes[i % 64] = fmaf(weights[i * CKV_BLOCK + q], columns[d * column_stride + i], lanes[i % 64]);
      if (last) {
        lanes[i % 64] = fmaf(weights[i * CKV_BLOCK + q], last[d * CKV_BLOCK + q], lanes[i % 64]);
        i++;
      }
      for (; i % 64; i++) lanes[i % 64] += 0.0f;
      for (size_t lane = 0; lane < CKV_LANES; lane++)
        lanes[lane] = (lanes[lane] + lanes[16 + lane]) + (lanes[32 + lane] + lanes[48 + lane]);
      sums[d * CKV_BLOCK + q] = sum_of_lanes(lanes);
    }
}

static void ckv_block_scatter_serial(float *sums, const uint32_t *rows, const float *table, const uint32_t *indices,
                                     size_t count) {
  for (size_t i = 0; i < count; i++)
    for (size_t q = 0; q < CKV_BLOCK; q++)
      sums[(size_t)rows[i] * CKV_BLOCK + q] += table[row_of(indices, i) * CKV_BLOCK + q];
}

static unsigned ckv_block_empty_rows_serial(const float *sums, size_t parts, size_t part_stride, size_t count) {
  unsigned empty = 0;
  for (size_t i = 0; i < count; i++)
    for (size_t q = 0; q < CKV_BLOCK; q++) {
      _Bool is_empty = 1;
      for (size_t p = 0; p < parts; p++) is_empty &= sums[p * part_stride + i * CKV_BLOCK + q] == 0;
      empty |= (unsigned)is_empty << q;
    }
  return empty;
}

BLOCK_TABLE(serial)

/* --- the same at every level --- */

void ckv_gather_blocks_f32(const float *table, const uint32_t *rows, size_t count, float *target) {
  for (size_t i = 0; i < count; i++)
    memcpy(target + i * CKV_BLOCK, table + (size_t)rows[i] * CKV_BLOCK, CKV_BLOCK * sizeof *target);
}

/* A row's numbers of a group of heads; every instruction set has such a register. */
typedef float group __attribute__((vector_size(CKV_GROUP * sizeof(float))));

void ckv_compact_totals_f32(const float *sums, size_t parts, size_t part_stride, size_t count, size_t query,
                            double *totals) {
  for (size_t h = 0; h < parts; h++) totals[h] = 0;
  for (size_t i = 0; i < count;) {
    /* Four groups of lanes hold the numbers of sixteen rows. */
    group lanes[16] = {{0}};
    for (size_t kept = 0; i < count && kept < EXP_SUM_RUN / CKV_GROUP; i++) {
      const float *row = sums + i * CKV_BLOCK + query;
      group numbers = {row[0], 0, 0, 0};
      _Bool is_kept = row[0] != 0;
      for (size_t h = 1; h < parts; h++) {
        numbers[h] = row[h * part_stride];
        is_kept |= numbers[h] != 0;
      }
      /* A row that is left out adds zeros to the next one's place. */
      lanes[kept % 16] += numbers;
      kept += is_kept;
    }
    group rows[4];
    for (int r = 0; r < 4; r++) rows[r] = (lanes[r] + lanes[4 + r]) + (lanes[8 + r] + lanes[12 + r]);
    const group all = (rows[0] + rows[2]) + (rows[1] + rows[3]);
    for (size_t h = 0; h < parts; h++) totals[h] += all[h];
  }
}

void ckv_rank_u32(const uint32_t *rows, size_t used, uint32_t *places, const uint32_t *indices, size_t count,
                  uint32_t *ranks) {
  for (size_t i = 0; i < used; i++) places[rows[i]] = (uint32_t)i;
  for (size_t i = 0; i < count; i++) ranks[i] = places[indices[i]];
}
