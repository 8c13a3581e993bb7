/* The meaning of every kernel, in plain C, and the choice among the levels. */

#include "levels.h"

#include <math.h>

static float widened(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = half & 0x7fff, bits;
  float value;
  if (rest >= 0x7c00) {
    bits = sign | 0x7f800000 | (rest & 0x3ff) << 13;
  } else if (rest >= 0x400) {
    bits = sign | ((rest << 13) + 0x38000000);
  } else {
    value = (float)rest * 0x1p-24f;
    return sign ? -value : value;
  }
  memcpy(&value, &bits, sizeof value);
  return value;
}

static float element(enum full_format format, const void *rows, size_t place) {
  float value;
  uint16_t half;
  if (format == FULL_F32) {
    memcpy(&value, (const char *)rows + place * sizeof value, sizeof value);
    return value;
  }
  memcpy(&half, (const char *)rows + place * sizeof half, sizeof half);
  return widened(half);
}

static void scores_serial(enum full_format format, const void *keys, size_t count, size_t width, size_t heads,
                          const float *query, float scale, float *scores, size_t stride) {
  size_t part = width / heads;
  for (size_t h = 0; h < heads; h++)
    for (size_t i = 0; i < count; i++) {
      float sum = 0;
      for (size_t j = h * part; j < (h + 1) * part; j++) sum += query[j] * element(format, keys, i * width + j);
      scores[h * stride + i] = sum * scale;
    }
}

static float exponentials_serial(float *scores, size_t count) {
  float largest = -INFINITY, sum = 0;
  for (size_t i = 0; i < count; i++) largest = fmaxf(largest, scores[i]);
  for (size_t i = 0; i < count; i++) sum += scores[i] = expf(scores[i] - largest);
  return sum;
}

static void accumulate_serial(enum full_format format, const void *values, size_t count, size_t width, size_t heads,
                              const float *weights, size_t stride, float *output) {
  size_t part = width / heads;
  for (size_t i = 0; i < count; i++)
    for (size_t j = 0; j < width; j++)
      output[j] += weights[j / part * stride + i] * element(format, values, i * width + j);
}

static void widen_serial(const void *halves, size_t count, float *floats) {
  for (size_t i = 0; i < count; i++) floats[i] = element(FULL_F16, halves, i);
}

const struct full_kernels full_kernels_serial = {1, scores_serial, exponentials_serial, accumulate_serial,
                                                 widen_serial};

static const struct full_kernels *chosen;

static const struct full_kernels *kernels_of(enum full_level level) {
#if defined(__x86_64__)
  if (level == FULL_AVX512) return &full_kernels_avx512;
  if (level == FULL_AVX2) return &full_kernels_avx2;
#endif
  return level == FULL_SERIAL ? &full_kernels_serial : 0;
}

enum full_level full_best_level(void) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("x86-64-v4")) return FULL_AVX512;
  if (__builtin_cpu_supports("x86-64-v3")) return FULL_AVX2;
#endif
  return FULL_SERIAL;
}

int full_use_level(enum full_level level) {
  if (level > full_best_level()) return 0;
  __atomic_store_n(&chosen, kernels_of(level), __ATOMIC_RELEASE);
  return 1;
}

/* The chosen level's kernels, or the serial ones where heads do not fill vectors. */
static const struct full_kernels *kernels_for(size_t width, size_t heads) {
  const struct full_kernels *kernels = __atomic_load_n(&chosen, __ATOMIC_ACQUIRE);
  if (!kernels) {
    full_use_level(full_best_level());
    kernels = __atomic_load_n(&chosen, __ATOMIC_ACQUIRE);
  }
  return width / heads % kernels->lanes == 0 ? kernels : &full_kernels_serial;
}

void full_scores(enum full_format format, const void *keys, size_t count, size_t width, size_t heads,
                 const float *query, float scale, float *scores, size_t stride) {
  kernels_for(width, heads)->scores(format, keys, count, width, heads, query, scale, scores, stride);
}

float full_exponentials(float *scores, size_t count) { return kernels_for(16, 1)->exponentials(scores, count); }

void full_accumulate(enum full_format format, const void *values, size_t count, size_t width, size_t heads,
                     const float *weights, size_t stride, float *output) {
  kernels_for(width, heads)->accumulate(format, values, count, width, heads, weights, stride, output);
}

void full_widen(const void *halves, size_t count, float *floats) { kernels_for(16, 1)->widen(halves, count, floats); }

void full_attend(enum full_format format, const void *keys, const void *values, size_t count, size_t width,
                 size_t heads, const float *query, float scale, float *scores, float *output) {
  memset(output, 0, width * sizeof *output);
  if (count == 0) return;
  full_scores(format, keys, count, width, heads, query, scale, scores, count);
  float sums[heads];
  for (size_t h = 0; h < heads; h++) sums[h] = full_exponentials(scores + h * count, count);
  full_accumulate(format, values, count, width, heads, scores, count, output);
  for (size_t j = 0; j < width; j++) output[j] /= sums[j / (width / heads)];
}
