/* The channels: dials and handshakes, pings answered, messages counted, lost ones opened again as agents do. */
#include "crowd.h"
#include "wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="             /* of RFC 6455, section 1.3 */
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="       /* what belongs to it */
#define SHAKE_SECONDS 30                            /* a handshake that takes longer counts as refused */
#define LATE 1                                      /* their status */
#define FIRST_PAUSE 1.0 /* the agent's backoff: full jitter under 1 s, doubled up to 30 s */
#define LONGEST_PAUSE 30.0

static void watch(uint32_t index, uint32_t events, int operation)
{
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)LINK << 32 | index};
    epoll_ctl(crowd.poll, operation, crowd.links[index].fd, &event);
}

static void settled(void)
{
    crowd.in_flight--;
    crowd.settled_at = now_ns();
}

static void wait_until(uint32_t index, double seconds)
{
    crowd.links[index].state = WAITING;
    crowd.links[index].due_at = now_ns() + (int64_t)(seconds * 1e9);
    crowd.waiting++;
}

static void refused(uint32_t index, int status, double retry_after)
{
    struct link *link = &crowd.links[index];
    crowd.refused++;
    crowd.statuses[status >= 0 && status < 600 ? status : 0]++;
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
    bytes_free(&link->read);
    link->state = IDLE;
    settled();
    if (!crowd.reconnects)
        return;
    double span = FIRST_PAUSE;
    for (int failure = 0; failure < link->failures && span < LONGEST_PAUSE; failure++)
        span *= 2;
    link->failures += link->failures < 10;
    wait_until(index, retry_after >= 0 ? retry_after * (1 + chance() / 2)
                                       : chance() * (span < LONGEST_PAUSE ? span : LONGEST_PAUSE));
}

static void lost(uint32_t index, int goodbye)
{
    struct link *link = &crowd.links[index];
    close(link->fd);
    link->fd = -1;
    bytes_free(&link->read);
    link->state = IDLE;
    crowd.open--;
    crowd.lost++;
    crowd.goodbyes[goodbye < 5000 ? goodbye : 0]++;
    crowd.moments[LOST][index] = now_ns();
    if (crowd.reconnects)
        wait_until(index, chance() * crowd.spread_seconds);
}

static void begin(uint32_t index)
{
    struct link *link = &crowd.links[index];
    crowd.in_flight++;
    link->state = DIALING;
    link->dialed_at = now_ns();
    link->fd = dial(crowd.ports[index % crowd.port_count], crowd.source + index);
    if (link->fd < 0) {
        if (errno == EMFILE)
            die("no descriptor is left for another link: more processes are needed");
        refused(index, 0, -1);
        return;
    }
    watch(index, EPOLLOUT, EPOLL_CTL_ADD);
}

static void shake(uint32_t index)
{
    struct link *link = &crowd.links[index];
    char request[2048];
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\nAuthorization: Bearer %s\r\n%s\r\n",
                        crowd.path, crowd.ports[index % crowd.port_count], crowd.tokens[index], crowd.extra);
    if (size >= (int)sizeof request)
        die("the handshake of link %u is too long", index);
    if (send(link->fd, request, (size_t)size, MSG_NOSIGNAL) != size) {
        refused(index, 0, -1);
        return;
    }
    link->state = SHAKING;
    watch(index, EPOLLIN | EPOLLRDHUP, EPOLL_CTL_MOD);
}

static void say(uint32_t index, int opcode, const char *payload, size_t len)
{
    char frame[6 + 125];
    size_t size = frame_write(frame, opcode, payload, len > 125 ? 125 : len);
    if (send(crowd.links[index].fd, frame, size, MSG_NOSIGNAL) < 0)
        return; /* the next read sees why */
}

static void opened(uint32_t index)
{
    struct link *link = &crowd.links[index];
    int64_t now = now_ns();
    link->state = OPEN;
    link->failures = 0;
    crowd.open++;
    crowd.moments[OPENED][index] = now;
    crowd.moments[SHOOK][index] = now - link->dialed_at;
    settled();
}

static void message(uint32_t index, const struct frame *frame)
{
    static const char key[] = "\"spreadMs\":";
    if (!memmem(frame->payload, frame->len, "config_changed", 14))
        return;
    int64_t now = now_ns();
    if (!crowd.links[index].messages++) {
        crowd.heard++;
        crowd.moments[FIRST][index] = now;
    }
    crowd.moments[LAST][index] = now;
    crowd.messages++;
    crowd.bytes += frame->size;
    if (crowd.fetches) {
        const char *spread = memmem(frame->payload, frame->len, key, sizeof key - 1);
        fetch(index, spread ? chance() * atof(spread + sizeof key - 1) / 1000 : 0);
    }
}

/* Socket.IO in its own words: 0 open, 40 joined, 2 ping, 42 an event. */
static void socket_io(uint32_t index, const struct frame *frame)
{
    if (frame->len >= 1 && frame->payload[0] == '0')
        say(index, TEXT, "40", 2);
    else if (frame->len >= 1 && frame->payload[0] == '2')
        say(index, TEXT, "3", 1);
    else if (frame->len >= 2 && memcmp(frame->payload, "40", 2) == 0)
        opened(index);
    else if (frame->len >= 2 && memcmp(frame->payload, "42", 2) == 0)
        message(index, frame);
}

