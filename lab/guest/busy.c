/* busy N: N threads that want all of the processor. */
#include "lab.h"

#include <pthread.h>

static void *spin(void *unused)
{
    for (;;)
        ;
    return unused;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        errx(2, "usage: busy N");
    speak_as("busy");
    pthread_t thread;
    for (int more = atoi(argv[1]); more > 1; more--)
        if (pthread_create(&thread, NULL, spin, NULL) != 0)
            errx(1, "no thread");
    spin(NULL);
}
