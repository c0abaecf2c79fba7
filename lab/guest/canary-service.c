/*
 * canary-service: what a service of the system still does. It answers 50 requests a second, each from 16 random
 * pages of its 32 MiB; those that come while it stalls are lost. It says `ready`, and then
 * `served SECOND REQUESTS` of each second, or of several when it has stalled.
 */
#include "lab.h"

#define SIZE (32 * MIB)
#define REQUEST_S 0.02
#define REQUEST_PAGES 16
#define REQUESTS_PER_S 50

int main(void)
{
    speak_as("canary-service");
    char *memory = reserve(SIZE);
    fill(memory, SIZE);
    puts("ready");

    long second = next_period(now(), 1), request = second * REQUESTS_PER_S;
    for (int served = 0;; served++) {
        sleep_until(request * REQUEST_S);
        touch_random(memory, SIZE, REQUEST_PAGES);
        double end = now();
        for (; second < (long)end; second++) {
            printf("served %ld.000 %d\n", second, served);
            served = 0;
        }
        request = next_period(end, REQUEST_S);
    }
}