/* False when the link is gone. */
static bool take_frames(uint32_t index)
{
    struct link *link = &crowd.links[index];
    struct frame frame;
    size_t at = 0;
    int whole, goodbye = 0;
    while ((whole = frame_read(link->read.data + at, link->read.len - at, &frame)) == 1) {
        at += frame.size;
        if (frame.opcode == PING)
            say(index, PONG, frame.payload, frame.len);
        else if (frame.opcode == CLOSE) {
            whole = -1;
            if (frame.len >= 2)
                goodbye = (uint8_t)frame.payload[0] << 8 | (uint8_t)frame.payload[1];
        }
        else if (frame.opcode == TEXT && crowd.dialect == SOCKET_IO)
            socket_io(index, &frame);
        else if (frame.opcode == TEXT)
            message(index, &frame);
        if (whole < 0)
            break;
    }
    if (whole < 0) {
        if (link->state == OPEN)
            lost(index, goodbye);
        else
            refused(index, 0, -1);
        return false;
    }
    bytes_drop(&link->read, at);
    return true;
}

static void take_answer(uint32_t index)
{
    struct link *link = &crowd.links[index];
    struct answer answer;
    int whole = answer_read(link->read.data, link->read.len, &answer);
    if (whole == 0)
        return;
    if (whole < 0 || answer.status != 101) {
        refused(index, whole < 0 ? 0 : answer.status, whole < 0 ? -1 : answer.retry_after);
        return;
    }
    const char *accept = header(link->read.data, answer.size, "Sec-WebSocket-Accept");
    if (!accept || strncmp(accept, ACCEPT, sizeof ACCEPT - 1) != 0)
        die("the server's Sec-WebSocket-Accept does not fit the key");
    bytes_drop(&link->read, answer.size);
    if (crowd.dialect == PLAIN)
        opened(index);
    else
        link->messages = 0;
    if (link->read.len)
        take_frames(index);
}

void link_event(uint32_t index, uint32_t events)
{
    struct link *link = &crowd.links[index];
    if (link->state == DIALING) {
        int reason = 0;
        socklen_t size = sizeof reason;
        getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &reason, &size);
        if (reason)
            refused(index, 0, -1);
        else if (events & EPOLLOUT)
            shake(index);
        return;
    }
    if (link->state != SHAKING && link->state != OPEN)
        return;
    long count = bytes_read(&link->read, link->fd);
    if (count < 0 && errno == EAGAIN)
        return;
    if (count <= 0) {
        if (link->state == OPEN)
            lost(index, 0);
        else
            refused(index, 0, -1);
    } else if (link->state == SHAKING && !crowd.moments[SHOOK][index] && link->read.data[0] == 'H') {
        take_answer(index);
    } else {
        take_frames(index);
    }
}

static int reconnects_due(int64_t now)
{
    for (uint32_t index = 0; crowd.waiting && index < crowd.count; index++)
        if (crowd.links[index].state == WAITING && crowd.links[index].due_at <= now) {
            crowd.waiting--;
            crowd.moments[SHOOK][index] = 0;
            begin(index);
        }
    return crowd.waiting ? 10 : 1000;
}

static void give_up_late_ones(int64_t now)
{
    for (uint32_t index = 0; crowd.in_flight && index < crowd.count; index++) {
        uint8_t state = crowd.links[index].state;
        if ((state == DIALING || state == SHAKING) && now - crowd.links[index].dialed_at > SHAKE_SECONDS * SECOND)
            refused(index, LATE, -1);
    }
}

int links_due(void)
{
    static int64_t looked_at, looked_for_late_at;
    int64_t now = now_ns();
    int again = crowd.waiting ? 10 : 1000;
    if (now - looked_at >= SECOND / 100) {
        again = reconnects_due(now);
        looked_at = now;
    }
    if (now - looked_for_late_at >= SECOND) {
        give_up_late_ones(now);
        looked_for_late_at = now;
    }
    while (crowd.next < crowd.end && crowd.in_flight < crowd.most_in_flight) {
        if (crowd.rate > 0) {
            int64_t due = crowd.dialing_since + (int64_t)((double)(crowd.next - crowd.dialing_from) / crowd.rate * 1e9);
            if (due > now) {
                int wait = (int)((due - now) / 1000000) + 1;
                return wait < again ? wait : again;
            }
        }
        begin(crowd.next++);
    }
    return again;
}

void links_forget(void)
{
    crowd.heard = crowd.messages = crowd.lost = crowd.refused = crowd.fetched = crowd.fetch_failures = crowd.bytes = 0;
    memset(crowd.statuses, 0, sizeof crowd.statuses);
    memset(crowd.goodbyes, 0, sizeof crowd.goodbyes);
    memset(crowd.moments[FIRST], 0, crowd.count * sizeof(int64_t));
    memset(crowd.moments[LAST], 0, crowd.count * sizeof(int64_t));
    memset(crowd.moments[LOST], 0, crowd.count * sizeof(int64_t));
    memset(crowd.moments[FETCHED], 0, crowd.count * sizeof(int64_t));
    for (uint32_t index = 0; index < crowd.count; index++)
        crowd.links[index].messages = 0;
}
