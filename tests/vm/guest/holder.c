/*
 * holder SIZE: an innocent process. It holds SIZE MiB and comes back to each page every four seconds, like an
 * application that is in use; each second it says that it lives, and how late it was.
 */
#include "load.h"

#define PARTS 16
#define STEP_S 0.25
#define STEPS_PER_BEAT 4

int main(int argc, char **argv)
{
    if (argc != 2)
        errx(2, "usage: holder SIZE_MIB");
    size_t size = strtoul(argv[1], NULL, 10) * MIB, part = size / PARTS;
    char *memory = reserve(size);
    for (size_t at = 0; at < size; at += PAGE)
        fill_page(memory + at);
    printf("holds %zu MiB\n", size / MIB);

    double late = 0, next = now();
    for (unsigned step = 0;; step++) {
        volatile char *first = memory + step % PARTS * part;
        for (size_t at = 0; at < part; at += PAGE)
            first[at] += 1;
        if (now() - next > late)
            late = now() - next;
        if (step % STEPS_PER_BEAT == 0) {
            printf("beat, %.3f s late\n", late);
            fflush(stdout);
            late = 0;
        }
        next = now() > next + STEP_S ? now() : next + STEP_S;
        sleep_until(next);
    }
}
