/// VACUUM outside of WAL mode. SQLite builds the new database in a temporary file and copies its image over the old one
/// under a rollback journal; when the page size changes, it does so in pages of the OLD size, so that no single write
/// is a page of the new file. It announces this (SQLITE_FCNTL_OVERWRITE) and syncs before it commits. In between,
/// writes pass as they are; before the sync every page of the result gets its checksum.
///
/// Safe at a crash: the journal stays until after that sync, and its first record is page 1 in the old layout, so that
/// playing it back writes whole pages of the old size with their checksums. A page that was damaged before cannot get a
/// good checksum on the way: all are verified at the start, while SQLite holds the file exclusively.

#include "page_file.h"

#include "CPageVFS.h"
#include "page_format.h"

/// What one pass over the file does to each page, in `scratch`.
enum pass { PASS_VERIFY, PASS_SEAL };

static int for_every_page(struct page_file *file, enum pass pass);

int ckv_page_file_begin_overwrite(struct page_file *file) {
  uint8_t header[CKV_HEADER_SIZE];
  int code = file->real->pMethods->xRead(file->real, header, sizeof header, 0);
  if (code == SQLITE_IOERR_SHORT_READ) return SQLITE_OK;
  if (code != SQLITE_OK) return code;
  const uint8_t wal_version = 2;
  if (header[CKV_HEADER_WRITE_VERSION] == wal_version) return SQLITE_OK;

  code = for_every_page(file, PASS_VERIFY);
  file->is_overwriting = code == SQLITE_OK;
  return code;
}

int ckv_page_file_finish_overwrite(struct page_file *file) {
  int code = for_every_page(file, PASS_SEAL);
  file->is_overwriting = file->has_raw_pages = false;
  return code;
}

/// Goes over the pages that the header counts, in the layout that it states.
static int for_every_page(struct page_file *file, enum pass pass) {
  const sqlite3_io_methods *below = file->real->pMethods;
  uint8_t header[CKV_HEADER_SIZE];
  int code = below->xRead(file->real, header, sizeof header, 0);
  if (code != SQLITE_OK) return code;
  if (!ckv_page_file_learn(file, header)) return ckv_page_file_damaged(file, 1, "is no header of a database like ours");
  uint32_t size = file->page_size;
  code = ckv_page_file_reserve(file, size);
  if (code != SQLITE_OK) return code;

  for (uint32_t number = 1; number <= file->page_count && number != UINT32_MAX; number++) {
    sqlite3_int64 offset = (sqlite3_int64)(number - 1) * size;
    if (offset == CKV_LOCK_BYTES_OFFSET) continue;
    code = below->xRead(file->real, file->scratch, (int)size, offset);
    if (code == SQLITE_IOERR_SHORT_READ) return ckv_page_file_damaged(file, number, "is beyond the end of the file");
    if (code != SQLITE_OK) return code;
    switch (pass) {
      case PASS_VERIFY:
        if (!ckv_page_is_intact(file->scratch, size, number)) {
          return ckv_page_file_damaged(file, number, "does not match its checksum");
        }
        break;
      case PASS_SEAL:
        ckv_page_file_finish_scratch(file, size, number);
        code = below->xWrite(file->real, file->scratch, (int)size, offset);
        if (code != SQLITE_OK) return code;
        break;
    }
  }
  return SQLITE_OK;
}
