/// Writes of the write-ahead log. A write that makes the file longer is preceded by zeros up to the next half MiB, so
/// that most commits overwrite bytes that the file system has already given the file, and a sync need not wait for
/// its journal: one synced 8 KiB write at the end of a growing file took 1.5 times one into a file of its final
/// length.
///
/// SQLite finds the end of a log by the checksums and salts of its frames; what follows the last valid frame has never
/// meant anything to it, and an older log leaves more than zeros there.

#include "log_file.h"

static const sqlite3_int64 chunk_size = 512 * 1024;
static const char zeros[64 * 1024];

static sqlite3_file *real_of(sqlite3_file *face) { return ((struct log_file *)face)->real; }

/// Lengthens the file for a write that ends at `end`. If that fails, the write itself will say why.
static void lengthen(struct log_file *file, sqlite3_int64 end) {
  sqlite3_int64 size;
  if (file->real->pMethods->xFileSize(file->real, &size) != SQLITE_OK) return;
  const sqlite3_int64 wanted = (end + chunk_size - 1) / chunk_size * chunk_size;
  while (size < wanted) {
    const sqlite3_int64 left = wanted - size;
    const int amount = left < (sqlite3_int64)sizeof zeros ? (int)left : (int)sizeof zeros;
    if (file->real->pMethods->xWrite(file->real, zeros, amount, size) != SQLITE_OK) return;
    size += amount;
  }
  file->size = size;
}

static int log_write(sqlite3_file *face, const void *buffer, int amount, sqlite3_int64 offset) {
  struct log_file *file = (struct log_file *)face;
  // Not for the header of an emptied log: until its sync the truncation may be missing from the disk, and zeros over
  // part of the old frames would leave the rest of them, a log that ends at an older commit, to be played back.
  if (offset > 0 && offset + amount > file->size) lengthen(file, offset + amount);
  return file->real->pMethods->xWrite(file->real, buffer, amount, offset);
}

static int log_truncate(sqlite3_file *face, sqlite3_int64 size) {
  struct log_file *file = (struct log_file *)face;
  // Another connection may shorten the file too; then the first write past its end finds the true size.
  if (size < file->size) file->size = size;
  return file->real->pMethods->xTruncate(file->real, size);
}

static int log_close(sqlite3_file *face) { return real_of(face)->pMethods->xClose(real_of(face)); }
static int log_read(sqlite3_file *face, void *buffer, int amount, sqlite3_int64 offset) {
  return real_of(face)->pMethods->xRead(real_of(face), buffer, amount, offset);
}
static int log_sync(sqlite3_file *face, int flags) { return real_of(face)->pMethods->xSync(real_of(face), flags); }
static int log_size(sqlite3_file *face, sqlite3_int64 *size) {
  return real_of(face)->pMethods->xFileSize(real_of(face), size);
}
static int log_lock(sqlite3_file *face, int level) { return real_of(face)->pMethods->xLock(real_of(face), level); }
static int log_unlock(sqlite3_file *face, int level) { return real_of(face)->pMethods->xUnlock(real_of(face), level); }
static int log_check_reserved_lock(sqlite3_file *face, int *result) {
  return real_of(face)->pMethods->xCheckReservedLock(real_of(face), result);
}
static int log_control(sqlite3_file *face, int operation, void *argument) {
  return real_of(face)->pMethods->xFileControl(real_of(face), operation, argument);
}
static int log_sector_size(sqlite3_file *face) { return real_of(face)->pMethods->xSectorSize(real_of(face)); }
static int log_characteristics(sqlite3_file *face) {
  return real_of(face)->pMethods->xDeviceCharacteristics(real_of(face));
}

static const sqlite3_io_methods methods = {
  .iVersion = 1, .xClose = log_close, .xRead = log_read, .xWrite = log_write, .xTruncate = log_truncate,
  .xSync = log_sync, .xFileSize = log_size, .xLock = log_lock, .xUnlock = log_unlock,
  .xCheckReservedLock = log_check_reserved_lock, .xFileControl = log_control, .xSectorSize = log_sector_size,
  .xDeviceCharacteristics = log_characteristics,
};

void ckv_log_file_attach(struct log_file *file) {
  file->face.pMethods = &methods;
  file->size = 0;
}
