/*
 * build JOBS MIB SECONDS: starts JOBS workers at once, job-0 and so on, as `make -j` does, and waits for them.
 * It says `lost job-K` of each that did not end well, and at the end `finished N of JOBS in S s`. Succeeds if
 * all have.
 */
#include "lab.h"

#include <sys/wait.h>

#define WORKER "/opt/lab/worker"

static pid_t start_job(int job, const char *mib, const char *seconds)
{
    pid_t pid = fork();
    if (pid < 0)
        err(1, "fork");
    if (pid > 0)
        return pid;
    char name[32];
    snprintf(name, sizeof name, "job-%d", job);
    execl(WORKER, "worker", name, mib, seconds, (char *)NULL);
    err(127, WORKER);
}

int main(int argc, char **argv)
{
    int jobs = argc == 4 ? atoi(argv[1]) : 0, finished = 0, status;
    if (jobs < 1)
        errx(2, "usage: build JOBS MIB SECONDS");
    speak_as("build");

    double start = now();
    pid_t workers[jobs];
    for (int job = 0; job < jobs; job++)
        workers[job] = start_job(job, argv[2], argv[3]);
    for (pid_t pid; (pid = wait(&status)) > 0;) {
        int job = 0;
        while (workers[job] != pid)
            job++;
        if (status == 0)
            finished++;
        else
            printf("lost job-%d\n", job);
    }
    printf("finished %d of %d in %.3f s\n", finished, jobs, now() - start);
    return finished < jobs;
}
