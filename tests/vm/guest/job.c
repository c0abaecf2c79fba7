/*
 * A job is "OKOOMER-JOB <bytes>\n" in the first block of a raw disk and a tar behind it. The disk is read
 * with O_DIRECT: a guest that was saved while the disk was empty must not find the empty block in its cache.
 */
#define _GNU_SOURCE
#include "agent.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK 4096
#define MAGIC "OKOOMER-JOB "

static char buffer[64 * BLOCK] __attribute__((aligned(BLOCK)));

static void block_read(int disk, size_t bytes)
{
    if (read(disk, buffer, bytes) != (ssize_t)bytes)
        die("read of the job's disk");
}

static size_t await_header(int disk)
{
    for (;;) {
        if (lseek(disk, 0, SEEK_SET) != 0)
            die("lseek");
        block_read(disk, BLOCK);
        if (memcmp(buffer, MAGIC, strlen(MAGIC)) == 0)
            return strtoul(buffer + strlen(MAGIC), NULL, 10);
        usleep(100 * 1000);
    }
}

void job_await(const char *path)
{
    int disk = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (disk < 0)
        die(path);
    size_t left = await_header(disk);
    FILE *tar = popen("exec tar --extract --directory=/", "we");
    if (tar == NULL)
        die("tar");
    while (left > 0) {
        size_t here = left < sizeof buffer ? left : sizeof buffer;
        block_read(disk, (here + BLOCK - 1) / BLOCK * BLOCK);
        if (fwrite(buffer, 1, here, tar) != here)
            die("pipe to tar");
        left -= here;
    }
    if (pclose(tar) != 0)
        die("tar failed");
    close(disk);
}

static void become_script(void)
{
    int adj = open("/proc/self/oom_score_adj", O_WRONLY);
    int voice = open("/job/voices/run", O_WRONLY);
    if (adj < 0 || write(adj, "0", 1) != 1 || voice < 0)
        die("start of the job");
    close(adj);
    dup2(voice, STDOUT_FILENO);
    dup2(voice, STDERR_FILENO);
    close(voice);
    execl("/bin/sh", "sh", "/job/run", (char *)NULL);
    die("/bin/sh");
}

int job_start(void)
{
    pid_t script = fork();
    if (script == 0)
        become_script();
    int pidfd = script < 0 ? -1 : (int)syscall(SYS_pidfd_open, script, 0);
    if (pidfd < 0)
        die("start of the job");
    return pidfd;
}
