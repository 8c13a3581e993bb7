/// See CFileShim.h. One lock guards everything; it is taken only while somebody observes, and held during the call
/// itself, so that the log's order is the order in which things happened.

#define _GNU_SOURCE
#include "CFileShim.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { shim_limit = 64, descriptor_limit = 65536 };

struct ckv_shim {
  char *root;
  size_t root_size;
  bool records;
  struct ckv_shim_record *log;
  size_t log_count, log_capacity;
  int64_t operations, open_files, faults;
  enum ckv_shim_fault fault;
  int64_t fault_index;
  bool fault_is_forever;
  bool has_quota;
  int64_t quota;
};

struct open_file {
  struct ckv_shim *shim;
  int64_t handle;
  char *path;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int shim_count;
static struct ckv_shim *shims[shim_limit];
static struct open_file files[descriptor_limit];
static int64_t next_handle = 1;

#define NEXT(name) \
  static __typeof__(name) *next; \
  if (next == NULL) next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

// MARK: Bookkeeping, under the lock

static struct ckv_shim *shim_of(const char *path) {
  if (path == NULL || path[0] != '/') return NULL;
  for (int i = 0; i < shim_limit; i++) {
    struct ckv_shim *shim = shims[i];
    if (shim != NULL && strncmp(path, shim->root, shim->root_size) == 0
        && (path[shim->root_size] == '/' || path[shim->root_size] == 0)) return shim;
  }
  return NULL;
}

static struct open_file *file_of(int descriptor) {
  if (descriptor < 0 || descriptor >= descriptor_limit || files[descriptor].shim == NULL) return NULL;
  return &files[descriptor];
}

static void forget(struct open_file *file) {
  file->shim->open_files -= 1;
  free(file->path);
  *file = (struct open_file){0};
}

static struct ckv_shim_record *note(struct ckv_shim *shim, enum ckv_shim_kind kind, const char *path, int64_t handle) {
  static struct ckv_shim_record nowhere;
  if (!shim->records) return &nowhere;
  if (shim->log_count == shim->log_capacity) {
    shim->log_capacity = shim->log_capacity == 0 ? 256 : shim->log_capacity * 2;
    shim->log = realloc(shim->log, shim->log_capacity * sizeof *shim->log);
    if (shim->log == NULL) abort();
  }
  struct ckv_shim_record *record = &shim->log[shim->log_count++];
  *record = (struct ckv_shim_record){.kind = kind, .handle = handle, .path = strdup(path)};
  return record;
}

/// Whether a fault can happen to an operation.
static bool fits(enum ckv_shim_fault fault, enum ckv_shim_kind kind, bool makes_entry, int64_t count) {
  switch (fault) {
    case CKV_FAULT_EIO: return true;
    case CKV_FAULT_KILL: return true;
    case CKV_FAULT_ENOSPC: return kind == CKV_SHIM_WRITE || kind == CKV_SHIM_TRUNCATE || makes_entry;
    case CKV_FAULT_SHORT_READ: return kind == CKV_SHIM_READ && count > 0;
    case CKV_FAULT_SHORT_WRITE: return kind == CKV_SHIM_WRITE && count > 0;
    case CKV_FAULT_SYNC: return kind == CKV_SHIM_SYNC;
    default: return false;
  }
}

/// Counts an operation. Returns the fault that it has to show.
static enum ckv_shim_fault begin(struct ckv_shim *shim, enum ckv_shim_kind kind, bool makes_entry, int64_t count) {
  const int64_t index = shim->operations++;
  if (index < shim->fault_index || !fits(shim->fault, kind, makes_entry, count)) return CKV_FAULT_NONE;
  if (shim->faults > 0 && !shim->fault_is_forever) return CKV_FAULT_NONE;
  shim->faults += 1;
  if (shim->fault == CKV_FAULT_KILL) kill(getpid(), SIGKILL);
  return shim->fault;
}

/// Sets errno for a fault that is an error; false for those that shorten.
static bool fails(enum ckv_shim_fault fault) {
  if (fault == CKV_FAULT_EIO || fault == CKV_FAULT_SYNC) errno = EIO;
  else if (fault == CKV_FAULT_ENOSPC) errno = ENOSPC;
  else return false;
  return true;
}

static int64_t size_of(int descriptor) {
  struct stat status;
  return fstat(descriptor, &status) == 0 ? status.st_size : 0;
}

// MARK: Opening and closing

static int open_with(int (*next)(const char *, int, ...), const char *path, int flags, mode_t mode) {
  if (atomic_load(&shim_count) == 0) return next(path, flags, mode);
  pthread_mutex_lock(&lock);
  struct ckv_shim *shim = shim_of(path);
  if (shim == NULL) {
    pthread_mutex_unlock(&lock);
    return next(path, flags, mode);
  }
  struct stat status;
  const bool is_new = (flags & O_CREAT) != 0 && lstat(path, &status) != 0;
  int descriptor = -1;
  if (!fails(begin(shim, CKV_SHIM_OPEN, is_new, 0))) {
    descriptor = next(path, flags, mode);
    if (descriptor >= 0 && descriptor < descriptor_limit) {
      struct open_file *file = &files[descriptor];
      if (file->shim != NULL) forget(file);
      *file = (struct open_file){.shim = shim, .handle = next_handle++, .path = strdup(path)};
      shim->open_files += 1;
      note(shim, CKV_SHIM_OPEN, path, file->handle)->is_new = is_new;
      if ((flags & O_TRUNC) != 0) note(shim, CKV_SHIM_TRUNCATE, path, file->handle);
    }
  }
  pthread_mutex_unlock(&lock);
  return descriptor;
}

#define MODE_OF(flags, mode) \
  mode_t mode = 0; \
  if ((flags & (O_CREAT | O_TMPFILE)) != 0) { \
    va_list arguments; \
    va_start(arguments, flags); \
    mode = va_arg(arguments, mode_t); \
    va_end(arguments); \
  }

int open(const char *path, int flags, ...) {
  MODE_OF(flags, mode)
  NEXT(open);
  return open_with(next, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  MODE_OF(flags, mode)
  NEXT(open64);
  return open_with(next, path, flags, mode);
}

int close(int descriptor) {
  NEXT(close);
  if (atomic_load(&shim_count) == 0) return next(descriptor);
  pthread_mutex_lock(&lock);
  struct open_file *file = file_of(descriptor);
  if (file != NULL) forget(file);
  const int code = next(descriptor);
  pthread_mutex_unlock(&lock);
  return code;
}

// MARK: Content

typedef ssize_t positioned_write(int, const void *, size_t, off64_t);
typedef ssize_t positioned_read(int, void *, size_t, off64_t);

static ssize_t write_with(positioned_write *next, int descriptor, const void *bytes, size_t count, int64_t offset) {
  if (atomic_load(&shim_count) == 0) return next(descriptor, bytes, count, offset);
  pthread_mutex_lock(&lock);
  ssize_t written = -1;
  struct open_file *file = file_of(descriptor);
  if (file == NULL) {
    // Not under the lock: it may be a pipe.
    pthread_mutex_unlock(&lock);
    return next(descriptor, bytes, count, offset);
  }
  struct ckv_shim *shim = file->shim;
  const enum ckv_shim_fault fault = begin(shim, CKV_SHIM_WRITE, false, (int64_t)count);
  if (!fails(fault)) {
    if (fault == CKV_FAULT_SHORT_WRITE) count /= 2;
    const int64_t growth = offset + (int64_t)count - size_of(descriptor);
    if (shim->has_quota && growth > 0 && growth > shim->quota) {
      shim->faults += 1;
      errno = ENOSPC;
    } else {
      written = count == 0 ? 0 : next(descriptor, bytes, count, offset);
      if (written > 0 && growth > 0) shim->quota -= growth;
      if (written > 0 && shim->records) {
        struct ckv_shim_record *record = note(shim, CKV_SHIM_WRITE, file->path, file->handle);
        record->offset = offset;
        record->count = written;
        void *copy = malloc((size_t)written);
        if (copy == NULL) abort();
        record->bytes = memcpy(copy, bytes, (size_t)written);
      }
    }
  }
  pthread_mutex_unlock(&lock);
  return written;
}

ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset) {
  NEXT(pwrite);
  return write_with(next, descriptor, bytes, count, offset);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t offset) {
  NEXT(pwrite64);
  return write_with(next, descriptor, bytes, count, offset);
}

/// Writes at the descriptor's position as at an offset; which it is, is the caller's.
static ssize_t write_here(int descriptor, const void *bytes, size_t count, off64_t offset) {
  NEXT(write);
  (void)offset;
  return next(descriptor, bytes, count);
}

ssize_t write(int descriptor, const void *bytes, size_t count) {
  const int64_t offset = atomic_load(&shim_count) == 0 ? 0 : lseek(descriptor, 0, SEEK_CUR);
  return write_with(write_here, descriptor, bytes, count, offset);
}

static ssize_t read_with(positioned_read *next, int descriptor, void *bytes, size_t count, int64_t offset) {
  if (atomic_load(&shim_count) == 0) return next(descriptor, bytes, count, offset);
  // Not under the lock while it waits: descriptors that nobody observes include pipes.
  pthread_mutex_lock(&lock);
  struct open_file *file = file_of(descriptor);
  const enum ckv_shim_fault fault =
    file == NULL ? CKV_FAULT_NONE : begin(file->shim, CKV_SHIM_READ, false, (int64_t)count);
  pthread_mutex_unlock(&lock);
  if (fails(fault)) return -1;
  if (fault == CKV_FAULT_SHORT_READ) count /= 2;
  return count == 0 ? 0 : next(descriptor, bytes, count, offset);
}

ssize_t pread(int descriptor, void *bytes, size_t count, off_t offset) {
  NEXT(pread);
  return read_with(next, descriptor, bytes, count, offset);
}

ssize_t pread64(int descriptor, void *bytes, size_t count, off64_t offset) {
  NEXT(pread64);
  return read_with(next, descriptor, bytes, count, offset);
}

static int truncate_with(int (*next)(int, off64_t), int descriptor, int64_t size) {
  if (atomic_load(&shim_count) == 0) return next(descriptor, size);
  pthread_mutex_lock(&lock);
  int code = -1;
  struct open_file *file = file_of(descriptor);
  if (file == NULL) {
    code = next(descriptor, size);
  } else if (!fails(begin(file->shim, CKV_SHIM_TRUNCATE, false, size))) {
    const int64_t growth = size - size_of(descriptor);
    code = next(descriptor, size);
    if (code == 0) {
      file->shim->quota -= growth;
      note(file->shim, CKV_SHIM_TRUNCATE, file->path, file->handle)->count = size;
    }
  }
  pthread_mutex_unlock(&lock);
  return code;
}

int ftruncate(int descriptor, off_t size) {
  NEXT(ftruncate);
  return truncate_with(next, descriptor, size);
}

int ftruncate64(int descriptor, off64_t size) {
  NEXT(ftruncate64);
  return truncate_with(next, descriptor, size);
}

static int sync_with(int (*next)(int), int descriptor) {
  if (atomic_load(&shim_count) == 0) return next(descriptor);
  pthread_mutex_lock(&lock);
  struct open_file *file = file_of(descriptor);
  if (file == NULL) {
    pthread_mutex_unlock(&lock);
    return next(descriptor);
  }
  // What a sync orders is in the log: nobody waits for the disk here.
  const int code = fails(begin(file->shim, CKV_SHIM_SYNC, false, 0)) ? -1 : 0;
  if (code == 0) note(file->shim, CKV_SHIM_SYNC, file->path, file->handle);
  pthread_mutex_unlock(&lock);
  return code;
}

int fsync(int descriptor) {
  NEXT(fsync);
  return sync_with(next, descriptor);
}

int fdatasync(int descriptor) {
  NEXT(fdatasync);
  return sync_with(next, descriptor);
}

// MARK: Entries

static int rename_with(const char *old, const char *new, unsigned flags) {
  NEXT(renameat2);
  if (atomic_load(&shim_count) == 0) return next(AT_FDCWD, old, AT_FDCWD, new, flags);
  pthread_mutex_lock(&lock);
  struct ckv_shim *shim = shim_of(new);
  int code = -1;
  if (shim == NULL || !fails(begin(shim, CKV_SHIM_RENAME, true, 0))) {
    code = next(AT_FDCWD, old, AT_FDCWD, new, flags);
    if (code == 0 && shim != NULL && shim->records) note(shim, CKV_SHIM_RENAME, old, 0)->other = strdup(new);
  }
  pthread_mutex_unlock(&lock);
  return code;
}

int rename(const char *old, const char *new) { return rename_with(old, new, 0); }

int renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
  if (from == AT_FDCWD && to == AT_FDCWD) return rename_with(old, new, flags);
  NEXT(renameat2);
  return next(from, old, to, new, flags);
}

