/* Columns of small unsigned integers as rows hold them: value i takes bits [i bits, (i + 1) bits), lowest bit first.
 * Eight values of b bits fill b bytes, so the places and shifts of eight values are those of the next eight. */

#include "CKernels.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static inline uint64_t load_little_endian(const uint8_t *bytes) {
  uint64_t word;
  memcpy(&word, bytes, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  word = __builtin_bswap64(word);
#endif
  return word;
}

/* Any value, read from the bytes that it touches and no other. */
static inline uint32_t load_value(const uint8_t *bytes, size_t byte_count, unsigned bits, size_t index) {
  const size_t position = index * bits;
  const size_t byte = position >> 3;
  const size_t left = byte < byte_count ? byte_count - byte : 0;
  uint64_t word = 0;
  if (left >= 8) {
    word = load_little_endian(bytes + byte);
  } else if (left > 0) {
    uint8_t rest[8] = {0};
    memcpy(rest, bytes + byte, left);
    word = load_little_endian(rest);
  }
  return (uint32_t)((word >> (position & 7)) & (((uint64_t)1 << bits) - 1));
}

#if defined(__x86_64__)
/* Groups of eight values of 1 to 15 bits: each value's three bytes are moved to a lane of its own, then shifted down.
 * `index` is a multiple of eight; returns where it stopped, for want of 16 readable bytes or of values. */
__attribute__((target("avx2"))) static size_t unpack_groups_avx2(const uint8_t *bytes, size_t byte_count,
                                                                 unsigned bits, size_t index, size_t end,
                                                                 uint32_t *values, uint32_t *greatest) {
  uint8_t places[32];
  uint32_t shifts[8];
  for (unsigned lane = 0; lane < 8; lane++) {
    const unsigned position = lane * bits;
    for (unsigned byte = 0; byte < 3; byte++) places[lane * 4 + byte] = (uint8_t)((position >> 3) + byte);
    places[lane * 4 + 3] = 0x80;
    shifts[lane] = position & 7;
  }
  const __m256i place = _mm256_loadu_si256((const __m256i *)places);
  const __m256i shift = _mm256_loadu_si256((const __m256i *)shifts);
  const __m256i mask = _mm256_set1_epi32((int)((1u << bits) - 1));
  __m256i most = _mm256_setzero_si256();
  size_t byte = index / 8 * bits;
  for (; index + 8 <= end && byte + 16 <= byte_count; index += 8, byte += bits) {
    const __m256i group = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(bytes + byte)));
    const __m256i value = _mm256_and_si256(_mm256_srlv_epi32(_mm256_shuffle_epi8(group, place), shift), mask);
    _mm256_storeu_si256((__m256i *)values, value);
    values += 8;
    most = _mm256_max_epu32(most, value);
  }
  uint32_t lanes[8];
  _mm256_storeu_si256((__m256i *)lanes, most);
  for (unsigned lane = 0; lane < 8; lane++) *greatest = lanes[lane] > *greatest ? lanes[lane] : *greatest;
  return index;
}
#endif

uint32_t ckv_unpack_bits_u32(const uint8_t *bytes, size_t byte_count, unsigned bits, size_t first, size_t count,
                             uint32_t *values) {
  uint32_t greatest = 0;
  size_t index = first;
  const size_t end = first + count;
#if defined(__x86_64__)
  if (bits >= 1 && bits <= 15 && first % 8 == 0 && ckv_kernels_active() != ckv_kernels_at(CKV_SERIAL)) {
    index = unpack_groups_avx2(bytes, byte_count, bits, index, end, values, &greatest);
  }
#endif
  for (; index < end; index++) {
    const uint32_t value = load_value(bytes, byte_count, bits, index);
    greatest = value > greatest ? value : greatest;
    values[index - first] = value;
  }
  return greatest;
}
