#include "base.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SOURCES 240
#define READ_BYTES (64 * 1024)

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

int64_t now_ns(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * SECOND + at.tv_nsec;
}

double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

double chance(void)
{
    return drand48();
}

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("bench client: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

void *zeroed(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    if (!memory)
        die("no memory for %zu times %zu bytes", count, size);
    return memory;
}

char *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0)
        die("cannot read %s: %s", path, strerror(errno));
    long length = ftell(file);
    rewind(file);
    char *data = zeroed((size_t)length + 1, 1);
    if (fread(data, 1, (size_t)length, file) != (size_t)length)
        die("cannot read all of %s", path);
    fclose(file);
    if (size)
        *size = (size_t)length;
    return data;
}

void write_file(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0)
        die("cannot write %s: %s", path, strerror(errno));
}

void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int dial(uint16_t port, uint32_t source)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    /* The port is chosen when the other end is known, so each source address has all of them. */
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    struct sockaddr_in from = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(0x7f000000u | ((source / SOURCES) % 250 + 1) << 8 | (source % SOURCES + 2));
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (struct sockaddr *)&from, sizeof from) != 0 ||
        (connect(fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)) {
        int reason = errno;
        close(fd);
        errno = reason;
        return -1;
    }
    return fd;
}

long bytes_read(struct bytes *bytes, int fd)
{
    static char chunk[READ_BYTES];
    long count = read(fd, chunk, sizeof chunk);
    if (count <= 0)
        return count;
    if (bytes->len + (size_t)count > bytes->cap) {
        bytes->cap = bytes->len + (size_t)count + 64;
        bytes->data = realloc(bytes->data, bytes->cap);
        if (!bytes->data)
            die("no memory for %zu bytes", bytes->cap);
    }
    memcpy(bytes->data + bytes->len, chunk, (size_t)count);
    bytes->len += (size_t)count;
    return count;
}

void bytes_drop(struct bytes *bytes, size_t count)
{
    bytes->len -= count;
    if (bytes->len == 0)
        bytes_free(bytes);
    else
        memmove(bytes->data, bytes->data + count, bytes->len);
}

void bytes_free(struct bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct bytes){0};
}
