/* What the level files share: their tables, and the numbers that must be the same at every level. */

#ifndef CKV_LEVELS_H
#define CKV_LEVELS_H

#include "CKernels.h"

extern const struct ckv_kernels ckv_kernels_serial;
#if defined(__x86_64__)
extern const struct ckv_kernels ckv_kernels_avx2;
extern const struct ckv_kernels ckv_kernels_avx512;
#endif

/* How a matrix's elements are kept. Level files pass it as a constant into inlined functions. */
enum ckv_format { CKV_F32, CKV_F16, CKV_BF16 };

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
