/// Where things are in a SQLite database page, and the conversions for them. Shared by this module's files only; SQLite
/// writes its integers big endian, our checksum is little endian. Callers have checked that the bytes are there.
#ifndef CKVDB_PAGE_FORMAT_H
#define CKVDB_PAGE_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "CPageVFS.h"

enum {
  CKV_PAGE_SIZE_MIN = 512,
  CKV_PAGE_SIZE_MAX = 65536,
  /// The database header at the start of page 1, and its fields.
  CKV_HEADER_SIZE = 100,
  CKV_HEADER_PAGE_SIZE = 16,
  CKV_HEADER_WRITE_VERSION = 18,
  CKV_HEADER_RESERVED = 20,
  CKV_HEADER_PAGE_COUNT = 28,
  CKV_HEADER_LARGEST_ROOT = 52,
  /// SQLite locks bytes from here on and keeps nothing in the page that holds them.
  CKV_LOCK_BYTES_OFFSET = 0x40000000,
};

static inline uint32_t ckv_load_big16(const uint8_t *bytes) { return (uint32_t)bytes[0] << 8 | bytes[1]; }

static inline uint32_t ckv_load_big32(const uint8_t *bytes) {
  return ckv_load_big16(bytes) << 16 | ckv_load_big16(bytes + 2);
}

static inline uint64_t ckv_load_little64(const uint8_t *bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; i--) value = value << 8 | bytes[i];
  return value;
}

static inline void ckv_store_little64(uint8_t *bytes, uint64_t value) {
  for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(value >> (8 * i));
}

static inline bool ckv_is_page_size(int64_t size) {
  return size >= CKV_PAGE_SIZE_MIN && size <= CKV_PAGE_SIZE_MAX && (size & (size - 1)) == 0;
}

static inline bool ckv_header_has_magic(const uint8_t *header) { return memcmp(header, "SQLite format 3", 16) == 0; }

/// The page size that a database header states, or 0 if that is none.
static inline uint32_t ckv_header_page_size(const uint8_t *header) {
  uint32_t stated = ckv_load_big16(header + CKV_HEADER_PAGE_SIZE);
  uint32_t size = stated == 1 ? CKV_PAGE_SIZE_MAX : stated;
  return ckv_is_page_size(size) ? size : 0;
}

/// Whether the last bytes of page `number` are the checksum of the others.
static inline bool ckv_page_is_intact(const uint8_t *page, uint32_t size, uint32_t number) {
  return ckv_load_little64(page + size - CKV_PAGE_RESERVED) == ckv_page_checksum(page, size, number);
}

/// Puts its checksum into page `number`.
static inline void ckv_page_seal(uint8_t *page, uint32_t size, uint32_t number) {
  ckv_store_little64(page + size - CKV_PAGE_RESERVED, ckv_page_checksum(page, size, number));
}

#endif
