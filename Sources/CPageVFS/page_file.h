/// A main database file as the page layer sees it, shared by the files of this module that do its I/O. SQLite uses one
/// such object from one thread at a time, so nothing here locks.
#ifndef CKVDB_PAGE_FILE_H
#define CKVDB_PAGE_FILE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

struct page_file {
  sqlite3_file face;     // what SQLite holds; must stay first
  sqlite3_file *real;    // the same file in the VFS below, in the memory after this object
  const char *path;      // SQLite's, valid while the file is open
  const char *vfs_name;
  uint8_t *scratch;      // one page
  uint32_t scratch_size;

  /// From page 1 as it was last read, verified, or written; forgotten whenever others may change it. 0: not known.
  uint32_t page_size;
  bool header_is_known;
  /// Whether the first bytes of a page tell a b-tree page, and how many pages there are: see may_be_tree_page.
  bool has_pointer_maps;
  uint32_t page_count;

  /// The first region of the log's index, shared with other processes; null while SQLite has not mapped it.
  volatile void *log_index;

  /// VACUUM outside of WAL mode is at work, and has written pages of the new size in pieces of the old one.
  bool is_overwriting;
  bool has_raw_pages;
};

/// Sets up the methods of a file whose `real` was opened.
void ckv_page_file_attach(struct page_file *file);

/// Makes `scratch` hold `size` bytes.
int ckv_page_file_reserve(struct page_file *file, uint32_t size);

/// Takes from a database header what writing needs; false if the layer does not handle such a database.
bool ckv_page_file_learn(struct page_file *file, const uint8_t *header);

/// Zeroes the gaps of the page in `scratch` and puts its checksum in.
void ckv_page_file_finish_scratch(struct page_file *file, uint32_t size, uint32_t number);

/// SQLITE_IOERR_DATA, with the page and the reason in SQLite's log.
int ckv_page_file_damaged(const struct page_file *file, uint32_t number, const char *reason);

/// Called when SQLite says that it is about to write the whole database anew: verifies every page, then lets writes
/// pass as they are. Does nothing in WAL mode, where whole pages of the known size come with the checkpoint.
int ckv_page_file_begin_overwrite(struct page_file *file);

/// Called before such a transaction is synced: puts checksums into every page of the file as it is now.
int ckv_page_file_finish_overwrite(struct page_file *file);

#endif
