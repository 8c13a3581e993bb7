/// The calls about open files, once more: see CFileShim.h.

#define _GNU_SOURCE
#include "observation.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int64_t size_of(int descriptor) {
  struct stat status;
  return fstat(descriptor, &status) == 0 ? status.st_size : 0;
}

// MARK: Opening and closing

static int open_with(int (*next)(const char *, int, ...), const char *path, int flags, mode_t mode) {
  if (atomic_load(&ckv_shim_count) == 0) return next(path, flags, mode);
  pthread_mutex_lock(&ckv_shim_lock);
  struct ckv_shim *shim = ckv_shim_of(path);
  if (shim == NULL) {
    pthread_mutex_unlock(&ckv_shim_lock);
    return next(path, flags, mode);
  }
  struct stat status;
  const bool is_new = (flags & O_CREAT) != 0 && lstat(path, &status) != 0;
  int descriptor = -1;
  if (!ckv_shim_fails(ckv_shim_begin(shim, CKV_SHIM_OPEN, is_new, 0))) {
    descriptor = next(path, flags, mode);
    if (descriptor >= 0 && descriptor < descriptor_limit) {
      struct open_file *file = &ckv_shim_files[descriptor];
      if (file->shim != NULL) ckv_shim_forget(file);
      *file = (struct open_file){.shim = shim, .handle = ckv_shim_next_handle++, .path = strdup(path)};
      shim->open_files += 1;
      ckv_shim_note(shim, CKV_SHIM_OPEN, path, file->handle)->is_new = is_new;
      if ((flags & O_TRUNC) != 0) ckv_shim_note(shim, CKV_SHIM_TRUNCATE, path, file->handle);
    }
  }
  pthread_mutex_unlock(&ckv_shim_lock);
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
  if (atomic_load(&ckv_shim_count) == 0) return next(descriptor);
  pthread_mutex_lock(&ckv_shim_lock);
  struct open_file *file = ckv_shim_file(descriptor);
  if (file != NULL) ckv_shim_forget(file);
  const int code = next(descriptor);
  pthread_mutex_unlock(&ckv_shim_lock);
  return code;
}

// MARK: Content

typedef ssize_t positioned_write(int, const void *, size_t, off64_t);
typedef ssize_t positioned_read(int, void *, size_t, off64_t);

static ssize_t write_with(positioned_write *next, int descriptor, const void *bytes, size_t count, int64_t offset) {
  if (atomic_load(&ckv_shim_count) == 0) return next(descriptor, bytes, count, offset);
  pthread_mutex_lock(&ckv_shim_lock);
  ssize_t written = -1;
  struct open_file *file = ckv_shim_file(descriptor);
  if (file == NULL) {
    // Not under the lock: it may be a pipe.
    pthread_mutex_unlock(&ckv_shim_lock);
    return next(descriptor, bytes, count, offset);
  }
  struct ckv_shim *shim = file->shim;
  const enum ckv_shim_fault fault = ckv_shim_begin(shim, CKV_SHIM_WRITE, false, (int64_t)count);
  if (!ckv_shim_fails(fault)) {
    if (fault == CKV_FAULT_SHORT_WRITE) count /= 2;
    const int64_t growth = offset + (int64_t)count - size_of(descriptor);
    if (shim->has_quota && growth > 0 && growth > shim->quota) {
      shim->faults += 1;
      errno = ENOSPC;
    } else {
      written = count == 0 ? 0 : next(descriptor, bytes, count, offset);
      if (written > 0 && growth > 0) shim->quota -= growth;
      if (written > 0 && shim->records) {
        struct ckv_shim_record *record = ckv_shim_note(shim, CKV_SHIM_WRITE, file->path, file->handle);
        record->offset = offset;
        record->count = written;
        void *copy = malloc((size_t)written);
        if (copy == NULL) abort();
        record->bytes = memcpy(copy, bytes, (size_t)written);
      }
    }
  }
  pthread_mutex_unlock(&ckv_shim_lock);
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
  const int64_t offset = atomic_load(&ckv_shim_count) == 0 ? 0 : lseek(descriptor, 0, SEEK_CUR);
  return write_with(write_here, descriptor, bytes, count, offset);
}

static ssize_t read_with(positioned_read *next, int descriptor, void *bytes, size_t count, int64_t offset) {
  if (atomic_load(&ckv_shim_count) == 0) return next(descriptor, bytes, count, offset);
  // Not under the lock while it waits: descriptors that nobody observes include pipes.
  pthread_mutex_lock(&ckv_shim_lock);
  struct open_file *file = ckv_shim_file(descriptor);
  const enum ckv_shim_fault fault =
    file == NULL ? CKV_FAULT_NONE : ckv_shim_begin(file->shim, CKV_SHIM_READ, false, (int64_t)count);
  pthread_mutex_unlock(&ckv_shim_lock);
  if (ckv_shim_fails(fault)) return -1;
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
  if (atomic_load(&ckv_shim_count) == 0) return next(descriptor, size);
  pthread_mutex_lock(&ckv_shim_lock);
  int code = -1;
  struct open_file *file = ckv_shim_file(descriptor);
  if (file == NULL) {
    code = next(descriptor, size);
  } else if (!ckv_shim_fails(ckv_shim_begin(file->shim, CKV_SHIM_TRUNCATE, false, size))) {
    const int64_t growth = size - size_of(descriptor);
    code = next(descriptor, size);
    if (code == 0) {
      file->shim->quota -= growth;
      ckv_shim_note(file->shim, CKV_SHIM_TRUNCATE, file->path, file->handle)->count = size;
    }
  }
  pthread_mutex_unlock(&ckv_shim_lock);
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
  if (atomic_load(&ckv_shim_count) == 0) return next(descriptor);
  pthread_mutex_lock(&ckv_shim_lock);
  struct open_file *file = ckv_shim_file(descriptor);
  if (file == NULL) {
    pthread_mutex_unlock(&ckv_shim_lock);
    return next(descriptor);
  }
  // What a sync orders is in the log: nobody waits for the disk here.
  const int code = ckv_shim_fails(ckv_shim_begin(file->shim, CKV_SHIM_SYNC, false, 0)) ? -1 : 0;
  if (code == 0) ckv_shim_note(file->shim, CKV_SHIM_SYNC, file->path, file->handle);
  pthread_mutex_unlock(&ckv_shim_lock);
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
