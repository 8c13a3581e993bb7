/* The kernels over pool rows and of attention on AVX2 (x86-64-v3: with FMA, F16C and BMI). Same bits as serial.c, by
 * the same order of operations: two vectors hold the CKV_LANES lanes. Tails go through masks or small zeroed buffers;
 * nothing past a span is touched. */

#include "levels.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>
#include <string.h>

#pragma STDC FP_CONTRACT OFF

#define INLINE static inline __attribute__((always_inline)) AVX2

INLINE size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* All ones in the lanes below `count`, all of them from 8 on. */
INLINE __m256i mask_below(size_t count) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)smaller(count, 8)), lane);
}

INLINE __m256 load_floats(const float *values, size_t count) {
  return count >= 8 ? _mm256_loadu_ps(values) : _mm256_maskload_ps(values, mask_below(count));
}

INLINE void store_floats(float *values, size_t count, __m256 vector) {
  if (count >= 8) _mm256_storeu_ps(values, vector);
  else _mm256_maskstore_ps(values, mask_below(count), vector);
}

/* Up to 8 elements from `place` on as f32; lanes from `count` on are zero and not read. */
INLINE __m256 load(const unsigned char *matrix, size_t place, size_t count, enum ckv_format format) {
  if (format == CKV_F32) {
    const float *values = (const float *)(const void *)(matrix + place * 4);
    return load_floats(values, count);
  }
  __m128i half;
  if (count >= 8) {
    half = _mm_loadu_si128((const __m128i *)(const void *)(matrix + place * 2));
  } else {
    uint16_t rest[8] = {0};
    for (size_t lane = 0; lane < count; lane++) memcpy(rest + lane, matrix + (place + lane) * 2, 2);
    half = _mm_loadu_si128((const __m128i *)rest);
  }
  if (format == CKV_F16) return _mm256_cvtph_ps(half);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

INLINE __m128 quarter_sums(__m256 low, __m256 high) {
  const __m256 eight = _mm256_add_ps(low, high);
  return _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
}

INLINE float sum_of_lanes(__m256 low, __m256 high) {
  const __m128 four = quarter_sums(low, high);
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* --- rows of pools --- */

INLINE size_t row_of(const uint32_t *rows, size_t index) { return rows ? rows[index] : index; }

/* sums[i] for `group` rows from `first` on. */
INLINE void row_dot_group(const unsigned char *matrix, size_t stride, const uint32_t *rows, size_t first,
                          const int group, const float *vector, size_t width, float *sums, enum ckv_format format) {
  size_t starts[4];
  __m256 low[4], high[4];
  UNROLL for (int g = 0; g < group; g++) {
    starts[g] = row_of(rows, first + g) * stride;
    low[g] = high[g] = _mm256_setzero_ps();
  }
  size_t c = 0;
  for (; c + 16 <= width; c += 16) {
    const __m256 a = _mm256_loadu_ps(vector + c), b = _mm256_loadu_ps(vector + c + 8);
    UNROLL for (int g = 0; g < group; g++) {
      low[g] = _mm256_fmadd_ps(load(matrix, starts[g] + c, 8, format), a, low[g]);
      high[g] = _mm256_fmadd_ps(load(matrix, starts[g] + c + 8, 8, format), b, high[g]);
    }
  }
  if (c < width) {
    const size_t rest = width - c, upper = rest > 8 ? rest - 8 : 0;
    const __m256 a = load_floats(vector + c, rest);
    const __m256 b = upper ? load_floats(vector + c + 8, upper) : _mm256_setzero_ps();
    UNROLL for (int g = 0; g < group; g++) {
      low[g] = _mm256_fmadd_ps(load(matrix, starts[g] + c, rest, format), a, low[g]);
      const __m256 x = upper ? load(matrix, starts[g] + c + 8, upper, format) : _mm256_setzero_ps();
      high[g] = _mm256_fmadd_ps(x, b, high[g]);
    }
  }
  if (group == 4) {
    __m128 s0 = quarter_sums(low[0], high[0]), s1 = quarter_sums(low[1], high[1]);
    __m128 s2 = quarter_sums(low[2], high[2]), s3 = quarter_sums(low[3], high[3]);
    _MM_TRANSPOSE4_PS(s0, s1, s2, s3);
    _mm_storeu_ps(sums + first, _mm_add_ps(_mm_add_ps(s0, s2), _mm_add_ps(s1, s3)));
  } else {
    sums[first] = sum_of_lanes(low[0], high[0]);
  }
}

INLINE void row_dots(const void *matrix, size_t stride, const uint32_t *rows, size_t count, const float *vector,
                     size_t width, float *sums, enum ckv_format format) {
  size_t i = 0;
  for (; i + 4 <= count; i += 4) row_dot_group(matrix, stride, rows, i, 4, vector, width, sums, format);
  for (; i < count; i++) row_dot_group(matrix, stride, rows, i, 1, vector, width, sums, format);
}

/* `vectors` x 8 columns from `column` on, `last` columns in the last vector. */
INLINE void column_sums(const unsigned char *matrix, size_t stride, const uint32_t *rows, const float *weights,
                        size_t count, float scale, size_t column, const int vectors, size_t last, float *sums,
                        enum ckv_format format) {
  __m256 even[4], odd[4];
  UNROLL for (int v = 0; v < vectors; v++) even[v] = odd[v] = _mm256_setzero_ps();
  for (size_t i = 0; i < count; i += 2) {
    const size_t start = row_of(rows, i) * stride + column;
    const __m256 weight = _mm256_set1_ps(weights[i]);
    UNROLL for (int v = 0; v < vectors; v++)
      even[v] = _mm256_fmadd_ps(weight, load(matrix, start + v * 8, v == vectors - 1 ? last : 8, format), even[v]);
    if (i + 1 == count) break;
    const size_t next = row_of(rows, i + 1) * stride + column;
    const __m256 second = _mm256_set1_ps(weights[i + 1]);
    UNROLL for (int v = 0; v < vectors; v++)
      odd[v] = _mm256_fmadd_ps(second, load(matrix, next + v * 8, v == vectors - 1 ? last : 8, format), odd[v]);
  }
  UNROLL for (int v = 0; v < vectors; v++)
    store_floats(sums + column + v * 8, v == vectors - 1 ? last : 8,
                 _mm256_mul_ps(_mm256_set1_ps(scale), _mm256_add_ps(even[v], odd[v])));
}

INLINE void row_sum(const void *matrix, size_t stride, const uint32_t *rows, const float *weights, size_t count,
                    float scale, size_t width, float *sums, enum ckv_format format) {
  size_t column = 0;
  for (; column + 32 <= width; column += 32)
    column_sums(matrix, stride, rows, weights, count, scale, column, 4, 8, sums, format);
  for (; column < width; column += 8)
    column_sums(matrix, stride, rows, weights, count, scale, column, 1, width - column, sums, format);
}

INLINE void widen_rows(const void *matrix, size_t stride, const uint32_t *rows, size_t count, size_t width,
                       float *target, size_t target_stride, enum ckv_format format) {
  for (size_t i = 0; i < count; i++) {
    const size_t start = row_of(rows, i) * stride;
    for (size_t c = 0; c < width; c += 8)
      store_floats(target + i * target_stride + c, width - c, load(matrix, start + c, width - c, format));
  }
}

#define ROW_KERNELS(name, format)                                                                                   \
  AVX2 static void ckv_row_dots_##name##_avx2(const void *matrix, size_t stride, const uint32_t *rows,              \
                                              size_t count, const float *vector, size_t width, float *sums) {       \
    row_dots(matrix, stride, rows, count, vector, width, sums, format);                                             \
  }                                                                                                                 \
  AVX2 static void ckv_row_sum_##name##_avx2(const void *matrix, size_t stride, const uint32_t *rows,               \
                                             const float *weights, size_t count, float scale, size_t width,         \
                                             float *sums) {                                                         \
    row_sum(matrix, stride, rows, weights, count, scale, width, sums, format);                                      \
  }                                                                                                                 \
  AVX2 static void ckv_widen_rows_##name##_avx2(const void *matrix, size_t stride, const uint32_t *rows,            \
                                                size_t count, size_t width, float *target, size_t target_stride) {  \
    widen_rows(matrix, stride, rows, count, width, target, target_stride, format);                                  \
  }

