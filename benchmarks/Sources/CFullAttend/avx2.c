/* The kernels for AVX2 with FMA and F16C: as those for AVX-512, eight lanes, tails one by one. */

#if defined(__x86_64__)

#include "levels.h"

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define INLINE static inline __attribute__((always_inline)) AVX2
#define UNROLL _Pragma("clang loop unroll(full)")

INLINE __m256 load(enum full_format format, const char *row, size_t place) {
  if (format == FULL_F32) return _mm256_loadu_ps((const void *)(row + place * 4));
  return _mm256_cvtph_ps(_mm_loadu_si128((const void *)(row + place * 2)));
}

INLINE void prefetch(const char *row, size_t byte_count) {
  for (size_t j = 0; j < byte_count; j += 64) _mm_prefetch(row + PREFETCH_BYTES + j, _MM_HINT_T0);
}

INLINE void scores_of(enum full_format format, const char *keys, size_t count, size_t part, size_t heads,
                      const float *query, float scale, float *scores, size_t stride) {
  size_t row_bytes = part * heads * (format == FULL_F32 ? 4 : 2);
  for (size_t i = 0; i < count; i += 4) {
    size_t rows = count - i < 4 ? count - i : 4;
    const char *row[4];
    UNROLL for (size_t r = 0; r < 4; r++) row[r] = keys + (r < rows ? i + r : count - 1) * row_bytes;
    prefetch(row[0], 4 * row_bytes);
    for (size_t h = 0; h < heads; h++) {
      __m256 sum[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
      for (size_t j = h * part; j < (h + 1) * part; j += 8) {
        __m256 q = _mm256_loadu_ps(query + j);
        UNROLL for (size_t r = 0; r < 4; r++) sum[r] = _mm256_fmadd_ps(load(format, row[r], j), q, sum[r]);
      }
      __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(sum[0], sum[1]), _mm256_hadd_ps(sum[2], sum[3]));
      __m128 four = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
      float scaled[4];
      _mm_storeu_ps(scaled, _mm_mul_ps(four, _mm_set1_ps(scale)));
      memcpy(scores + h * stride + i, scaled, rows * sizeof *scaled);
    }
  }
}

AVX2 static void scores_avx2(enum full_format format, const void *keys, size_t count, size_t width, size_t heads,
                             const float *query, float scale, float *scores, size_t stride) {
  if (format == FULL_F16) return scores_of(FULL_F16, keys, count, width / heads, heads, query, scale, scores, stride);
  scores_of(FULL_F32, keys, count, width / heads, heads, query, scale, scores, stride);
}

INLINE __m256 exponential(__m256 x) {
  x = _mm256_max_ps(x, _mm256_set1_ps(EXP_LOW));
  __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(EXP_LOG2E)), _MM_FROUND_TO_NEAREST_INT);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(EXP_LN2_HIGH), x);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(EXP_LN2_LOW), r);
  __m256 p = _mm256_set1_ps(EXP_C7);
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_C6));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_C5));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_C4));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_C3));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_C2));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1));
  __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_mul_ps(p, _mm256_castsi256_ps(power));
}

/* Copies the last `rest` scores into a vector whose other lanes are -infinity. */
INLINE __m256 last(const float *scores, size_t rest) {
  float lanes[8];
  _mm256_storeu_ps(lanes, _mm256_set1_ps(-__builtin_inff()));
  memcpy(lanes, scores, rest * sizeof *lanes);
  return _mm256_loadu_ps(lanes);
}

AVX2 static float exponentials_avx2(float *scores, size_t count) {
  size_t whole = count & ~(size_t)7, rest = count - whole;
  __m256 vector = last(scores + whole, rest), sum = _mm256_setzero_ps();
  for (size_t i = 0; i < whole; i += 8) vector = _mm256_max_ps(vector, _mm256_loadu_ps(scores + i));
  float lanes[8], largest = -__builtin_inff(), total = 0;
  _mm256_storeu_ps(lanes, vector);
  for (size_t j = 0; j < 8; j++) largest = lanes[j] > largest ? lanes[j] : largest;
  for (size_t i = 0; i < whole; i += 8) {
    __m256 e = exponential(_mm256_sub_ps(_mm256_loadu_ps(scores + i), _mm256_set1_ps(largest)));
    _mm256_storeu_ps(scores + i, e);
    sum = _mm256_add_ps(sum, e);
  }
  _mm256_storeu_ps(lanes, sum);
  for (size_t j = 0; j < 8; j++) total += lanes[j];
  _mm256_storeu_ps(lanes, exponential(_mm256_sub_ps(last(scores + whole, rest), _mm256_set1_ps(largest))));
  for (size_t j = 0; j < rest; j++) total += scores[whole + j] = lanes[j];
  return total;
}

/* `vectors` of eight columns from `start`, over all rows. */
INLINE void columns_of(enum full_format format, const char *values, size_t count, size_t width, size_t part,
                       size_t start, size_t vectors, const float *weights, size_t stride, float *output) {
  size_t element_bytes = format == FULL_F32 ? 4 : 2;
  __m256 sum[8];
  UNROLL for (size_t v = 0; v < vectors; v++) sum[v] = _mm256_loadu_ps(output + start + v * 8);
  for (size_t i = 0; i < count; i++) {
    const char *row = values + i * width * element_bytes;
    prefetch(row + start * element_bytes, vectors * 8 * element_bytes);
    UNROLL for (size_t v = 0; v < vectors; v++) {
      __m256 weight = _mm256_set1_ps(weights[(start + v * 8) / part * stride + i]);
      sum[v] = _mm256_fmadd_ps(load(format, row, start + v * 8), weight, sum[v]);
    }
  }
  UNROLL for (size_t v = 0; v < vectors; v++) _mm256_storeu_ps(output + start + v * 8, sum[v]);
}

/* Some rows at a time, so that they are in cache when their next columns are taken. */
INLINE void accumulate_of(enum full_format format, const char *values, size_t count, size_t width, size_t part,
                          const float *weights, size_t stride, float *output) {
  size_t row_bytes = width * (format == FULL_F32 ? 4 : 2);
  for (size_t i = 0; i < count; i += 16) {
    size_t rows = count - i < 16 ? count - i : 16, start = 0;
    for (; start + 64 <= width; start += 64)
      columns_of(format, values + i * row_bytes, rows, width, part, start, 8, weights + i, stride, output);
    for (; start < width; start += 8)
      columns_of(format, values + i * row_bytes, rows, width, part, start, 1, weights + i, stride, output);
  }
}

AVX2 static void accumulate_avx2(enum full_format format, const void *values, size_t count, size_t width,
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

AVX2 static void widen_avx2(const void *halves, size_t count, float *floats) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8) _mm256_storeu_ps(floats + i, load(FULL_F16, halves, i));
  full_kernels_serial.widen((const char *)halves + i * 2, count - i, floats + i);
}

const struct full_kernels full_kernels_avx2 = {8, scores_avx2, exponentials_avx2, accumulate_avx2, widen_avx2};

#endif
