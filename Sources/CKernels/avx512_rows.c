/* The kernels over pool rows on AVX-512. Same bits as serial.c, by the same order of operations: one vector holds the
 * CKV_LANES lanes. Tails are masked; nothing past a span is touched. Rows that an index chooses lie where no hardware
 * looks ahead, so their cache lines are asked for some rows early. */

#include "avx512_lanes.h"

#if defined(__x86_64__)

INLINE size_t row_of(const uint32_t *rows, size_t index) { return rows ? rows[index] : index; }

/* Asks for `lines` cache lines of each of `group` rows from `first` on. */
INLINE void prefetch_rows(const unsigned char *matrix, size_t stride, const uint32_t *rows, size_t first,
                          const int group, size_t column, size_t lines, enum ckv_format format) {
  UNROLL for (int g = 0; g < group; g++) {
    const char *line = (const char *)matrix + (rows[first + (size_t)g] * stride + column) * element_size(format);
    size_t left = lines;
    for (; left >= 8; left -= 8, line += 512)
      UNROLL for (int l = 0; l < 8; l++) _mm_prefetch(line + l * 64, _MM_HINT_T0);
    for (; left > 0; left--, line += 64) _mm_prefetch(line, _MM_HINT_T0);
  }
}

/* Cache lines that a row may lie in: rows begin anywhere in a line. */
INLINE size_t line_count(size_t width, enum ckv_format format) { return (width * element_size(format) + 126) / 64; }

/* --- dot products --- */

#define DOT_ROWS 4          /* rows at a time: they share the vector's loads */
#define DOT_ROWS_AHEAD 16   /* rows between asking for one and reading it */

/* One vector of lanes for each of `group` rows that start at `starts`. */
INLINE void row_lanes(const unsigned char *matrix, const size_t *starts, const int group, const float *vector,
                      size_t width, __m512 *lanes, enum ckv_format format) {
  UNROLL for (int g = 0; g < group; g++) lanes[g] = _mm512_setzero_ps();
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
  const size_t lines = line_count(width, format);
  size_t starts[DOT_ROWS], i = 0;
  __m512 lanes[DOT_ROWS];
  for (; i + DOT_ROWS <= count; i += DOT_ROWS) {
    if (rows && i + DOT_ROWS_AHEAD + DOT_ROWS <= count)
      prefetch_rows(matrix, stride, rows, i + DOT_ROWS_AHEAD, DOT_ROWS, 0, lines, format);
    UNROLL for (int g = 0; g < DOT_ROWS; g++) starts[g] = row_of(rows, i + (size_t)g) * stride;
    row_lanes(matrix, starts, DOT_ROWS, vector, width, lanes, format);
    _mm_storeu_ps(sums + i, sums_of_four(lanes[0], lanes[1], lanes[2], lanes[3]));
  }
  for (; i < count; i++) {
    starts[0] = row_of(rows, i) * stride;
    row_lanes(matrix, starts, 1, vector, width, lanes, format);
    sums[i] = sum_of_lanes(lanes[0]);
  }
}

/* CKV_GROUP dot products for each of `group` rows from `first` on. */
INLINE void head_dot_rows(const unsigned char *matrix, size_t stride, const uint32_t *rows, size_t first,
                          const int group, const float *vector, const size_t *bounds, float *sums,
                          enum ckv_format format) {
  size_t starts[DOT_ROWS];
  __m512 lanes[CKV_GROUP][DOT_ROWS];
  UNROLL for (int h = 0; h < CKV_GROUP; h++) {
    UNROLL for (int g = 0; g < group; g++) starts[g] = row_of(rows, first + (size_t)g) * stride + bounds[h];
    row_lanes(matrix, starts, group, vector + bounds[h], bounds[h + 1] - bounds[h], lanes[h], format);
  }
  UNROLL for (int g = 0; g < group; g++)
    _mm_storeu_ps(sums + (first + (size_t)g) * CKV_GROUP,
                  sums_of_four(lanes[0][g], lanes[1][g], lanes[2][g], lanes[3][g]));
}

