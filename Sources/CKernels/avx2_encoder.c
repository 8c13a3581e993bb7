/* The encoder's kernels on AVX2 (x86-64-v3). Lanes run over outputs, two vectors a panel; every sum goes through the
 * embedding's dimensions in order, so its bits depend on no other row. */

#include "levels.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>

#pragma STDC FP_CONTRACT OFF

#define INLINE static inline __attribute__((always_inline)) AVX2

INLINE size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* Rows of one block: 6 x 2 sums, 2 weights and a broadcast fill 15 of the 16 registers. */
#define BLOCK 6
/* Rows that a panel meets while it is in the first-level cache. */
#define CHUNK (8 * BLOCK)

/* sums[p][r][half] of `row_count` rows and `panel_count` neighbouring panels, biases added. */
INLINE void block_sums(const float *rows, size_t row_stride, const int row_count, size_t width, const float *panels,
                       const float *bias, const int panel_count, __m256 sums[4][BLOCK][2]) {
  UNROLL for (int p = 0; p < panel_count; p++)
    UNROLL for (int r = 0; r < row_count; r++) sums[p][r][0] = sums[p][r][1] = _mm256_setzero_ps();
  for (size_t k = 0; k < width; k++)
    UNROLL for (int p = 0; p < panel_count; p++) {
      const float *weights = panels + (p * width + k) * CKV_PANEL;
      const __m256 low = _mm256_load_ps(weights), high = _mm256_load_ps(weights + 8);
      UNROLL for (int r = 0; r < row_count; r++) {
        const __m256 input = _mm256_broadcast_ss(rows + r * row_stride + k);
        sums[p][r][0] = _mm256_fmadd_ps(input, low, sums[p][r][0]);
        sums[p][r][1] = _mm256_fmadd_ps(input, high, sums[p][r][1]);
      }
    }
  UNROLL for (int p = 0; p < panel_count; p++)
    UNROLL for (int half = 0; half < 2; half++) {
      const __m256 b = _mm256_load_ps(bias + p * CKV_PANEL + half * 8);
      UNROLL for (int r = 0; r < row_count; r++) sums[p][r][half] = _mm256_add_ps(sums[p][r][half], b);
    }
}

/* Each row's greatest sum so far and its output, lane by lane. */
struct best {
  __m256 sum[CHUNK];
  __m256i output[CHUNK];
};

INLINE void route_block(const float *rows, size_t row_stride, const int row_count, size_t width, const float *panels,
                        const float *bias, const int panel_count, size_t first_output, struct best *best,
                        size_t first_row) {
  __m256 sums[4][BLOCK][2];
  block_sums(rows + first_row * row_stride, row_stride, row_count, width, panels, bias, panel_count, sums);
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  UNROLL for (int p = 0; p < panel_count; p++)
    UNROLL for (int half = 0; half < 2; half++) {
      const __m256i output = _mm256_add_epi32(_mm256_set1_epi32((int)(first_output + p * CKV_PANEL + half * 8)), lane);
      UNROLL for (int r = 0; r < row_count; r++) {
        const __m256 held = best->sum[first_row + r], sum = sums[p][r][half];
        const __m256 wins = _mm256_cmp_ps(sum, held, _CMP_GT_OQ);
        best->sum[first_row + r] = _mm256_blendv_ps(held, sum, wins);
        best->output[first_row + r] =
            _mm256_blendv_epi8(best->output[first_row + r], output, _mm256_castps_si256(wins));
      }
    }
}

/* The lowest output among the lanes that hold the greatest sum. */
INLINE uint32_t winner(__m256 sum, __m256i output) {
  float sums[8];
  uint32_t outputs[8];
  _mm256_storeu_ps(sums, sum);
  _mm256_storeu_si256((__m256i *)outputs, output);
  size_t best = 0;
  for (size_t lane = 1; lane < 8; lane++)
    if (sums[lane] > sums[best] || (sums[lane] == sums[best] && outputs[lane] < outputs[best])) best = lane;
  return outputs[best];
}

AVX2 void ckv_route_f32_avx2(const float *rows, size_t row_stride, size_t row_count, size_t width,
                             const float *panels, const float *bias, size_t outputs, uint32_t *indices) {
  const size_t panel_count = (outputs + CKV_PANEL - 1) / CKV_PANEL;
  struct best best;
  for (size_t first = 0; first < row_count; first += CHUNK) {
    const float *chunk = rows + first * row_stride;
    const size_t count = smaller(row_count - first, CHUNK);
    for (size_t r = 0; r < count; r++) {
      best.sum[r] = _mm256_set1_ps(-INFINITY);
      best.output[r] = _mm256_setzero_si256();
    }
    size_t p = 0;
    if (count == 1) /* several panels at once, so that enough sums are under way */
      for (; p + 4 <= panel_count; p += 4)
        route_block(chunk, row_stride, 1, width, panels + p * width * CKV_PANEL, bias + p * CKV_PANEL, 4,
                    p * CKV_PANEL, &best, 0);
    for (; p < panel_count; p++) {
      const float *panel = panels + p * width * CKV_PANEL, *b = bias + p * CKV_PANEL;
      const size_t output = p * CKV_PANEL;
      size_t r = 0;
      for (; r + BLOCK <= count; r += BLOCK)
        route_block(chunk, row_stride, BLOCK, width, panel, b, 1, output, &best, r);
      switch (count - r) {
#define CASE(rest)                                                                     \
  case rest:                                                                           \
    route_block(chunk, row_stride, rest, width, panel, b, 1, output, &best, r);        \
    break;
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5)
#undef CASE
      }
    }
    for (size_t r = 0; r < count; r++) indices[first + r] = winner(best.sum[r], best.output[r]);
  }
}

INLINE void project_block(const float *rows, size_t row_stride, const int row_count, size_t width, const float *panel,
                          const float *bias, size_t outputs, float *columns, size_t column_stride) {
  __m256 sums[4][BLOCK][2];
  block_sums(rows, row_stride, row_count, width, panel, bias, 1, sums);
  UNROLL for (int r = 0; r < row_count; r++) {
    float lanes[CKV_PANEL];
    _mm256_storeu_ps(lanes, sums[0][r][0]);
    _mm256_storeu_ps(lanes + 8, sums[0][r][1]);
    for (size_t o = 0; o < outputs; o++) columns[o * column_stride + r] = lanes[o];
  }
}

AVX2 void ckv_project_f32_avx2(const float *rows, size_t row_stride, size_t row_count, size_t width,
                               const float *panels, const float *bias, size_t outputs, float *columns,
                               size_t column_stride) {
  for (size_t first = 0; first < outputs; first += CKV_PANEL) {
    const float *panel = panels + first * width, *b = bias + first;
    const size_t count = smaller(outputs - first, CKV_PANEL);
    float *target = columns + first * column_stride;
    size_t r = 0;
    for (; r + BLOCK <= row_count; r += BLOCK)
      project_block(rows + r * row_stride, row_stride, BLOCK, width, panel, b, count, target + r, column_stride);
    for (; r < row_count; r++)
      project_block(rows + r * row_stride, row_stride, 1, width, panel, b, count, target + r, column_stride);
  }
}

#endif
