/*
 * canary-ui FILE: what a person at the screen feels. Each 16 ms it draws a frame: it comes to the next share of
 * 32 MiB of FILE, as a program to its code, and of 32 MiB of its own, to each page once in two seconds. It says
 * `ready` when it has come to all of it, `late PLANNED LATENESS` of each frame that ends when the next should
 * have begun, and once a second `beat PLANNED FRAMES MEDIAN_LATENESS`. Frames that are missed meanwhile are
 * lost. FILE is made if there is none.
 */
#include "lab.h"

#include <sys/random.h>

#define SIZE (32 * MIB)
#define FRAME_S 0.016
#define FRAMES_PER_ROUND 125
#define BEAT_S 1
#define FRAMES_PER_BEAT 64 /* at most */

/* With contents that no file system can compress. */
static int make_file(const char *path)
{
    char page[PAGE];
    int file = open(path, O_RDWR | O_CREAT, 0644);
    if (file < 0)
        err(1, "%s", path);
    for (size_t at = 0; at < SIZE; at += PAGE)
        if (getrandom(page, PAGE, 0) != PAGE || write(file, page, PAGE) != PAGE)
            err(1, "%s", path);
    if (fsync(file) != 0)
        err(1, "%s", path);
    return file;
}

static const volatile char *map_file(const char *path)
{
    int file = open(path, O_RDONLY);
    if (file < 0)
        file = make_file(path);
    if (lseek(file, 0, SEEK_END) < SIZE)
        errx(1, "%s is too short", path);
    void *map = mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, file, 0);
    if (map == MAP_FAILED)
        err(1, "%s", path);
    close(file);
    return map;
}

static void read_part(const volatile char *code, size_t part, size_t parts)
{
    size_t end = part_start(SIZE, part + 1, parts);
    for (size_t at = part_start(SIZE, part, parts); at < end; at += PAGE)
        (void)code[at];
}

static int ascending(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        errx(2, "usage: canary-ui FILE");
    speak_as("canary-ui");
    const volatile char *code = map_file(argv[1]);
    char *memory = reserve(SIZE);
    read_part(code, 0, 1);
    fill(memory, SIZE);
    puts("ready");

    double lateness[FRAMES_PER_BEAT];
    size_t frames = 0;
    long frame = next_period(now(), FRAME_S);
    double beat = frame * FRAME_S;
    for (size_t part = 0;; part = (part + 1) % FRAMES_PER_ROUND) {
        double planned = frame * FRAME_S;
        sleep_until(planned);
        read_part(code, part, FRAMES_PER_ROUND);
        touch_part(memory, SIZE, part, FRAMES_PER_ROUND);
        double end = now(), late = end - planned;
        lateness[frames++] = late;
        if (late >= FRAME_S)
            printf("late %.3f %.3f\n", planned, late);
        if (planned >= beat + BEAT_S) {
            qsort(lateness, frames, sizeof *lateness, ascending);
            printf("beat %.3f %zu %.3f\n", planned, frames, lateness[frames / 2]);
            beat = planned;
            frames = 0;
        }
        frame = next_period(end, FRAME_S); /* what stalls us since then makes that one late */
    }
}
