/* Arithmetic of single attention functions: selections, SiLU weights. The same bits at every level; serial
 * code that the compiler vectorises per level where that pays. As in CKernels.h no kernel checks an index, and none
 * touches a byte outside the spans that its arguments describe. */

#ifndef CKERNELS_ATTENTION_FUNCTIONS_H
#define CKERNELS_ATTENTION_FUNCTIONS_H

#include <stddef.h>
#include <stdint.h>

/* Writes the places of the `top` greatest of `count` scores, ascending; of equal scores (0 and -0 are) the later place
 * wins. `top` is 1 to `count`; no score is NaN. O(count), whatever the scores. */
void ckv_select_top_f32(const float *_Nonnull scores, size_t count, size_t top, uint32_t *_Nonnull places);

/* target[i] = source[places[i]]. */
void ckv_gather_f32(const float *_Nonnull source, const uint32_t *_Nonnull places, size_t count,
                    float *_Nonnull target);
void ckv_gather_u32(const uint32_t *_Nonnull source, const uint32_t *_Nonnull places, size_t count,
                    uint32_t *_Nonnull target);

/* target[i] = scale * scores[places[i]]. Returns the greatest, NaN left aside, or -infinity. */
float ckv_gather_scores_f32(const float *_Nonnull scores, const uint32_t *_Nonnull places, size_t count, float scale,
                            float *_Nonnull target);

/* scores[i] = s / (1 + e^-s) with s = scores[i], or scores[i] + bias[count - 1 - i]: position i is so many positions
 * before the latest. e^ as in exp_sum_f32. */
void ckv_silu_f32(float *_Nonnull scores, const float *_Nullable bias, size_t count);

#endif
