/* The kernels for several queries at once on AVX-512: one register holds the CKV_LANES lanes, or a number of each
 * query. Tiles of 24 sums leave registers for what they are made of. */

#include "avx512_lanes.h"

#if defined(__x86_64__)

#include <math.h>
#include <string.h>

typedef __m512 V;

INLINE V zero(void) { return _mm512_setzero_ps(); }
INLINE V set1(float value) { return _mm512_set1_ps(value); }
INLINE V load16(const unsigned char *matrix, size_t place, size_t count, enum ckv_format format) {
  return load(matrix, place, mask_below(count), format);
}
INLINE V load_all(const float *values) { return _mm512_loadu_ps(values); }
INLINE V load_first(const float *values, size_t count) { return _mm512_maskz_loadu_ps(mask_below(count), values); }
INLINE void store_all(float *values, V vector) { _mm512_storeu_ps(values, vector); }
INLINE void store_first(float *values, size_t count, V vector) {
  _mm512_mask_storeu_ps(values, mask_below(count), vector);
}
INLINE V fma3(V a, V b, V sum) { return _mm512_fmadd_ps(a, b, sum); }
INLINE V add(V a, V b) { return _mm512_add_ps(a, b); }
INLINE V sub(V a, V b) { return _mm512_sub_ps(a, b); }
INLINE V mul(V a, V b) { return _mm512_mul_ps(a, b); }
INLINE V greater(V a, V b) { return _mm512_max_ps(a, b); }
INLINE V exponential_of(V x) { return exponential(x); }
INLINE unsigned zero_lanes(V vector) { return _mm512_cmp_ps_mask(vector, _mm512_setzero_ps(), _CMP_EQ_OQ); }
/* The steps of sum_of_lanes, of two vectors at once. */
INLINE V halves(V a, V b) { return add(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE)); }
INLINE V quarters(V a, V b) { return add(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD)); }
/* sum_of_lanes of eight vectors at once. */
INLINE void store_sums(float *sums, const V *lanes) {
  const V first = quarters(halves(lanes[0], lanes[1]), halves(lanes[2], lanes[3]));
  const V second = quarters(halves(lanes[4], lanes[5]), halves(lanes[6], lanes[7]));
  const V two = add(_mm512_shuffle_ps(first, second, 0x44), _mm512_shuffle_ps(first, second, 0xEE));
  const V one = add(two, _mm512_permute_ps(two, 0xB1));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 4, 8, 12, 2, 6, 10, 14);
  _mm256_storeu_ps(sums, _mm512_castps512_ps256(_mm512_permutexvar_ps(order, one)));
}

#define LEVEL AVX512
#define DOT_TILE_ROWS 3
#define DOT_TILE_QUERIES 8
#define SUM_TILE_QUERIES 8
#define SUM_TILE_VECTORS 3
#include "blocks.h"

DEFINE(avx512)

#endif
