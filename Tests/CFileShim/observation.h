/// What the three files of the shim share: who observes, which descriptors are whose, and the one lock that guards it.
/// The lock is taken only while somebody observes, and held during the call itself, so that the log's order is the
/// order in which things happened.
#ifndef CKVDB_OBSERVATION_H
#define CKVDB_OBSERVATION_H

#include <pthread.h>
#include <stdatomic.h>

#include "CFileShim.h"

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

#define NEXT(name) \
  static __typeof__(name) *next; \
  if (next == NULL) next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

extern pthread_mutex_t ckv_shim_lock;
extern _Atomic int ckv_shim_count;
extern struct open_file ckv_shim_files[descriptor_limit];
extern int64_t ckv_shim_next_handle;

// All of them under the lock.
struct ckv_shim *ckv_shim_of(const char *path);
struct open_file *ckv_shim_file(int descriptor);
void ckv_shim_forget(struct open_file *file);
struct ckv_shim_record *ckv_shim_note(
  struct ckv_shim *shim, enum ckv_shim_kind kind, const char *path, int64_t handle);
/// Counts an operation. Returns the fault that it has to show.
enum ckv_shim_fault ckv_shim_begin(
  struct ckv_shim *shim, enum ckv_shim_kind kind, bool makes_entry, int64_t count);
/// Sets errno for a fault that is an error; false for those that shorten.
bool ckv_shim_fails(enum ckv_shim_fault fault);

#endif
