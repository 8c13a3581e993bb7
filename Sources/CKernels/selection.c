/* Selections: the greatest of many scores without sorting them, and what belongs to the places found. The score that
 * just makes it is found bit by bit, by counting the scores at or above a bound: passes that run in vectors, and few of
 * them where scores differ. */

#include "levels.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* Ranks order as floats do. Ranks below -infinity's stand for it. */
static float float_of_rank(uint32_t rank) {
  const uint32_t lowest = 0x007FFFFFu;
  const uint32_t kept = rank < lowest ? lowest : rank;
  const uint32_t bits = kept & 0x80000000u ? kept & 0x7FFFFFFFu : ~kept;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

INLINE size_t count_from(const float *scores, size_t count, float least) {
  size_t found = 0;
  for (size_t first = 0; first < count; first += 1u << 20) {
    const size_t end = count - first < 1u << 20 ? count : first + (1u << 20);
    uint32_t run = 0;
    for (size_t i = first; i < end; i++) run += scores[i] >= least;
    found += run;
  }
  return found;
}

/* The greatest bound that `top` scores reach or pass, or one with just `top` scores at or above it. */
INLINE float least_kept(const float *scores, size_t count, size_t top) {
  uint32_t rank = 0;
  for (uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
    /* Beyond infinity the float is NaN, which no score reaches. */
    const size_t found = count_from(scores, count, float_of_rank(rank | bit));
    if (found >= top) rank |= bit;
    if (found == top) break;
  }
  return float_of_rank(rank);
}

INLINE void select_top(const float *scores, size_t count, size_t top, uint32_t *places) {
  const float least = least_kept(scores, count, top);
  size_t greater = 0, equal = 0;
  for (size_t i = 0; i < count; i++) {
    greater += scores[i] > least;
    equal += scores[i] == least;
  }
  /* So many of the equal ones, the earliest, are left out. */
  size_t skipped = greater + equal - top;
  size_t found = 0;
  for (size_t i = 0; found < top; i++) {
    const size_t is_equal = scores[i] == least, is_skipped = is_equal & (skipped > 0);
    skipped -= is_skipped;
    places[found] = (uint32_t)i;
    found += (scores[i] > least) | (is_equal & !is_skipped);
  }
}

#if defined(__x86_64__)
AVX2 static void select_top_avx2(const float *scores, size_t count, size_t top, uint32_t *places) {
  select_top(scores, count, top, places);
}
AVX512 static void select_top_avx512(const float *scores, size_t count, size_t top, uint32_t *places) {
  select_top(scores, count, top, places);
}
#endif

void ckv_select_top_f32(const float *scores, size_t count, size_t top, uint32_t *places) {
#if defined(__x86_64__)
  const struct ckv_kernels *active = ckv_kernels_active();
  if (active == &ckv_kernels_avx512) {
    select_top_avx512(scores, count, top, places);
    return;
  }
  if (active == &ckv_kernels_avx2) {
    select_top_avx2(scores, count, top, places);
    return;
  }
#endif
  select_top(scores, count, top, places);
}

void ckv_gather_f32(const float *source, const uint32_t *places, size_t count, float *target) {
  for (size_t i = 0; i < count; i++) target[i] = source[places[i]];
}

void ckv_gather_u32(const uint32_t *source, const uint32_t *places, size_t count, uint32_t *target) {
  for (size_t i = 0; i < count; i++) target[i] = source[places[i]];
}

float ckv_gather_scores_f32(const float *scores, const uint32_t *places, size_t count, float scale, float *target) {
  float greatest = -__builtin_inff();
  for (size_t i = 0; i < count; i++) {
    target[i] = scale * scores[places[i]];
    greatest = target[i] > greatest ? target[i] : greatest;
  }
  return greatest;
}
