/* Holds a pod's namespaces: sleeps until it is told to stop, and reaps what is orphaned in its pid namespace.
 * Signals are blocked and waited for, not handled: the kernel keeps a blocked signal for PID 1, where it would
 * drop one with the default disposition. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/wait.h>

int main(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_BLOCK, &set, 0);
  for (;;) {
    int signal = sigwaitinfo(&set, 0);
    if (signal == SIGINT || signal == SIGTERM)
      return 0;
    while (waitpid(-1, 0, WNOHANG) > 0)
      ;
  }
}
