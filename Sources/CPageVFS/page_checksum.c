/// The checksum of a page. It is the disk format: a change here makes every existing store unreadable.

#include "CPageVFS.h"

#include <xxhash.h>

uint64_t ckv_page_checksum(const void *page, size_t size, uint32_t number) {
  size_t covered = size < CKV_PAGE_RESERVED ? 0 : size - CKV_PAGE_RESERVED;
  return XXH3_64bits_withSeed(page, covered, number);
}
