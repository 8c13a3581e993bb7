/* Mapped files that somebody else may cut short while they are read. A page of a mapping behind the file's end raises
 * SIGBUS, which ends a process that does not handle it. Ranges under guard get zeros there instead, and remember that
 * they did: whoever read from one asks afterwards whether it was whole, and believes nothing if it was not.
 *
 * A cut inside a page raises nothing: the system fills the rest of the page with zeros. So a range has a witness, its
 * last byte that is not zero. Either a cut takes the witness, or it took nothing but zeros.
 *
 * The table of ranges is read by the signal handler without a lock and changed by one thread at a time. */
#ifndef CKVDB_CMAPGUARD_H
#define CKVDB_CMAPGUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  /* Ranges under guard at the same time. */
  CKV_GUARD_RANGES = 4096,
  CKV_GUARD_FULL = -1,
  /* The handler could not be installed; errno says why. */
  CKV_GUARD_FAILED = -2,
};

/* Puts a mapping under guard: a multiple of the page size from `start` on, of which the file has `count` bytes, 1 or
 * more. Reads backwards up to the last byte that is not zero. Returns the range's number, or a code from above. The
 * first call installs the handler for SIGBUS; what was there before is called for all other addresses. */
int32_t ckv_guard_add(const void *start, size_t count);

/* Ends the guard. Call it before the range is unmapped: its addresses may be somebody else's right after. */
void ckv_guard_remove(int32_t range);

/* Whether everything that was read from the range so far is what the file held when it was put under guard, as far as
 * cuts go. Once false it stays false. The reads that it vouches for are those of this thread. */
bool ckv_guard_is_whole(int32_t range);

#endif
