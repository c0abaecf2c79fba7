"""One module per interface of the kernel: reads and system calls, no opinions."""
