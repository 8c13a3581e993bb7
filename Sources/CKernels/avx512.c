/* The kernels over pool rows and of attention on AVX-512 (x86-64-v4: F, BW, CD, DQ, VL). Same bits as serial.c, by the
 * same order of operations: one vector holds the CKV_LANES lanes. Tails are masked; nothing past a span is touched. */

#include "levels.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>

#pragma STDC FP_CONTRACT OFF

#define INLINE static inline __attribute__((always_inline)) AVX512

/* Lanes below `count`, all of them from 16 on. */
INLINE __mmask16 mask_below(size_t count) { return count >= 16 ? 0xFFFF : (__mmask16)((1u << count) - 1); }

/* 16 elements from `place` on as f32; lanes outside the mask are zero and not read. */
INLINE __m512 load(const unsigned char *matrix, size_t place, __mmask16 mask, enum ckv_format format) {
  if (format == CKV_F32) return _mm512_maskz_loadu_ps(mask, matrix + place * 4);
  const __m256i half = _mm256_maskz_loadu_epi16(mask, matrix + place * 2);
  if (format == CKV_F16) return _mm512_cvtph_ps(half);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

INLINE __m128 quarter_sums(__m512 lanes) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(lanes), _mm512_extractf32x8_ps(lanes, 1));
  return _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
}

INLINE float sum_of_lanes(__m512 lanes) {
  const __m128 four = quarter_sums(lanes);
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* sum_of_lanes of four vectors at once. */
INLINE __m128 sums_of_four(const __m512 *lanes) {
  __m128 a = quarter_sums(lanes[0]), b = quarter_sums(lanes[1]), c = quarter_sums(lanes[2]), d = quarter_sums(lanes[3]);
  _MM_TRANSPOSE4_PS(a, b, c, d);
  return _mm_add_ps(_mm_add_ps(a, c), _mm_add_ps(b, d));
}

/* --- rows of pools --- */

INLINE size_t row_of(const uint32_t *rows, size_t index) { return rows ? rows[index] : index; }

/* `group` rows from `first` on, one vector of lanes each. */
INLINE void row_lanes(const unsigned char *matrix, size_t stride, const uint32_t *rows, size_t first, const int group,
                      const float *vector, size_t width, __m512 *lanes, enum ckv_format format) {
  size_t starts[8];
  UNROLL for (int g = 0; g < group; g++) {
    starts[g] = row_of(rows, first + g) * stride;
    lanes[g] = _mm512_setzero_ps();
  }
  size_t c = 0;
  for (; c + 16 <= width; c += 16) {
    const __m512 v = _mm512_loadu_ps(vector + c);
    UNROLL for (int g = 0; g < group; g++)
      lanes[g] = _mm512_fmadd_ps(load(matrix, starts[g] + c, 0xFFFF, format), v, lanes[g]);
  }
  if (c < width) {
    const __mmask16 mask = mask_below(width - c);
    const __m512 v = _mm512_maskz_loadu_ps(mask, vector + c);
    UNROLL for (int g = 0; g < group; g++)
      lanes[g] = _mm512_fmadd_ps(load(matrix, starts[g] + c, mask, format), v, lanes[g]);
  }
}

INLINE void row_dots(const void *matrix, size_t stride, const uint32_t *rows, size_t count, const float *vector,
                     size_t width, float *sums, enum ckv_format format) {
  size_t i = 0;
  __m512 lanes[8];
  for (; i + 8 <= count; i += 8) {
    row_lanes(matrix, stride, rows, i, 8, vector, width, lanes, format);
    _mm_storeu_ps(sums + i, sums_of_four(lanes));
    _mm_storeu_ps(sums + i + 4, sums_of_four(lanes + 4));
  }
  for (; i < count; i++) {
    row_lanes(matrix, stride, rows, i, 1, vector, width, lanes, format);
    sums[i] = sum_of_lanes(lanes[0]);
  }
}

/* `vectors` x 16 columns from `column` on, the last vector under `mask`. */
INLINE void column_sums(const unsigned char *matrix, size_t stride, const uint32_t *rows, const float *weights,
                        size_t count, float scale, size_t column, const int vectors, __mmask16 mask, float *sums,
                        enum ckv_format format) {
  __m512 even[8], odd[8];
  UNROLL for (int v = 0; v < vectors; v++) even[v] = odd[v] = _mm512_setzero_ps();
  for (size_t i = 0; i < count; i += 2) {
    const size_t start = row_of(rows, i) * stride + column;
    const __m512 weight = _mm512_set1_ps(weights[i]);
    UNROLL for (int v = 0; v < vectors; v++)
      even[v] = _mm512_fmadd_ps(weight, load(matrix, start + v * 16, v == vectors - 1 ? mask : 0xFFFF, format),
                                even[v]);
    if (i + 1 == count) break;
    const size_t next = row_of(rows, i + 1) * stride + column;
    const __m512 second = _mm512_set1_ps(weights[i + 1]);
    UNROLL for (int v = 0; v < vectors; v++)
      odd[v] = _mm512_fmadd_ps(second, load(matrix, next + v * 16, v == vectors - 1 ? mask : 0xFFFF, format), odd[v]);
  }
  UNROLL for (int v = 0; v < vectors; v++)
    _mm512_mask_storeu_ps(sums + column + v * 16, v == vectors - 1 ? mask : 0xFFFF,
                          _mm512_mul_ps(_mm512_set1_ps(scale), _mm512_add_ps(even[v], odd[v])));
}

INLINE void row_sum(const void *matrix, size_t stride, const uint32_t *rows, const float *weights, size_t count,
                    float scale, size_t width, float *sums, enum ckv_format format) {
  for (size_t column = 0; column < width; column += 128) {
    const size_t columns = width - column < 128 ? width - column : 128;
    const __mmask16 mask = mask_below(columns - (columns - 1) / 16 * 16);
    switch ((columns + 15) / 16) {
#define CASE(vectors)                                                                                        \
  case vectors:                                                                                              \
    column_sums(matrix, stride, rows, weights, count, scale, column, vectors, mask, sums, format);           \
    break;
      CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)
#undef CASE
    }
  }
}

