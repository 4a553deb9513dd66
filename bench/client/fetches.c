/* What a nudged agent does next: GET its configuration. A few kept connections serve all nodes of this process. */
#include "crowd.h"
#include "wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct line {
    int fd;
    bool busy;
    uint32_t index, tries;
    struct bytes read;
};

struct wish {
    int64_t due_at;
    uint32_t index;
};

static struct {
    struct line *lines;
    uint32_t line_count;
    uint16_t port;
    const char *path;
    struct wish *wishes; /* not in order: at most one for each link */
    uint32_t wish_count;
    bool *wished;
} fetches;

static void watch(struct line *line, uint32_t events, int operation)
{
    struct epoll_event event = {
        .events = events,
        .data.u64 = (uint64_t)FETCH << 32 | (uint32_t)(line - fetches.lines),
    };
    epoll_ctl(crowd.poll, operation, line->fd, &event);
}

static void hang_up(struct line *line)
{
    close(line->fd);
    line->fd = -1;
    bytes_free(&line->read);
}

static void ask(struct line *line)
{
    char request[1024];
    int size = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\n\r\n",
                        fetches.path, fetches.port, crowd.tokens[line->index]);
    if (send(line->fd, request, (size_t)size, MSG_NOSIGNAL) == size)
        watch(line, EPOLLIN, EPOLL_CTL_MOD);
    /* Otherwise the connection is over, which its next event tells. */
}

static void begin(struct line *line, uint32_t index)
{
    line->index = index;
    line->busy = true;
    line->tries = 0;
    if (line->fd >= 0) {
        ask(line);
        return;
    }
    line->fd = dial(fetches.port, (uint32_t)(line - fetches.lines));
    if (line->fd < 0)
        die("cannot connect to port %d: %s", fetches.port, strerror(errno));
    watch(line, EPOLLOUT, EPOLL_CTL_ADD);
}

void fetches_start(uint16_t port, uint32_t lines, const char *path)
{
    fetches.lines = zeroed(lines, sizeof *fetches.lines);
    fetches.line_count = lines;
    fetches.port = port;
    fetches.path = path;
    fetches.wishes = zeroed(crowd.count, sizeof *fetches.wishes);
    fetches.wished = zeroed(crowd.count, sizeof *fetches.wished);
    for (uint32_t line = 0; line < lines; line++)
        fetches.lines[line].fd = -1;
    crowd.fetches = true;
}

void fetch(uint32_t index, double delay)
{
    if (fetches.wished[index])
        return;
    fetches.wished[index] = true;
    fetches.wishes[fetches.wish_count++] = (struct wish){now_ns() + (int64_t)(delay * 1e9), index};
}

static void done(struct line *line, int status)
{
    line->busy = false;
    if (status == 200) {
        if (!crowd.moments[FETCHED][line->index])
            crowd.fetched++;
        crowd.moments[FETCHED][line->index] = now_ns();
    } else {
        crowd.fetch_failures++;
    }
}

void fetch_event(uint32_t number, uint32_t events)
{
    struct line *line = &fetches.lines[number];
    struct answer answer;
    if (line->fd < 0)
        return;
    if (events == EPOLLOUT) {
        ask(line);
        return;
    }
    long count = bytes_read(&line->read, line->fd);
    if (count < 0 && errno == EAGAIN)
        return;
    if (count <= 0) {
        uint32_t index = line->index, tries = line->tries + 1;
        bool again = line->busy && tries < 5;
        hang_up(line);
        if (again) {
            begin(line, index);
            line->tries = tries;
        } else if (line->busy) {
            done(line, 0);
        }
        return;
    }
    int whole = answer_read(line->read.data, line->read.len, &answer);
    if (whole < 0)
        die("cannot read the answer to a fetch: %.80s", line->read.data);
    if (whole == 0)
        return;
    bytes_drop(&line->read, answer.size);
    if (answer.closes)
        hang_up(line);
    done(line, answer.status);
    fetches_due();
}

int fetches_due(void)
{
    int64_t now = now_ns();
    uint32_t free_line = 0, kept = 0;
    for (uint32_t at = 0; at < fetches.wish_count; at++) {
        struct wish wish = fetches.wishes[at];
        while (free_line < fetches.line_count && fetches.lines[free_line].busy)
            free_line++;
        if (wish.due_at <= now && free_line < fetches.line_count) {
            fetches.wished[wish.index] = false;
            begin(&fetches.lines[free_line], wish.index);
        } else {
            if (free_line == fetches.line_count && kept == at)
                return 1000; /* an answer that comes calls again */
            fetches.wishes[kept++] = wish;
        }
    }
    fetches.wish_count = kept;
    return kept ? 10 : 1000;
}
