/* Softmax attention over full keys and values: what a peer that keeps them would run. One query, one thread.
 *
 * Keys and values are row-major, `count x width`, in f16 or f32; any alignment. Heads split the width evenly. Each part
 * has a serial version, which is the meaning, one for AVX2 and one for AVX-512, chosen once by what the processor has;
 * those take a head width that is a multiple of their vectors, and everything else falls to the serial one. They agree
 * with 64-bit arithmetic within 1e-5 of the largest value. Nothing is read beyond the rows; scratch and output belong
 * to the caller. */
#ifndef CKVDB_BENCHMARK_FULL_ATTEND_H
#define CKVDB_BENCHMARK_FULL_ATTEND_H

#include <stddef.h>
#include <stdint.h>

enum full_format { FULL_F16, FULL_F32 };
enum full_level { FULL_SERIAL, FULL_AVX2, FULL_AVX512 };

/* The best level of this processor. */
enum full_level full_best_level(void);

/* Uses a level from now on; returns whether this processor has it. For tests: not while other threads attend. */
int full_use_level(enum full_level level);

/* scores[h * stride + i] = scale * query of head h . key i of head h */
void full_scores(enum full_format format, const void *keys, size_t count, size_t width, size_t heads,
                 const float *query, float scale, float *scores, size_t stride);

/* Puts e^(score - largest score) in every score's place; returns their sum. */
float full_exponentials(float *scores, size_t count);

/* output of head h += sum over i of weights[h * stride + i] * value i of head h */
void full_accumulate(enum full_format format, const void *values, size_t count, size_t width, size_t heads,
                     const float *weights, size_t stride, float *output);

/* All three; `scores` has room for heads x count. No positions: zeros. */
void full_attend(enum full_format format, const void *keys, const void *values, size_t count, size_t width,
                 size_t heads, const float *query, float scale, float *scores, float *output);

/* f16 to f32, for embeddings on their way into a matrix product. */
void full_widen(const void *halves, size_t count, float *floats);

#endif
