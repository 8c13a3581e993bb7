/* What the level files share: their tables, and the numbers that must be the same at every level. */

#ifndef CKV_LEVELS_H
#define CKV_LEVELS_H

#include "CKernels.h"

extern const struct ckv_kernels ckv_kernels_serial;
#if defined(__x86_64__)
extern const struct ckv_kernels ckv_kernels_avx2;
extern const struct ckv_kernels ckv_kernels_avx512;
#endif

#if defined(__x86_64__)
/* What each level may use; every function of a level's files carries its attribute, the build none. */
#define AVX2 __attribute__((target("avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,f16c,bmi2,popcnt")))
#endif
#define UNROLL _Pragma("clang loop unroll(full)")

/* The encoder's kernels have files of their own. */
#define ENCODER_KERNELS(level)                                                                                      \
  void ckv_project_f32_##level(const float *rows, size_t row_stride, size_t row_count, size_t width,                \
                               const float *panels, const float *bias, size_t outputs, float *columns,              \
                               size_t column_stride);                                                               \
  void ckv_route_f32_##level(const float *rows, size_t row_stride, size_t row_count, size_t width,                  \
                             const float *panels, const float *bias, size_t outputs, uint32_t *indices);
ENCODER_KERNELS(avx2)
ENCODER_KERNELS(avx512)
#undef ENCODER_KERNELS

/* So have the kernels over pool rows, each once per format and level. */
#define ROW_DOTS(name, level)                                                                                         \
  void ckv_row_dots_##name##_##level(const void *matrix, size_t stride, const uint32_t *rows, size_t count,           \
                                     const float *vector, size_t width, float *sums)
#define HEAD_DOTS(name, level)                                                                                        \
  void ckv_head_dots_##name##_##level(const void *matrix, size_t stride, const uint32_t *rows, size_t count,          \
                                      const float *vector, const size_t *bounds, float *sums)
#define ROW_SUM(name, level)                                                                                          \
  void ckv_row_sum_##name##_##level(const void *matrix, size_t stride, const uint32_t *rows, const float *weights,    \
                                    size_t count, float scale, size_t width, float *sums)
#define HEAD_SUMS(name, level)                                                                                        \
  void ckv_head_sums_##name##_##level(const void *matrix, size_t stride, const uint32_t *rows, const float *weights,  \
                                      size_t count, const float *scales, const size_t *bounds, float *sums)
#define WIDEN_ROWS(name, level)                                                                                       \
  void ckv_widen_rows_##name##_##level(const void *matrix, size_t stride, const uint32_t *rows, size_t count,         \
                                       size_t width, float *target, size_t target_stride)
#define COPY_ROWS(name, level)                                                                                        \
  void ckv_copy_rows_##name##_##level(const void *matrix, size_t stride, const uint32_t *rows, size_t count,          \
                                      size_t width, void *target, size_t target_stride, enum ckv_format format)
#define ROW_KERNELS(name, level)                                                                                      \
  ROW_DOTS(name, level);                                                                                              \
  HEAD_DOTS(name, level);                                                                                             \
  ROW_SUM(name, level);                                                                                               \
  HEAD_SUMS(name, level);                                                                                             \
  WIDEN_ROWS(name, level);                                                                                            \
  COPY_ROWS(name, level);
#define ROW_KERNELS_OF(level) ROW_KERNELS(f32, level) ROW_KERNELS(f16, level) ROW_KERNELS(bf16, level)
ROW_KERNELS_OF(serial)
ROW_KERNELS_OF(avx2)
ROW_KERNELS_OF(avx512)
#undef ROW_KERNELS_OF
#undef ROW_KERNELS
#define ROW_TABLE(name, level)                                                                                        \
  {ckv_row_dots_##name##_##level, ckv_head_dots_##name##_##level, ckv_row_sum_##name##_##level,                       \
   ckv_head_sums_##name##_##level, ckv_widen_rows_##name##_##level, ckv_copy_rows_##name##_##level}

/* And the kernels for several queries at once. */
#define BLOCK_DOTS(name, level)                                                                                       \
  static void ckv_block_dots_##name##_##level(const void *matrix, size_t stride, const uint32_t *rows, size_t count,  \
                                              const float *vectors, size_t vector_stride, size_t queries,             \
                                              size_t width, float *sums)
#define BLOCK_SUMS(name, level)                                                                                       \
  static void ckv_block_sums_##name##_##level(const void *matrix, size_t stride, const uint32_t *rows,                \
                                              const float *weights, size_t count, const float *scales,                \
                                              size_t queries, size_t width, float *sums, size_t sum_stride)
#define BLOCK_ROW_TABLE(name, level) {ckv_block_dots_##name##_##level, ckv_block_sums_##name##_##level}
#define BLOCK_TABLE(level)                                                                                            \
  const struct ckv_block_kernels ckv_blocks_##level = {                                                               \
      .f32 = BLOCK_ROW_TABLE(f32, level),                                                                             \
      .f16 = BLOCK_ROW_TABLE(f16, level),                                                                             \
      .bf16 = BLOCK_ROW_TABLE(bf16, level),                                                                           \
      .scores = ckv_block_scores_##level,                                                                             \
      .exp_sums = ckv_block_exp_sums_##level,                                                                         \
      .totals = ckv_block_totals_##level,                                                                             \
      .column_sums = ckv_block_column_sums_##level,                                                                   \
      .scatter = ckv_block_scatter_##level,                                                                           \
      .empty_rows = ckv_block_empty_rows_##level,                                                                     \
  };
extern const struct ckv_block_kernels ckv_blocks_serial;
#if defined(__x86_64__)
extern const struct ckv_block_kernels ckv_blocks_avx2;
extern const struct ckv_block_kernels ckv_blocks_avx512;
#endif

/* And those over hash codes. */
extern const struct ckv_hash_kernels ckv_hashes_serial;
#if defined(__x86_64__)
extern const struct ckv_hash_kernels ckv_hashes_avx2;
extern const struct ckv_hash_kernels ckv_hashes_avx512;
#endif

/* Level files pass a ckv_format as a constant into inlined functions. */
static inline size_t element_size(enum ckv_format format) { return format == CKV_F32 ? 4 : 2; }

/* e^x = 2^n e^r, n = x / ln 2 rounded, |r| <= ln 2 / 2, e^r = 1 + r + r^2 g(r). g is the polynomial of degree 4 with
 * the least greatest relative error of e^r there (fitted in 64 bits by reweighted least squares: 3.1e-9). Outside
 * [EXP_LOW, EXP_HIGH] e^x is 0 or infinite in 32 bits. */
#define EXP_LOW -105.0f
#define EXP_HIGH 89.0f
#define EXP_LOG2E 0x1.715476p+0f
#define EXP_ROUND 0x1.8p23f /* adding it leaves no bits behind the point */
#define EXP_LN2_HIGH 0x1.62ep-1f
#define EXP_LN2_LOW 0x1.0bfbe8p-15f
#define EXP_G0 0x1.fffffcp-2f
#define EXP_G1 0x1.555492p-3f
#define EXP_G2 0x1.5558f2p-5f
#define EXP_G3 0x1.123a20p-7f
#define EXP_G4 0x1.6a23cep-10f

/* Values whose exponentials are added in 32 bits before the sum goes to 64. */
#define EXP_SUM_RUN 1024

#endif
