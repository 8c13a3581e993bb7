/* What the AVX-512 files share: loads of any format under a mask, the order in which lanes are added up,
 * exponentials. */

#ifndef CKV_AVX512_LANES_H
#define CKV_AVX512_LANES_H

#include "levels.h"

#if defined(__x86_64__)

#include <immintrin.h>

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

/* sum_of_lanes of four vectors at once: two vectors' halves are added in one step, then all four vectors' quarters. */
INLINE __m128 sums_of_four(__m512 first, __m512 second, __m512 third, __m512 fourth) {
  const __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(first, second, 0x44), _mm512_shuffle_f32x4(first, second, 0xEE));
  const __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(third, fourth, 0x44), _mm512_shuffle_f32x4(third, fourth, 0xEE));
  const __m512 four = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xDD));
  const __m512 two = _mm512_add_ps(four, _mm512_permute_ps(four, 0x4E));
  const __m512 one = _mm512_add_ps(two, _mm512_permute_ps(two, 0xB1));
  const __m512i firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
  return _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, one));
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

#endif
#endif
