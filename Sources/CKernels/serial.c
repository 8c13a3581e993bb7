/* The kernels in plain C: what they mean, and what runs where no other level does. The lanes are spelt out as arrays,
 * since the other levels must return the same bits. */

#include "levels.h"

#include <math.h>
#include <string.h>

#pragma STDC FP_CONTRACT OFF

static float float_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static float float_of_f16(uint16_t half) {
  const uint32_t sign = (uint32_t)(half & 0x8000) << 16;
  const uint32_t magnitude = half & 0x7FFF;
  if (magnitude > 0x7C00) return float_of_bits(sign | 0x7FC00000u | (magnitude & 0x03FF) << 13);
  if (magnitude == 0x7C00) return float_of_bits(sign | 0x7F800000u);
  if (magnitude < 0x0400) return sign ? -(float)magnitude * 0x1p-24f : (float)magnitude * 0x1p-24f;
  return float_of_bits(sign | ((magnitude << 13) + 0x38000000u));
}

static uint32_t bits_of_float(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static uint16_t f16_of_float(float value) {
  const uint32_t bits = bits_of_float(value), magnitude = bits & 0x7FFFFFFF;
  const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
  if (magnitude > 0x7F800000) return (uint16_t)(sign | 0x7E00 | (magnitude >> 13 & 0x03FF));
  if (magnitude >= 0x47800000) return sign | 0x7C00;
  /* Below the smallest normal number the sum with 0.5 has its last bit where theirs is, and rounds there. */
  if (magnitude < 0x38800000) return (uint16_t)(sign | (bits_of_float(float_of_bits(magnitude) + 0.5f) - 0x3F000000));
  return (uint16_t)(sign | (magnitude + 0x0FFF + (magnitude >> 13 & 1) - 0x38000000) >> 13);
}

static uint16_t bf16_of_float(float value) {
  const uint32_t bits = bits_of_float(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return (uint16_t)(bits >> 16 | 0x0040);
  return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static float load(const unsigned char *matrix, size_t place, enum ckv_format format) {
  if (format == CKV_F32) {
    float value;
    memcpy(&value, matrix + place * 4, sizeof value);
    return value;
  }
  uint16_t half;
  memcpy(&half, matrix + place * 2, sizeof half);
  return format == CKV_F16 ? float_of_f16(half) : float_of_bits((uint32_t)half << 16);
}

static float sum_of_lanes(float *lanes) {
  for (size_t half = CKV_LANES / 2; half > 0; half /= 2)
    for (size_t lane = 0; lane < half; lane++) lanes[lane] += lanes[lane + half];
  return lanes[0];
}

/* --- rows of pools --- */

static inline size_t row_of(const uint32_t *rows, size_t index) { return rows ? rows[index] : index; }

static inline void row_dots(const void *matrix, size_t stride, const uint32_t *rows, size_t count, const float *vector,
                            size_t width, float *sums, enum ckv_format format) {
  for (size_t i = 0; i < count; i++) {
    const size_t start = row_of(rows, i) * stride;
    float lanes[CKV_LANES] = {0};
    for (size_t c = 0; c < width; c += CKV_LANES)
      for (size_t lane = 0; lane < CKV_LANES; lane++) {
        const size_t column = c + lane;
        lanes[lane] = column < width ? fmaf(load(matrix, start + column, format), vector[column], lanes[lane])
                                     : lanes[lane] + 0.0f;
      }
    sums[i] = sum_of_lanes(lanes);
  }
}

static inline void head_dots(const void *matrix, size_t stride, const uint32_t *rows, size_t count,
                             const float *vector, const size_t *bounds, float *sums, enum ckv_format format) {
  for (size_t i = 0; i < count; i++) {
    const uint32_t row = (uint32_t)row_of(rows, i);
    for (size_t h = 0; h < CKV_GROUP; h++) {
      const size_t width = bounds[h + 1] - bounds[h];
      const unsigned char *column = (const unsigned char *)matrix + bounds[h] * (format == CKV_F32 ? 4 : 2);
      row_dots(column, stride, &row, 1, vector + bounds[h], width, sums + i * CKV_GROUP + h, format);
    }
  }
}

static inline void column_range_sums(const void *matrix, size_t stride, const uint32_t *rows, const float *weights,
                                     size_t weight_stride, size_t count, float scale, size_t column, size_t end,
                                     float *sums, enum ckv_format format) {
  for (size_t first = column; first < end; first += CKV_LANES) {
    const size_t columns = end - first < CKV_LANES ? end - first : CKV_LANES;
    float lanes[CKV_LANES] = {0};
    for (size_t i = 0; i < count; i++) {
      const size_t start = row_of(rows, i) * stride + first;
      for (size_t c = 0; c < columns; c++)
        lanes[c] = fmaf(weights[i * weight_stride], load(matrix, start + c, format), lanes[c]);
    }
    for (size_t c = 0; c < columns; c++) sums[first + c] = scale * lanes[c];
  }
}

static inline void widen_rows(const void *matrix, size_t stride, const uint32_t *rows, size_t count, size_t width,
                              float *target, size_t target_stride, enum ckv_format format) {
  for (size_t i = 0; i < count; i++) {
    const size_t start = row_of(rows, i) * stride;
    for (size_t c = 0; c < width; c++) target[i * target_stride + c] = load(matrix, start + c, format);
  }
}

/* Rows whose format stays. */
static inline void copy_same(const void *matrix, size_t stride, const uint32_t *rows, size_t count, size_t width,
                             unsigned char *target, size_t target_stride, enum ckv_format format) {
  const size_t size = element_size(format);
  for (size_t i = 0; i < count; i++)
    memcpy(target + i * target_stride, (const unsigned char *)matrix + row_of(rows, i) * stride * size, width * size);
}

static inline void copy_rows(const void *matrix, size_t stride, const uint32_t *rows, size_t count, size_t width,
                             unsigned char *target, size_t target_stride, enum ckv_format source,
                             enum ckv_format format) {
  for (size_t i = 0; i < count; i++)
    for (size_t c = 0; c < width; c++) {
      const float value = load(matrix, row_of(rows, i) * stride + c, source);
      const uint16_t half = format == CKV_F16 ? f16_of_float(value) : bf16_of_float(value);
      unsigned char *place = target + i * target_stride + c * element_size(format);
      if (format == CKV_F32) memcpy(place, &value, sizeof value);
      else memcpy(place, &half, sizeof half);
    }
}

#define DEFINE(name, own)                                                                                             \
  ROW_DOTS(name, serial) { row_dots(matrix, stride, rows, count, vector, width, sums, own); }                         \
  HEAD_DOTS(name, serial) { head_dots(matrix, stride, rows, count, vector, bounds, sums, own); }                      \
  ROW_SUM(name, serial) {                                                                                             \
    column_range_sums(matrix, stride, rows, weights, 1, count, scale, 0, width, sums, own);                           \
  }                                                                                                                   \
  HEAD_SUMS(name, serial) {                                                                                           \
    for (size_t h = 0; h < CKV_GROUP; h++)                                                                            \
      column_range_sums(matrix, stride, rows, weights + h, CKV_GROUP, count, scales[h], bounds[h], bounds[h + 1],     \
                        sums, own);                                                                                   \
  }                                                                                                                   \
  WIDEN_ROWS(name, serial) { widen_rows(matrix, stride, rows, count, width, target, target_stride, own); }            \
  COPY_ROWS(name, serial) {                                                                                           \
    if (format == own)                                                                                                \
      copy_same(matrix, stride, rows, count, width, target, target_stride, own);                                      \
    else if (format == CKV_F32)                                                                                       \
      copy_rows(matrix, stride, rows, count, width, target, target_stride, own, CKV_F32);                             \
    else if (format == CKV_F16)                                                                                       \
      copy_rows(matrix, stride, rows, count, width, target, target_stride, own, CKV_F16);                             \
    else                                                                                                              \
      copy_rows(matrix, stride, rows, count, width, target, target_stride, own, CKV_BF16);                            \
  }

DEFINE(f32, CKV_F32)
DEFINE(f16, CKV_F16)
DEFINE(bf16, CKV_BF16)

/* --- encoder --- */

static void panel_sums(const float *row, size_t width, const float *panel, const float *bias, float *sums) {
  memset(sums, 0, CKV_PANEL * sizeof *sums);
  for (size_t k = 0; k < width; k++)
    for (size_t lane = 0; lane < CKV_PANEL; lane++) sums[lane] = fmaf(row[k], panel[k * CKV_PANEL + lane], sums[lane]);
  for (size_t lane = 0; lane < CKV_PANEL; lane++) sums[lane] += bias[lane];
}

static void ckv_project_f32_serial(const float *rows, size_t row_stride, size_t row_count, size_t width,
                                   const float *panels, const float *bias, size_t outputs, float *columns,
                                   size_t column_stride) {
  for (size_t r = 0; r < row_count; r++)
    for (size_t first = 0; first < outputs; first += CKV_PANEL) {
      float sums[CKV_PANEL];
      panel_sums(rows + r * row_stride, width, panels + first * width, bias + first, sums);
      for (size_t lane = 0; lane < CKV_PANEL && first + lane < outputs; lane++)
        columns[(first + lane) * column_stride + r] = sums[lane];
    }
}

static void ckv_route_f32_serial(const float *rows, size_t row_stride, size_t row_count, size_t width,
                                 const float *panels, const float *bias, size_t outputs, uint32_t *indices) {
  for (size_t r = 0; r < row_count; r++) {
    float best = -INFINITY;
    uint32_t index = 0;
    for (size_t first = 0; first < outputs; first += CKV_PANEL) {
      float sums[CKV_PANEL];
      panel_sums(rows + r * row_stride, width, panels + first * width, bias + first, sums);
      for (size_t lane = 0; lane < CKV_PANEL; lane++)
        if (sums[lane] > best) {
          best = sums[lane];
          index = (uint32_t)(first + lane);
        }
    }
    indices[r] = index;
  }
}

/* --- attention --- */

static float ckv_scores_f32_serial(const float *table, size_t table_stride, const uint32_t *indices,
                                   const float *columns, size_t column_stride, const float *coefficients,
                                   size_t dimensions, float scale, size_t count, float *scores) {
  float greatest = -INFINITY;
  for (size_t i = 0; i < count; i++) {
    float score = table ? table[row_of(indices, i) * table_stride] : scores[i];
    for (size_t d = 0; d < dimensions; d++) score = fmaf(coefficients[d], columns[d * column_stride + i], score);
    scores[i] = scale * score;
    greatest = scores[i] > greatest ? scores[i] : greatest;
  }
  return greatest;
}

static float exponential(float x) {
  x = x < EXP_LOW ? EXP_LOW : x;
  x = x > EXP_HIGH ? EXP_HIGH : x;
  const float n = fmaf(x, EXP_LOG2E, EXP_ROUND) - EXP_ROUND;
  const float r = fmaf(n, -EXP_LN2_LOW, fmaf(n, -EXP_LN2_HIGH, x));
  const float g = fmaf(fmaf(fmaf(fmaf(EXP_G4, r, EXP_G3), r, EXP_G2), r, EXP_G1), r, EXP_G0);
  const float mantissa = fmaf(g, r * r, r) + 1.0f;
  return isnan(x) ? x : ldexpf(mantissa, (int)n);
}

static double ckv_exp_sum_f32_serial(float *values, size_t count, float shift) {
  double total = 0;
  for (size_t first = 0; first < count; first += EXP_SUM_RUN) {
    float lanes[CKV_LANES] = {0};
    for (size_t i = first; i < count && i < first + EXP_SUM_RUN; i++) {
      values[i] = exponential(values[i] - shift);
      lanes[i % CKV_LANES] += values[i];
    }
    total += sum_of_lanes(lanes);
  }
  return total;
}

static void ckv_head_exp_f32_serial(float *values, size_t count, float scale, unsigned heads) {
  for (size_t h = 0; h < CKV_GROUP; h++) {
    if (!(heads >> h & 1)) continue;
    float greatest = -INFINITY;
    for (size_t i = h; i < count * CKV_GROUP; i += CKV_GROUP)
      greatest = scale * values[i] > greatest ? scale * values[i] : greatest;
    for (size_t i = h; i < count * CKV_GROUP; i += CKV_GROUP) values[i] = exponential(scale * values[i] - greatest);
  }
}

static void ckv_head_totals_f32_serial(const float *values, size_t count, double *totals) {
  for (size_t h = 0; h < CKV_GROUP; h++) totals[h] = 0;
  for (size_t first = 0; first < count * CKV_GROUP; first += EXP_SUM_RUN) {
    float groups[4][CKV_LANES] = {{0}};
    for (size_t i = first; i < count * CKV_GROUP && i < first + EXP_SUM_RUN; i++)
      groups[i / CKV_LANES % 4][i % CKV_LANES] += values[i];
    for (size_t lane = 0; lane < CKV_LANES; lane++)
      groups[0][lane] = (groups[0][lane] + groups[1][lane]) + (groups[2][lane] + groups[3][lane]);
    for (size_t h = 0; h < CKV_GROUP; h++)
      totals[h] += (groups[0][h] + groups[0][h + 8]) + (groups[0][h + 4] + groups[0][h + 12]);
  }
}

static float ckv_dot_f32_serial(const float *a, const float *b, size_t count) {
  float groups[4][CKV_LANES] = {{0}};
  for (size_t first = 0; first < count; first += 4 * CKV_LANES)
    for (size_t place = 0; place < 4 * CKV_LANES; place++) {
      float *sum = &groups[place / CKV_LANES][place % CKV_LANES];
      const size_t i = first + place;
      *sum = i < count ? fmaf(a[i], b[i], *sum) : *sum + 0.0f;
    }
  for (size_t lane = 0; lane < CKV_LANES; lane++)
    groups[0][lane] = (groups[0][lane] + groups[1][lane]) + (groups[2][lane] + groups[3][lane]);
  return sum_of_lanes(groups[0]);
}

static void ckv_add_rows_f32_serial(const float *rows, size_t row_stride, const float *coefficients,
                                    size_t coefficient_stride, size_t count, size_t width, float *target) {
  for (size_t c = 0; c < width; c++)
    for (size_t d = 0; d < count; d++)
      target[c] = fmaf(coefficients[d * coefficient_stride], rows[d * row_stride + c], target[c]);
}

static size_t ckv_compact_f32_serial(const float *sums, size_t count, uint32_t *rows, float *weights) {
  size_t found = 0;
  for (size_t i = 0; i < count; i++) {
    rows[found] = (uint32_t)i;
    weights[found] = sums[i];
    found += sums[i] != 0;
  }
  return found;
}

static size_t ckv_compact_heads_f32_serial(const float *sums, size_t count, uint32_t *rows, float *weights) {
  size_t found = 0;
  for (size_t i = 0; i < count; i++) {
    const float *row = sums + i * CKV_GROUP;
    if (row[0] == 0 && row[1] == 0 && row[2] == 0 && row[3] == 0) continue;
    rows[found] = (uint32_t)i;
    memcpy(weights + found * CKV_GROUP, row, CKV_GROUP * sizeof *row);
    found++;
  }
  return found;
}

static size_t ckv_used_rows_u32_serial(const uint32_t *indices, size_t count, size_t row_count, uint8_t *marks,
                                       uint32_t *rows) {
  memset(marks, 0, row_count);
  for (size_t i = 0; i < count; i++) marks[indices[i]] = 1;
  size_t found = 0;
  for (size_t i = 0; i < row_count; i++)
    if (marks[i]) rows[found++] = (uint32_t)i;
  return found;
}

static size_t ckv_first_nonfinite_f32_serial(const float *values, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (!isfinite(values[i])) return i;
  return count;
}

static uint32_t ckv_max_u32_serial(const uint32_t *values, size_t count) {
  uint32_t greatest = 0;
  for (size_t i = 0; i < count; i++) greatest = values[i] > greatest ? values[i] : greatest;
  return greatest;
}

const struct ckv_kernels ckv_kernels_serial = {
    .f32 = ROW_TABLE(f32, serial),
    .f16 = ROW_TABLE(f16, serial),
    .bf16 = ROW_TABLE(bf16, serial),
    .project_f32 = ckv_project_f32_serial,
    .route_f32 = ckv_route_f32_serial,
    .scores_f32 = ckv_scores_f32_serial,
    .exp_sum_f32 = ckv_exp_sum_f32_serial,
    .head_exp_f32 = ckv_head_exp_f32_serial,
    .head_totals_f32 = ckv_head_totals_f32_serial,
    .dot_f32 = ckv_dot_f32_serial,
    .add_rows_f32 = ckv_add_rows_f32_serial,
    .compact_f32 = ckv_compact_f32_serial,
    .compact_heads_f32 = ckv_compact_heads_f32_serial,
    .used_rows_u32 = ckv_used_rows_u32_serial,
    .first_nonfinite_f32 = ckv_first_nonfinite_f32_serial,
    .max_u32 = ckv_max_u32_serial,
};

/* --- the same at every level --- */

void ckv_pack_panels_f32(const float *weights, size_t outputs, size_t width, float *panels) {
  for (size_t first = 0; first < outputs; first += CKV_PANEL) {
    float *panel = panels + first * width;
    for (size_t lane = 0; lane < CKV_PANEL; lane++)
      for (size_t k = 0; k < width; k++)
        panel[k * CKV_PANEL + lane] = first + lane < outputs ? weights[(first + lane) * width + k] : 0.0f;
  }
}