INLINE void head_dots(const void *matrix, size_t stride, const uint32_t *rows, size_t count, const float *vector,
                      const size_t *bounds, float *sums, enum ckv_format format) {
  const size_t lines = line_count(bounds[CKV_GROUP] - bounds[0], format);
  size_t i = 0;
  for (; i + DOT_ROWS <= count; i += DOT_ROWS) {
    if (rows && i + DOT_ROWS_AHEAD + DOT_ROWS <= count)
      prefetch_rows(matrix, stride, rows, i + DOT_ROWS_AHEAD, DOT_ROWS, bounds[0], lines, format);
    head_dot_rows(matrix, stride, rows, i, DOT_ROWS, vector, bounds, sums, format);
  }
  for (; i < count; i++) head_dot_rows(matrix, stride, rows, i, 1, vector, bounds, sums, format);
}

/* --- weighted sums --- */

#define SUM_ROWS 4          /* rows between two looks ahead */
#define SUM_ROWS_AHEAD 16   /* rows between asking for one and reading it */

/* Where rows start is known before the first product: a choice between them makes the compiler put sums aside. */

/* One row's share of `vectors` x 16 columns, the last vector under `mask`. */
INLINE void add_row(const unsigned char *matrix, size_t start, float weight, const int vectors, __mmask16 mask,
                    __m512 *sum, enum ckv_format format) {
  const __m512 factor = _mm512_set1_ps(weight);
  UNROLL for (int v = 0; v < vectors; v++)
    sum[v] = _mm512_fmadd_ps(factor, load(matrix, start + (size_t)v * 16, v == vectors - 1 ? mask : 0xFFFF, format),
                             sum[v]);
}

/* `vectors` x 16 columns from `column` on, the last vector under `mask`; the sums stay in registers. */
INLINE void column_sums(const unsigned char *matrix, size_t stride, const uint32_t *rows, const float *weights,
                        const size_t weight_stride, size_t count, float scale, size_t column, const int vectors,
                        __mmask16 mask, float *sums, enum ckv_format format) {
  __m512 sum[16];
  UNROLL for (int v = 0; v < vectors; v++) sum[v] = _mm512_setzero_ps();
  size_t i = 0;
  for (; i + SUM_ROWS <= count; i += SUM_ROWS) {
    if (rows && i + SUM_ROWS_AHEAD + SUM_ROWS <= count)
      prefetch_rows(matrix, stride, rows, i + SUM_ROWS_AHEAD, SUM_ROWS, column,
                    line_count((size_t)vectors * 16, format), format);
    size_t starts[SUM_ROWS];
    UNROLL for (size_t r = 0; r < SUM_ROWS; r++) starts[r] = row_of(rows, i + r) * stride + column;
    UNROLL for (size_t r = 0; r < SUM_ROWS; r++)
      add_row(matrix, starts[r], weights[(i + r) * weight_stride], vectors, mask, sum, format);
  }
  for (; i < count; i++)
    add_row(matrix, row_of(rows, i) * stride + column, weights[i * weight_stride], vectors, mask, sum, format);
  UNROLL for (int v = 0; v < vectors; v++)
    _mm512_mask_storeu_ps(sums + column + v * 16, v == vectors - 1 ? mask : 0xFFFF,
                          _mm512_mul_ps(_mm512_set1_ps(scale), sum[v]));
}

