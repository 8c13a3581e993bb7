/* What the AVX2 files share: loads and stores of any format and length, the order in which lanes are added up,
 * exponentials.
 * Tails go through masks or small zeroed buffers. */

#ifndef CKV_AVX2_LANES_H
#define CKV_AVX2_LANES_H

#include "levels.h"

#if defined(__x86_64__)

#include <immintrin.h>
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

/* sum_of_lanes of four pairs of vectors at once. */
INLINE __m128 sums_of_four(const __m256 *low, const __m256 *high) {
  __m128 a = quarter_sums(low[0], high[0]), b = quarter_sums(low[1], high[1]);
  __m128 c = quarter_sums(low[2], high[2]), d = quarter_sums(low[3], high[3]);
  _MM_TRANSPOSE4_PS(a, b, c, d);
  return _mm_add_ps(_mm_add_ps(a, c), _mm_add_ps(b, d));
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

#endif
#endif
