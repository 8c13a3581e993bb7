/// The page checksum layer of the row database: a SQLite VFS that puts a checksum into the last 8 bytes of every page
/// of a main database file, verifies it on every read, and writes no leftovers of deleted cells. It is part of the
/// disk format: schema and row checksums do not see a row that vanished with a damaged b-tree page, this does.
///
/// The format, for a page of `size` bytes (a power of two, 512 to 65,536) with number `number` (the first is 1):
///
///     offset 0          size - 8 bytes   what SQLite calls the usable part
///     offset size - 8   8 bytes          XXH3-64 of the usable part, seed = number, little endian
///
/// A page at another place than its own so fails as well. Two kinds of bytes in a file are never covered, because
/// SQLite never reads them: the page at offset 2^30 (its lock bytes), and pages after the count in the header, which a
/// crash between a commit and the truncation that follows it can leave behind.
///
/// What the caller does:
/// - sets 8 reserved bytes per page (SQLITE_FCNTL_RESERVE_BYTES) before the first table of a new database. A database
///   with another number is refused: SQLITE_NOTADB when its first page is read, SQLITE_IOERR_WRITE when it is written.
/// - keeps secure_delete ON. Freed pages are then zeroed and written: with it OFF SQLite may skip pages that it freed
///   in the transaction that made them, which leaves holes without a checksum.
/// - creates the empty database file with mode 0600 first. SQLite gives -wal, -shm and -journal the mode of the main
///   file; a file that SQLite creates itself has 0644 less the umask.
/// - leaves SQLITE_FCNTL_CHUNK_SIZE alone, and auto_vacuum off: the gaps in b-tree pages of an auto_vacuum database are
///   not zeroed, because a pointer-map page can look like a b-tree page.
///
/// What it gets: a page that does not match is SQLITE_IOERR_DATA, with file and page number in sqlite3_log. So is a
/// page that is not all in the file: SQLite would take it for zeros, and under a write-ahead log it does not see that
/// the file is shorter than its header says. Journals, temporary files and shared memory pass through untouched, and so
/// do the bytes of write-ahead logs, which are only lengthened ahead of their writes; the main database is never
/// memory-mapped.
#ifndef CKVDB_CPAGEVFS_H
#define CKVDB_CPAGEVFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Bytes at the end of every page that hold its checksum.
#define CKV_PAGE_RESERVED 8

/// Registers the layer as VFS "ckvdb" over the system's default VFS, without making it the default.
/// Returns SQLITE_OK, also when it is registered already. Any thread may call it, at any time.
int ckv_page_vfs_register(void);

/// Registers the layer as VFS `name` over the VFS `base` (null: the default one), for tests that put a faulty file
/// system under it. Returns SQLITE_OK, also when that pair is registered already; SQLITE_NOTFOUND if there is no such
/// base, SQLITE_MISUSE if the name belongs to another VFS. A registration stays until the process ends, and the base
/// must stay with it. Any thread may call it, at any time.
int ckv_page_vfs_register_over(const char *base, const char *name);

/// Returns the checksum of the page `number`: of its first `size` - 8 bytes. The last 8 are not looked at.
/// `size` is at least 8.
uint64_t ckv_page_checksum(const void *page, size_t size, uint32_t number);

/// Zeroes the bytes of a b-tree page that belong to no cell: the unallocated space, the free blocks after their 4-byte
/// headers, and the fragments. The checksum is not touched.
///
/// A page whose cells, free blocks and fragments do not tile the content area exactly, or that is no b-tree page, is
/// left as it is. Never reads or writes outside of `size` bytes, whatever they hold. A page of another kind can by
/// chance or by design look like a b-tree page: the caller knows that this is one. O(cells + size / 64).
void ckv_page_zero_gaps(void *page, size_t size, uint32_t number);

/// Words of 8 bytes that the header of a write-ahead log's index has.
#define CKV_LOG_HEADER_WORDS 6

/// Copies the header of the write-ahead log's index, which is in memory that all connections of all processes share.
/// Every commit changes it before it returns: while it stays the same, the newest commit is the same. `file` is what
/// SQLITE_FCNTL_FILE_POINTER gives. Returns false, and then nothing is known, if the file is not one of this layer, has
/// no index here, or the header is being written or not of the kind that this code knows.
bool ckv_page_vfs_log_header(void *file, uint64_t header[CKV_LOG_HEADER_WORDS]);

/// The pages in the log, as a header states them.
uint32_t ckv_page_vfs_log_frames(const uint64_t header[CKV_LOG_HEADER_WORDS]);

#ifdef __cplusplus
}
#endif

#endif