/* Columns `column` ..< `end`. */
INLINE void column_range_sums(const void *matrix, size_t stride, const uint32_t *rows, const float *weights,
                              const size_t weight_stride, size_t count, float scale, size_t column, size_t end,
                              float *sums, enum ckv_format format) {
  for (; column < end; column += 256) {
    const size_t columns = end - column < 256 ? end - column : 256;
    const __mmask16 mask = mask_below(columns - (columns - 1) / 16 * 16);
    switch ((columns + 15) / 16) {
#define CASE(vectors)                                                                                                 \
  case vectors:                                                                                                       \
    column_sums(matrix, stride, rows, weights, weight_stride, count, scale, column, vectors, mask, sums, format);     \
    break;
      CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)
      CASE(9) CASE(10) CASE(11) CASE(12) CASE(13) CASE(14) CASE(15) CASE(16)
#undef CASE
    }
  }
}

/* Four heads at once: `vectors` x 16 columns of each from columns[h] on, each head's last vector under masks[h]. */
INLINE void four_head_sums(const unsigned char *matrix, size_t stride, const uint32_t *rows, const float *weights,
                           size_t count, const float *scales, const size_t *columns, const int vectors,
                           const __mmask16 *masks, float *sums, enum ckv_format format) {
  __m512 sum[CKV_GROUP][4];
  UNROLL for (int h = 0; h < CKV_GROUP; h++)
    UNROLL for (int v = 0; v < vectors; v++) sum[h][v] = _mm512_setzero_ps();
  const size_t lines = line_count(columns[CKV_GROUP - 1] - columns[0] + (size_t)vectors * 16, format);
  size_t i = 0;
  for (; i + SUM_ROWS <= count; i += SUM_ROWS) {
    if (rows && i + SUM_ROWS_AHEAD + SUM_ROWS <= count)
      prefetch_rows(matrix, stride, rows, i + SUM_ROWS_AHEAD, SUM_ROWS, columns[0], lines, format);
    size_t starts[SUM_ROWS];
    UNROLL for (size_t r = 0; r < SUM_ROWS; r++) starts[r] = row_of(rows, i + r) * stride;
    UNROLL for (size_t r = 0; r < SUM_ROWS; r++)
      UNROLL for (int h = 0; h < CKV_GROUP; h++)
        add_row(matrix, starts[r] + columns[h], weights[(i + r) * CKV_GROUP + (size_t)h], vectors, masks[h], sum[h],
                format);
  }
  for (; i < count; i++) {
    const size_t start = row_of(rows, i) * stride;
    UNROLL for (int h = 0; h < CKV_GROUP; h++)
      add_row(matrix, start + columns[h], weights[i * CKV_GROUP + (size_t)h], vectors, masks[h], sum[h], format);
  }
  UNROLL for (int h = 0; h < CKV_GROUP; h++)
    UNROLL for (int v = 0; v < vectors; v++)
      _mm512_mask_storeu_ps(sums + columns[h] + v * 16, v == vectors - 1 ? masks[h] : 0xFFFF,
                            _mm512_mul_ps(_mm512_set1_ps(scales[h]), sum[h][v]));
}

