/// The checksum of a page. It is the disk format: a change here makes every existing store unreadable.

#include "CPageVFS.h"

#include <xxhash.h>
// Where the library brings versions for several instruction sets, the best one for the processor.
#if defined(__x86_64__) && defined(__has_include)
#if __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>
#endif
#endif

uint64_t ckv_page_checksum(const void *page, size_t size, uint32_t number) {
  size_t covered = size < CKV_PAGE_RESERVED ? 0 : size - CKV_PAGE_RESERVED;
  return XXH3_64bits_withSeed(page, covered, number);
}
