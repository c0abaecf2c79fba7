/*
 * worker NAME MIB SECONDS: a unit of work, as a compiler's process is; NAME is the process's own, too. It takes its
 * memory over the first fifth of the work. A second of work is 20 steps, however long they take, so one that stalls
 * makes no progress. Each second, if it is not stalled, it says `work NAME DONE SECONDS`, and when it has done all
 * `done NAME`.
 */
#include "lab.h"

#define STEP_S 0.05
#define PART 16 /* of its memory it comes to in a step */
#define SAY_S 1

int main(int argc, char **argv)
{
    if (argc != 4)
        errx(2, "usage: worker NAME MIB SECONDS");
    const char *name = argv[1];
    speak_as(name);
    size_t size = strtoul(argv[2], NULL, 10) * MIB, taken = 0;
    double seconds = strtod(argv[3], NULL);
    char *memory = reserve(size);

    double said = now();
    for (long step = 1, steps = (long)(seconds / STEP_S + 0.5); step <= steps; step++) {
        double start = now();
        for (; taken < size && taken < size * 5.0 * step / steps; taken += PAGE)
            fill_page(memory + taken);
        touch_random(memory, taken, size / PAGE / PART);
        sleep_until(start + STEP_S);
        if (now() >= said + SAY_S || step == steps) {
            printf("work %s %.3f %.3f\n", name, step * STEP_S, seconds);
            said = now();
        }
    }
    printf("done %s\n", name);
}
