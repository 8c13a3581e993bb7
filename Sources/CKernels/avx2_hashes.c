/* The kernels over hash codes on AVX2: two registers hold a step of numbers. */

#include "avx2_lanes.h"

#if defined(__x86_64__)

#define LEVEL AVX2

INLINE unsigned distances_up_to(const uint32_t *distances, size_t count, uint32_t bound, unsigned *equal) {
  const __m256i limit = _mm256_set1_epi32((int)bound); /* far below 2^31, as distances are */
  unsigned above = 0;
  *equal = 0;
  for (size_t i = 0; i < count; i += 8) {
    const __m256i eight = _mm256_maskload_epi32((const int *)distances + i, mask_below(count - i));
    above |= (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(eight, limit))) << i;
    *equal |= (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(eight, limit))) << i;
  }
  const unsigned all = (1u << count) - 1;
  *equal &= all;
  return ~above & all;
}

INLINE size_t write_places(unsigned set, uint32_t start, uint32_t *places) {
  size_t found = 0;
  for (; set != 0; set &= set - 1) places[found++] = start + (uint32_t)__builtin_ctz(set);
  return found;
}

INLINE size_t matching_word_by_word(const uint64_t *codes, size_t words, uint64_t wanted, uint64_t mask, size_t start,
                                    size_t count, uint32_t *places);

INLINE size_t matching_words(const uint64_t *codes, size_t words, uint64_t wanted, uint64_t mask, size_t count,
                             uint32_t *places) {
  if (words != 1) return matching_word_by_word(codes, words, wanted, mask, 0, count, places);
  const __m256i all = _mm256_set1_epi64x((long long)mask), code = _mm256_set1_epi64x((long long)wanted);
  size_t found = 0, i = 0;
  for (; i + 8 <= count; i += 8) {
    unsigned set = 0;
    UNROLL for (int half = 0; half < 2; half++) {
      const __m256i four = _mm256_loadu_si256((const __m256i *)(const void *)(codes + i + half * 4));
      const __m256i same = _mm256_cmpeq_epi64(_mm256_and_si256(four, all), code);
      set |= (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(same)) << (half * 4);
    }
    found += write_places(set, (uint32_t)i, places + found);
  }
  return found + matching_word_by_word(codes, words, wanted, mask, i, count, places + found);
}

#include "hashes.h"

/* The signs of `steps` steps of one position. */
INLINE uint64_t signs_of(const float *row, size_t step_stride, const float *columns, size_t column_stride,
                         const float *coefficients, size_t dimensions, size_t i, const int steps) {
  __m256 sums[8];
  UNROLL for (int s = 0; s < 2 * steps; s++) sums[s] = _mm256_loadu_ps(row + (size_t)(s / 2) * step_stride + s % 2 * 8);
  for (size_t d = 0; d < dimensions; d++) {
    const __m256 number = _mm256_set1_ps(columns[d * column_stride + i]);
    UNROLL for (int s = 0; s < 2 * steps; s++)
      sums[s] = _mm256_fmadd_ps(_mm256_loadu_ps(coefficients + d * CKV_HASH_WORD + s * 8), number, sums[s]);
  }
  uint64_t signs = 0;
  UNROLL for (int s = 0; s < 2 * steps; s++) {
    const __m256 above = _mm256_cmp_ps(sums[s], _mm256_setzero_ps(), _CMP_GT_OQ);
    signs |= (uint64_t)(unsigned)_mm256_movemask_ps(above) << (s * 8);
  }
  return signs;
}

LEVEL SIGNS(avx2) {
  switch ((bits + CKV_HASH_STEP - 1) / CKV_HASH_STEP) {
#define CASE(steps)                                                                                                   \
  case steps:                                                                                                         \
    for (size_t i = 0; i < count; i++) {                                                                              \
      const float *row = table + (indices ? indices[i] : i) * row_stride;                                             \
      const uint64_t signs =                                                                                          \
          signs_of(row, step_stride, columns, column_stride, coefficients, dimensions, i, steps);                     \
      codes[i * words] = word_of(codes[i * words], signs, first, bits);                                               \
    }                                                                                                                 \
    break;
    CASE(1) CASE(2) CASE(3) CASE(4)
#undef CASE
  }
}

DEFINE(avx2)

#endif
