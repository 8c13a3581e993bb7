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

/* Sums of a run: a head's numbers of row i are added at place i % 16, queries side by side. Where a query leaves rows
 * out, its places are turned, so that the next row's is the one that it has alone. */
struct run {
  float lanes[CKV_GROUP][16][CKV_BLOCK];
  size_t skipped[CKV_BLOCK];
};

/* Adds the run's sums of a query to its totals, and begins the next run. */
static void end_run(struct run *run, size_t parts, size_t query, double *totals) {
  for (size_t h = 0; h < parts; h++) {
    float lanes[16], rows[4];
    for (size_t r = 0; r < 16; r++) {
      float *lane = &run->lanes[h][(r + run->skipped[query]) % 16][query];
      lanes[r] = *lane;
      *lane = 0;
    }
    for (size_t r = 0; r < 4; r++) rows[r] = (lanes[r] + lanes[4 + r]) + (lanes[8 + r] + lanes[12 + r]);
    totals[h * CKV_BLOCK + query] += (rows[0] + rows[2]) + (rows[1] + rows[3]);
  }
}

static void skip_row(struct run *run, size_t parts, size_t query) {
  run->skipped[query]++;
  for (size_t h = 0; h < parts; h++) {
    const float last = run->lanes[h][15][query];
    for (size_t r = 15; r > 0; r--) run->lanes[h][r][query] = run->lanes[h][r - 1][query];
    run->lanes[h][0][query] = last;
  }
}

void ckv_compact_totals_f32(const float *sums, size_t parts, size_t part_stride, size_t count, unsigned queries,
                            double *totals) {
  const size_t length = EXP_SUM_RUN / CKV_GROUP; /* rows of a run */
  struct run run = {{{{0}}}, {0}};
  /* A bit per query whose run ends behind a row that has this place in a run of all rows. */
  unsigned due[EXP_SUM_RUN / CKV_GROUP] = {queries};
  for (size_t h = 0; h < parts; h++)
    for (size_t q = 0; q < CKV_BLOCK; q++) totals[h * CKV_BLOCK + q] = 0;
  for (size_t i = 0; i < count; i++) {
    uint32_t used[CKV_BLOCK] = {0}, is_left_out = 0;
    for (size_t h = 0; h < parts; h++) {
      const float *row = sums + h * part_stride + i * CKV_BLOCK;
      uint32_t bits[CKV_BLOCK];
      memcpy(bits, row, sizeof bits);
      for (size_t q = 0; q < CKV_BLOCK; q++) used[q] |= bits[q] & 0x7FFFFFFFu;
      for (size_t q = 0; q < CKV_BLOCK; q++) run.lanes[h][i % 16][q] += row[q];
    }
    for (size_t q = 0; q < CKV_BLOCK; q++) is_left_out |= used[q] == 0;
    for (size_t q = 0; is_left_out && q < CKV_BLOCK; q++) {
      if (used[q] != 0 || !(queries >> q & 1)) continue;
      due[run.skipped[q] % length] &= ~(1u << q);
      skip_row(&run, parts, q);
      due[run.skipped[q] % length] |= 1u << q;
    }
    for (unsigned ending = due[(i + 1) % length]; ending != 0; ending &= ending - 1)
      end_run(&run, parts, (size_t)__builtin_ctz(ending), totals);
  }
  for (size_t q = 0; q < CKV_BLOCK; q++)
    if (queries >> q & 1) end_run(&run, parts, q, totals);
}

void ckv_rank_u32(const uint32_t *rows, size_t used, uint32_t *places, const uint32_t *indices, size_t count,
                  uint32_t *ranks) {
  for (size_t i = 0; i < used; i++) places[rows[i]] = (uint32_t)i;
  for (size_t i = 0; i < count; i++) ranks[i] = places[indices[i]];
}
