/* Columns of small unsigned integers as rows hold them: value i takes bits [i bits, (i + 1) bits), lowest bit first. */

#include "CKernels.h"

#include <string.h>

static inline uint64_t load_little_endian(const uint8_t *bytes) {
  uint64_t word;
  memcpy(&word, bytes, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  word = __builtin_bswap64(word);
#endif
  return word;
}

uint32_t ckv_unpack_bits_u32(const uint8_t *bytes, size_t byte_count, unsigned bits, size_t first, size_t count,
                             uint32_t *values) {
  const uint64_t mask = ((uint64_t)1 << bits) - 1;
  uint32_t greatest = 0;
  size_t index = 0;
  /* A word holds whatever starts in its lowest byte and ends within the next seven: up to 57 bits. */
  const size_t last_word = byte_count >= 8 ? byte_count - 8 : 0;
  const size_t in_words = byte_count >= 8 && bits > 0 ? (last_word * 8 + 7) / bits + 1 : 0;
  const size_t fast = in_words > first ? (in_words - first < count ? in_words - first : count) : 0;
  size_t position = first * bits;
  for (; index < fast; index++, position += bits) {
    const uint32_t value = (uint32_t)((load_little_endian(bytes + (position >> 3)) >> (position & 7)) & mask);
    greatest = value > greatest ? value : greatest;
    values[index] = value;
  }
  for (; index < count; index++, position += bits) {
    uint8_t rest[8] = {0};
    const size_t byte = position >> 3;
    const size_t left = byte < byte_count ? byte_count - byte : 0;
    memcpy(rest, bytes + (left ? byte : 0), left < 8 ? left : 8);
    const uint32_t value = (uint32_t)((load_little_endian(rest) >> (position & 7)) & mask);
    greatest = value > greatest ? value : greatest;
    values[index] = value;
  }
  return greatest;
}
