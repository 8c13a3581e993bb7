/* The kernels of attention on AVX2 (x86-64-v3: with FMA, F16C and BMI). Same bits as serial.c, by the same order of
 * operations: two vectors hold the CKV_LANES lanes. Nothing past a span is touched. */

#include "avx2_lanes.h"

#if defined(__x86_64__)

#include <math.h>

/* 8 numbers of a table, those below `rest`. */
INLINE __m256 table_values(const float *table, size_t stride, const uint32_t *indices, size_t first, size_t rest) {
  const __m256i mask = mask_below(rest);
  const __m256i index = indices ? _mm256_maskload_epi32((const int *)indices + first, mask)
                                : _mm256_add_epi32(_mm256_set1_epi32((int)first),
                                                   _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  return _mm256_mask_i32gather_ps(_mm256_setzero_ps(), table,
                                  _mm256_mullo_epi32(index, _mm256_set1_epi32((int)stride)),
                                  _mm256_castsi256_ps(mask), 4);
}

AVX2 static float ckv_scores_f32_avx2(const float *table, size_t table_stride, const uint32_t *indices,
                                      const float *columns, size_t column_stride, const float *coefficients,
                                      size_t dimensions, float scale, size_t count, float *scores) {
  const __m256 lowest = _mm256_set1_ps(-INFINITY);
  __m256 greatest = lowest;
  for (size_t i = 0; i < count; i += 8) {
    const size_t rest = count - i;
    const __m256i mask = mask_below(rest);
    __m256 score = table ? table_values(table, table_stride, indices, i, rest) : load_floats(scores + i, rest);
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

AVX2 static void ckv_head_exp_f32_avx2(float *values, size_t count, float scale, unsigned heads) {
  const __m128 factor = _mm_set1_ps(scale);
  const __m128i bits = _mm_and_si128(_mm_set1_epi32((int)heads), _mm_setr_epi32(1, 2, 4, 8));
  const __m128i wanted = _mm_cmpgt_epi32(bits, _mm_setzero_si128());
  __m128 greatest = _mm_set1_ps(-INFINITY);
  for (size_t i = 0; i < count; i++)
    greatest = _mm_max_ps(_mm_mul_ps(factor, _mm_loadu_ps(values + i * CKV_GROUP)), greatest);
  const __m256 shift = _mm256_set_m128(greatest, greatest), factors = _mm256_set1_ps(scale);
  const __m256i stored = _mm256_set_m128i(wanted, wanted);
  for (size_t i = 0; i < count * CKV_GROUP; i += 8) {
    const size_t rest = count * CKV_GROUP - i;
    const __m256 value = _mm256_mul_ps(factors, load_floats(values + i, rest));
    _mm256_maskstore_ps(values + i, _mm256_and_si256(stored, mask_below(rest)),
                        exponential(_mm256_sub_ps(value, shift)));
  }
}

AVX2 static void ckv_head_totals_f32_avx2(const float *values, size_t count, double *totals) {
  for (int h = 0; h < CKV_GROUP; h++) totals[h] = 0;
  const size_t all = count * CKV_GROUP;
  for (size_t first = 0; first < all; first += EXP_SUM_RUN) {
    const size_t end = smaller(all, first + EXP_SUM_RUN);
    __m256 groups[8];
    UNROLL for (int g = 0; g < 8; g++) groups[g] = _mm256_setzero_ps();
    for (size_t i = first; i < end; i += 64)
      UNROLL for (int g = 0; g < 8; g++) {
        const size_t start = i + (size_t)g * 8;
        if (start < end) groups[g] = _mm256_add_ps(groups[g], load_floats(values + start, end - start));
      }
    UNROLL for (int half = 0; half < 2; half++)
      groups[half] = _mm256_add_ps(_mm256_add_ps(groups[half], groups[2 + half]),
                                   _mm256_add_ps(groups[4 + half], groups[6 + half]));
    float sums[CKV_GROUP];
    _mm_storeu_ps(sums, quarter_sums(groups[0], groups[1]));
    for (int h = 0; h < CKV_GROUP; h++) totals[h] += sums[h];
  }
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

AVX2 static size_t ckv_compact_heads_f32_avx2(const float *sums, size_t count, uint32_t *rows, float *weights) {
  size_t found = 0;
  for (size_t i = 0; i < count; i++) {
    const __m128 row = _mm_loadu_ps(sums + i * CKV_GROUP);
    _mm_storeu_ps(weights + found * CKV_GROUP, row);
    rows[found] = (uint32_t)i;
    found += _mm_movemask_ps(_mm_cmp_ps(row, _mm_setzero_ps(), _CMP_NEQ_UQ)) != 0;
  }
  return found;
}

AVX2 static size_t ckv_used_rows_u32_avx2(const uint32_t *indices, size_t count, size_t row_count, uint8_t *marks,
                                          uint32_t *rows) {
  memset(marks, 0, row_count);
  for (size_t i = 0; i < count; i++) marks[indices[i]] = 1;
  size_t found = 0, i = 0;
  for (; i + 32 <= row_count; i += 32) {
    const __m256i seen = _mm256_loadu_si256((const __m256i *)(const void *)(marks + i));
    unsigned used = ~(unsigned)_mm256_movemask_epi8(_mm256_cmpeq_epi8(seen, _mm256_setzero_si256()));
    for (; used; used &= used - 1) rows[found++] = (uint32_t)(i + (size_t)__builtin_ctz(used));
  }
  for (; i < row_count; i++)
    if (marks[i]) rows[found++] = (uint32_t)i;
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
    .f32 = ROW_TABLE(f32, avx2),
    .f16 = ROW_TABLE(f16, avx2),
    .bf16 = ROW_TABLE(bf16, avx2),
    .project_f32 = ckv_project_f32_avx2,
    .route_f32 = ckv_route_f32_avx2,
    .scores_f32 = ckv_scores_f32_avx2,
    .exp_sum_f32 = ckv_exp_sum_f32_avx2,
    .head_exp_f32 = ckv_head_exp_f32_avx2,
    .head_totals_f32 = ckv_head_totals_f32_avx2,
    .dot_f32 = ckv_dot_f32_avx2,
    .add_rows_f32 = ckv_add_rows_f32_avx2,
    .compact_f32 = ckv_compact_f32_avx2,
    .compact_heads_f32 = ckv_compact_heads_f32_avx2,
    .used_rows_u32 = ckv_used_rows_u32_avx2,
    .first_nonfinite_f32 = ckv_first_nonfinite_f32_avx2,
    .max_u32 = ckv_max_u32_avx2,
};

#endif
