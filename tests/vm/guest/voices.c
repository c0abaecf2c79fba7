/*
 * Each program of a job has a voice: a FIFO that is its standard output and error. What it says is a line
 * with its name; and when the last process that holds the voice dies, the kernel hangs up. That is how the
 * death of a program is seen at once, without pids and without asking.
 */
#define _GNU_SOURCE
#include "agent.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define VOICES 16
#define LINE 2048

static struct voice {
    char name[256]; /* as in struct dirent */
    char text[LINE];
    size_t length;
} voices[VOICES];
static struct pollfd fds[VOICES + 1];
static int count;

void voices_open(const char *directory)
{
    DIR *entries = opendir(directory);
    if (entries == NULL)
        die(directory);
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        if (entry->d_type != DT_FIFO)
            continue;
        int fd = openat(dirfd(entries), entry->d_name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 || count == VOICES)
            die("voices");
        strcpy(voices[count].name, entry->d_name);
        fds[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
    closedir(entries);
}

static void say_lines(struct voice *voice)
{
    char *line = voice->text, *end = voice->text + voice->length;
    for (char *newline; (newline = memchr(line, '\n', (size_t)(end - line))) != NULL; line = newline + 1)
        port_text("say", voice->name, line, (size_t)(newline - line));
    voice->length = (size_t)(end - line);
    memmove(voice->text, line, voice->length);
    if (voice->length == LINE) { /* a line too long is said in pieces */
        port_text("say", voice->name, voice->text, voice->length);
        voice->length = 0;
    }
}

static void hear(struct voice *voice, struct pollfd *fd)
{
    ssize_t length = read(fd->fd, voice->text + voice->length, LINE - voice->length);
    if (length > 0) {
        voice->length += (size_t)length;
        say_lines(voice);
    } else if (length == 0) {
        if (voice->length > 0)
            port_text("say", voice->name, voice->text, voice->length);
        port_line("gone %s", voice->name);
        fd->fd = -1; /* poll skips it; nobody is expected to speak again. Closed with the guest. */
    }
}

void voices_wait(int job, int timeout_ms)
{
    fds[count] = (struct pollfd){.fd = job, .events = POLLIN};
    if (poll(fds, (nfds_t)count + 1, timeout_ms) <= 0)
        return;
    for (int i = 0; i < count; i++)
        if (fds[i].revents != 0)
            hear(&voices[i], &fds[i]);
}
