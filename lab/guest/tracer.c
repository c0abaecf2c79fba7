/*
 * tracer COMMAND...: runs a command as a debugger whose user is away: a signal stops the command, and nobody
 * lets it go on. Ends when the command is dead.
 */
#include "lab.h"

#include <sys/ptrace.h>
#include <sys/wait.h>

int main(int argc, char **argv)
{
    if (argc < 2)
        errx(2, "usage: tracer COMMAND...");
    speak_as("tracer");
    pid_t pid = fork();
    if (pid < 0)
        err(1, "fork");
    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        execvp(argv[1], argv + 1);
        err(127, "%s", argv[1]);
    }
    int status;
    waitpid(pid, &status, 0); /* stopped by its exec */
    ptrace(PTRACE_CONT, pid, NULL, NULL);
    while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status))
        ;
}
