/// The test processes' view of the operating system's file calls. The functions of the C library that change or read
/// files are defined here once more, so that every caller in the process reaches these first: SQLite's own file system,
/// below the page checksum layer, and the store's calls. Calls about files below a directory that a test has named are
/// counted, written down, made to fail, or made the process's last; all others pass through after one comparison.
///
/// The product does not link this target. Descriptors are known by their number, paths by their text.
#ifndef CKVDB_CFILESHIM_H
#define CKVDB_CFILESHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// One directory under observation.
struct ckv_shim;

/// What an operation does. Reads and opens are counted, but only opens are written down.
enum ckv_shim_kind {
  CKV_SHIM_OPEN = 1,
  CKV_SHIM_WRITE,
  CKV_SHIM_TRUNCATE,
  CKV_SHIM_SYNC,
  CKV_SHIM_RENAME,
  CKV_SHIM_UNLINK,
  CKV_SHIM_MKDIR,
  CKV_SHIM_RMDIR,
  CKV_SHIM_READ,
};

/// One operation that succeeded. Pointers live as long as the observation.
struct ckv_shim_record {
  enum ckv_shim_kind kind;
  /// Numbers an open file; 0 for operations on paths.
  int64_t handle;
  /// OPEN: whether the file was made by it.
  bool is_new;
  const char *path;
  /// RENAME: the new path.
  const char *other;
  int64_t offset;
  int64_t count;
  const void *bytes;
};

enum ckv_shim_fault {
  CKV_FAULT_NONE,
  /// Any operation fails with EIO.
  CKV_FAULT_EIO,
  /// A write, truncation or new entry fails with ENOSPC.
  CKV_FAULT_ENOSPC,
  /// A read gives half of what it was asked for.
  CKV_FAULT_SHORT_READ,
  /// A write takes half of what it was given.
  CKV_FAULT_SHORT_WRITE,
  /// A sync fails with EIO.
  CKV_FAULT_SYNC,
  /// The process ends as by kill -9.
  CKV_FAULT_KILL,
};

/// Starts an observation of everything below `root`; null when there are too many at once. `records` keeps a log.
struct ckv_shim *ckv_shim_start(const char *root, bool records);
/// Ends it. The object's memory goes; files that are still open pass through from now on.
void ckv_shim_stop(struct ckv_shim *shim);

/// Operations seen so far, reads and failures too.
int64_t ckv_shim_operations(struct ckv_shim *shim);
/// Files below the root that are open now.
int64_t ckv_shim_open_files(struct ckv_shim *shim);
/// Operations written down so far.
size_t ckv_shim_records(struct ckv_shim *shim);
struct ckv_shim_record ckv_shim_record_at(struct ckv_shim *shim, size_t index);

/// Lets the first operation that the fault can happen to fail, from operation `index` on; with `forever` all of them.
void ckv_shim_set_fault(struct ckv_shim *shim, enum ckv_shim_fault fault, int64_t index, bool forever);
/// Faults that have happened.
int64_t ckv_shim_faults(struct ckv_shim *shim);
/// Lets files grow by `bytes` in all from now on, less than 0 for no limit; what is removed or cut off is given back.
void ckv_shim_set_quota(struct ckv_shim *shim, int64_t bytes);

/// fork(2), which Swift does not show: for a process whose other threads are idle and that has no store open.
int ckv_shim_fork(void);

#endif