static int remove_with(int (*next)(const char *), enum ckv_shim_kind kind, const char *path) {
  if (atomic_load(&shim_count) == 0) return next(path);
  pthread_mutex_lock(&lock);
  struct ckv_shim *shim = shim_of(path);
  int code = -1;
  if (shim == NULL || !fails(begin(shim, kind, false, 0))) {
    struct stat status;
    const int64_t size = shim != NULL && lstat(path, &status) == 0 ? status.st_size : 0;
    code = next(path);
    if (code == 0 && shim != NULL) {
      shim->quota += size;
      note(shim, kind, path, 0);
    }
  }
  pthread_mutex_unlock(&lock);
  return code;
}

int unlink(const char *path) {
  NEXT(unlink);
  return remove_with(next, CKV_SHIM_UNLINK, path);
}

int rmdir(const char *path) {
  NEXT(rmdir);
  return remove_with(next, CKV_SHIM_RMDIR, path);
}

int mkdir(const char *path, mode_t mode) {
  NEXT(mkdir);
  if (atomic_load(&shim_count) == 0) return next(path, mode);
  pthread_mutex_lock(&lock);
  struct ckv_shim *shim = shim_of(path);
  int code = -1;
  if (shim == NULL || !fails(begin(shim, CKV_SHIM_MKDIR, true, 0))) {
    code = next(path, mode);
    if (code == 0 && shim != NULL) note(shim, CKV_SHIM_MKDIR, path, 0);
  }
  pthread_mutex_unlock(&lock);
  return code;
}

