/* What the hog and the holder share: memory with contents that compress about three to one, and the time. */
#ifndef LOAD_H
#define LOAD_H

#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE 4096
#define MIB (1024 * 1024)

static inline double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static inline void sleep_until(double when)
{
    const struct timespec t = {.tv_sec = (time_t)when, .tv_nsec = (long)((when - (time_t)when) * 1e9)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0)
        ;
}

static inline char *reserve(size_t bytes)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (memory == MAP_FAILED)
        err(1, "mmap");
    return memory;
}

/* A third of each page is random and the rest zero: zram would store empty pages for nothing. */
static inline void fill_page(char *page)
{
    static uint64_t state = 88172645463325252u;
    uint64_t *words = (uint64_t *)page;
    for (size_t i = 0; i < PAGE / sizeof *words / 3; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        words[i] = state;
    }
}

#endif
