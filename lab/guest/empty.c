/*
 * empty SECONDS CGROUP...: waits until none of these cgroups holds a process; one that is not there holds none.
 * Fails with 1 when it has waited SECONDS for that.
 */
#include "lab.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>

#define CHECK_S 0.5 /* even if the kernel has not told us anything */

static int open_events(const char *group)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/cgroup.events", group);
    int events = open(path, O_RDONLY | O_CLOEXEC);
    if (events < 0 && errno != ENOENT && errno != ENODEV)
        err(2, "%s", path);
    return events;
}

static bool populated(struct pollfd *group)
{
    char text[256];
    ssize_t length = pread(group->fd, text, sizeof text - 1, 0);
    if (length < 0) {
        group->fd = -1; /* the cgroup is gone, and poll is not to tell us that again and again */
        return false;
    }
    text[length] = '\0';
    return strstr(text, "populated 1") != NULL;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        errx(2, "usage: empty SECONDS CGROUP...");
    speak_as("empty");
    double deadline = now() + strtod(argv[1], NULL);
    nfds_t count = (nfds_t)argc - 2;
    struct pollfd groups[argc];
    for (nfds_t i = 0; i < count; i++)
        groups[i] = (struct pollfd){.fd = open_events(argv[i + 2]), .events = POLLPRI};

    for (;;) {
        bool any = false;
        for (nfds_t i = 0; i < count; i++)
            any |= populated(&groups[i]);
        double left = deadline - now();
        if (!any || left <= 0)
            return any;
        poll(groups, count, (int)((left < CHECK_S ? left : CHECK_S) * 1000) + 1);
    }
}
