/* Hash codes: one bit per rotation, the sign of its dot product with a key. */

#include "levels.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

void ckv_set_signs_u64(const float *scores, size_t count, size_t bit, size_t words, uint64_t *codes) {
  uint64_t *word = codes + bit / 64;
  const unsigned shift = (unsigned)(bit % 64);
  if (words == 1) {
    for (size_t i = 0; i < count; i++) word[i] |= (uint64_t)(scores[i] > 0) << shift;
  } else {
    for (size_t i = 0; i < count; i++) word[i * words] |= (uint64_t)(scores[i] > 0) << shift;
  }
}

INLINE void hamming(const uint64_t *codes, const uint64_t *query, size_t words, size_t count, float *scores) {
  if (words == 1) {
    for (size_t i = 0; i < count; i++) scores[i] = -(float)__builtin_popcountll(codes[i] ^ query[0]);
    return;
  }
  for (size_t i = 0; i < count; i++) {
    int distance = 0;
    for (size_t w = 0; w < words; w++) distance += __builtin_popcountll(codes[i * words + w] ^ query[w]);
    scores[i] = -(float)distance;
  }
}

#if defined(__x86_64__)
AVX2 static void hamming_avx2(const uint64_t *codes, const uint64_t *query, size_t words, size_t count,
                              float *scores) {
  hamming(codes, query, words, count, scores);
}
#endif

void ckv_hamming_u64(const uint64_t *codes, const uint64_t *query, size_t words, size_t count, float *scores) {
#if defined(__x86_64__)
  if (ckv_kernels_active() != &ckv_kernels_serial) {
    hamming_avx2(codes, query, words, count, scores);
    return;
  }
#endif
  hamming(codes, query, words, count, scores);
}

size_t ckv_matching_u64(const uint64_t *codes, const uint64_t *query, size_t words, size_t count, uint32_t *places) {
  size_t found = 0;
  for (size_t i = 0; i < count; i++) {
    places[found] = (uint32_t)i;
    found += memcmp(codes + i * words, query, words * sizeof *query) == 0;
  }
  return found;
}
