/* Signals that are not the guard's business go where they went before it. */

#include <pthread.h>

#include "map_guard.h"

/* The system's own action: ends the process for a fault, which happens again as soon as the handler returns, or for a
 * signal that a process sent, which is sent again. */
static void end(int number, bool is_fault) {
  struct sigaction standard = {.sa_handler = SIG_DFL};
  sigemptyset(&standard.sa_mask);
  sigaction(number, &standard, NULL);
  if (!is_fault) raise(number);
}

void ckv_guard_pass_on(const struct sigaction *previous, int number, siginfo_t *info, void *context) {
  bool is_fault = info->si_code > 0;
  bool takes_info = (previous->sa_flags & SA_SIGINFO) != 0;
  if (!takes_info && previous->sa_handler == SIG_IGN) {
    /* A fault cannot be ignored: the instruction would meet it for ever. */
    if (is_fault) end(number, is_fault);
    return;
  }
  if (!takes_info && previous->sa_handler == SIG_DFL) {
    end(number, is_fault);
    return;
  }
  if (previous->sa_flags & SA_RESETHAND) {
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigemptyset(&standard.sa_mask);
    sigaction(number, &standard, NULL);
  }
  /* The mask that the handler asked for, for as long as it runs. */
  sigset_t mask;
  pthread_sigmask(SIG_BLOCK, &previous->sa_mask, &mask);
  if (takes_info) {
    previous->sa_sigaction(number, info, context);
  } else {
    previous->sa_handler(number);
  }
  pthread_sigmask(SIG_SETMASK, &mask, NULL);
}