INLINE void widen_rows(const void *matrix, size_t stride, const uint32_t *rows, size_t count, size_t width,
                       float *target, size_t target_stride, enum ckv_format format) {
  for (size_t i = 0; i < count; i++) {
    const size_t start = row_of(rows, i) * stride;
    for (size_t c = 0; c < width; c += 16) {
      const __mmask16 mask = mask_below(width - c);
      _mm512_mask_storeu_ps(target + i * target_stride + c, mask, load(matrix, start + c, mask, format));
    }
  }
}

#define ROW_KERNELS(name, format)                                                                                     \
  AVX512 static void ckv_row_dots_##name##_avx512(const void *matrix, size_t stride, const uint32_t *rows,            \
                                                  size_t count, const float *vector, size_t width, float *sums) {     \
    row_dots(matrix, stride, rows, count, vector, width, sums, format);                                               \
  }                                                                                                                   \
  AVX512 static void ckv_row_sum_##name##_avx512(const void *matrix, size_t stride, const uint32_t *rows,             \
                                                 const float *weights, size_t count, float scale, size_t width,       \
                                                 float *sums) {                                                       \
    row_sum(matrix, stride, rows, weights, count, scale, width, sums, format);                                        \
  }                                                                                                                   \
  AVX512 static void ckv_widen_rows_##name##_avx512(const void *matrix, size_t stride, const uint32_t *rows,          \
                                                    size_t count, size_t width, float *target,                        \
                                                    size_t target_stride) {                                           \
    widen_rows(matrix, stride, rows, count, width, target, target_stride, format);                                    \
  }

ROW_KERNELS(f32, CKV_F32)
ROW_KERNELS(f16, CKV_F16)
ROW_KERNELS(bf16, CKV_BF16)

