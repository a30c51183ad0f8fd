/* Holds a pod's network namespace, and reaps what its containers leave behind. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void stop(int signal) {
    (void)signal;
    _exit(0);
}

static void reap(int signal) {
    (void)signal;
    while (waitpid(-1, (int *)0, WNOHANG) > 0) {
    }
}

int main(void) {
    /* As the first process of its namespace it gets no default actions. */
    struct sigaction on_stop = {.sa_handler = stop};
    struct sigaction on_child = {.sa_handler = reap, .sa_flags = SA_NOCLDSTOP | SA_RESTART};
    if (sigaction(SIGINT, &on_stop, (struct sigaction *)0) != 0 ||
        sigaction(SIGTERM, &on_stop, (struct sigaction *)0) != 0 ||
        sigaction(SIGCHLD, &on_child, (struct sigaction *)0) != 0) {
        return 1;
    }
    for (;;) {
        pause();
    }
}
