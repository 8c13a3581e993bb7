/// Reads and writes of a main database file. What SQLite does to such a file, and what is relied on here:
/// - It writes whole pages only: from its cache, from a journal, from a write-ahead log, and one page of zeros to
///   extend a file. Page size and offset of a write are therefore those of the page, even while a hot journal is played
///   back over a file of another page size. Anything else is refused, with one exception: see page_overwrite.c.
/// - It reads whole pages, and from the first 100 bytes what tells it the page size and whether its cache is out of
///   date; it trusts nothing of that before it has read page 1 as a whole. Header reads pass unverified, any other part
///   of a page is verified with its page. A read of page 1 may use a page size that another connection has changed.
/// - Its buffers belong to it: a page is written from a copy, because SQLite goes on using the original.

#include "page_file.h"

#include <stdatomic.h>
#include <string.h>

#include "CPageVFS.h"
#include "page_format.h"

static int read_page(struct page_file *file, uint8_t *page, uint32_t size, uint32_t number);
static int read_first_page(struct page_file *file, uint8_t *buffer, uint32_t size);
static int read_parts(struct page_file *file, uint8_t *buffer, int amount, sqlite3_int64 offset);
static int refuse_write(const struct page_file *file, int amount, sqlite3_int64 offset, const char *reason);
static int learn_from_file(struct page_file *file);
static void forget_header(struct page_file *file);

static sqlite3_file *real_of(sqlite3_file *face) { return ((struct page_file *)face)->real; }

/// Whether a read or write can be one of a whole page, as far as is known.
static bool is_whole_page(const struct page_file *file, int amount, sqlite3_int64 offset) {
  if (!ckv_is_page_size(amount) || offset < 0 || offset % amount != 0) return false;
  if (offset / amount >= UINT32_MAX) return false;
  return file->page_size == 0 || (uint32_t)amount == file->page_size;
}

static int file_close(sqlite3_file *face) {
  struct page_file *file = (struct page_file *)face;
  sqlite3_free(file->scratch);
  file->scratch = NULL;
  return file->real->pMethods->xClose(file->real);
}

static int file_read(sqlite3_file *face, void *buffer, int amount, sqlite3_int64 offset) {
  struct page_file *file = (struct page_file *)face;
  bool is_header = offset >= 0 && offset < CKV_HEADER_SIZE && amount <= CKV_HEADER_SIZE - offset;
  // Every page of a file that VACUUM overwrites was verified before; what it has written since has no checksum yet.
  if (is_header || file->has_raw_pages) return file->real->pMethods->xRead(file->real, buffer, amount, offset);
  if (offset == 0 && ckv_is_page_size(amount)) return read_first_page(file, buffer, (uint32_t)amount);
  if (is_whole_page(file, amount, offset)) {
    return read_page(file, buffer, (uint32_t)amount, (uint32_t)(offset / amount + 1));
  }
  return read_parts(file, buffer, amount, offset);
}

static int file_write(sqlite3_file *face, const void *buffer, int amount, sqlite3_int64 offset) {
  struct page_file *file = (struct page_file *)face;
  if (file->is_overwriting) {
    file->has_raw_pages = true;
    return file->real->pMethods->xWrite(file->real, buffer, amount, offset);
  }
  if (!is_whole_page(file, amount, offset)) return refuse_write(file, amount, offset, "is not a whole page");
  uint32_t size = (uint32_t)amount;
  uint32_t number = (uint32_t)(offset / amount + 1);
  if (number == 1 && (ckv_header_page_size(buffer) != size || !ckv_page_file_learn(file, buffer))) {
    return refuse_write(file, amount, offset, "is not the header of a database with 8 reserved bytes per page");
  }
  if (!file->header_is_known) {
    int code = learn_from_file(file);
    if (code != SQLITE_OK) return code;
  }
  // Not what the file's header says: a hot journal is played back over that of a VACUUM that did not commit.
  file->page_size = size;
  int code = ckv_page_file_reserve(file, size);
  if (code != SQLITE_OK) return code;
  memcpy(file->scratch, buffer, size);
  ckv_page_file_finish_scratch(file, size, number);
  return file->real->pMethods->xWrite(file->real, file->scratch, amount, offset);
}

static int file_truncate(sqlite3_file *face, sqlite3_int64 size) {
  if (size == 0) forget_header((struct page_file *)face);
  return real_of(face)->pMethods->xTruncate(real_of(face), size);
}

