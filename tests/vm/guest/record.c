/*
 * Who killed whom, from the kernel's own trace and not from anybody's log: signal_generate names the sender
 * (the task that ran), the target and the signal; mark_victim names what the kernel's OOM killer chose.
 */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#define TRACE "/sys/kernel/tracing/"
#define PID_COLUMN 17 /* a line starts with "%16s-%-7d": the sender's name, of any bytes, and its pid */

static int trace, meminfo, pressure;

static void set(const char *path, const char *value)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0 || write(file, value, strlen(value)) < 0)
        die(path);
    close(file);
}

void record_open(void)
{
    if (mount("tracefs", TRACE, "tracefs", 0, NULL) != 0 && errno != EBUSY)
        die("mount of tracefs");
    set(TRACE "trace_clock", "mono");
    set(TRACE "events/signal/signal_generate/filter", "sig == 9 || sig == 15");
    set(TRACE "events/signal/signal_generate/enable", "1");
    set(TRACE "events/oom/mark_victim/enable", "1");
    trace = open(TRACE "trace_pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    meminfo = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    pressure = open("/proc/pressure/memory", O_RDONLY | O_CLOEXEC);
    if (trace < 0 || meminfo < 0 || pressure < 0)
        die("the kernel's records");
}

/* A name such as "python3" says little about a sender; the unit in which it runs says whose it is. */
static void say_unit(const char *line)
{
    char path[64], group[256];
    long pid = strtol(line + PID_COLUMN, NULL, 10);
    snprintf(path, sizeof path, "/proc/%ld/cgroup", pid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    ssize_t length = read(file, group, sizeof group);
    close(file);
    if (length > 0)
        port_line("unit %ld %.*s", pid, (int)strcspn(group, "\n"), group);
}

static void say_signals(void)
{
    static char text[8192];
    ssize_t length;
    while ((length = read(trace, text, sizeof text - 1)) > 0) { /* whole lines, as the kernel promises */
        text[length] = '\0';
        char *rest = text;
        for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
            if (strlen(line) <= PID_COLUMN)
                continue;
            say_unit(line);
            port_line("trace %s", line);
        }
    }
}

static long long field(const char *text, const char *name)
{
    const char *at = text == NULL ? NULL : strstr(text, name);
    return at == NULL ? -1 : strtoll(at + strlen(name), NULL, 10);
}

static const char *read_again(int file, char *text, size_t size)
{
    ssize_t length = pread(file, text, size - 1, 0);
    text[length > 0 ? length : 0] = '\0';
    return text;
}

static void say_memory(void)
{
    static char info[4096], stalls[256];
    read_again(meminfo, info, sizeof info);
    read_again(pressure, stalls, sizeof stalls);
    port_line("mem %.3f %lld %lld %lld %lld %lld", now(), field(info, "MemFree:"), field(info, "MemAvailable:"),
              field(info, "SwapFree:"), field(stalls, "total="), field(strstr(stalls, "full"), "total="));
}

void record_sample(void)
{
    say_signals();
    say_memory();
}
