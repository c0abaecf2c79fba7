/*
 * hog RATE LIMIT [again]: takes RATE MB/s (0: as fast as it can) up to LIMIT MiB and keeps it. With `again` a
 * thread touches all of it without end, so that with swap the machine thrashes.
 */
#include "load.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static char *memory;
static _Atomic size_t taken;

static void *touch_again(void *unused)
{
    (void)unused;
    for (;;) {
        for (size_t at = 0; at < taken; at += PAGE)
            ((volatile char *)memory)[at] += 1;
        usleep(1000); /* yields while there is little to touch */
    }
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        errx(2, "usage: hog RATE_MB_PER_S LIMIT_MIB [again]");
    double rate = strtod(argv[1], NULL) * 1e6;
    size_t limit = strtoul(argv[2], NULL, 10) * MIB;
    memory = reserve(limit);
    pthread_t thread;
    if (argc > 3 && strcmp(argv[3], "again") == 0 && pthread_create(&thread, NULL, touch_again, NULL) != 0)
        errx(1, "no thread");

    double start = now();
    while (taken < limit) {
        fill_page(memory + taken);
        taken += PAGE;
        if (taken % (16 * MIB) == 0) {
            printf("%zu MiB\n", taken / MIB);
            fflush(stdout);
        }
        if (rate > 0 && taken % MIB == 0)
            sleep_until(start + taken / rate); /* after a stall it makes up for the time, as a leak does */
    }
    for (;;)
        pause();
}