/* --- attention --- */

AVX512 static float ckv_scores_f32_avx512(const float *table, const uint32_t *indices, const float *columns,
                                          size_t column_stride, const float *coefficients, size_t dimensions,
                                          float scale, size_t count, float *scores) {
  const __m512 lowest = _mm512_set1_ps(-INFINITY);
  __m512 greatest = lowest;
  for (size_t i = 0; i < count; i += 16) {
    const __mmask16 mask = mask_below(count - i);
    __m512 score = table ? _mm512_mask_i32gather_ps(_mm512_setzero_ps(), mask,
                                                    _mm512_maskz_loadu_epi32(mask, indices + i), table, 4)
                         : _mm512_maskz_loadu_ps(mask, scores + i);
    for (size_t d = 0; d < dimensions; d++)
      score = _mm512_fmadd_ps(_mm512_set1_ps(coefficients[d]),
                              _mm512_maskz_loadu_ps(mask, columns + d * column_stride + i), score);
    score = _mm512_mul_ps(_mm512_set1_ps(scale), score);
    _mm512_mask_storeu_ps(scores + i, mask, score);
    greatest = _mm512_max_ps(_mm512_mask_mov_ps(lowest, mask, score), greatest);
  }
  return _mm512_reduce_max_ps(greatest);
}

INLINE __m512 exponential(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(EXP_LOW), x); /* the second operand, if either is NaN */
  x = _mm512_min_ps(_mm512_set1_ps(EXP_HIGH), x);
  const __m512 round = _mm512_set1_ps(EXP_ROUND);
  const __m512 n = _mm512_sub_ps(_mm512_fmadd_ps(x, _mm512_set1_ps(EXP_LOG2E), round), round);
  __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-EXP_LN2_HIGH), x);
  r = _mm512_fmadd_ps(n, _mm512_set1_ps(-EXP_LN2_LOW), r);
  __m512 g = _mm512_fmadd_ps(_mm512_set1_ps(EXP_G4), r, _mm512_set1_ps(EXP_G3));
  g = _mm512_fmadd_ps(g, r, _mm512_set1_ps(EXP_G2));
  g = _mm512_fmadd_ps(g, r, _mm512_set1_ps(EXP_G1));
  g = _mm512_fmadd_ps(g, r, _mm512_set1_ps(EXP_G0));
  const __m512 mantissa = _mm512_add_ps(_mm512_fmadd_ps(g, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(mantissa, n);
}

AVX512 static double ckv_exp_sum_f32_avx512(float *values, size_t count, float shift) {
  double total = 0;
  for (size_t first = 0; first < count; first += EXP_SUM_RUN) {
    const size_t end = count - first < EXP_SUM_RUN ? count : first + EXP_SUM_RUN;
    __m512 lanes = _mm512_setzero_ps();
    for (size_t i = first; i < end; i += 16) {
      const __mmask16 mask = mask_below(end - i);
      const __m512 x = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, values + i), _mm512_set1_ps(shift));
      const __m512 e = exponential(x);
      _mm512_mask_storeu_ps(values + i, mask, e);
      lanes = _mm512_mask_add_ps(lanes, mask, lanes, e);
    }
    total += sum_of_lanes(lanes);
  }
  return total;
}

AVX512 static float ckv_dot_f32_avx512(const float *a, const float *b, size_t count) {
  __m512 groups[4];
  UNROLL for (int g = 0; g < 4; g++) groups[g] = _mm512_setzero_ps();
  size_t i = 0;
  for (; i + 64 <= count; i += 64)
    UNROLL for (int g = 0; g < 4; g++)
      groups[g] = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + g * 16), _mm512_loadu_ps(b + i + g * 16), groups[g]);
  if (i < count)
    UNROLL for (int g = 0; g < 4; g++) {
      const size_t start = i + (size_t)g * 16;
      const __mmask16 mask = start < count ? mask_below(count - start) : 0;
      groups[g] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, a + start), _mm512_maskz_loadu_ps(mask, b + start),
                                  groups[g]);
    }
  return sum_of_lanes(_mm512_add_ps(_mm512_add_ps(groups[0], groups[1]), _mm512_add_ps(groups[2], groups[3])));
}

