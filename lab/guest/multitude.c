/* multitude COUNT: has COUNT children, which do nothing and hold next to nothing. It says `ready COUNT`. */
#include "lab.h"

static void idle(void)
{
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    if (argc != 2)
        errx(2, "usage: multitude COUNT");
    speak_as("multitude");
    int count = atoi(argv[1]);
    for (int child = 0; child < count; child++) {
        pid_t pid = fork();
        if (pid < 0)
            err(1, "fork");
        if (pid == 0)
            idle();
    }
    printf("ready %d\n", count);
    idle();
}
