/// The system's xxHash: row, page, chunk and model digests. Where the library brings versions for several instruction
/// sets, the best one for the processor is called: the plain one knows SSE2 alone and takes twice the time on a page.
#include <xxhash.h>
#if defined(__x86_64__) && defined(__has_include)
#if __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>
#endif
#endif

/// The 64-bit XXH3 of `size` bytes.
static inline XXH64_hash_t ckv_xxh3_64(const void *bytes, size_t size, XXH64_hash_t seed) {
  return XXH3_64bits_withSeed(bytes, size, seed);
}

/// The 128-bit XXH3 of `size` bytes.
static inline XXH128_hash_t ckv_xxh3_128(const void *bytes, size_t size) { return XXH3_128bits(bytes, size); }
