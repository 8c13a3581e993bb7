/* The kernels over pool rows on AVX2. Same bits as serial.c, by the same order of operations: two vectors hold the
 * CKV_LANES lanes. Nothing past a span is touched. */

#include "avx2_lanes.h"

#if defined(__x86_64__)

INLINE size_t row_of(const uint32_t *rows, size_t index) { return rows ? rows[index] : index; }

/* Two vectors of lanes for each of `group` rows that start at `starts`. */
INLINE void row_lanes(const unsigned char *matrix, const size_t *starts, const int group, const float *vector,
                      size_t width, __m256 *low, __m256 *high, enum ckv_format format) {
  UNROLL for (int g = 0; g < group; g++) low[g] = high[g] = _mm256_setzero_ps();
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
}

INLINE void row_dots(const void *matrix, size_t stride, const uint32_t *rows, size_t count, const float *vector,
                     size_t width, float *sums, enum ckv_format format) {
  size_t starts[4], i = 0;
  __m256 low[4], high[4];
  for (; i + 4 <= count; i += 4) {
    UNROLL for (int g = 0; g < 4; g++) starts[g] = row_of(rows, i + (size_t)g) * stride;
    row_lanes(matrix, starts, 4, vector, width, low, high, format);
    _mm_storeu_ps(sums + i, sums_of_four(low, high));
  }
  for (; i < count; i++) {
    starts[0] = row_of(rows, i) * stride;
    row_lanes(matrix, starts, 1, vector, width, low, high, format);
    sums[i] = sum_of_lanes(low[0], high[0]);
  }
}

INLINE void head_dots(const void *matrix, size_t stride, const uint32_t *rows, size_t count, const float *vector,
                      const size_t *bounds, float *sums, enum ckv_format format) {
  for (size_t i = 0; i < count; i++) {
    __m256 low[CKV_GROUP], high[CKV_GROUP];
    UNROLL for (int h = 0; h < CKV_GROUP; h++) {
      const size_t start = row_of(rows, i) * stride + bounds[h];
      row_lanes(matrix, &start, 1, vector + bounds[h], bounds[h + 1] - bounds[h], low + h, high + h, format);
    }
    _mm_storeu_ps(sums + i * CKV_GROUP, sums_of_four(low, high));
  }
}

/* `vectors` x 8 columns from `column` on, `last` columns in the last vector; the sums stay in registers. */
INLINE void column_sums(const unsigned char *matrix, size_t stride, const uint32_t *rows, const float *weights,
                        const size_t weight_stride, size_t count, float scale, size_t column, const int vectors,
                        size_t last, float *sums, enum ckv_format format) {
  __m256 sum[8];
  UNROLL for (int v = 0; v < vectors; v++) sum[v] = _mm256_setzero_ps();
  for (size_t i = 0; i < count; i++) {
    const size_t start = row_of(rows, i) * stride + column;
    const __m256 weight = _mm256_set1_ps(weights[i * weight_stride]);
    UNROLL for (int v = 0; v < vectors; v++)
      sum[v] =
          _mm256_fmadd_ps(weight, load(matrix, start + (size_t)v * 8, v == vectors - 1 ? last : 8, format), sum[v]);
  }
  UNROLL for (int v = 0; v < vectors; v++)
    store_floats(sums + column + v * 8, v == vectors - 1 ? last : 8, _mm256_mul_ps(_mm256_set1_ps(scale), sum[v]));
}

/* Columns `column` ..< `end`. */
INLINE void column_range_sums(const void *matrix, size_t stride, const uint32_t *rows, const float *weights,
                              const size_t weight_stride, size_t count, float scale, size_t column, size_t end,
                              float *sums, enum ckv_format format) {
  for (; column + 64 <= end; column += 64)
    column_sums(matrix, stride, rows, weights, weight_stride, count, scale, column, 8, 8, sums, format);
  for (; column + 32 <= end; column += 32)
    column_sums(matrix, stride, rows, weights, weight_stride, count, scale, column, 4, 8, sums, format);
  for (; column < end; column += 8)
    column_sums(matrix, stride, rows, weights, weight_stride, count, scale, column, 1, end - column, sums, format);
}

INLINE void widen_rows(const void *matrix, size_t stride, const uint32_t *rows, size_t count, size_t width,
                       float *target, size_t target_stride, enum ckv_format format) {
  for (size_t i = 0; i < count; i++) {
    const size_t start = row_of(rows, i) * stride;
    for (size_t c = 0; c < width; c += 8)
      store_floats(target + i * target_stride + c, width - c, load(matrix, start + c, width - c, format));
  }
}

/* Rows whose format stays. */
INLINE void copy_same(const unsigned char *matrix, size_t stride, const uint32_t *rows, size_t count, size_t width,
                      unsigned char *target, size_t target_stride, enum ckv_format format) {
  const size_t size = element_size(format);
  for (size_t i = 0; i < count; i++)
    memcpy(target + i * target_stride, matrix + row_of(rows, i) * stride * size, width * size);
}

/* Up to 8 elements in `format` to `target`. */
INLINE void store(unsigned char *target, size_t count, __m256 values, enum ckv_format format) {
  unsigned char all[32];
  if (format == CKV_F32) {
    _mm256_storeu_ps((float *)(void *)all, values);
  } else if (format == CKV_F16) {
    _mm_storeu_si128((__m128i *)(void *)all, _mm256_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  } else {
    const __m256i bits = _mm256_castps_si256(values);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd);
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(values, values, _CMP_UNORD_Q));
    const __m256i kept = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
    _mm_storeu_si128((__m128i *)(void *)all,
                     _mm_packus_epi32(_mm256_castsi256_si128(kept), _mm256_extracti128_si256(kept, 1)));
  }
  if (count >= 8) memcpy(target, all, 8 * element_size(format));
  else memcpy(target, all, count * element_size(format));
}

INLINE void copy_rows(const void *matrix, size_t stride, const uint32_t *rows, size_t count, size_t width,
                      unsigned char *target, size_t target_stride, enum ckv_format source, enum ckv_format format) {
  for (size_t i = 0; i < count; i++)
    for (size_t c = 0; c < width; c += 8)
      store(target + i * target_stride + c * element_size(format), width - c,
            load(matrix, row_of(rows, i) * stride + c, width - c, source), format);
}

#define DEFINE(name, own)                                                                                             \
  AVX2 ROW_DOTS(name, avx2) { row_dots(matrix, stride, rows, count, vector, width, sums, own); }                      \
  AVX2 HEAD_DOTS(name, avx2) { head_dots(matrix, stride, rows, count, vector, bounds, sums, own); }                   \
  AVX2 ROW_SUM(name, avx2) {                                                                                          \
    column_range_sums(matrix, stride, rows, weights, 1, count, scale, 0, width, sums, own);                           \
  }                                                                                                                   \
  AVX2 HEAD_SUMS(name, avx2) {                                                                                        \
    for (size_t h = 0; h < CKV_GROUP; h++)                                                                            \
      column_range_sums(matrix, stride, rows, weights + h, CKV_GROUP, count, scales[h], bounds[h], bounds[h + 1],     \
                        sums, own);                                                                                   \
  }                                                                                                                   \
  AVX2 WIDEN_ROWS(name, avx2) { widen_rows(matrix, stride, rows, count, width, target, target_stride, own); }         \
  AVX2 COPY_ROWS(name, avx2) {                                                                                        \
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

#endif
