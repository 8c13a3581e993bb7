/* The encoder's kernels on AVX-512 (x86-64-v4). Lanes run over outputs, one vector a panel; every sum goes through the
 * embedding's dimensions in order, so its bits depend on no other row. */

#include "levels.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>

#pragma STDC FP_CONTRACT OFF

#define INLINE static inline __attribute__((always_inline)) AVX512

/* Rows of one block: 14 x 2 sums, 2 weights and a broadcast fill 31 of the 32 registers. */
#define BLOCK 14
/* Rows that a group of panels meets while it is in the first-level cache. */
#define CHUNK (4 * BLOCK)

/* sums[p][r] of `row_count` rows and `panel_count` neighbouring panels, biases added. */
INLINE void block_sums(const float *rows, size_t row_stride, const int row_count, size_t width, const float *panels,
                       const float *bias, const int panel_count, __m512 sums[8][BLOCK]) {
  UNROLL for (int p = 0; p < panel_count; p++)
    UNROLL for (int r = 0; r < row_count; r++) sums[p][r] = _mm512_setzero_ps();
  for (size_t k = 0; k < width; k++) {
    __m512 weights[8];
    UNROLL for (int p = 0; p < panel_count; p++)
      weights[p] = _mm512_load_ps(panels + (p * width + k) * CKV_PANEL);
    UNROLL for (int r = 0; r < row_count; r++) {
      const __m512 input = _mm512_set1_ps(rows[r * row_stride + k]);
      UNROLL for (int p = 0; p < panel_count; p++) sums[p][r] = _mm512_fmadd_ps(input, weights[p], sums[p][r]);
    }
  }
  UNROLL for (int p = 0; p < panel_count; p++) {
    const __m512 b = _mm512_load_ps(bias + p * CKV_PANEL);
    UNROLL for (int r = 0; r < row_count; r++) sums[p][r] = _mm512_add_ps(sums[p][r], b);
  }
}

/* Each row's greatest sum so far and its output, lane by lane. */
struct best {
  __m512 sum[CHUNK];
  __m512i output[CHUNK];
};

INLINE void route_block(const float *rows, size_t row_stride, const int row_count, size_t width, const float *panels,
                        const float *bias, const int panel_count, size_t first_output, struct best *best,
                        size_t first_row) {
  __m512 sums[8][BLOCK];
  block_sums(rows + first_row * row_stride, row_stride, row_count, width, panels, bias, panel_count, sums);
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  UNROLL for (int p = 0; p < panel_count; p++) {
    const __m512i output = _mm512_add_epi32(_mm512_set1_epi32((int)(first_output + p * CKV_PANEL)), lane);
    UNROLL for (int r = 0; r < row_count; r++) {
      const __mmask16 wins = _mm512_cmp_ps_mask(sums[p][r], best->sum[first_row + r], _CMP_GT_OQ);
      _mm512_mask_store_ps(&best->sum[first_row + r], wins, sums[p][r]);
      _mm512_mask_store_epi32(&best->output[first_row + r], wins, output);
    }
  }
}

/* One group of panels against every row of a chunk. */
INLINE void route_panels(const float *rows, size_t row_stride, size_t row_count, size_t width, const float *panels,
                         const float *bias, const int panel_count, size_t first_output, struct best *best) {
  size_t r = 0;
  for (; r + BLOCK <= row_count; r += BLOCK)
    route_block(rows, row_stride, BLOCK, width, panels, bias, panel_count, first_output, best, r);
  switch (row_count - r) {
#define CASE(rest)                                                                                            \
  case rest:                                                                                                  \
    route_block(rows, row_stride, rest, width, panels, bias, panel_count, first_output, best, r);             \
    break;
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13)
#undef CASE
  }
}

AVX512 void ckv_route_f32_avx512(const float *rows, size_t row_stride, size_t row_count, size_t width,
                                 const float *panels, const float *bias, size_t outputs, uint32_t *indices) {
  const size_t panel_count = (outputs + CKV_PANEL - 1) / CKV_PANEL;
  struct best best;
  for (size_t first = 0; first < row_count; first += CHUNK) {
    const float *chunk = rows + first * row_stride;
    const size_t count = row_count - first < CHUNK ? row_count - first : CHUNK;
    for (size_t r = 0; r < count; r++) {
      best.sum[r] = _mm512_set1_ps(-INFINITY);
      best.output[r] = _mm512_setzero_si512();
    }
    size_t p = 0;
    if (count <= 2) /* several panels at once, so that enough sums are under way */
      for (; p + 8 <= panel_count; p += 8) {
        const float *group = panels + p * width * CKV_PANEL, *b = bias + p * CKV_PANEL;
        const size_t output = p * CKV_PANEL;
        if (count == 1) route_block(chunk, row_stride, 1, width, group, b, 8, output, &best, 0);
        if (count == 2) route_block(chunk, row_stride, 2, width, group, b, 8, output, &best, 0);
      }
    for (; p + 2 <= panel_count; p += 2)
      route_panels(chunk, row_stride, count, width, panels + p * width * CKV_PANEL, bias + p * CKV_PANEL, 2,
                   p * CKV_PANEL, &best);
    for (; p < panel_count; p++)
      for (size_t r = 0; r < count; r++)
        route_block(chunk, row_stride, 1, width, panels + p * width * CKV_PANEL, bias + p * CKV_PANEL, 1,
                    p * CKV_PANEL, &best, r);
    for (size_t r = 0; r < count; r++) {
      const __m512 greatest = _mm512_set1_ps(_mm512_reduce_max_ps(best.sum[r]));
      const __mmask16 wins = _mm512_cmp_ps_mask(best.sum[r], greatest, _CMP_EQ_OQ);
      indices[first + r] = _mm512_mask_reduce_min_epu32(wins, best.output[r]);
    }
  }
}

INLINE void project_block(const float *rows, size_t row_stride, const int row_count, size_t width, const float *panel,
                          const float *bias, size_t outputs, float *columns, size_t column_stride) {
  __m512 sums[8][BLOCK];
  block_sums(rows, row_stride, row_count, width, panel, bias, 1, sums);
  UNROLL for (int r = 0; r < row_count; r++) {
    float lanes[CKV_PANEL];
    _mm512_storeu_ps(lanes, sums[0][r]);
    for (size_t o = 0; o < outputs; o++) columns[o * column_stride + r] = lanes[o];
  }
}

AVX512 void ckv_project_f32_avx512(const float *rows, size_t row_stride, size_t row_count, size_t width,
                                   const float *panels, const float *bias, size_t outputs, float *columns,
                                   size_t column_stride) {
  for (size_t first = 0; first < outputs; first += CKV_PANEL) {
    const float *panel = panels + first * width, *b = bias + first;
    const size_t count = outputs - first < CKV_PANEL ? outputs - first : CKV_PANEL;
    float *target = columns + first * column_stride;
    size_t r = 0;
    for (; r + 8 <= row_count; r += 8)
      project_block(rows + r * row_stride, row_stride, 8, width, panel, b, count, target + r, column_stride);
    for (; r < row_count; r++)
      project_block(rows + r * row_stride, row_stride, 1, width, panel, b, count, target + r, column_stride);
  }
}

#endif