static int file_sync(sqlite3_file *face, int flags) { return real_of(face)->pMethods->xSync(real_of(face), flags); }

static int file_size(sqlite3_file *face, sqlite3_int64 *size) {
  return real_of(face)->pMethods->xFileSize(real_of(face), size);
}

static int file_lock(sqlite3_file *face, int level) { return real_of(face)->pMethods->xLock(real_of(face), level); }

static int file_unlock(sqlite3_file *face, int level) {
  struct page_file *file = (struct page_file *)face;
  // Raw pages are only left here when the transaction failed: its journal is hot, and playing it back restores them.
  file->is_overwriting = file->has_raw_pages = false;
  if (level == SQLITE_LOCK_NONE) forget_header(file);
  return file->real->pMethods->xUnlock(file->real, level);
}

static int file_check_reserved_lock(sqlite3_file *face, int *result) {
  return real_of(face)->pMethods->xCheckReservedLock(real_of(face), result);
}

static int file_control(sqlite3_file *face, int operation, void *argument) {
  struct page_file *file = (struct page_file *)face;
  int code = SQLITE_OK;
  switch (operation) {
    case SQLITE_FCNTL_VFSNAME:
      code = file->real->pMethods->xFileControl(file->real, operation, argument);
      if (code == SQLITE_OK) *(char **)argument = sqlite3_mprintf("%s/%z", file->vfs_name, *(char **)argument);
      return code;
    case SQLITE_FCNTL_MMAP_SIZE:
      // A page read through a mapping would not be verified.
      *(sqlite3_int64 *)argument = 0;
      return SQLITE_OK;
    case SQLITE_FCNTL_OVERWRITE:
      code = ckv_page_file_begin_overwrite(file);
      break;
    case SQLITE_FCNTL_SYNC:
      // Comes before every sync of the database, also with synchronous=OFF, and before the journal goes.
      if (file->has_raw_pages) code = ckv_page_file_finish_overwrite(file);
      break;
    case SQLITE_FCNTL_CKPT_START:
      // Another process may have moved a newer page 1 into the file.
      forget_header(file);
      break;
    default:
      break;
  }
  return code == SQLITE_OK ? file->real->pMethods->xFileControl(file->real, operation, argument) : code;
}

static int file_sector_size(sqlite3_file *face) { return real_of(face)->pMethods->xSectorSize(real_of(face)); }

static int file_characteristics(sqlite3_file *face) {
  // Atomic writes let SQLite do without a journal, which the pass over a vacuumed file needs; sub-page reads (0x8000,
  // of later SQLite versions) go around the verification.
  const int sub_page_read = 0x8000;
  const int hidden = SQLITE_IOCAP_ATOMIC | SQLITE_IOCAP_ATOMIC512 | SQLITE_IOCAP_ATOMIC1K | SQLITE_IOCAP_ATOMIC2K
    | SQLITE_IOCAP_ATOMIC4K | SQLITE_IOCAP_ATOMIC8K | SQLITE_IOCAP_ATOMIC16K | SQLITE_IOCAP_ATOMIC32K
    | SQLITE_IOCAP_ATOMIC64K | SQLITE_IOCAP_BATCH_ATOMIC | sub_page_read;
  return real_of(face)->pMethods->xDeviceCharacteristics(real_of(face)) & ~hidden;
}

static int file_shm_map(sqlite3_file *face, int region, int size, int extend, void volatile **address) {
  int code = real_of(face)->pMethods->xShmMap(real_of(face), region, size, extend, address);
  // Anything but a plain success is an index that SQLite copies or does not have.
  if (region == 0) ((struct page_file *)face)->log_index = code == SQLITE_OK ? *address : NULL;
  return code;
}
static int file_shm_lock(sqlite3_file *face, int offset, int count, int flags) {
  return real_of(face)->pMethods->xShmLock(real_of(face), offset, count, flags);
}
static void file_shm_barrier(sqlite3_file *face) { real_of(face)->pMethods->xShmBarrier(real_of(face)); }
static int file_shm_unmap(sqlite3_file *face, int delete_it) {
  ((struct page_file *)face)->log_index = NULL;
  return real_of(face)->pMethods->xShmUnmap(real_of(face), delete_it);
}

