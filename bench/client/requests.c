/* HTTP requests as fast as they are answered: each of N kept connections has one under way at a time.

   requests PORT CONNECTIONS SECONDS WARM_SECONDS PASSES REQUESTS ANSWERS

   REQUESTS is a file of requests, each behind its length (four bytes, little-endian), sent in their order by
   whichever connection is free, and again from the start up to PASSES times (0: no bound). It ends after SECONDS, or
   when all are answered. What was sent in the first WARM_SECONDS is not counted in rates and latencies. ANSWERS gets
   for each request the status of its last answer (int32; 0: none). On standard output one line of JSON: what was
   counted, over how long, latencies, statuses of all, and what of one core this program itself took. */
#include "base.h"
#include "wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define GRACE (10 * SECOND) /* how long answers may be late at the end */
#define MOST_LATENCIES (4u << 20)

struct line {
    int fd;
    bool busy;
    size_t request, sent;
    int64_t asked_at;
    struct bytes read;
};

static struct {
    uint16_t port;
    struct line *lines;
    size_t line_count, request_count, next, under_way, passes;
    const char **requests;
    uint32_t *sizes;
    int32_t *answers;
    int poll;
    int64_t begin, warm_until, end;
    int64_t *spans, last_counted;
    size_t span_count, statuses[600], failed;
} load;

static void watch(struct line *line, bool writing, int operation)
{
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0u), .data.u32 = (uint32_t)(line - load.lines)};
    epoll_ctl(load.poll, operation, line->fd, &event);
}

static void open_line(struct line *line)
{
    line->fd = dial(load.port, (uint32_t)(line - load.lines));
    if (line->fd < 0)
        die("cannot connect to port %d: %s", load.port, strerror(errno));
    watch(line, true, EPOLL_CTL_ADD);
}

static void close_line(struct line *line)
{
    close(line->fd);
    line->fd = -1;
    bytes_free(&line->read);
}

static void flush(struct line *line)
{
    size_t size = load.sizes[line->request];
    while (line->sent < size) {
        ssize_t count = send(line->fd, load.requests[line->request] + line->sent, size - line->sent, MSG_NOSIGNAL);
        if (count < 0) {
            if (errno == EAGAIN || errno == ENOTCONN || errno == EINPROGRESS)
                return;
            break; /* the read will see it */
        }
        line->sent += (size_t)count;
    }
    watch(line, false, EPOLL_CTL_MOD);
}

/* Send the next request on a free line; false where there is none left. */
static bool ask(struct line *line, int64_t now)
{
    if (now >= load.end || (load.passes && load.next >= load.passes * load.request_count))
        return false;
    line->request = load.next++ % load.request_count;
    line->sent = 0;
    line->busy = true;
    line->asked_at = now;
    load.under_way++;
    if (line->fd < 0)
        open_line(line);
    else
        flush(line);
    return true;
}

static void answered(struct line *line, int status, int64_t now)
{
    load.answers[line->request] = status;
    load.statuses[status >= 0 && status < 600 ? status : 0]++;
    line->busy = false;
    load.under_way--;
    if (line->asked_at >= load.warm_until && load.span_count < MOST_LATENCIES) {
        load.spans[load.span_count++] = now - line->asked_at;
        load.last_counted = now;
    }
}

/* The server may end an idle connection just when we send: that request is sent once more on a new one. */
static void lost(struct line *line)
{
    bool again = line->busy && line->read.len == 0;
    close_line(line);
    if (again && ++load.failed < 10 * load.line_count) {
        line->sent = 0;
        open_line(line);
    } else if (line->busy) {
        answered(line, 0, now_ns());
    }
}

static void readable(struct line *line)
{
    struct answer answer;
    long count = bytes_read(&line->read, line->fd);
    if (count < 0 && errno == EAGAIN)
        return;
    if (count <= 0) {
        lost(line);
        return;
    }
    int whole = answer_read(line->read.data, line->read.len, &answer);
    if (whole == 0)
        return;
    if (whole < 0)
        die("cannot read an answer: %.80s", line->read.data);
    int64_t now = now_ns();
    answered(line, answer.status, now);
    bytes_drop(&line->read, answer.size);
    if (answer.closes)
        close_line(line);
    ask(line, now);
}

