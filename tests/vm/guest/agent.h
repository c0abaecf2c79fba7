/*
 * The agent: the one program of ours that runs in every guest. It waits for a job, starts it, and says on one
 * I/O port what the job says, which signals kill whom, and how much memory is left.
 *
 * It must go on speaking in the deepest livelock, so once a job runs it neither allocates nor faults, runs
 * before every ordinary process, and cannot be chosen by an OOM killer. It is the only writer to the port:
 * two writers would mix their bytes, since every byte is an instruction of its own.
 */
#ifndef AGENT_H
#define AGENT_H

#include <stddef.h>

/* port.c */
void port_open(void);
void port_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
void port_text(const char *tag, const char *name, const char *text, size_t length);
void die(const char *what) __attribute__((noreturn));

/* job.c: the job comes as a tar on a raw disk. */
void job_await(const char *disk);
int job_start(void); /* returns a pidfd of the job's script */

/* record.c: who signals whom, and the memory that is left. */
void record_open(void);
void record_sample(void);

/* voices.c: what the job's programs say, each through a FIFO of its own. */
void voices_open(const char *directory);
void voices_wait(int job, int timeout_ms);

double now(void); /* seconds of CLOCK_MONOTONIC, which is also the clock of the trace */

#endif
