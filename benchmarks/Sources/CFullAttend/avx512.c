/* The kernels for AVX-512: f16 widened in registers, sixteen lanes. Scores are made four rows at a time; sums of values
 * stay in sixteen registers over all rows. Widening is what bounds both when the rows are in cache: one vector a cycle.
 * */

#if defined(__x86_64__)

#include "levels.h"

#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")))
#define INLINE static inline __attribute__((always_inline)) AVX512
#define UNROLL _Pragma("clang loop unroll(full)")

INLINE __m512 load(enum full_format format, const char *row, size_t place) {
  if (format == FULL_F32) return _mm512_loadu_ps(row + place * 4);
  return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(row + place * 2)));
}

INLINE void prefetch(const char *row, size_t byte_count) {
  for (size_t j = 0; j < byte_count; j += 64) _mm_prefetch(row + PREFETCH_BYTES + j, _MM_HINT_T0);
}

/* The sums of four vectors. */
INLINE __m128 sums(const __m512 v[4]) {
  __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
  __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
  __m512d abd = _mm512_castps_pd(ab), cdd = _mm512_castps_pd(cd);
  __m512 all = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(abd, cdd)),
                             _mm512_castpd_ps(_mm512_unpackhi_pd(abd, cdd)));
  __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

/* `part` is a head's width; a constant where the compiler can make use of it. */
INLINE void scores_of(enum full_format format, const char *keys, size_t count, size_t part, size_t heads,
                      const float *query, float scale, float *scores, size_t stride) {
  size_t row_bytes = part * heads * (format == FULL_F32 ? 4 : 2);
  for (size_t i = 0; i < count; i += 4) {
    size_t rows = count - i < 4 ? count - i : 4;
    const char *row[4];
    UNROLL for (size_t r = 0; r < 4; r++) row[r] = keys + (r < rows ? i + r : count - 1) * row_bytes;
    prefetch(row[0], 4 * row_bytes);
    for (size_t h = 0; h < heads; h++) {
      __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
      for (size_t j = h * part; j < (h + 1) * part; j += 16) {
        __m512 q = _mm512_loadu_ps(query + j);
        UNROLL for (size_t r = 0; r < 4; r++) sum[r] = _mm512_fmadd_ps(load(format, row[r], j), q, sum[r]);
      }
      __m128 scaled = _mm_mul_ps(sums(sum), _mm_set1_ps(scale));
      _mm_mask_storeu_ps(scores + h * stride + i, (__mmask8)((1u << rows) - 1), scaled);
    }
  }
}

AVX512 static void scores_avx512(enum full_format format, const void *keys, size_t count, size_t width, size_t heads,
                                 const float *query, float scale, float *scores, size_t stride) {
  size_t part = width / heads;
#define CASE(f, p, h) \
  if (format == f && part == p && heads == h) return scores_of(f, keys, count, p, h, query, scale, scores, stride);
  CASE(FULL_F16, 256, 1)
  CASE(FULL_F16, 64, 4)
  CASE(FULL_F32, 256, 1)
  CASE(FULL_F32, 64, 4)
#undef CASE
  if (format == FULL_F16) return scores_of(FULL_F16, keys, count, part, heads, query, scale, scores, stride);
  scores_of(FULL_F32, keys, count, part, heads, query, scale, scores, stride);
}

INLINE __m512 exponential(__m512 x) {
  x = _mm512_max_ps(x, _mm512_set1_ps(EXP_LOW));
  __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(EXP_LOG2E)), _MM_FROUND_TO_NEAREST_INT);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(EXP_LN2_HIGH), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(EXP_LN2_LOW), r);
  __m512 p = _mm512_set1_ps(EXP_C7);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP_C6));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP_C5));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP_C4));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP_C3));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP_C2));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1));
  return _mm512_scalef_ps(p, n);
}

INLINE __mmask16 tail(size_t rest) { return rest < 16 ? (__mmask16)((1u << rest) - 1) : 0xffff; }

