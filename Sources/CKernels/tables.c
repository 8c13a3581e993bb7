/* Moving numbers between positions and pool rows, the same at every level: one position at a time, since one row may be
 * named twice in a row. Heads of a group lie side by side and move together. */

#include "CKernels.h"

#include <string.h>

/* A row of a group's numbers; every instruction set has such a register. */
typedef float group __attribute__((vector_size(CKV_GROUP * sizeof(float))));

static inline group load_group(const float *values) {
  group row;
  memcpy(&row, values, sizeof row);
  return row;
}

static inline void store_group(float *values, group row) { memcpy(values, &row, sizeof row); }

/* A position's weights: the first `own_count` heads have their own, the others take the table's. */
static inline __attribute__((always_inline)) group weights_of(const float *table, const uint32_t *indices,
                                                              const float *own, size_t own_stride,
                                                              const size_t own_count, size_t i) {
  const size_t row = indices ? indices[i] : i;
  group weights = load_group(table + row * CKV_GROUP);
#pragma clang loop unroll(full)
  for (size_t h = 0; h < own_count; h++) weights[h] = own[h * own_stride + i];
  return weights;
}

/* Runs `body` with `heads` a constant. */
#define WITH_OWN_COUNT(body)                                                                                          \
  switch (own_count) {                                                                                                \
  case 0: { const size_t heads = 0; body } break;                                                                     \
  case 1: { const size_t heads = 1; body } break;                                                                     \
  case 2: { const size_t heads = 2; body } break;                                                                     \
  case 3: { const size_t heads = 3; body } break;                                                                     \
  default: { const size_t heads = 4; body } break;                                                                    \
  }

void ckv_gather_heads_f32(const float *table, const uint32_t *indices, const float *own, size_t own_stride,
                          size_t own_count, size_t count, float *weights) {
  WITH_OWN_COUNT(for (size_t i = 0; i < count; i++)
                   store_group(weights + i * CKV_GROUP, weights_of(table, indices, own, own_stride, heads, i));)
}

void ckv_scatter_heads_f32(float *sums, const uint32_t *rows, const float *table, const uint32_t *indices,
                           const float *own, size_t own_stride, size_t own_count, size_t count) {
  WITH_OWN_COUNT(for (size_t i = 0; i < count; i++) {
    float *sum = sums + (size_t)rows[i] * CKV_GROUP;
    store_group(sum, load_group(sum) + weights_of(table, indices, own, own_stride, heads, i));
  })
}

void ckv_scatter_add_f32(float *sums, const uint32_t *indices, const float *weights, size_t count) {
  for (size_t i = 0; i < count; i++) sums[indices[i]] += weights[i];
}

void ckv_spread_f32(const float *values, const uint32_t *rows, size_t count, float *target) {
  for (size_t i = 0; i < count; i++) target[rows[i]] = values[i];
}

void ckv_spread_heads_f32(const float *values, const uint32_t *rows, size_t count, float *target) {
  for (size_t i = 0; i < count; i++)
    store_group(target + (size_t)rows[i] * CKV_GROUP, load_group(values + i * CKV_GROUP));
}

void ckv_prefetch(const void *start, size_t byte_count) {
  for (size_t byte = 0; byte < byte_count; byte += 64) __builtin_prefetch((const char *)start + byte, 0, 2);
}

#define COLUMN_RUN 64 /* positions whose numbers are rounded together before they go to their rows */

void ckv_copy_columns_f32(const float *columns, size_t column_stride, size_t dimensions, size_t count, void *target,
                          size_t target_stride, enum ckv_format format) {
  const struct ckv_kernels *kernels = ckv_kernels_active();
  const size_t size = format == CKV_F32 ? 4 : 2;
  unsigned char run[COLUMN_RUN * 4];
  for (size_t first = 0; first < count; first += COLUMN_RUN) {
    const size_t length = count - first < COLUMN_RUN ? count - first : COLUMN_RUN;
    unsigned char *rows = (unsigned char *)target + first * target_stride;
    for (size_t d = 0; d < dimensions; d++) {
      kernels->f32.copy_rows(columns + d * column_stride + first, 0, NULL, 1, length, run, 0, format);
      if (size == 2) {
        for (size_t i = 0; i < length; i++) memcpy(rows + i * target_stride + d * 2, run + i * 2, 2);
      } else {
        for (size_t i = 0; i < length; i++) memcpy(rows + i * target_stride + d * 4, run + i * 4, 4);
      }
    }
  }
}
