/* What the files of the levels share: the table of kernels and the numbers of e^x. */
#ifndef CKVDB_BENCHMARK_FULL_LEVELS_H
#define CKVDB_BENCHMARK_FULL_LEVELS_H

#include "full_attend.h"

#include <string.h>

struct full_kernels {
  size_t lanes; /* a head's width is a multiple of it */
  void (*scores)(enum full_format, const void *, size_t, size_t, size_t, const float *, float, float *, size_t);
  float (*exponentials)(float *, size_t);
  void (*accumulate)(enum full_format, const void *, size_t, size_t, size_t, const float *, size_t, float *);
  void (*widen)(const void *, size_t, float *);
};

extern const struct full_kernels full_kernels_serial;
#if defined(__x86_64__)
extern const struct full_kernels full_kernels_avx2;
extern const struct full_kernels full_kernels_avx512;
#endif

/* How far ahead rows are asked for: the processor's own prefetchers stop at the end of a 4 KiB page. */
#define PREFETCH_BYTES 4096

/* e^x = 2^n e^r with n = x / ln 2 rounded and ln 2 in two parts; e^r by its series up to r^7: with |r| <= ln 2 / 2 the
 * rest is below 6e-9. Scores less their largest are never above 0; below EXP_LOW, e^x is taken as e^EXP_LOW, near 0. */
#define EXP_LOW -87.0f
#define EXP_LOG2E 1.44269504f
#define EXP_LN2_HIGH 0.693359375f
#define EXP_LN2_LOW -2.12194440e-4f
#define EXP_C2 0.5f
#define EXP_C3 1.66666667e-1f
#define EXP_C4 4.16666667e-2f
#define EXP_C5 8.33333333e-3f
#define EXP_C6 1.38888889e-3f
#define EXP_C7 1.98412698e-4f

#endif
