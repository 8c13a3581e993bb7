/* The kernels of attention on AVX-512 (x86-64-v4: F, BW, CD, DQ, VL). Same bits as serial.c, by the
 * same order of operations: one vector holds the CKV_LANES lanes. Tails are masked; nothing past a span is touched. */

#include "avx512_lanes.h"

#if defined(__x86_64__)

#include <math.h>
#include <string.h>

/* 16 numbers of a table. One by one: the gather instruction took a third longer here. */
INLINE __m512 table_values(const float *table, size_t stride, const uint32_t *indices) {
  __m128 four[4];
  UNROLL for (int q = 0; q < 4; q++) {
    const uint32_t *index = indices + q * 4;
    four[q] = _mm_load_ss(table + index[0] * stride);
    four[q] = _mm_insert_ps(four[q], _mm_load_ss(table + index[1] * stride), 0x10);
    four[q] = _mm_insert_ps(four[q], _mm_load_ss(table + index[2] * stride), 0x20);
    four[q] = _mm_insert_ps(four[q], _mm_load_ss(table + index[3] * stride), 0x30);
  }
  const __m256 low = _mm256_insertf128_ps(_mm256_castps128_ps256(four[0]), four[1], 1);
  const __m256 high = _mm256_insertf128_ps(_mm256_castps128_ps256(four[2]), four[3], 1);
  return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}

/* `table` with places that follow each other or few of them: through the gather instruction. */
INLINE __m512 masked_table_values(const float *table, size_t stride, const uint32_t *indices, size_t first,
                                  __mmask16 mask) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i index = indices ? _mm512_maskz_loadu_epi32(mask, indices + first)
                                : _mm512_add_epi32(_mm512_set1_epi32((int)first), lane);
  return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), mask,
                                  _mm512_mullo_epi32(index, _mm512_set1_epi32((int)stride)), table, 4);
}

INLINE __m512 scores_of_16(const float *table, size_t table_stride, const uint32_t *indices, const float *columns,
                           size_t column_stride, const float *coefficients, size_t dimensions, float scale, size_t i,
                           __mmask16 mask, float *scores) {
  __m512 score;
  if (!table) score = _mm512_maskz_loadu_ps(mask, scores + i);
  else if (indices && mask == 0xFFFF) score = table_values(table, table_stride, indices + i);
  else score = masked_table_values(table, table_stride, indices, i, mask);
  for (size_t d = 0; d < dimensions; d++)
    score = _mm512_fmadd_ps(_mm512_set1_ps(coefficients[d]),
                            _mm512_maskz_loadu_ps(mask, columns + d * column_stride + i), score);
  score = _mm512_mul_ps(_mm512_set1_ps(scale), score);
  _mm512_mask_storeu_ps(scores + i, mask, score);
  return score;
}

