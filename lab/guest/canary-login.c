/*
 * canary-login: whether somebody could still log in to help. Each second it runs /bin/true, and when that has
 * ended it says `late PLANNED LATENESS`. What fails is tried again until it succeeds; seconds that are missed
 * meanwhile are lost. It says `ready` when it has succeeded once.
 */
#include "lab.h"

#include <spawn.h>
#include <stdbool.h>
#include <sys/wait.h>

#define PERIOD_S 1
#define RETRY_S 0.1

extern char **environ;

static bool run(void)
{
    char *arguments[] = {"true", NULL};
    pid_t pid;
    int status;
    return posix_spawn(&pid, "/bin/true", NULL, NULL, arguments, environ) == 0 &&
           waitpid(pid, &status, 0) == pid && status == 0;
}

static void log_in(void)
{
    while (!run())
        sleep_until(now() + RETRY_S);
}

int main(void)
{
    speak_as("canary-login");
    log_in();
    puts("ready");

    long second = next_period(now(), PERIOD_S);
    for (;;) {
        double planned = second * PERIOD_S;
        sleep_until(planned);
        log_in();
        double end = now();
        printf("late %.3f %.3f\n", planned, end - planned);
        second = next_period(end, PERIOD_S);
    }
}
