/* Lines to the host through QEMU's debug console: one `outb` a byte, no driver, no queue, no memory. */
#include "agent.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>

#define PORT 0xe9

void port_open(void)
{
    if (ioperm(PORT, 1, 1) != 0) {
        perror("ioperm");
        exit(1);
    }
}

static void put(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        outb((unsigned char)text[i], PORT);
}

void port_line(const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length >= (int)sizeof line)
        length = sizeof line - 1;
    put(line, (size_t)length);
    put("\n", 1);
}

void port_text(const char *tag, const char *name, const char *text, size_t length)
{
    put(tag, strlen(tag));
    put(" ", 1);
    put(name, strlen(name));
    put(" ", 1);
    put(text, length);
    put("\n", 1);
}

void die(const char *what)
{
    port_line("failed %s: %s", what, strerror(errno));
    exit(1);
}
