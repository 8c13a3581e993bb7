/* The table of guarded ranges, and what SIGBUS does to them. */

#include "map_guard.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

/* One range. `version` is odd while the others change, so that the handler, which cannot wait, never believes a mixture
 * of two ranges: the range that it looks for stands still, because somebody is reading from it. */
typedef struct {
  _Atomic uint32_t version;
  _Atomic uintptr_t start;
  /* 0: nobody's. Whole pages. */
  _Atomic size_t byte_count;
  _Atomic bool is_cut;
  const _Atomic unsigned char *_Atomic witness;
  unsigned char witnessed;
} guarded_range;

static guarded_range ranges[CKV_GUARD_RANGES];
/* Ranges from here on were never used. */
static _Atomic int32_t range_limit;
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static uintptr_t page_size;

/* What the process did about SIGBUS before. Written once, before the handler is in place. */
static struct sigaction previous_action;

static guarded_range *range_at(uintptr_t address, uintptr_t *end) {
  int32_t limit = atomic_load_explicit(&range_limit, memory_order_acquire);
  for (int32_t number = 0; number < limit; number++) {
    guarded_range *range = &ranges[number];
    uint32_t version = atomic_load_explicit(&range->version, memory_order_acquire);
    if (version & 1) continue;
    uintptr_t start = atomic_load_explicit(&range->start, memory_order_relaxed);
    size_t byte_count = atomic_load_explicit(&range->byte_count, memory_order_relaxed);
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&range->version, memory_order_relaxed) != version) continue;
    if (address - start < byte_count) {
      *end = start + byte_count;
      return range;
    }
  }
  return NULL;
}

/* Puts zeros where the file has nothing any more: from the page at fault to the end, since what was behind it is gone
 * too, or else not worth a second fault. Only calls that a signal handler may make. */
static bool fill(uintptr_t address) {
  uintptr_t end = 0;
  guarded_range *range = range_at(address, &end);
  if (range == NULL) return false;
  /* Before the zeros: who sees one of them sees this too. */
  atomic_store(&range->is_cut, true);
  uintptr_t page = address & ~(page_size - 1);
  void *zeros = mmap((void *)page, end - page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  return zeros != MAP_FAILED;
}

static void handle(int number, siginfo_t *info, void *context) {
  int saved = errno;
  /* A signal that a process sent has no address. */
  bool is_fault = info->si_code > 0;
  if (!is_fault || !fill((uintptr_t)info->si_addr)) ckv_guard_pass_on(&previous_action, number, info, context);
  errno = saved;
}

/* 0, or errno. The caller holds the lock. */
static int install(void) {
  if (page_size != 0) return 0;
  long size = sysconf(_SC_PAGESIZE);
  if (size <= 0) return EINVAL;
  if (sigaction(SIGBUS, NULL, &previous_action) != 0) return errno;
  page_size = (uintptr_t)size;
  struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGBUS, &action, NULL) == 0) return 0;
  page_size = 0;
  return errno;
}

/* Changes a range as the handler must see it: as it was, or as it is. */
static void place(guarded_range *range, uintptr_t start, size_t byte_count) {
  uint32_t version = atomic_load_explicit(&range->version, memory_order_relaxed);
  atomic_store_explicit(&range->version, version + 1, memory_order_relaxed);
  atomic_thread_fence(memory_order_release);
  atomic_store_explicit(&range->start, start, memory_order_relaxed);
  atomic_store_explicit(&range->byte_count, byte_count, memory_order_relaxed);
  atomic_store_explicit(&range->version, version + 2, memory_order_release);
}

/* A range that is nobody's, or -1. The caller holds the lock. */
static int32_t unused(void) {
  int32_t limit = atomic_load_explicit(&range_limit, memory_order_relaxed);
  for (int32_t number = 0; number < limit; number++) {
    if (atomic_load_explicit(&ranges[number].byte_count, memory_order_relaxed) == 0) return number;
  }
  return limit < CKV_GUARD_RANGES ? limit : -1;
}

static void set_witness(guarded_range *range, const void *start, size_t count) {
  const _Atomic unsigned char *bytes = start;
  size_t place = count;
  unsigned char seen = 0;
  while (place > 0 && seen == 0) seen = atomic_load_explicit(&bytes[--place], memory_order_relaxed);
  range->witnessed = seen;
  atomic_store_explicit(&range->witness, bytes + place, memory_order_release);
}

int32_t ckv_guard_add(const void *start, size_t count) {
  pthread_mutex_lock(&table_lock);
  int failure = install();
  int32_t number = failure == 0 ? unused() : CKV_GUARD_FAILED;
  if (number >= 0) {
    guarded_range *range = &ranges[number];
    atomic_store(&range->is_cut, false);
    place(range, (uintptr_t)start, (count + page_size - 1) & ~(page_size - 1));
    if (number == atomic_load(&range_limit)) atomic_store_explicit(&range_limit, number + 1, memory_order_release);
  }
  pthread_mutex_unlock(&table_lock);
  if (number >= 0) set_witness(&ranges[number], start, count);
  if (failure != 0) errno = failure;
  return number;
}

void ckv_guard_remove(int32_t number) {
  if (number < 0 || number >= CKV_GUARD_RANGES) return;
  pthread_mutex_lock(&table_lock);
  place(&ranges[number], 0, 0);
  pthread_mutex_unlock(&table_lock);
}

bool ckv_guard_is_whole(int32_t number) {
  guarded_range *range = &ranges[number];
  const _Atomic unsigned char *witness = atomic_load_explicit(&range->witness, memory_order_relaxed);
  /* Neither load may come before the reads that the answer is about. */
  atomic_thread_fence(memory_order_acquire);
  if (atomic_load_explicit(witness, memory_order_relaxed) != range->witnessed) atomic_store(&range->is_cut, true);
  return !atomic_load_explicit(&range->is_cut, memory_order_acquire);
}