static int by_size(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

static double span_ms(double share)
{
    if (!load.span_count)
        return 0;
    size_t at = (size_t)(share * (double)load.span_count);
    return (double)load.spans[at < load.span_count ? at : load.span_count - 1] / 1e6;
}

static void report(double cpu)
{
    double took = (double)(load.last_counted - load.warm_until) / 1e9;
    double whole = (double)(now_ns() - load.begin) / 1e9;
    qsort(load.spans, load.span_count, sizeof *load.spans, by_size);
    printf("{\"counted\": %zu, \"seconds\": %.4f, \"rate\": %.2f, \"p50Ms\": %.3f, \"p95Ms\": %.3f, \"p99Ms\": %.3f, "
           "\"worstMs\": %.3f, \"clientCores\": %.4f, \"unanswered\": %zu, \"statuses\": {",
           load.span_count, took, took > 0 ? (double)load.span_count / took : 0, span_ms(.5), span_ms(.95), span_ms(.99),
           span_ms(1), cpu / whole, load.under_way);
    const char *comma = "";
    for (int status = 0; status < 600; status++)
        if (load.statuses[status]) {
            printf("%s\"%d\": %zu", comma, status, load.statuses[status]);
            comma = ", ";
        }
    puts("}}");
}

static void read_requests(const char *path)
{
    size_t size, room = 0;
    char *data = read_file(path, &size);
    for (size_t at = 0; at + 4 <= size;) {
        uint32_t length;
        memcpy(&length, data + at, 4);
        if (at + 4 + length > size)
            die("%s ends within a request", path);
        if (load.request_count == room) {
            room = room ? 2 * room : 1024;
            load.requests = realloc(load.requests, room * sizeof *load.requests);
            load.sizes = realloc(load.sizes, room * sizeof *load.sizes);
            if (!load.requests || !load.sizes)
                die("no memory for %zu requests", room);
        }
        load.requests[load.request_count] = data + at + 4;
        load.sizes[load.request_count++] = length;
        at += 4 + length;
    }
    if (!load.request_count)
        die("%s holds no request", path);
}

int main(int count, char **words)
{
    if (count != 8)
        die("usage: requests PORT CONNECTIONS SECONDS WARM_SECONDS PASSES REQUESTS ANSWERS");
    raise_descriptor_limit();
    srand48(getpid());
    load.port = (uint16_t)atoi(words[1]);
    load.line_count = (size_t)atol(words[2]);
    load.passes = (size_t)atol(words[5]);
    read_requests(words[6]);
    load.lines = zeroed(load.line_count, sizeof *load.lines);
    load.answers = zeroed(load.request_count, sizeof *load.answers);
    load.spans = zeroed(MOST_LATENCIES, sizeof *load.spans);
    load.poll = epoll_create1(EPOLL_CLOEXEC);
    load.begin = now_ns();
    load.warm_until = load.last_counted = load.begin + (int64_t)(atof(words[4]) * 1e9);
    load.end = load.begin + (int64_t)(atof(words[3]) * 1e9);
    double cpu = cpu_seconds();
    for (size_t at = 0; at < load.line_count; at++) {
        load.lines[at].fd = -1;
        ask(&load.lines[at], now_ns());
    }
    while (load.under_way && now_ns() < load.end + GRACE) {
        struct epoll_event events[256];
        int ready = epoll_wait(load.poll, events, 256, 1000);
        for (int at = 0; at < ready; at++) {
            struct line *line = &load.lines[events[at].data.u32];
            if (line->fd >= 0 && events[at].events & EPOLLOUT && line->busy)
                flush(line);
            if (line->fd >= 0 && events[at].events & ~(unsigned)EPOLLOUT)
                readable(line);
        }
    }
    report(cpu_seconds() - cpu);
    write_file(words[7], load.answers, load.request_count * sizeof *load.answers);
    return 0;
}
