/*
 * browser [--wait SECONDS] TABS TAB_MIB EXTRA: a browser, one process for each tab. It and the tab in front
 * are in use; TABS more, in the back, are not. As real browsers do, it offers its tabs to the OOM killer,
 * first those in the back. It says `loaded` when all tabs are, and then, upon SIGUSR1 or SECONDS later, it
 * opens EXTRA more, one each 400 ms. It says `tab lost back` or `tab lost front` of each that dies. When it
 * dies itself, the tabs end too.
 */
#include "lab.h"

#include <getopt.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/wait.h>

#define OWN (60 * MIB)
#define STEP_S 0.1
#define OWN_STEPS 20 /* for a round through its memory */
#define FRONT_STEPS 10
#define STEPS_PER_TAB 4

static int channel[2]; /* hangs up at the tabs' end when the browser dies */
static _Atomic int *loaded_tabs;
static volatile sig_atomic_t asked;

static void ask(int signal)
{
    asked = signal;
}

/* Returns at once, with the pid; a tab without steps for its memory is not in use. */
static pid_t open_tab(const char *name, const char *adj, size_t size, size_t steps)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_NAME, name);
    put("/proc/self/oom_score_adj", adj);
    signal(SIGUSR1, SIG_IGN);
    close(channel[1]);
    char *memory = reserve(size);
    fill(memory, size);
    ++*loaded_tabs;
    struct pollfd browser = {.fd = channel[0]};
    int rest_ms = steps > 0 ? (int)(STEP_S * 1000) : -1;
    for (size_t step = 0; poll(&browser, 1, rest_ms) == 0; step++)
        touch_part(memory, size, step % steps, steps);
    _exit(0);
}

static void count_lost(pid_t front)
{
    for (pid_t pid; (pid = waitpid(-1, NULL, WNOHANG)) > 0;)
        printf("tab lost %s\n", pid == front ? "front" : "back");
}

static char *prepare(void)
{
    signal(SIGUSR1, ask);
    if (pipe(channel) != 0)
        err(1, "pipe");
    loaded_tabs = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (loaded_tabs == MAP_FAILED)
        err(1, "mmap");
    char *memory = reserve(OWN);
    madvise(memory, OWN, MADV_DONTFORK); /* or each tab would hold it too */
    fill(memory, OWN);
    return memory;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"wait", required_argument, NULL, 'w'}, {NULL, 0, NULL, 0}};
    double wait_s = INFINITY;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option != 'w')
            return 2;
        wait_s = strtod(optarg, NULL);
    }
    if (argc - optind != 3)
        errx(2, "usage: browser [--wait SECONDS] TABS TAB_MIB EXTRA");
    int tabs = atoi(argv[optind]), extra = atoi(argv[optind + 2]);
    size_t tab = strtoul(argv[optind + 1], NULL, 10) * MIB;
    speak_as("browser");
    char *memory = prepare();

    pid_t front = open_tab("tab-front", "100", OWN, FRONT_STEPS);
    for (int i = 0; i < tabs; i++)
        open_tab("tab-back", "167", tab, 0);
    bool loaded = false;
    double opening = INFINITY, last = now();
    for (size_t step = 0;; step++) {
        touch_part(memory, OWN, step % OWN_STEPS, OWN_STEPS);
        count_lost(front);
        if (!loaded && *loaded_tabs == tabs + 1) {
            loaded = true;
            opening = now() + wait_s;
            puts("loaded");
        }
        if (loaded && (asked || now() >= opening) && extra > 0 && step % STEPS_PER_TAB == 0)
            extra -= open_tab("tab-back", "167", tab, 0) > 0;
        last = rest(last, STEP_S);
    }
}
