/* What both load programs need: time, dials from many addresses, bytes that grow, files, and an end with a sentence. */
#ifndef BASE_H
#define BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECOND INT64_C(1000000000)

/* Bytes that were read and not yet understood. All zero is empty. */
struct bytes {
    char *data;
    size_t len, cap;
};

/* Nanoseconds of CLOCK_MONOTONIC, the clock of Python's time.monotonic_ns() on Linux: all processes share it. */
int64_t now_ns(void);
/* User and system time of this process, in seconds. */
double cpu_seconds(void);
/* Uniform in [0, 1). */
double chance(void);

/* Print a sentence on standard error and exit with 2. */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* As calloc, but never NULL. */
void *zeroed(size_t count, size_t size);
/* The whole file with a NUL behind it; its size where `size` is given. */
char *read_file(const char *path, size_t *size);
/* Write `size` bytes as a file of that name, or die. */
void write_file(const char *path, const void *data, size_t size);
/* Take as many descriptors as we may have. */
void raise_descriptor_limit(void);

/* Begin to connect to 127.0.0.1:port from 127.0.x.y, of which `source` chooses one, so that ports do not run out
   (one pair of addresses has 28,232). A non-blocking descriptor, or -1 with errno. */
int dial(uint16_t port, uint32_t source);

/* Read what there is (at most 64 KiB) to the end of `bytes`: how many came, 0 at the end, -1 with errno. */
long bytes_read(struct bytes *bytes, int fd);
/* Forget the first `count`. */
void bytes_drop(struct bytes *bytes, size_t count);
void bytes_free(struct bytes *bytes);

#endif
