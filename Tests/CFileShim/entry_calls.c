/// The calls about names in directories, once more: see CFileShim.h.

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

static int rename_with(const char *old, const char *new, unsigned flags) {
  NEXT(renameat2);
  if (atomic_load(&ckv_shim_count) == 0) return next(AT_FDCWD, old, AT_FDCWD, new, flags);
  pthread_mutex_lock(&ckv_shim_lock);
  struct ckv_shim *shim = ckv_shim_of(new);
  int code = -1;
  if (shim == NULL || !ckv_shim_fails(ckv_shim_begin(shim, CKV_SHIM_RENAME, true, 0))) {
    code = next(AT_FDCWD, old, AT_FDCWD, new, flags);
    if (code == 0 && shim != NULL && shim->records) ckv_shim_note(shim, CKV_SHIM_RENAME, old, 0)->other = strdup(new);
  }
  pthread_mutex_unlock(&ckv_shim_lock);
  return code;
}

int rename(const char *old, const char *new) { return rename_with(old, new, 0); }

int renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
  if (from == AT_FDCWD && to == AT_FDCWD) return rename_with(old, new, flags);
  NEXT(renameat2);
  return next(from, old, to, new, flags);
}

static int remove_with(int (*next)(const char *), enum ckv_shim_kind kind, const char *path) {
  if (atomic_load(&ckv_shim_count) == 0) return next(path);
  pthread_mutex_lock(&ckv_shim_lock);
  struct ckv_shim *shim = ckv_shim_of(path);
  int code = -1;
  if (shim == NULL || !ckv_shim_fails(ckv_shim_begin(shim, kind, false, 0))) {
    struct stat status;
    const int64_t size = shim != NULL && lstat(path, &status) == 0 ? status.st_size : 0;
    code = next(path);
    if (code == 0 && shim != NULL) {
      shim->quota += size;
      ckv_shim_note(shim, kind, path, 0);
    }
  }
  pthread_mutex_unlock(&ckv_shim_lock);
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
  if (atomic_load(&ckv_shim_count) == 0) return next(path, mode);
  pthread_mutex_lock(&ckv_shim_lock);
  struct ckv_shim *shim = ckv_shim_of(path);
  int code = -1;
  if (shim == NULL || !ckv_shim_fails(ckv_shim_begin(shim, CKV_SHIM_MKDIR, true, 0))) {
    code = next(path, mode);
    if (code == 0 && shim != NULL) ckv_shim_note(shim, CKV_SHIM_MKDIR, path, 0);
  }
  pthread_mutex_unlock(&ckv_shim_lock);
  return code;
}
