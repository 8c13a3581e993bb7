/* The kernels over hash codes, as every level runs them. A level file says first what LEVEL and INLINE are, and how
 * sixteen distances are compared, matches found and places written; then it includes this file. */

#define ALL_WORDS UINT64_MAX

/* Bits of word `word` that lie in first ..< first + bits. */
INLINE uint64_t mask_of_word(size_t word, size_t first, size_t bits) {
  const size_t start = word * CKV_HASH_WORD, end = start + CKV_HASH_WORD;
  uint64_t mask = ALL_WORDS;
  if (first > start) mask &= ALL_WORDS << (first - start);
  if (first + bits < end) mask &= ALL_WORDS >> (end - first - bits);
  return mask;
}

/* --- nearest --- */

INLINE void differing_bits(const uint64_t *codes, const uint64_t *query, size_t words, size_t count,
                           uint32_t *distances) {
  if (words == 1) {
    const uint64_t wanted = query[0];
    for (size_t i = 0; i < count; i++) distances[i] = (uint32_t)__builtin_popcountll(codes[i] ^ wanted);
    return;
  }
  for (size_t i = 0; i < count; i++) {
    uint32_t distance = 0;
    for (size_t w = 0; w < words; w++) distance += (uint32_t)__builtin_popcountll(codes[i * words + w] ^ query[w]);
    distances[i] = distance;
  }
}

INLINE size_t count_up_to(const uint32_t *distances, size_t count, uint32_t bound) {
  size_t found = 0;
  for (size_t first = 0; first < count; first += 1u << 20) {
    const size_t end = count - first < 1u << 20 ? count : first + (1u << 20);
    uint32_t run = 0;
    for (size_t i = first; i < end; i++) run += distances[i] <= bound;
    found += run;
  }
  return found;
}

/* The least distance that `top` codes have at most. */
INLINE uint32_t greatest_kept(const uint32_t *distances, size_t count, size_t top, uint32_t greatest, size_t *found) {
  uint32_t low = 0, high = greatest;
  *found = count;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    const size_t within = count_up_to(distances, count, middle);
    if (within >= top) {
      high = middle;
      *found = within;
      if (within == top) break; /* whether a lower bound has as many makes no difference */
    } else {
      low = middle + 1;
    }
  }
  return high;
}

INLINE void nearest(const uint64_t *codes, const uint64_t *query, size_t words, size_t count, size_t top,
                    uint32_t *distances, uint32_t *places) {
  differing_bits(codes, query, words, count, distances);
  size_t within;
  const uint32_t bound = greatest_kept(distances, count, top, (uint32_t)(words * CKV_HASH_WORD), &within);
  /* So many of those at the bound, the earliest, are left out. */
  size_t skipped = within - top, found = 0;
  for (size_t i = 0; found < top; i += 16) {
    const size_t left = count - i < 16 ? count - i : 16;
    unsigned equal;
    unsigned kept = distances_up_to(distances + i, left, bound, &equal);
    for (; skipped > 0 && equal != 0; skipped--, equal &= equal - 1) kept &= ~(equal & -equal);
    found += write_places(kept, (uint32_t)i, places + found);
  }
}

/* --- matching --- */

INLINE size_t matching(const uint64_t *codes, const uint64_t *query, size_t words, size_t first, size_t bits,
                       size_t count, uint32_t *places) {
  const size_t first_word = first / CKV_HASH_WORD, last_word = (first + bits - 1) / CKV_HASH_WORD;
  if (first_word == last_word) {
    const uint64_t mask = mask_of_word(first_word, first, bits);
    return matching_words(codes + first_word, words, query[first_word] & mask, mask, count, places);
  }
  size_t found = 0;
  for (size_t i = 0; i < count; i++) {
    uint64_t differing = 0;
    for (size_t w = first_word; w <= last_word; w++)
      differing |= (codes[i * words + w] ^ query[w]) & mask_of_word(w, first, bits);
    places[found] = (uint32_t)i;
    found += differing == 0;
  }
  return found;
}

/* Matches one by one. */
INLINE size_t matching_word_by_word(const uint64_t *codes, size_t words, uint64_t wanted, uint64_t mask, size_t start,
                                    size_t count, uint32_t *places) {
  size_t found = 0;
  for (size_t i = start; i < count; i++) {
    places[found] = (uint32_t)i;
    found += (codes[i * words] & mask) == wanted;
  }
  return found;
}

/* --- lengths --- */

INLINE double square_sum(const float *values, size_t count) {
  double lanes[CKV_LANES] = {0};
  size_t i = 0;
  for (; i + CKV_LANES <= count; i += CKV_LANES)
    UNROLL for (size_t l = 0; l < CKV_LANES; l++) lanes[l] += (double)values[i + l] * (double)values[i + l];
  for (; i < count; i++) lanes[i % CKV_LANES] += (double)values[i] * (double)values[i];
  UNROLL for (int half = CKV_LANES / 2; half > 0; half /= 2)
    UNROLL for (int l = 0; l < half; l++) lanes[l] += lanes[l + half];
  return lanes[0];
}

/* --- signs --- */

INLINE uint64_t word_of(uint64_t old, uint64_t signs, size_t first, size_t bits) {
  const uint64_t kept = first == 0 ? 0 : old & (ALL_WORDS >> (CKV_HASH_WORD - first));
  return kept | (signs & (ALL_WORDS >> (CKV_HASH_WORD - bits))) << first;
}

#define SIGNS(level)                                                                                                  \
  static void ckv_signs_f32_##level(const float *table, size_t step_stride, size_t row_stride,                        \
                                    const uint32_t *indices, const float *columns, size_t column_stride,              \
                                    const float *coefficients, size_t dimensions, size_t first, size_t bits,          \
                                    size_t count, size_t words, uint64_t *codes)
#define DEFINE(level)                                                                                                 \
  LEVEL static void ckv_nearest_u64_##level(const uint64_t *codes, const uint64_t *query, size_t words, size_t count, \
                                            size_t top, uint32_t *distances, uint32_t *places) {                      \
    nearest(codes, query, words, count, top, distances, places);                                                      \
  }                                                                                                                   \
  LEVEL static size_t ckv_matching_u64_##level(const uint64_t *codes, const uint64_t *query, size_t words,            \
                                               size_t first, size_t bits, size_t count, uint32_t *places) {           \
    return matching(codes, query, words, first, bits, count, places);                                                 \
  }                                                                                                                   \
  LEVEL static double ckv_square_sum_f32_##level(const float *values, size_t count) {                                 \
    return square_sum(values, count);                                                                                 \
  }                                                                                                                   \
  const struct ckv_hash_kernels ckv_hashes_##level = {                                                                \
      .signs_f32 = ckv_signs_f32_##level,                                                                             \
      .nearest_u64 = ckv_nearest_u64_##level,                                                                         \
      .matching_u64 = ckv_matching_u64_##level,                                                                       \
      .square_sum_f32 = ckv_square_sum_f32_##level,                                                                   \
  };