/* Runs of 64 columns of each head, as long as all four need the same number of vectors; the rest head by head. */
INLINE void head_sums(const void *matrix, size_t stride, const uint32_t *rows, const float *weights, size_t count,
                      const float *scales, const size_t *bounds, float *sums, enum ckv_format format) {
  size_t columns[CKV_GROUP];
  for (int h = 0; h < CKV_GROUP; h++) columns[h] = bounds[h];
  for (;;) {
    __mmask16 masks[CKV_GROUP];
    size_t vectors = 0, least = 4;
    for (int h = 0; h < CKV_GROUP; h++) {
      const size_t left = bounds[h + 1] - columns[h] < 64 ? bounds[h + 1] - columns[h] : 64;
      const size_t needed = (left + 15) / 16;
      masks[h] = mask_below(left - (needed ? needed - 1 : 0) * 16);
      vectors = needed > vectors ? needed : vectors;
      least = needed < least ? needed : least;
    }
    if (least == 0 || least != vectors) break;
    switch (vectors) {
#define CASE(vectors)                                                                                                 \
  case vectors:                                                                                                       \
    four_head_sums(matrix, stride, rows, weights, count, scales, columns, vectors, masks, sums, format);              \
    break;
      CASE(1) CASE(2) CASE(3) CASE(4)
#undef CASE
    }
    for (int h = 0; h < CKV_GROUP; h++) columns[h] = bounds[h + 1] - columns[h] < 64 ? bounds[h + 1] : columns[h] + 64;
  }
  for (int h = 0; h < CKV_GROUP; h++)
    column_range_sums(matrix, stride, rows, weights + h, CKV_GROUP, count, scales[h], columns[h], bounds[h + 1], sums,
                      format);
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

/* 16 elements in `format` to `target`, those under the mask. */
INLINE void store(unsigned char *target, __mmask16 mask, __m512 values, enum ckv_format format) {
  if (format == CKV_F32) {
    _mm512_mask_storeu_ps(target, mask, values);
  } else if (format == CKV_F16) {
    _mm256_mask_storeu_epi16(target, mask, _mm512_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  } else {
    const __m512i bits = _mm512_castps_si512(values);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
    const __mmask16 nan = _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q);
    const __m512i kept = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
    _mm256_mask_storeu_epi16(target, mask, _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16)));
  }
}

/* Rows whose format stays. */
INLINE void copy_same(const unsigned char *matrix, size_t stride, const uint32_t *rows, size_t count, size_t columns,
                      unsigned char *target, size_t target_stride, enum ckv_format format) {
  const size_t size = element_size(format), width = columns * size;
  const __mmask64 rest = ((__mmask64)1 << width % 64) - 1;
  for (size_t i = 0; i < count; i++) {
    if (rows && i + SUM_ROWS_AHEAD < count)
      prefetch_rows(matrix, stride, rows, i + SUM_ROWS_AHEAD, 1, 0, line_count(columns, format), format);
    const unsigned char *row = matrix + row_of(rows, i) * stride * size;
    unsigned char *start = target + i * target_stride;
    size_t byte = 0;
    for (; byte + 64 <= width; byte += 64) _mm512_storeu_si512(start + byte, _mm512_loadu_si512(row + byte));
    if (rest) _mm512_mask_storeu_epi8(start + byte, rest, _mm512_maskz_loadu_epi8(rest, row + byte));
  }
}

INLINE void copy_rows(const void *matrix, size_t stride, const uint32_t *rows, size_t count, size_t width,
                      unsigned char *target, size_t target_stride, enum ckv_format source, enum ckv_format format) {
  for (size_t i = 0; i < count; i++) {
    const size_t start = row_of(rows, i) * stride;
    for (size_t c = 0; c < width; c += 16) {
      const __mmask16 mask = mask_below(width - c);
      store(target + i * target_stride + c * element_size(format), mask, load(matrix, start + c, mask, source), format);
    }
  }
}

/* No call between functions whose vectors are wide: each kernel is one function. */
#define DEFINE(name, own)                                                                                             \
  AVX512 ROW_DOTS(name, avx512) { row_dots(matrix, stride, rows, count, vector, width, sums, own); }                  \
  AVX512 HEAD_DOTS(name, avx512) { head_dots(matrix, stride, rows, count, vector, bounds, sums, own); }               \
  AVX512 ROW_SUM(name, avx512) {                                                                                      \
    column_range_sums(matrix, stride, rows, weights, 1, count, scale, 0, width, sums, own)   ;                        \
  }                                                                                                                   \
  AVX512 HEAD_SUMS(name, avx512) {                                                                                    \
    head_sums(matrix, stride, rows, weights, count, scales, bounds, sums, own)   ;                                    \
  }                                                                                                                   \
  AVX512 WIDEN_ROWS(name, avx512) {                                                                                   \
    widen_rows(matrix, stride, rows, count, width, target, target_stride, own)   ;                                    \
  }                                                                                                                   \
  AVX512 COPY_ROWS(name, avx512) {                                                                                    \
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