AVX512 static float exponentials_avx512(float *scores, size_t count) {
  __m512 low = _mm512_set1_ps(-__builtin_inff()), largest = low, sum = _mm512_setzero_ps();
  for (size_t i = 0; i < count; i += 16)
    largest = _mm512_max_ps(largest, _mm512_mask_loadu_ps(low, tail(count - i), scores + i));
  largest = _mm512_set1_ps(_mm512_reduce_max_ps(largest));
  for (size_t i = 0; i < count; i += 16) {
    __mmask16 mask = tail(count - i);
    __m512 e = exponential(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, scores + i), largest));
    _mm512_mask_storeu_ps(scores + i, mask, e);
    sum = _mm512_mask_add_ps(sum, mask, sum, e);
  }
  return _mm512_reduce_add_ps(sum);
}

/* `vectors` of sixteen columns from `start`, over all rows; vectors x 16 columns lie in whole heads or in one. */
INLINE void columns_of(enum full_format format, const char *values, size_t count, size_t width, size_t part,
                       size_t start, size_t vectors, const float *weights, size_t stride, float *output) {
  size_t row_bytes = width * (format == FULL_F32 ? 4 : 2);
  __m512 sum[16];
  UNROLL for (size_t v = 0; v < vectors; v++) sum[v] = _mm512_loadu_ps(output + start + v * 16);
  for (size_t i = 0; i < count; i++) {
    const char *row = values + i * row_bytes;
    prefetch(row + start * (format == FULL_F32 ? 4 : 2), vectors * (format == FULL_F32 ? 64 : 32));
    UNROLL for (size_t v = 0; v < vectors; v++) {
      __m512 weight = _mm512_set1_ps(weights[(start + v * 16) / part * stride + i]);
      sum[v] = _mm512_fmadd_ps(load(format, row, start + v * 16), weight, sum[v]);
    }
  }
  UNROLL for (size_t v = 0; v < vectors; v++) _mm512_storeu_ps(output + start + v * 16, sum[v]);
}

INLINE void accumulate_of(enum full_format format, const char *values, size_t count, size_t width, size_t part,
                          const float *weights, size_t stride, float *output) {
  size_t start = 0;
  for (; start + 256 <= width; start += 256)
    columns_of(format, values, count, width, part, start, 16, weights, stride, output);
  for (; start + 64 <= width; start += 64)
    columns_of(format, values, count, width, part, start, 4, weights, stride, output);
  for (; start < width; start += 16)
    columns_of(format, values, count, width, part, start, 1, weights, stride, output);
}

AVX512 static void accumulate_avx512(enum full_format format, const void *values, size_t count, size_t width,
                                     size_t heads, const float *weights, size_t stride, float *output) {
  size_t part = width / heads;
#define CASE(f, w, p) \
  if (format == f && width == w && part == p) return accumulate_of(f, values, count, w, p, weights, stride, output);
  CASE(FULL_F16, 256, 256)
  CASE(FULL_F16, 256, 64)
  CASE(FULL_F32, 256, 256)
  CASE(FULL_F32, 256, 64)
#undef CASE
  if (format == FULL_F16) return accumulate_of(FULL_F16, values, count, width, part, weights, stride, output);
  accumulate_of(FULL_F32, values, count, width, part, weights, stride, output);
}

AVX512 static void widen_avx512(const void *halves, size_t count, float *floats) {
  for (size_t i = 0; i < count; i += 16) {
    __mmask16 mask = tail(count - i);
    __m256i half = _mm256_maskz_loadu_epi16(mask, (const char *)halves + i * 2);
    _mm512_mask_storeu_ps(floats + i, mask, _mm512_cvtph_ps(half));
  }
}

const struct full_kernels full_kernels_avx512 = {16, scores_avx512, exponentials_avx512, accumulate_avx512,
                                                 widen_avx512};

#endif
