/*
 * children [OPTION...] COUNT -- COMMAND...: starts COUNT children with a command, in which each `%` is the
 * number of the child, from 0. When all have ended it says how many a signal ended, `lost K of COUNT`.
 *
 *   --groups N --under CGROUP   makes CGROUP/group-0 to group-(N-1); child I is in group-(I mod N).
 *   --user UID                  runs the children as this user, with the group of the same number.
 */
#include "lab.h"

#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int groups;
static const char *under;
static uid_t user;

static void name_group(char *path, int child, const char *file)
{
    snprintf(path, PATH_MAX, "%s/group-%d%s", under, child % groups, file);
}

static char *numbered(const char *argument, int child)
{
    char *text;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    if (out == NULL)
        err(1, "%s", argument);
    for (; *argument != '\0'; argument++)
        *argument == '%' ? fprintf(out, "%d", child) : fputc(*argument, out);
    fclose(out);
    return text;
}

static void become(int child, char **command)
{
    if (groups > 0) {
        char path[PATH_MAX];
        name_group(path, child, "/cgroup.procs");
        put(path, "0"); /* the writer */
    }
    if (user != 0 && (setgroups(0, NULL) != 0 || setgid(user) != 0 || setuid(user) != 0))
        err(1, "user %u", user);
    for (char **argument = command; *argument != NULL; argument++)
        *argument = numbered(*argument, child);
    execvp(*command, command);
    err(127, "%s", *command);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"groups", required_argument, NULL, 'g'},
        {"under", required_argument, NULL, 'u'},
        {"user", required_argument, NULL, 'U'},
        {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (option) {
        case 'g': groups = atoi(optarg); break;
        case 'u': under = optarg; break;
        case 'U': user = (uid_t)strtoul(optarg, NULL, 10); break;
        default: return 2;
        }
    if (argc - optind < 2 || (groups > 0) != (under != NULL))
        errx(2, "usage: children [--groups N --under CGROUP] [--user UID] COUNT -- COMMAND...");
    speak_as("children");

    int count = atoi(argv[optind]), lost = 0, status;
    for (int group = 0; group < groups; group++) {
        char path[PATH_MAX];
        name_group(path, group, "");
        if (mkdir(path, 0755) != 0 && errno != EEXIST)
            err(1, "%s", path);
    }
    for (int child = 0; child < count; child++) {
        pid_t pid = fork();
        if (pid < 0)
            err(1, "fork");
        if (pid == 0)
            become(child, argv + optind + 1);
    }
    while (wait(&status) > 0)
        lost += WIFSIGNALED(status);
    printf("lost %d of %d\n", lost, count);
}