// Version 2 at most: from version 3 on SQLite would map the file (xFetch) and read around the verification.
#define METHODS(version)                                                                                              \
  {                                                                                                                   \
    .iVersion = version, .xClose = file_close, .xRead = file_read, .xWrite = file_write,                              \
    .xTruncate = file_truncate, .xSync = file_sync, .xFileSize = file_size, .xLock = file_lock,                       \
    .xUnlock = file_unlock, .xCheckReservedLock = file_check_reserved_lock, .xFileControl = file_control,             \
    .xSectorSize = file_sector_size, .xDeviceCharacteristics = file_characteristics, .xShmMap = file_shm_map,         \
    .xShmLock = file_shm_lock, .xShmBarrier = file_shm_barrier, .xShmUnmap = file_shm_unmap,                          \
  }
static const sqlite3_io_methods methods_without_shared_memory = METHODS(1);
static const sqlite3_io_methods methods = METHODS(2);

void ckv_page_file_attach(struct page_file *file) {
  const sqlite3_io_methods *below = file->real->pMethods;
  bool has_shared_memory = below->iVersion >= 2 && below->xShmMap != NULL;
  file->face.pMethods = has_shared_memory ? &methods : &methods_without_shared_memory;
}

int ckv_page_file_reserve(struct page_file *file, uint32_t size) {
  if (file->scratch_size >= size) return SQLITE_OK;
  uint8_t *grown = sqlite3_realloc64(file->scratch, size);
  if (grown == NULL) return SQLITE_IOERR_NOMEM;
  file->scratch = grown;
  file->scratch_size = size;
  return SQLITE_OK;
}

bool ckv_page_file_learn(struct page_file *file, const uint8_t *header) {
  uint32_t size = ckv_header_page_size(header);
  if (!ckv_header_has_magic(header) || size == 0 || header[CKV_HEADER_RESERVED] != CKV_PAGE_RESERVED) return false;
  file->page_size = size;
  file->page_count = ckv_load_big32(header + CKV_HEADER_PAGE_COUNT);
  file->has_pointer_maps = ckv_load_big32(header + CKV_HEADER_LARGEST_ROOT) != 0;
  file->header_is_known = true;
  return true;
}

int ckv_page_file_damaged(const struct page_file *file, uint32_t number, const char *reason) {
  sqlite3_log(SQLITE_IOERR_DATA, "page %u of %s %s", number, file->path, reason);
  return SQLITE_IOERR_DATA;
}

/// Whether a page that starts with a b-tree type is one. Overflow and free-list pages start with a page number instead,
/// which has that type as its first byte from 0x02000000 on; so up to the pages that there are, with room for what one
/// transaction may add before page 1 tells, a page is taken for one of those. Pointer-map pages start with any type.
static bool may_be_tree_page(const struct page_file *file, const uint8_t *page, uint32_t number) {
  const uint64_t room = 0x01000000;
  if (!file->header_is_known || file->has_pointer_maps) return false;
  uint64_t known = number > file->page_count ? number : file->page_count;
  return number == 1 || ckv_load_big32(page) > 2 * known + room;
}

void ckv_page_file_finish_scratch(struct page_file *file, uint32_t size, uint32_t number) {
  if (may_be_tree_page(file, file->scratch, number)) ckv_page_zero_gaps(file->scratch, size, number);
  ckv_page_seal(file->scratch, size, number);
}

static int read_page(struct page_file *file, uint8_t *page, uint32_t size, uint32_t number) {
  sqlite3_int64 offset = (sqlite3_int64)(number - 1) * size;
  int code = file->real->pMethods->xRead(file->real, page, (int)size, offset);
  // SQLite would take what is missing for zeros. Of what it reads here every page was once written: it fills a page
  // that it adds without reading, and an empty file has no page but the first, which is read elsewhere.
  if (code == SQLITE_IOERR_SHORT_READ) return ckv_page_file_damaged(file, number, "is not all there: the file is cut");
  if (code == SQLITE_OK && !ckv_page_is_intact(page, size, number)) {
    return ckv_page_file_damaged(file, number, "does not match its checksum");
  }
  return code;
}