ROW_KERNELS(f32, CKV_F32)
ROW_KERNELS(f16, CKV_F16)
ROW_KERNELS(bf16, CKV_BF16)

/* --- attention --- */

AVX2 static float ckv_scores_f32_avx2(const float *table, const uint32_t *indices, const float *columns,
                                      size_t column_stride, const float *coefficients, size_t dimensions, float scale,
                                      size_t count, float *scores) {
  const __m256 lowest = _mm256_set1_ps(-INFINITY);
  __m256 greatest = lowest;
  for (size_t i = 0; i < count; i += 8) {
    const size_t rest = count - i;
    const __m256i mask = mask_below(rest);
    __m256 score = table ? _mm256_mask_i32gather_ps(_mm256_setzero_ps(), table,
                                                    _mm256_maskload_epi32((const int *)indices + i, mask),
                                                    _mm256_castsi256_ps(mask), 4)
                         : load_floats(scores + i, rest);
    for (size_t d = 0; d < dimensions; d++)
      score = _mm256_fmadd_ps(_mm256_set1_ps(coefficients[d]), load_floats(columns + d * column_stride + i, rest),
                              score);
    score = _mm256_mul_ps(_mm256_set1_ps(scale), score);
    store_floats(scores + i, rest, score);
    greatest = _mm256_max_ps(_mm256_blendv_ps(lowest, score, _mm256_castsi256_ps(mask)), greatest);
  }
  float lanes[8], result = -INFINITY;
  _mm256_storeu_ps(lanes, greatest);
  for (size_t lane = 0; lane < 8; lane++) result = lanes[lane] > result ? lanes[lane] : result;
  return result;
}