// MARK: For tests

struct ckv_shim *ckv_shim_start(const char *root, bool records) {
  struct ckv_shim *shim = calloc(1, sizeof *shim);
  if (shim == NULL) return NULL;
  shim->root = strdup(root);
  shim->root_size = strlen(root);
  shim->records = records;
  pthread_mutex_lock(&lock);
  int place = 0;
  while (place < shim_limit && shims[place] != NULL) place++;
  if (place < shim_limit) {
    shims[place] = shim;
    atomic_fetch_add(&shim_count, 1);
  }
  pthread_mutex_unlock(&lock);
  return place < shim_limit ? shim : NULL;
}

void ckv_shim_stop(struct ckv_shim *shim) {
  pthread_mutex_lock(&lock);
  for (int i = 0; i < shim_limit; i++) {
    if (shims[i] == shim) {
      shims[i] = NULL;
      atomic_fetch_sub(&shim_count, 1);
    }
  }
  for (int i = 0; i < descriptor_limit; i++) {
    if (files[i].shim == shim) forget(&files[i]);
  }
  pthread_mutex_unlock(&lock);
  for (size_t i = 0; i < shim->log_count; i++) {
    free((void *)shim->log[i].path);
    free((void *)shim->log[i].other);
    free((void *)shim->log[i].bytes);
  }
  free(shim->log);
  free(shim->root);
  free(shim);
}

