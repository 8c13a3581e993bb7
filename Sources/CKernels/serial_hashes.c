/* The kernels over hash codes in plain C, and what is the same at every level. */

#include "levels.h"

#include <math.h>
#include <string.h>

#pragma STDC FP_CONTRACT OFF

#define INLINE static inline __attribute__((always_inline))
#define LEVEL

/* A bit per distance, of at most 16, that is `bound` or less, and those that are `bound`. */
INLINE unsigned distances_up_to(const uint32_t *distances, size_t count, uint32_t bound, unsigned *equal) {
  unsigned within = 0;
  *equal = 0;
  for (size_t i = 0; i < count; i++) {
    within |= (unsigned)(distances[i] <= bound) << i;
    *equal |= (unsigned)(distances[i] == bound) << i;
  }
  return within;
}

/* The places of the bits that are set, counted from `start`; returns how many. */
INLINE size_t write_places(unsigned set, uint32_t start, uint32_t *places) {
  size_t found = 0;
  for (; set != 0; set &= set - 1) places[found++] = start + (uint32_t)__builtin_ctz(set);
  return found;
}

INLINE size_t matching_word_by_word(const uint64_t *codes, size_t words, uint64_t wanted, uint64_t mask, size_t start,
                                    size_t count, uint32_t *places);

INLINE size_t matching_words(const uint64_t *codes, size_t words, uint64_t wanted, uint64_t mask, size_t count,
                             uint32_t *places) {
  return matching_word_by_word(codes, words, wanted, mask, 0, count, places);
}

#include "hashes.h"

SIGNS(serial) {
  for (size_t i = 0; i < count; i++) {
    const float *row = table + (indices ? indices[i] : i) * row_stride;
    uint64_t signs = 0;
    for (size_t b = 0; b < bits; b++) {
      float sum = row[b / CKV_HASH_STEP * step_stride + b % CKV_HASH_STEP];
      for (size_t d = 0; d < dimensions; d++)
        sum = fmaf(coefficients[d * CKV_HASH_WORD + b], columns[d * column_stride + i], sum);
      signs |= (uint64_t)(sum > 0) << b;
    }
    codes[i * words] = word_of(codes[i * words], signs, first, bits);
  }
}

DEFINE(serial)

void ckv_gather_codes_u64(const uint64_t *source, const uint32_t *rows, size_t words, size_t count, uint64_t *target) {
  if (words == 1) {
    for (size_t i = 0; i < count; i++) target[i] = source[rows[i]];
    return;
  }
  for (size_t i = 0; i < count; i++)
    memcpy(target + i * words, source + (size_t)rows[i] * words, words * sizeof *source);
}