/// Reads page 1 into a buffer of any page size: it is verified with the size that it states itself.
static int read_first_page(struct page_file *file, uint8_t *buffer, uint32_t size) {
  int code = file->real->pMethods->xRead(file->real, buffer, (int)size, 0);
  if (code != SQLITE_OK && code != SQLITE_IOERR_SHORT_READ) return code;
  if (code == SQLITE_IOERR_SHORT_READ) {
    sqlite3_int64 end;
    int failed = file->real->pMethods->xFileSize(file->real, &end);
    if (failed != SQLITE_OK) return failed;
    if (end == 0) return code;  // a database that is being created
  }
  if (!ckv_header_has_magic(buffer)) {
    sqlite3_log(SQLITE_NOTADB, "%s does not start with a database header", file->path);
    return SQLITE_NOTADB;
  }
  if (buffer[CKV_HEADER_RESERVED] != CKV_PAGE_RESERVED) {
    sqlite3_log(SQLITE_NOTADB, "%s has %d reserved bytes per page, not 8: its pages carry no checksums", file->path,
                buffer[CKV_HEADER_RESERVED]);
    return SQLITE_NOTADB;
  }
  uint32_t stated = ckv_header_page_size(buffer);
  if (stated == 0) return ckv_page_file_damaged(file, 1, "states no valid page size");
  if (stated <= size) {
    if (!ckv_page_is_intact(buffer, stated, 1)) return ckv_page_file_damaged(file, 1, "does not match its checksum");
  } else {
    int failed = ckv_page_file_reserve(file, stated);
    if (failed == SQLITE_OK) failed = read_page(file, file->scratch, stated, 1);
    if (failed != SQLITE_OK) return failed;
    memcpy(buffer, file->scratch, size);
  }
  ckv_page_file_learn(file, buffer);
  return code;
}

/// Reads bytes that are no whole page, page by page through the scratch buffer.
static int read_parts(struct page_file *file, uint8_t *buffer, int amount, sqlite3_int64 offset) {
  if (!file->header_is_known) {
    int code = learn_from_file(file);
    if (code != SQLITE_OK) return code;
  }
  uint32_t size = file->page_size;
  if (size == 0 || amount < 0 || offset < 0 || offset > INT64_MAX - amount) return SQLITE_IOERR_READ;
  if ((offset + amount) / size >= UINT32_MAX) return SQLITE_IOERR_READ;
  int code = ckv_page_file_reserve(file, size);
  while (amount > 0 && code == SQLITE_OK) {
    uint32_t skipped = (uint32_t)(offset % size);
    uint32_t count = size - skipped < (uint32_t)amount ? size - skipped : (uint32_t)amount;
    code = read_page(file, file->scratch, size, (uint32_t)(offset / size + 1));
    if (code != SQLITE_OK) break;
    memcpy(buffer, file->scratch + skipped, count);
    buffer += count;
    offset += count;
    amount -= (int)count;
  }
  return code;
}

static int refuse_write(const struct page_file *file, int amount, sqlite3_int64 offset, const char *reason) {
  sqlite3_log(SQLITE_IOERR_WRITE, "a write of %d bytes at %lld of %s %s", amount, offset, file->path, reason);
  return SQLITE_IOERR_WRITE;
}

/// Reads the header below us. One that is not there yet, or is none, leaves it unknown: page 1 is verified elsewhere.
static int learn_from_file(struct page_file *file) {
  uint8_t header[CKV_HEADER_SIZE];
  int code = file->real->pMethods->xRead(file->real, header, sizeof header, 0);
  if (code == SQLITE_IOERR_SHORT_READ) return SQLITE_OK;
  if (code != SQLITE_OK) return code;
  ckv_page_file_learn(file, header);
  return SQLITE_OK;
}

static void forget_header(struct page_file *file) {
  file->page_size = 0;
  file->page_count = 0;
  file->header_is_known = false;
}

bool ckv_page_vfs_log_header(void *face, uint64_t header[CKV_LOG_HEADER_WORDS]) {
  struct page_file *file = face;
  if (file == NULL || file->face.pMethods != &methods || file->log_index == NULL) return false;
  // The writer fills the second copy, then the first: whoever sees the first one new sees a finished commit.
  const volatile uint64_t *words = file->log_index;
  for (int word = 0; word < CKV_LOG_HEADER_WORDS; word++) header[word] = words[word];
  atomic_thread_fence(memory_order_acquire);
  for (int word = 0; word < CKV_LOG_HEADER_WORDS; word++) {
    if (words[CKV_LOG_HEADER_WORDS + word] != header[word]) return false;
  }
  const uint8_t *bytes = (const uint8_t *)header;
  uint32_t version;
  memcpy(&version, bytes, sizeof version);
  const uint32_t known_version = 3007000;
  const size_t is_initialised = 12;
  return version == known_version && bytes[is_initialised] == 1;
}

uint32_t ckv_page_vfs_log_frames(const uint64_t header[CKV_LOG_HEADER_WORDS]) {
  uint32_t frames;
  memcpy(&frames, (const uint8_t *)header + 16, sizeof frames);
  return frames;
}
