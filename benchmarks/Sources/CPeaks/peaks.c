/* Loops that reach the peaks of one core, written once for every width of vectors. */

#include "peaks.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma,f16c")))
#endif

#define UNROLL _Pragma("clang loop unroll(full)")
/* The compiler must take memory as changed: what was read once is read again. */
#define ANEW __asm__ volatile("" ::: "memory")

static volatile float factor = 0.999f;

/* The loops of one level, with vectors of `lanes` floats. */
#define LOOPS(level, target, lanes)                                                                                   \
  typedef float floats_##level __attribute__((vector_size(lanes * 4)));                                              \
  typedef uint64_t words_##level __attribute__((vector_size(lanes * 4)));                                            \
                                                                                                                      \
  target static float multiply_add_##level(size_t steps) {                                                            \
    const float own = factor;                                                                                         \
    const floats_##level a = (floats_##level){0} + own, b = (floats_##level){0} + (1 - own);                         \
    floats_##level sums[12];                                                                                          \
    UNROLL for (int i = 0; i < 12; i++) sums[i] = b * (float)i;                                                       \
    for (size_t step = 0; step < steps; step++) UNROLL for (int i = 0; i < 12; i++) sums[i] = sums[i] * a + b;        \
    UNROLL for (int i = 1; i < 12; i++) sums[0] += sums[i];                                                           \
    return sums[0][0] + sums[0][lanes - 1];                                                                           \
  }                                                                                                                   \
                                                                                                                      \
  target static uint64_t read_##level(const char *bytes, size_t count, size_t rounds, size_t ahead) {                 \
    words_##level sums[8] = {{0}};                                                                                    \
    for (size_t round = 0; round < rounds; round++) {                                                                 \
      ANEW;                                                                                                           \
      for (size_t place = 0; place < count; place += 8 * sizeof(words_##level)) {                                     \
        const words_##level *vectors = (const words_##level *)(bytes + place);                                        \
        if (ahead)                                                                                                    \
          UNROLL for (size_t line = 0; line < 8 * sizeof(words_##level); line += 64)                                  \
            __builtin_prefetch(bytes + place + ahead + line);                                                         \
        UNROLL for (int i = 0; i < 8; i++) sums[i] ^= vectors[i];                                                     \
      }                                                                                                               \
    }                                                                                                                 \
    UNROLL for (int i = 1; i < 8; i++) sums[0] ^= sums[i];                                                            \
    return sums[0][0] + sums[0][1];                                                                                   \
  }                                                                                                                   \
                                                                                                                      \
  target static uint64_t write_##level(char *bytes, size_t count, size_t rounds) {                                    \
    words_##level value = {0};                                                                                        \
    memcpy(&value, bytes, sizeof value);                                                                              \
    for (size_t round = 0; round < rounds; round++) {                                                                 \
      ANEW;                                                                                                           \
      for (size_t place = 0; place < count; place += 8 * sizeof value)                                                \
        UNROLL for (int i = 0; i < 8; i++) ((words_##level *)(bytes + place))[i] = value;                             \
    }                                                                                                                 \
    ANEW;                                                                                                             \
    return (uint64_t)bytes[0];                                                                                        \
  }

LOOPS(serial, , 4)
#if defined(__x86_64__)
LOOPS(avx2, AVX2, 8)
LOOPS(avx512, AVX512, 16)

#define WIDEN(level, target, lanes, half, vector, load, extend, shift, cast, convert, zero, add)                       \
  target static inline __attribute__((always_inline)) float widened_##level(const _Bool is_bf16, const char *halves,  \
                                                                            size_t byte_count, size_t rounds) {       \
    vector sums[8];                                                                                                   \
    const vector one = zero() + factor;                                                                               \
    UNROLL for (int i = 0; i < 8; i++) sums[i] = zero();                                                              \
    for (size_t round = 0; round < rounds; round++) {                                                                 \
      ANEW;                                                                                                           \
      for (size_t place = 0; place < byte_count; place += 8 * sizeof(half))                                           \
        UNROLL for (int i = 0; i < 8; i++) {                                                                          \
          const half loaded = load((const half *)(halves + place) + i);                                               \
          /* A multiply-add: sums would use the units that widen. */                                                  \
          sums[i] = add(is_bf16 ? cast(shift(extend(loaded), 16)) : convert(loaded), one, sums[i]);                   \
        }                                                                                                             \
    }                                                                                                                 \
    UNROLL for (int i = 1; i < 8; i++) sums[0] += sums[i];                                                            \
    return sums[0][0] + sums[0][lanes - 1];                                                                           \
  }                                                                                                                   \
  target static float widen_##level(_Bool is_bf16, const char *halves, size_t byte_count, size_t rounds) {            \
    return is_bf16 ? widened_##level(1, halves, byte_count, rounds) : widened_##level(0, halves, byte_count, rounds); \
  }

WIDEN(avx2, AVX2, 8, __m128i, __m256, _mm_loadu_si128, _mm256_cvtepu16_epi32, _mm256_slli_epi32, _mm256_castsi256_ps,
      _mm256_cvtph_ps, _mm256_setzero_ps, _mm256_fmadd_ps)
WIDEN(avx512, AVX512, 16, __m256i, __m512, _mm256_loadu_si256, _mm512_cvtepu16_epi32, _mm512_slli_epi32,
      _mm512_castsi512_ps, _mm512_cvtph_ps, _mm512_setzero_ps, _mm512_fmadd_ps)

#define AT(name, level, ...)                                                                                          \
  ((level) == PEAK_AVX512 ? name##_avx512(__VA_ARGS__)                                                                \
                          : (level) == PEAK_AVX2 ? name##_avx2(__VA_ARGS__) : name##_serial(__VA_ARGS__))
#else
#define AT(name, level, ...) ((void)(level), name##_serial(__VA_ARGS__))
#endif

size_t peak_lanes(enum peak_level level) { return (size_t)4 << level; }

float peak_multiply_add(enum peak_level level, size_t steps) { return AT(multiply_add, level, steps); }

uint64_t peak_read(enum peak_level level, const void *bytes, size_t count, size_t rounds, size_t ahead) {
  return AT(read, level, bytes, count, rounds, ahead);
}

uint64_t peak_write(enum peak_level level, void *bytes, size_t count, size_t rounds) {
  return AT(write, level, bytes, count, rounds);
}

float peak_widen(enum peak_level level, _Bool is_bf16, const void *halves, size_t byte_count, size_t rounds) {
#if defined(__x86_64__)
  if (level == PEAK_AVX512) return widen_avx512(is_bf16, halves, byte_count, rounds);
  if (level == PEAK_AVX2) return widen_avx2(is_bf16, halves, byte_count, rounds);
#endif
  (void)level, (void)is_bf16, (void)halves, (void)byte_count, (void)rounds;
  return 0;
}

uint64_t peak_look_up(const uint32_t *table, const uint32_t *places, size_t count, size_t rounds) {
  uint32_t sums[8] = {0};
  for (size_t round = 0; round < rounds; round++) {
    ANEW;
    for (size_t i = 0; i + 8 <= count; i += 8) {
      UNROLL for (int j = 0; j < 8; j++) {
        uint32_t found = table[places[i + j]];
        /* Number by number: no vectors, which would have to be put together. */
        __asm__("" : "+r"(found));
        sums[j] += found;
      }
    }
  }
  uint64_t sum = 0;
  for (int j = 0; j < 8; j++) sum += sums[j];
  return sum;
}

uint64_t peak_update(uint32_t *table, const uint32_t *places, size_t count, size_t rounds) {
  for (size_t round = 0; round < rounds; round++) {
    ANEW;
    for (size_t i = 0; i + 8 <= count; i += 8) {
      UNROLL for (int j = 0; j < 8; j++) table[places[i + j]] += 1;
    }
  }
  return table[places[0]];
}