INLINE __m256 power_of_two(__m256i n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

INLINE __m256 exponential(__m256 x) {
  x = _mm256_max_ps(_mm256_set1_ps(EXP_LOW), x); /* the second operand, if either is NaN */
  x = _mm256_min_ps(_mm256_set1_ps(EXP_HIGH), x);
  const __m256 round = _mm256_set1_ps(EXP_ROUND);
  const __m256 n = _mm256_sub_ps(_mm256_fmadd_ps(x, _mm256_set1_ps(EXP_LOG2E), round), round);
  __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-EXP_LN2_HIGH), x);
  r = _mm256_fmadd_ps(n, _mm256_set1_ps(-EXP_LN2_LOW), r);
  __m256 g = _mm256_fmadd_ps(_mm256_set1_ps(EXP_G4), r, _mm256_set1_ps(EXP_G3));
  g = _mm256_fmadd_ps(g, r, _mm256_set1_ps(EXP_G2));
  g = _mm256_fmadd_ps(g, r, _mm256_set1_ps(EXP_G1));
  g = _mm256_fmadd_ps(g, r, _mm256_set1_ps(EXP_G0));
  const __m256 mantissa = _mm256_add_ps(_mm256_fmadd_ps(g, _mm256_mul_ps(r, r), r), _mm256_set1_ps(1.0f));
  /* In two steps: the first is exact, the second rounds once, into the subnormals or to infinity where it must. */
  const __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
  return _mm256_mul_ps(_mm256_mul_ps(mantissa, power_of_two(half)), power_of_two(_mm256_sub_epi32(whole, half)));
}

AVX2 static double ckv_exp_sum_f32_avx2(float *values, size_t count, float shift) {
  double total = 0;
  const __m256 s = _mm256_set1_ps(shift);
  for (size_t first = 0; first < count; first += EXP_SUM_RUN) {
    const size_t end = smaller(count, first + EXP_SUM_RUN);
    __m256 lanes[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    size_t i = first;
    for (; i + 16 <= end; i += 16)
      UNROLL for (int half = 0; half < 2; half++) {
        const __m256 e = exponential(_mm256_sub_ps(_mm256_loadu_ps(values + i + half * 8), s));
        _mm256_storeu_ps(values + i + half * 8, e);
        lanes[half] = _mm256_add_ps(lanes[half], e);
      }
    for (int half = 0; i < end; i += 8, half++) {
      const size_t rest = end - i;
      const __m256 e = exponential(_mm256_sub_ps(load_floats(values + i, rest), s));
      store_floats(values + i, rest, e);
      lanes[half] = _mm256_add_ps(lanes[half], _mm256_and_ps(e, _mm256_castsi256_ps(mask_below(rest))));
    }
    total += sum_of_lanes(lanes[0], lanes[1]);
  }
  return total;
}

AVX2 static float ckv_dot_f32_avx2(const float *a, const float *b, size_t count) {
  __m256 groups[8];
  UNROLL for (int g = 0; g < 8; g++) groups[g] = _mm256_setzero_ps();
  size_t i = 0;
  for (; i + 64 <= count; i += 64)
    UNROLL for (int g = 0; g < 8; g++)
      groups[g] = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + g * 8), _mm256_loadu_ps(b + i + g * 8), groups[g]);
  if (i < count) {
    float rest[2][64] = {{0}};
    memcpy(rest[0], a + i, (count - i) * sizeof *a);
    memcpy(rest[1], b + i, (count - i) * sizeof *b);
    UNROLL for (int g = 0; g < 8; g++)
      groups[g] = _mm256_fmadd_ps(_mm256_loadu_ps(rest[0] + g * 8), _mm256_loadu_ps(rest[1] + g * 8), groups[g]);
  }
  UNROLL for (int half = 0; half < 2; half++)
    groups[half] = _mm256_add_ps(_mm256_add_ps(groups[half], groups[2 + half]),
                                 _mm256_add_ps(groups[4 + half], groups[6 + half]));
  return sum_of_lanes(groups[0], groups[1]);
}