AVX512 static void ckv_add_rows_f32_avx512(const float *rows, size_t row_stride, const float *coefficients,
                                           size_t coefficient_stride, size_t count, size_t width, float *target) {
  for (size_t c = 0; c < width; c += 16) {
    const __mmask16 mask = mask_below(width - c);
    __m512 sum = _mm512_maskz_loadu_ps(mask, target + c);
    for (size_t d = 0; d < count; d++)
      sum = _mm512_fmadd_ps(_mm512_set1_ps(coefficients[d * coefficient_stride]),
                            _mm512_maskz_loadu_ps(mask, rows + d * row_stride + c), sum);
    _mm512_mask_storeu_ps(target + c, mask, sum);
  }
}

AVX512 static size_t ckv_compact_f32_avx512(const float *sums, size_t count, uint32_t *rows, float *weights) {
  __m512i places = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  size_t found = 0;
  for (size_t i = 0; i < count; i += 16) {
    const __mmask16 mask = mask_below(count - i);
    const __m512 values = _mm512_maskz_loadu_ps(mask, sums + i);
    const __mmask16 used = _mm512_mask_cmp_ps_mask(mask, values, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    const size_t more = (size_t)__builtin_popcount(used);
    /* Compressed in the register: compressing stores are microcode on some CPUs. */
    const __mmask16 kept = mask_below(more);
    _mm512_mask_storeu_epi32(rows + found, kept, _mm512_maskz_compress_epi32(used, places));
    _mm512_mask_storeu_ps(weights + found, kept, _mm512_maskz_compress_ps(used, values));
    found += more;
    places = _mm512_add_epi32(places, _mm512_set1_epi32(16));
  }
  return found;
}

AVX512 static size_t ckv_first_nonfinite_f32_avx512(const float *values, size_t count) {
  const __m512i exponent = _mm512_set1_epi32(0x7F800000);
  for (size_t i = 0; i < count; i += 16) {
    const __m512i bits = _mm512_maskz_loadu_epi32(mask_below(count - i), values + i);
    const __mmask16 bad = _mm512_cmpeq_epi32_mask(_mm512_and_si512(bits, exponent), exponent);
    if (bad) return i + (size_t)__builtin_ctz(bad);
  }
  return count;
}

AVX512 static uint32_t ckv_max_u32_avx512(const uint32_t *values, size_t count) {
  __m512i greatest = _mm512_setzero_si512();
  for (size_t i = 0; i < count; i += 16)
    greatest = _mm512_max_epu32(greatest, _mm512_maskz_loadu_epi32(mask_below(count - i), values + i));
  return _mm512_reduce_max_epu32(greatest);
}

const struct ckv_kernels ckv_kernels_avx512 = {
    .f32 = {ckv_row_dots_f32_avx512, ckv_row_sum_f32_avx512, ckv_widen_rows_f32_avx512},
    .f16 = {ckv_row_dots_f16_avx512, ckv_row_sum_f16_avx512, ckv_widen_rows_f16_avx512},
    .bf16 = {ckv_row_dots_bf16_avx512, ckv_row_sum_bf16_avx512, ckv_widen_rows_bf16_avx512},
    .project_f32 = ckv_project_f32_avx512,
    .route_f32 = ckv_route_f32_avx512,
    .scores_f32 = ckv_scores_f32_avx512,
    .exp_sum_f32 = ckv_exp_sum_f32_avx512,
    .dot_f32 = ckv_dot_f32_avx512,
    .add_rows_f32 = ckv_add_rows_f32_avx512,
    .compact_f32 = ckv_compact_f32_avx512,
    .first_nonfinite_f32 = ckv_first_nonfinite_f32_avx512,
    .max_u32 = ckv_max_u32_avx512,
};

#endif
