/* SiLU weights. The exponential is the one of the softmax kernels, in a form that the compiler turns into vectors of
 * the level's width; every operation rounds alike at every level. */

#include "levels.h"

#include <math.h>
#include <string.h>

#pragma STDC FP_CONTRACT OFF

#define INLINE static inline __attribute__((always_inline))

INLINE float power_of_two(int exponent) {
  const uint32_t bits = (uint32_t)(exponent + 127) << 23;
  float power;
  memcpy(&power, &bits, sizeof power);
  return power;
}

/* NaN passes through: it reaches the mantissa. */
INLINE float exponential(float x) {
  const float low = x < EXP_LOW ? EXP_LOW : x;
  const float high = low > EXP_HIGH ? EXP_HIGH : low;
  const float n = fmaf(high, EXP_LOG2E, EXP_ROUND) - EXP_ROUND;
  const float r = fmaf(n, -EXP_LN2_LOW, fmaf(n, -EXP_LN2_HIGH, high));
  const float g = fmaf(fmaf(fmaf(fmaf(EXP_G4, r, EXP_G3), r, EXP_G2), r, EXP_G1), r, EXP_G0);
  const float mantissa = fmaf(g, r * r, r) + 1.0f;
  /* In two steps: the first is exact, the second rounds once, into the subnormals or to infinity where it must. */
  const int whole = (int)(n == n ? n : 0.0f), half = whole >> 1;
  return mantissa * power_of_two(half) * power_of_two(whole - half);
}

INLINE void silu(float *scores, const float *bias, size_t count) {
  if (bias) {
    for (size_t i = 0; i < count; i++) scores[i] += bias[count - 1 - i];
  }
  for (size_t i = 0; i < count; i++) scores[i] = scores[i] / (1.0f + exponential(-scores[i]));
}

#define BLOCK_RUN 64 /* positions whose biases are added before their weights are taken */

/* Queries side by side: a query's weights behind its last position are 0. */
INLINE void silu_blocks(float *scores, const float *bias, const uint32_t *counts, size_t count) {
  size_t shared = count, latest = 0;
  for (size_t q = 0; q < CKV_BLOCK; q++) {
    shared = counts[q] < shared ? counts[q] : shared;
    latest = counts[q] > latest ? counts[q] : latest;
  }
  size_t ends[CKV_BLOCK];
  for (size_t q = 0; q < CKV_BLOCK; q++) ends[q] = counts[q];
  for (size_t first = 0; first < count; first += BLOCK_RUN) {
    const size_t end = count - first < BLOCK_RUN ? count : first + BLOCK_RUN;
    for (size_t i = first; bias && i < end; i++) {
      float own[CKV_BLOCK];
      if (shared == latest) {
        for (size_t q = 0; q < CKV_BLOCK; q++) own[q] = bias[latest - 1 - i];
      } else {
        for (size_t q = 0; q < CKV_BLOCK; q++) own[q] = i < ends[q] ? bias[ends[q] - 1 - i] : 0;
      }
      for (size_t q = 0; q < CKV_BLOCK; q++) scores[i * CKV_BLOCK + q] += own[q];
    }
    silu(scores + first * CKV_BLOCK, NULL, (end - first) * CKV_BLOCK);
  }
  for (size_t i = shared; i < count; i++)
    for (size_t q = 0; q < CKV_BLOCK; q++)
      if (i >= counts[q]) scores[i * CKV_BLOCK + q] = 0;
}

#if defined(__x86_64__)
AVX2 static void silu_blocks_avx2(float *scores, const float *bias, const uint32_t *counts, size_t count) {
  silu_blocks(scores, bias, counts, count);
}
AVX512 static void silu_blocks_avx512(float *scores, const float *bias, const uint32_t *counts, size_t count) {
  silu_blocks(scores, bias, counts, count);
}
AVX2 static void silu_avx2(float *scores, const float *bias, size_t count) { silu(scores, bias, count); }
AVX512 static void silu_avx512(float *scores, const float *bias, size_t count) { silu(scores, bias, count); }
#endif

void ckv_silu_f32(float *scores, const float *bias, size_t count) {
#if defined(__x86_64__)
  const struct ckv_kernels *active = ckv_kernels_active();
  if (active == &ckv_kernels_avx512) {
    silu_avx512(scores, bias, count);
    return;
  }
  if (active == &ckv_kernels_avx2) {
    silu_avx2(scores, bias, count);
    return;
  }
#endif
  silu(scores, bias, count);
}

void ckv_silu_blocks_f32(float *scores, const float *bias, const uint32_t *counts, size_t count) {
#if defined(__x86_64__)
  const struct ckv_kernels *active = ckv_kernels_active();
  if (active == &ckv_kernels_avx512) {
    silu_blocks_avx512(scores, bias, counts, count);
    return;
  }
  if (active == &ckv_kernels_avx2) {
    silu_blocks_avx2(scores, bias, counts, count);
    return;
  }
#endif
  silu_blocks(scores, bias, counts, count);
}
