/// Who observes what, and what tests ask and set. See CFileShim.h.

#define _GNU_SOURCE
#include "observation.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

pthread_mutex_t ckv_shim_lock = PTHREAD_MUTEX_INITIALIZER;
_Atomic int ckv_shim_count;
struct open_file ckv_shim_files[descriptor_limit];
int64_t ckv_shim_next_handle = 1;
static struct ckv_shim *shims[shim_limit];

struct ckv_shim *ckv_shim_of(const char *path) {
  if (path == NULL || path[0] != '/') return NULL;
  for (int i = 0; i < shim_limit; i++) {
    struct ckv_shim *shim = shims[i];
    if (shim != NULL && strncmp(path, shim->root, shim->root_size) == 0
        && (path[shim->root_size] == '/' || path[shim->root_size] == 0)) return shim;
  }
  return NULL;
}

struct open_file *ckv_shim_file(int descriptor) {
  if (descriptor < 0 || descriptor >= descriptor_limit || ckv_shim_files[descriptor].shim == NULL) return NULL;
  return &ckv_shim_files[descriptor];
}

void ckv_shim_forget(struct open_file *file) {
  file->shim->open_files -= 1;
  free(file->path);
  *file = (struct open_file){0};
}

struct ckv_shim_record *ckv_shim_note(
  struct ckv_shim *shim, enum ckv_shim_kind kind, const char *path, int64_t handle) {
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

enum ckv_shim_fault ckv_shim_begin(
  struct ckv_shim *shim, enum ckv_shim_kind kind, bool makes_entry, int64_t count) {
  const int64_t index = shim->operations++;
  if (index < shim->fault_index || !fits(shim->fault, kind, makes_entry, count)) return CKV_FAULT_NONE;
  if (shim->faults > 0 && !shim->fault_is_forever) return CKV_FAULT_NONE;
  shim->faults += 1;
  if (shim->fault == CKV_FAULT_KILL) kill(getpid(), SIGKILL);
  return shim->fault;
}

bool ckv_shim_fails(enum ckv_shim_fault fault) {
  if (fault == CKV_FAULT_EIO || fault == CKV_FAULT_SYNC) errno = EIO;
  else if (fault == CKV_FAULT_ENOSPC) errno = ENOSPC;
  else return false;
  return true;
}

// MARK: For tests

struct ckv_shim *ckv_shim_start(const char *root, bool records) {
  struct ckv_shim *shim = calloc(1, sizeof *shim);
  if (shim == NULL) return NULL;
  shim->root = strdup(root);
  shim->root_size = strlen(root);
  shim->records = records;
  pthread_mutex_lock(&ckv_shim_lock);
  int place = 0;
  while (place < shim_limit && shims[place] != NULL) place++;
  if (place < shim_limit) {
    shims[place] = shim;
    atomic_fetch_add(&ckv_shim_count, 1);
  }
  pthread_mutex_unlock(&ckv_shim_lock);
  return place < shim_limit ? shim : NULL;
}

void ckv_shim_stop(struct ckv_shim *shim) {
  pthread_mutex_lock(&ckv_shim_lock);
  for (int i = 0; i < shim_limit; i++) {
    if (shims[i] == shim) {
      shims[i] = NULL;
      atomic_fetch_sub(&ckv_shim_count, 1);
    }
  }
  for (int i = 0; i < descriptor_limit; i++) {
    if (ckv_shim_files[i].shim == shim) ckv_shim_forget(&ckv_shim_files[i]);
  }
  pthread_mutex_unlock(&ckv_shim_lock);
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
  pthread_mutex_lock(&ckv_shim_lock); \
  const type result = (expression); \
  pthread_mutex_unlock(&ckv_shim_lock); \
  return result

int64_t ckv_shim_operations(struct ckv_shim *shim) { LOCKED(int64_t, shim->operations); }
int64_t ckv_shim_open_files(struct ckv_shim *shim) { LOCKED(int64_t, shim->open_files); }
int64_t ckv_shim_faults(struct ckv_shim *shim) { LOCKED(int64_t, shim->faults); }
size_t ckv_shim_records(struct ckv_shim *shim) { LOCKED(size_t, shim->log_count); }
struct ckv_shim_record ckv_shim_record_at(struct ckv_shim *shim, size_t index) {
  LOCKED(struct ckv_shim_record, shim->log[index]);
}

void ckv_shim_set_fault(struct ckv_shim *shim, enum ckv_shim_fault fault, int64_t index, bool forever) {
  pthread_mutex_lock(&ckv_shim_lock);
  shim->fault = fault;
  shim->fault_index = index;
  shim->fault_is_forever = forever;
  shim->faults = 0;
  pthread_mutex_unlock(&ckv_shim_lock);
}

int ckv_shim_fork(void) { return fork(); }

void ckv_shim_set_quota(struct ckv_shim *shim, int64_t bytes) {
  pthread_mutex_lock(&ckv_shim_lock);
  shim->has_quota = bytes >= 0;
  shim->quota = bytes;
  pthread_mutex_unlock(&ckv_shim_lock);
}
