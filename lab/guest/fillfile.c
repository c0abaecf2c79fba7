/*
 * fillfile PATH RATE LIMIT: writes RATE MB/s (0: as fast as it can) to a file, up to LIMIT MiB or as much as
 * there is space for, and keeps it open. It says `wrote N MiB` each 32 MiB, and `no space` if there is none.
 */
#include "lab.h"

#include <errno.h>

int main(int argc, char **argv)
{
    if (argc != 4)
        errx(2, "usage: fillfile PATH RATE_MB_PER_S LIMIT_MIB");
    speak_as("writer");
    double rate = strtod(argv[2], NULL) * 1e6;
    size_t limit = strtoul(argv[3], NULL, 10) * MIB;
    int file = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file < 0)
        err(1, "%s", argv[1]);

    static char page[PAGE];
    double start = now();
    for (size_t wrote = 0; wrote < limit;) {
        fill_page(page);
        ssize_t length = write(file, page, PAGE);
        if (length < 0 && errno != ENOSPC)
            err(1, "%s", argv[1]);
        if (length < 0) {
            puts("no space");
            break;
        }
        wrote += (size_t)length;
        if (wrote % (32 * MIB) == 0)
            printf("wrote %zu MiB\n", wrote / MIB);
        if (rate > 0 && wrote % MIB == 0)
            sleep_until(start + wrote / rate);
    }
    for (;;)
        pause();
}
