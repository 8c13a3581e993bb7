/* The kernels for several queries at once on AVX2: two registers hold the CKV_LANES lanes, or a number of each query.
 * Tiles are small, since sixteen registers are all there are. */

#include "avx2_lanes.h"

#if defined(__x86_64__)

#include <math.h>

typedef struct {
  __m256 low, high;
} V;

INLINE V pair(__m256 low, __m256 high) {
  const V vector = {low, high};
  return vector;
}
INLINE V zero(void) { return pair(_mm256_setzero_ps(), _mm256_setzero_ps()); }
INLINE V set1(float value) { return pair(_mm256_set1_ps(value), _mm256_set1_ps(value)); }
INLINE V load16(const unsigned char *matrix, size_t place, size_t count, enum ckv_format format) {
  const __m256 low = load(matrix, place, count, format);
  return pair(low, count > 8 ? load(matrix, place + 8, count - 8, format) : _mm256_setzero_ps());
}
INLINE V load_all(const float *values) { return pair(_mm256_loadu_ps(values), _mm256_loadu_ps(values + 8)); }
INLINE V load_first(const float *values, size_t count) {
  const __m256 low = load_floats(values, count);
  return pair(low, count > 8 ? load_floats(values + 8, count - 8) : _mm256_setzero_ps());
}
INLINE void store_all(float *values, V vector) {
  _mm256_storeu_ps(values, vector.low);
  _mm256_storeu_ps(values + 8, vector.high);
}
INLINE void store_first(float *values, size_t count, V vector) {
  store_floats(values, count, vector.low);
  if (count > 8) store_floats(values + 8, count - 8, vector.high);
}
INLINE V fma3(V a, V b, V sum) {
  return pair(_mm256_fmadd_ps(a.low, b.low, sum.low), _mm256_fmadd_ps(a.high, b.high, sum.high));
}
INLINE V add(V a, V b) { return pair(_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)); }
INLINE V sub(V a, V b) { return pair(_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)); }
INLINE V mul(V a, V b) { return pair(_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)); }
INLINE V greater(V a, V b) { return pair(_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)); }
INLINE V exponential_of(V x) { return pair(exponential(x.low), exponential(x.high)); }
INLINE unsigned zero_lanes(V vector) {
  const __m256 none = _mm256_setzero_ps();
  return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(vector.low, none, _CMP_EQ_OQ)) |
         (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(vector.high, none, _CMP_EQ_OQ)) << 8;
}
INLINE void store_sums(float *sums, const V *lanes) {
  const __m256 low[4] = {lanes[0].low, lanes[1].low, lanes[2].low, lanes[3].low};
  const __m256 high[4] = {lanes[0].high, lanes[1].high, lanes[2].high, lanes[3].high};
  _mm_storeu_ps(sums, sums_of_four(low, high));
}

#define LEVEL AVX2
#define DOT_TILE_ROWS 1
#define DOT_TILE_QUERIES 4
#define SUM_TILE_QUERIES 4
#define SUM_TILE_VECTORS 1
#include "blocks.h"

DEFINE(avx2)

#endif
