/* What the programs of the lab share: how they speak, and how they come back to what they hold. */
#ifndef LAB_H
#define LAB_H

#include "load.h"

#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* The name is what `ps` shows and what OOM daemons match. Each line is heard as soon as it is said. */
static inline void speak_as(const char *name)
{
    prctl(PR_SET_NAME, name);
    setlinebuf(stdout);
}

static inline void put(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0 || write(file, text, strlen(text)) < 0)
        err(1, "%s", path);
    close(file);
}

static inline void fill(char *memory, size_t size)
{
    for (size_t at = 0; at < size; at += PAGE)
        fill_page(memory + at);
}

static inline void touch(volatile char *page)
{
    *page += 1;
}

static inline void touch_random(char *memory, size_t size, size_t pages)
{
    while (pages-- > 0)
        touch(memory + (size_t)random() % (size / PAGE) * PAGE);
}

/* Where one of the equal parts of a size begins, in whole pages. */
static inline size_t part_start(size_t size, size_t part, size_t parts)
{
    return size / PAGE * part / parts * PAGE;
}

static inline void touch_part(char *memory, size_t size, size_t part, size_t parts)
{
    size_t end = part_start(size, part + 1, parts);
    for (size_t at = part_start(size, part, parts); at < end; at += PAGE)
        touch(memory + at);
}

/* Sleeps until a period after the last time and returns the new one; what a stall took is not made up for. */
static inline double rest(double last, double period)
{
    double time = now(), next = last + period;
    if (time >= next)
        return time;
    sleep_until(next);
    return next;
}

/* The first period to begin after a time. Periods are counted from zero, so a late one shifts no other. */
static inline long next_period(double time, double period)
{
    return (long)(time / period) + 1;
}

#endif