#define LOCKED(type, expression) \
  pthread_mutex_lock(&lock); \
  const type result = (expression); \
  pthread_mutex_unlock(&lock); \
  return result

int64_t ckv_shim_operations(struct ckv_shim *shim) { LOCKED(int64_t, shim->operations); }
int64_t ckv_shim_open_files(struct ckv_shim *shim) { LOCKED(int64_t, shim->open_files); }
int64_t ckv_shim_faults(struct ckv_shim *shim) { LOCKED(int64_t, shim->faults); }
size_t ckv_shim_records(struct ckv_shim *shim) { LOCKED(size_t, shim->log_count); }
struct ckv_shim_record ckv_shim_record_at(struct ckv_shim *shim, size_t index) {
  LOCKED(struct ckv_shim_record, shim->log[index]);
}

void ckv_shim_set_fault(struct ckv_shim *shim, enum ckv_shim_fault fault, int64_t index, bool forever) {
  pthread_mutex_lock(&lock);
  shim->fault = fault;
  shim->fault_index = index;
  shim->fault_is_forever = forever;
  shim->faults = 0;
  pthread_mutex_unlock(&lock);
}

int ckv_shim_fork(void) { return fork(); }

void ckv_shim_set_quota(struct ckv_shim *shim, int64_t bytes) {
  pthread_mutex_lock(&lock);
  shim->has_quota = bytes >= 0;
  shim->quota = bytes;
  pthread_mutex_unlock(&lock);
}
