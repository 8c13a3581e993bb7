/* What the guard's files share. */
#ifndef CKVDB_MAP_GUARD_H
#define CKVDB_MAP_GUARD_H

#include <signal.h>
#include <stdatomic.h>

#include "CMapGuard.h"

/* Does with a signal what the process did before the guard: calls a handler, ignores it, or ends the process. Called in
 * a signal handler. */
void ckv_guard_pass_on(const struct sigaction *previous, int number, siginfo_t *info, void *context);

#endif
