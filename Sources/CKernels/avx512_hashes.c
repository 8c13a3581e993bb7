/* The kernels over hash codes on AVX-512: one register holds a step of numbers, a mask its signs. */

#include "avx512_lanes.h"

#if defined(__x86_64__)

#define LEVEL AVX512

INLINE unsigned distances_up_to(const uint32_t *distances, size_t count, uint32_t bound, unsigned *equal) {
  const __mmask16 mask = mask_below(count);
  const __m512i limit = _mm512_set1_epi32((int)bound), all = _mm512_maskz_loadu_epi32(mask, distances);
  *equal = _mm512_mask_cmpeq_epi32_mask(mask, all, limit);
  return _mm512_mask_cmple_epu32_mask(mask, all, limit);
}

INLINE size_t write_places(unsigned set, uint32_t start, uint32_t *places) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const size_t found = (size_t)__builtin_popcount(set);
  const __m512i kept = _mm512_maskz_compress_epi32((__mmask16)set, lane);
  _mm512_mask_storeu_epi32(places, mask_below(found), _mm512_add_epi32(kept, _mm512_set1_epi32((int)start)));
  return found;
}

INLINE size_t matching_word_by_word(const uint64_t *codes, size_t words, uint64_t wanted, uint64_t mask, size_t start,
                                    size_t count, uint32_t *places);

INLINE size_t matching_words(const uint64_t *codes, size_t words, uint64_t wanted, uint64_t mask, size_t count,
                             uint32_t *places) {
  if (words != 1) return matching_word_by_word(codes, words, wanted, mask, 0, count, places);
  const __m512i all = _mm512_set1_epi64((long long)mask), code = _mm512_set1_epi64((long long)wanted);
  size_t found = 0;
  for (size_t i = 0; i < count; i += 16) {
    unsigned set = 0;
    UNROLL for (int half = 0; half < 2; half++) {
      const size_t start = i + (size_t)half * 8;
      const __mmask8 seen = start < count ? (__mmask8)mask_below(count - start < 8 ? count - start : 8) : 0;
      const __m512i eight = _mm512_maskz_loadu_epi64(seen, codes + (start < count ? start : i));
      set |= (unsigned)_mm512_mask_cmpeq_epi64_mask(seen, _mm512_and_si512(eight, all), code) << (half * 8);
    }
    found += write_places(set, (uint32_t)i, places + found);
  }
  return found;
}

#include "hashes.h"

#define SIGN_ROWS 4 /* positions at a time: they share the coefficients' loads */

/* The words of `group` positions. */
INLINE void signs_of(const float *table, size_t step_stride, size_t row_stride, const uint32_t *indices,
                     const float *columns, size_t column_stride, const float *coefficients, size_t dimensions,
                     size_t i, const int group, const int steps, size_t first, size_t bits, size_t words,
                     uint64_t *codes) {
  __m512 sums[SIGN_ROWS][4];
  UNROLL for (int g = 0; g < group; g++) {
    const float *row = table + (indices ? indices[i + (size_t)g] : i + (size_t)g) * row_stride;
    UNROLL for (int s = 0; s < steps; s++) sums[g][s] = _mm512_loadu_ps(row + (size_t)s * step_stride);
  }
  for (size_t d = 0; d < dimensions; d++) {
    UNROLL for (int s = 0; s < steps; s++) {
      const __m512 factor = _mm512_loadu_ps(coefficients + d * CKV_HASH_WORD + s * 16);
      UNROLL for (int g = 0; g < group; g++)
        sums[g][s] = _mm512_fmadd_ps(factor, _mm512_set1_ps(columns[d * column_stride + i + (size_t)g]), sums[g][s]);
    }
  }
  UNROLL for (int g = 0; g < group; g++) {
    uint64_t signs = 0;
    UNROLL for (int s = 0; s < steps; s++) {
      const __mmask16 above = _mm512_cmp_ps_mask(sums[g][s], _mm512_setzero_ps(), _CMP_GT_OQ);
      signs |= (uint64_t)above << (s * 16);
    }
    uint64_t *code = codes + (i + (size_t)g) * words;
    *code = word_of(*code, signs, first, bits);
  }
}

LEVEL SIGNS(avx512) {
  size_t i = 0;
  switch ((bits + CKV_HASH_STEP - 1) / CKV_HASH_STEP) {
#define CASE(steps)                                                                                                   \
  case steps:                                                                                                         \
    for (; i + SIGN_ROWS <= count; i += SIGN_ROWS)                                                                    \
      signs_of(table, step_stride, row_stride, indices, columns, column_stride, coefficients, dimensions, i,          \
               SIGN_ROWS, steps, first, bits, words, codes);                                                          \
    for (; i < count; i++)                                                                                            \
      signs_of(table, step_stride, row_stride, indices, columns, column_stride, coefficients, dimensions, i, 1,       \
               steps, first, bits, words, codes);                                                                     \
    break;
    CASE(1) CASE(2) CASE(3) CASE(4)
#undef CASE
  }
}

DEFINE(avx512)

#endif
