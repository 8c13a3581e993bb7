/* Selections: the greatest of many scores without sorting them, and what belongs to the places found. */

#include "CKernels.h"

#include <string.h>

/* A number that orders as the score does; 0 and -0 are one number. */
static inline uint32_t rank_of(float score) {
  const float value = score + 0.0f; /* -0 becomes 0 */
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* The rank of the `top`-th greatest score, eight bits at a time from the highest down. `surplus` gets how many scores
 * of that very rank are among the `top` greatest. */
static uint32_t least_kept(const float *scores, size_t count, size_t top, size_t *surplus) {
  uint32_t rank = 0, known = 0;
  size_t wanted = top;
  for (int shift = 24; shift >= 0; shift -= 8) {
    size_t counts[256] = {0};
    for (size_t i = 0; i < count; i++) {
      const uint32_t own = rank_of(scores[i]);
      counts[own >> shift & 255] += (own & known) == rank;
    }
    uint32_t digit = 255;
    for (; counts[digit] < wanted; digit--) wanted -= counts[digit];
    rank |= digit << shift;
    known |= (uint32_t)255 << shift;
  }
  *surplus = wanted;
  return rank;
}

void ckv_select_top_f32(const float *scores, size_t count, size_t top, uint32_t *places) {
  size_t ties = 0;
  const uint32_t least = least_kept(scores, count, top, &ties);
  size_t left = top;
  for (size_t i = count; i > 0 && left > 0; i--) {
    const uint32_t own = rank_of(scores[i - 1]);
    if (own < least || (own == least && ties == 0)) continue;
    ties -= own == least;
    places[--left] = (uint32_t)(i - 1);
  }
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