AVX512 static float ckv_scores_f32_avx512(const float *table, size_t table_stride, const uint32_t *indices,
                                          const float *columns, size_t column_stride, const float *coefficients,
                                          size_t dimensions, float scale, size_t count, float *scores) {
  const __m512 lowest = _mm512_set1_ps(-INFINITY);
  __m512 greatest = lowest;
  size_t i = 0;
  for (; i + 16 <= count; i += 16)
    greatest = _mm512_max_ps(scores_of_16(table, table_stride, indices, columns, column_stride, coefficients,
                                          dimensions, scale, i, 0xFFFF, scores), greatest);
  if (i < count) {
    const __mmask16 mask = mask_below(count - i);
    const __m512 score = scores_of_16(table, table_stride, indices, columns, column_stride, coefficients, dimensions,
                                      scale, i, mask, scores);
    greatest = _mm512_max_ps(_mm512_mask_mov_ps(lowest, mask, score), greatest);
  }
  return _mm512_reduce_max_ps(greatest);
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

/* The greatest per head, in each of its lanes. */
INLINE __m512 greatest_of_heads(__m512 lanes) {
  lanes = _mm512_max_ps(lanes, _mm512_shuffle_f32x4(lanes, lanes, 0x4E));
  return _mm512_max_ps(lanes, _mm512_shuffle_f32x4(lanes, lanes, 0xB1));
}

AVX512 static void ckv_head_exp_f32_avx512(float *values, size_t count, float scale, unsigned heads) {
  const __m512 factor = _mm512_set1_ps(scale), lowest = _mm512_set1_ps(-INFINITY);
  const __mmask16 wanted = (__mmask16)(heads * 0x1111u);
  __m512 greatest = lowest;
  const size_t end = count * CKV_GROUP;
  for (size_t i = 0; i < end; i += 16) {
    const __mmask16 mask = mask_below(end - i);
    const __m512 value = _mm512_mul_ps(factor, _mm512_maskz_loadu_ps(mask, values + i));
    greatest = _mm512_max_ps(_mm512_mask_mov_ps(lowest, mask, value), greatest);
  }
  greatest = greatest_of_heads(greatest);
  for (size_t i = 0; i < end; i += 16) {
    const __mmask16 mask = mask_below(end - i) & wanted;
    const __m512 value = _mm512_mul_ps(factor, _mm512_maskz_loadu_ps(mask, values + i));
    _mm512_mask_storeu_ps(values + i, mask, exponential(_mm512_sub_ps(value, greatest)));
  }
}

AVX512 static void ckv_head_totals_f32_avx512(const float *values, size_t count, double *totals) {
  for (int h = 0; h < CKV_GROUP; h++) totals[h] = 0;
  const size_t all = count * CKV_GROUP;
  for (size_t first = 0; first < all; first += EXP_SUM_RUN) {
    const size_t end = all - first < EXP_SUM_RUN ? all : first + EXP_SUM_RUN;
    __m512 groups[4];
    UNROLL for (int g = 0; g < 4; g++) groups[g] = _mm512_setzero_ps();
    for (size_t i = first; i < end; i += 64)
      UNROLL for (int g = 0; g < 4; g++) {
        const size_t start = i + (size_t)g * 16;
        const __mmask16 mask = start < end ? mask_below(end - start) : 0;
        groups[g] = _mm512_add_ps(groups[g], _mm512_maskz_loadu_ps(mask, values + start));
      }
    float sums[CKV_GROUP];
    _mm_storeu_ps(sums, quarter_sums(_mm512_add_ps(_mm512_add_ps(groups[0], groups[1]),
                                                   _mm512_add_ps(groups[2], groups[3]))));
    for (int h = 0; h < CKV_GROUP; h++) totals[h] += sums[h];
  }
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

AVX512 static size_t ckv_compact_heads_f32_avx512(const float *sums, size_t count, uint32_t *rows, float *weights) {
  size_t found = 0, i = 0;
  __m128i places = _mm_setr_epi32(0, 1, 2, 3);
  for (; i + 4 <= count; i += 4) { /* four rows are a vector: what is stored ends no later than what was read */
    const __m512 values = _mm512_loadu_ps(sums + i * CKV_GROUP);
    unsigned used = _mm512_cmp_ps_mask(values, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    used |= used >> 1;
    used = (used | used >> 2) & 0x1111;
    _mm512_storeu_ps(weights + found * CKV_GROUP, _mm512_maskz_compress_ps((__mmask16)(used * 15), values));
    _mm_storeu_si128((__m128i *)(void *)(rows + found),
                     _mm_maskz_compress_epi32((__mmask8)_pext_u32(used, 0x1111), places));
    found += (size_t)__builtin_popcount(used);
    places = _mm_add_epi32(places, _mm_set1_epi32(4));
  }
  for (; i < count; i++) {
    const __m128 row = _mm_loadu_ps(sums + i * CKV_GROUP);
    _mm_storeu_ps(weights + found * CKV_GROUP, row);
    rows[found] = (uint32_t)i;
    found += _mm_cmp_ps_mask(row, _mm_setzero_ps(), _CMP_NEQ_UQ) != 0;
  }
  return found;
}

AVX512 static size_t ckv_used_rows_u32_avx512(const uint32_t *indices, size_t count, size_t row_count,
                                              uint8_t *marks, uint32_t *rows) {
  memset(marks, 0, row_count);
  for (size_t i = 0; i < count; i++) marks[indices[i]] = 1;
  __m512i places = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  size_t found = 0;
  for (size_t i = 0; i < row_count; i += 16) {
    const __m128i seen = _mm_maskz_loadu_epi8(mask_below(row_count - i), marks + i);
    const __mmask16 used = _mm_test_epi8_mask(seen, seen);
    const size_t more = (size_t)__builtin_popcount(used);
    _mm512_mask_storeu_epi32(rows + found, mask_below(more), _mm512_maskz_compress_epi32(used, places));
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
    .f32 = ROW_TABLE(f32, avx512),
    .f16 = ROW_TABLE(f16, avx512),
    .bf16 = ROW_TABLE(bf16, avx512),
    .project_f32 = ckv_project_f32_avx512,
    .route_f32 = ckv_route_f32_avx512,
    .scores_f32 = ckv_scores_f32_avx512,
    .exp_sum_f32 = ckv_exp_sum_f32_avx512,
    .head_exp_f32 = ckv_head_exp_f32_avx512,
    .head_totals_f32 = ckv_head_totals_f32_avx512,
    .dot_f32 = ckv_dot_f32_avx512,
    .add_rows_f32 = ckv_add_rows_f32_avx512,
    .compact_f32 = ckv_compact_f32_avx512,
    .compact_heads_f32 = ckv_compact_heads_f32_avx512,
    .used_rows_u32 = ckv_used_rows_u32_avx512,
    .first_nonfinite_f32 = ckv_first_nonfinite_f32_avx512,
    .max_u32 = ckv_max_u32_avx512,
};

#endif
