/* Start-up, and the loop that hears the job's programs and takes a sample ten times a second. */
#define _GNU_SOURCE
#include "agent.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define JOB_DISK "/dev/vdc"
#define SAMPLE_S 0.1

double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void outlive_everything(void)
{
    /* Reset on fork, so that the job's script is an ordinary process again. */
    const struct sched_param priority = {.sched_priority = 50};
    if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &priority) != 0)
        die("sched_setscheduler");
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
        die("mlockall");
    int adj = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (adj < 0 || write(adj, "-1000", 5) != 5)
        die("oom_score_adj");
    close(adj);
}

static void run_job(void)
{
    int job = job_start();
    double next = now();
    for (;;) {
        double left = next - now();
        if (left <= 0) {
            record_sample();
            next = now() + SAMPLE_S;
            left = SAMPLE_S;
        }
        voices_wait(job, (int)(left * 1000) + 1);

        siginfo_t end = {0};
        if (job >= 0 && waitid(P_PIDFD, job, &end, WEXITED | WNOHANG) == 0 && end.si_pid != 0) {
            port_line("end %d", end.si_code == CLD_EXITED ? end.si_status : 128 + end.si_status);
            close(job);
            job = -1; /* its programs are services and live on; so does the agent */
        }
    }
}

int main(void)
{
    port_open();
    outlive_everything();
    record_open();
    port_line("ready");
    job_await(JOB_DISK); /* the machine is saved here, and every restored one goes on from here */
    voices_open("/job/voices");
    port_line("start %.6f", now());
    run_job();
}
