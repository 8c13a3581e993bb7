/* Which level runs. The choice is made on the first call and is the same whichever thread makes it. */

#include "levels.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic(const struct ckv_kernels *) active;

const struct ckv_kernels *ckv_kernels_at(enum ckv_level level) {
  switch (level) {
  case CKV_SERIAL: return &ckv_kernels_serial;
#if defined(__x86_64__)
  case CKV_AVX2: return __builtin_cpu_supports("x86-64-v3") ? &ckv_kernels_avx2 : NULL;
  case CKV_AVX512: return __builtin_cpu_supports("x86-64-v4") ? &ckv_kernels_avx512 : NULL;
#endif
  default: return NULL;
  }
}

/* The highest level that the CPU has and the environment allows; a name it does not know allows every level. */
static const struct ckv_kernels *chosen(void) {
  int level = CKV_AVX512;
  const char *wanted = getenv("CKVDB_ISA");
  if (wanted && strcmp(wanted, "serial") == 0) level = CKV_SERIAL;
  if (wanted && strcmp(wanted, "avx2") == 0) level = CKV_AVX2;
  for (; level > CKV_SERIAL; level--) {
    const struct ckv_kernels *kernels = ckv_kernels_at((enum ckv_level)level);
    if (kernels) return kernels;
  }
  return &ckv_kernels_serial;
}

const struct ckv_kernels *ckv_kernels_active(void) {
  const struct ckv_kernels *kernels = atomic_load_explicit(&active, memory_order_acquire);
  if (!kernels) {
    kernels = chosen();
    atomic_store_explicit(&active, kernels, memory_order_release);
  }
  return kernels;
}

_Bool ckv_kernels_force(int level) {
  const struct ckv_kernels *kernels = level < 0 ? chosen() : ckv_kernels_at((enum ckv_level)level);
  if (!kernels) return 0;
  atomic_store_explicit(&active, kernels, memory_order_release);
  return 1;
}

const struct ckv_block_kernels *ckv_block_kernels_active(void) {
#if defined(__x86_64__)
  const struct ckv_kernels *kernels = ckv_kernels_active();
  if (kernels == &ckv_kernels_avx512) return &ckv_blocks_avx512;
  if (kernels == &ckv_kernels_avx2) return &ckv_blocks_avx2;
#endif
  return &ckv_blocks_serial;
}

const struct ckv_block_kernels *ckv_block_kernels_at(enum ckv_level level) {
  if (!ckv_kernels_at(level)) return NULL;
  switch (level) {
#if defined(__x86_64__)
  case CKV_AVX2: return &ckv_blocks_avx2;
  case CKV_AVX512: return &ckv_blocks_avx512;
#endif
  default: return &ckv_blocks_serial;
  }
}

const struct ckv_hash_kernels *ckv_hash_kernels_active(void) {
#if defined(__x86_64__)
  const struct ckv_kernels *kernels = ckv_kernels_active();
  if (kernels == &ckv_kernels_avx512) return &ckv_hashes_avx512;
  if (kernels == &ckv_kernels_avx2) return &ckv_hashes_avx2;
#endif
  return &ckv_hashes_serial;
}

const struct ckv_hash_kernels *ckv_hash_kernels_at(enum ckv_level level) {
  if (!ckv_kernels_at(level)) return NULL;
  switch (level) {
#if defined(__x86_64__)
  case CKV_AVX2: return &ckv_hashes_avx2;
  case CKV_AVX512: return &ckv_hashes_avx512;
#endif
  default: return &ckv_hashes_serial;
  }
}
