/*
 * grow OPTION...: takes memory and keeps it. It says `started`, each 32 MiB `holds N MiB`, and at last `full`.
 *
 *   --base MIB        takes so much at once (default: 0),
 *   --rate MB_PER_S   then so fast (default, 0: as fast as it can),
 *   --limit MIB       until it holds so much (default: the base),
 *   --hold S          and ends so long after (default: never).
 *   --touch HOW       `all`: comes back to its pages without end; `cycle:S`: to each every S seconds;
 *                     `cold`: never, and lets the kernel know; `none` (default): never.
 *   --shared          takes shared memory, not private.
 *   --locked          locks what it takes.
 *   --stop-at MIB     stops itself when it holds so much.
 *   --ignore-term     survives SIGTERM.
 *   --threads N       has so many more threads, which sleep.
 *   --name NAME, --adj N, --nice N: its name, oom_score_adj and niceness.
 */
#include "lab.h"

#include <getopt.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/resource.h>

#define PARTS 20
#define WITHOUT_END_S 0.001 /* no cycle is so short, except while there is little to touch */

static char *memory;
static _Atomic size_t taken;
static double cycle_s;
static size_t stop_at;
static bool cold, locked;

static void take(size_t limit, double rate)
{
    double start = now();
    for (size_t first = taken; taken < limit;) {
        fill_page(memory + taken);
        taken += PAGE;
        if (taken % MIB != 0)
            continue;
        if (cold)
            madvise(memory + taken - MIB, MIB, MADV_COLD);
        if (locked && mlock(memory + taken - MIB, MIB) != 0)
            err(1, "mlock");
        if (taken % (32 * MIB) == 0)
            printf("holds %zu MiB\n", taken / MIB);
        if (taken == stop_at)
            raise(SIGSTOP);
        if (rate > 0) /* after a stall it makes up for the time, as a leak does */
            sleep_until(start + (taken - first) / rate);
    }
}

static void *touch_again(void *unused)
{
    (void)unused;
    double last = now();
    for (size_t part = 0;; part = (part + 1) % PARTS) {
        touch_part(memory, taken, part, PARTS);
        last = rest(last, cycle_s / PARTS);
    }
    return NULL;
}

static void *idle(void *unused)
{
    for (;;)
        pause();
    return unused;
}

static void start_thread(void *(*run)(void *))
{
    pthread_t thread;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, PTHREAD_STACK_MIN);
    if (pthread_create(&thread, &small, run, NULL) != 0)
        errx(1, "no thread");
}

static void set_touch(const char *how)
{
    cold = strcmp(how, "cold") == 0;
    cycle_s = strcmp(how, "all") == 0 ? WITHOUT_END_S : 0;
    if (strcmp(how, "none") != 0 && !cold && cycle_s == 0 && sscanf(how, "cycle:%lf", &cycle_s) != 1)
        errx(2, "--touch none, all, cycle:SECONDS or cold");
}

static void renice(int niceness)
{
    if (setpriority(PRIO_PROCESS, 0, niceness) != 0)
        err(1, "--nice");
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"base", required_argument, NULL, 'b'},     {"rate", required_argument, NULL, 'r'},
        {"limit", required_argument, NULL, 'l'},    {"hold", required_argument, NULL, 'h'},
        {"touch", required_argument, NULL, 't'},    {"shared", no_argument, NULL, 's'},
        {"locked", no_argument, NULL, 'L'},         {"stop-at", required_argument, NULL, 'S'},
        {"ignore-term", no_argument, NULL, 'i'},    {"threads", required_argument, NULL, 'T'},
        {"name", required_argument, NULL, 'n'},     {"adj", required_argument, NULL, 'a'},
        {"nice", required_argument, NULL, 'N'},
        {NULL, 0, NULL, 0},
    };
    const char *name = "grow";
    size_t base = 0, limit = 0, threads = 0;
    double rate = 0, hold_s = -1;
    int kind = MAP_PRIVATE;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (option) {
        case 'b': base = strtoul(optarg, NULL, 10) * MIB; break;
        case 'r': rate = strtod(optarg, NULL) * 1e6; break;
        case 'l': limit = strtoul(optarg, NULL, 10) * MIB; break;
        case 'h': hold_s = strtod(optarg, NULL); break;
        case 't': set_touch(optarg); break;
        case 's': kind = MAP_SHARED; break;
        case 'L': locked = true; break;
        case 'S': stop_at = strtoul(optarg, NULL, 10) * MIB; break;
        case 'i': signal(SIGTERM, SIG_IGN); break;
        case 'T': threads = strtoul(optarg, NULL, 10); break;
        case 'n': name = optarg; break;
        case 'a': put("/proc/self/oom_score_adj", optarg); break;
        case 'N': renice(atoi(optarg)); break;
        default: return 2;
        }
    if (limit < base)
        limit = base;
    if (limit == 0 || optind < argc)
        errx(2, "usage: grow [OPTION...] --limit MIB");
    speak_as(name);
    memory = mmap(NULL, limit, PROT_READ | PROT_WRITE, kind | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        err(1, "mmap");
    puts("started");

    for (; threads > 0; threads--)
        start_thread(idle);
    if (cycle_s > 0)
        start_thread(touch_again);
    take(base, 0);
    take(limit, rate);
    puts("full");
    if (hold_s < 0)
        idle(NULL);
    sleep_until(now() + hold_s);
}