AVX2 static void ckv_add_rows_f32_avx2(const float *rows, size_t row_stride, const float *coefficients,
                                       size_t coefficient_stride, size_t count, size_t width, float *target) {
  for (size_t c = 0; c < width; c += 8) {
    __m256 sum = load_floats(target + c, width - c);
    for (size_t d = 0; d < count; d++)
      sum = _mm256_fmadd_ps(_mm256_set1_ps(coefficients[d * coefficient_stride]),
                            load_floats(rows + d * row_stride + c, width - c), sum);
    store_floats(target + c, width - c, sum);
  }
}

AVX2 static size_t ckv_compact_f32_avx2(const float *sums, size_t count, uint32_t *rows, float *weights) {
  size_t found = 0;
  for (size_t i = 0; i < count; i += 8) {
    const __m256 values = load_floats(sums + i, count - i);
    unsigned used = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(values, _mm256_setzero_ps(), _CMP_NEQ_UQ));
    for (; used; used &= used - 1, found++) {
      const size_t place = i + (size_t)__builtin_ctz(used);
      rows[found] = (uint32_t)place;
      weights[found] = sums[place];
    }
  }
  return found;
}

AVX2 static size_t ckv_first_nonfinite_f32_avx2(const float *values, size_t count) {
  const __m256i exponent = _mm256_set1_epi32(0x7F800000);
  for (size_t i = 0; i < count; i += 8) {
    const __m256i bits = _mm256_castps_si256(load_floats(values + i, count - i));
    const __m256i bad = _mm256_cmpeq_epi32(_mm256_and_si256(bits, exponent), exponent);
    const unsigned lanes = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(bad));
    if (lanes) return i + (size_t)__builtin_ctz(lanes);
  }
  return count;
}

AVX2 static uint32_t ckv_max_u32_avx2(const uint32_t *values, size_t count) {
  __m256i greatest = _mm256_setzero_si256();
  for (size_t i = 0; i < count; i += 8)
    greatest = _mm256_max_epu32(greatest, _mm256_maskload_epi32((const int *)values + i, mask_below(count - i)));
  uint32_t lanes[8], result = 0;
  _mm256_storeu_si256((__m256i *)lanes, greatest);
  for (size_t lane = 0; lane < 8; lane++) result = lanes[lane] > result ? lanes[lane] : result;
  return result;
}

const struct ckv_kernels ckv_kernels_avx2 = {
    .f32 = {ckv_row_dots_f32_avx2, ckv_row_sum_f32_avx2, ckv_widen_rows_f32_avx2},
    .f16 = {ckv_row_dots_f16_avx2, ckv_row_sum_f16_avx2, ckv_widen_rows_f16_avx2},
    .bf16 = {ckv_row_dots_bf16_avx2, ckv_row_sum_bf16_avx2, ckv_widen_rows_bf16_avx2},
    .project_f32 = ckv_project_f32_avx2,
    .route_f32 = ckv_route_f32_avx2,
    .scores_f32 = ckv_scores_f32_avx2,
    .exp_sum_f32 = ckv_exp_sum_f32_avx2,
    .dot_f32 = ckv_dot_f32_avx2,
    .add_rows_f32 = ckv_add_rows_f32_avx2,
    .compact_f32 = ckv_compact_f32_avx2,
    .first_nonfinite_f32 = ckv_first_nonfinite_f32_avx2,
    .max_u32 = ckv_max_u32_avx2,
};

#endif
