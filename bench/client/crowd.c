/* Many agents' channels, driven by commands.

   crowd DIALECT PORTS SOURCE PATH EXTRA TOKENS

   DIALECT is `plain` or `socket.io`; PORTS are separated by commas, and links take them in turn; SOURCE is the number
   of the first source address; EXTRA is a file with header lines for each handshake; TOKENS has one token a line.

   Commands come one a line on standard input. Each is answered by one line of JSON on standard output, when it is
   done; channels are served all the time. A time that is over is no error: the numbers tell.

     connect COUNT RATE MOST SECONDS  dial up to COUNT links in all, RATE a second (0: no bound), MOST under way
     wait WHAT COUNT SECONDS          until so many are open, lost, heard, fetched; `time` waits the time
     forget                           nothing was heard, lost, refused or fetched yet
     fetch PORT LINES PATH            from now on GET PATH when nudged, over LINES kept connections
     reconnect SPREAD                 from now on open lost links again, first within SPREAD seconds
     dump WHAT FILE                   int64 for each link: nanoseconds of first, last, opened, shook, lost, fetched;
                                      or how many messages */
#include "crowd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct crowd crowd;

static const char *const moment_names[MOMENTS] = {"first", "last", "opened", "shook", "lost", "fetched"};

static struct {
    bool pending, connecting;
    uint64_t *what, count;
    int64_t deadline;
} command;

static void print_counts(const char *name, const uint32_t *counts, int size)
{
    const char *comma = "";
    printf(", \"%s\": {", name);
    for (int number = 0; number < size; number++)
        if (counts[number]) {
            printf("%s\"%d\": %u", comma, number, counts[number]);
            comma = ", ";
        }
    putchar('}');
}

static void reply(void)
{
    printf("{\"open\": %lu, \"lost\": %lu, \"refused\": %lu, \"heard\": %lu, \"messages\": %lu, \"bytes\": %lu, "
           "\"fetched\": %lu, \"fetchFailures\": %lu, \"waiting\": %u, \"underWay\": %u, \"dialedAt\": %ld, "
           "\"settledAt\": %ld, \"now\": %ld, \"cpu\": %.4f",
           crowd.open, crowd.lost, crowd.refused, crowd.heard, crowd.messages, crowd.bytes, crowd.fetched,
           crowd.fetch_failures, crowd.waiting, crowd.in_flight, crowd.dialing_since, crowd.settled_at, now_ns(),
           cpu_seconds());
    print_counts("statuses", crowd.statuses, 600);
    print_counts("goodbyes", crowd.goodbyes, 5000);
    puts("}");
    fflush(stdout);
    command.pending = false;
}

static void look_whether_done(void)
{
    bool done = now_ns() >= command.deadline;
    if (command.connecting)
        done |= crowd.next == crowd.end && crowd.in_flight == 0;
    else if (command.what)
        done |= *command.what >= command.count;
    if (command.pending && done)
        reply();
}

static void start_waiting(uint64_t *what, uint64_t count, double seconds)
{
    command.pending = true;
    command.connecting = false;
    command.what = what;
    command.count = count;
    command.deadline = now_ns() + (int64_t)(seconds * 1e9);
}

static void dump(const char *what, const char *path)
{
    int which = 0;
    while (which < MOMENTS && strcmp(what, moment_names[which]) != 0)
        which++;
    if (which < MOMENTS) {
        write_file(path, crowd.moments[which], crowd.count * sizeof(int64_t));
        return;
    }
    if (strcmp(what, "messages") != 0)
        die("cannot dump %s", what);
    int64_t *counts = zeroed(crowd.count, sizeof *counts);
    for (uint32_t index = 0; index < crowd.count; index++)
        counts[index] = crowd.links[index].messages;
    write_file(path, counts, crowd.count * sizeof *counts);
    free(counts);
}

static void obey(char *line)
{
    char word[16], text[2048];
    double rate, seconds;
    unsigned number, most;
    if (sscanf(line, "connect %u %lf %u %lf", &number, &rate, &most, &seconds) == 4) {
        crowd.end = number < crowd.count ? number : crowd.count;
        crowd.most_in_flight = most;
        crowd.rate = rate;
        crowd.dialing_from = crowd.next;
        crowd.dialing_since = crowd.settled_at = now_ns();
        start_waiting(NULL, 0, seconds);
        command.connecting = true;
    } else if (sscanf(line, "wait %15s %u %lf", word, &number, &seconds) == 3) {
        uint64_t *what = strcmp(word, "open") == 0      ? &crowd.open
                         : strcmp(word, "lost") == 0    ? &crowd.lost
                         : strcmp(word, "heard") == 0   ? &crowd.heard
                         : strcmp(word, "fetched") == 0 ? &crowd.fetched
                                                        : NULL;
        if (!what && strcmp(word, "time") != 0)
            die("cannot wait for %s", word);
        start_waiting(what, number, seconds);
    } else if (strcmp(line, "forget") == 0) {
        links_forget();
        reply();
    } else if (sscanf(line, "fetch %u %u %2000s", &number, &most, text) == 3) {
        fetches_start((uint16_t)number, most, strdup(text));
        reply();
    } else if (sscanf(line, "reconnect %lf", &seconds) == 1) {
        crowd.reconnects = true;
        crowd.spread_seconds = seconds;
        reply();
    } else if (sscanf(line, "dump %15s %2000s", word, text) == 2) {
        dump(word, text);
        reply();
    } else {
        die("cannot understand: %s", line);
    }
}

static void read_commands(void)
{
    static struct bytes input;
    if (bytes_read(&input, STDIN_FILENO) <= 0)
        exit(0); /* whoever commands is gone */
    char *end;
    while (input.len && (end = memchr(input.data, '\n', input.len))) {
        *end = 0;
        obey(input.data);
        bytes_drop(&input, (size_t)(end - input.data) + 1);
    }
}

static void read_tokens(const char *path)
{
    char *text = read_file(path, NULL);
    size_t room = 0;
    for (char *token = strtok(text, "\n"); token; token = strtok(NULL, "\n")) {
        if (crowd.count == room) {
            room = room ? 2 * room : 1024;
            crowd.tokens = realloc(crowd.tokens, room * sizeof *crowd.tokens);
            if (!crowd.tokens)
                die("no memory for %zu tokens", room);
        }
        crowd.tokens[crowd.count++] = token;
    }
}

int main(int count, char **words)
{
    if (count != 7)
        die("usage: crowd DIALECT PORTS SOURCE PATH EXTRA TOKENS");
    raise_descriptor_limit();
    srand48(getpid());
    crowd.dialect = strcmp(words[1], "socket.io") == 0 ? SOCKET_IO : PLAIN;
    for (char *port = strtok(words[2], ","); port && crowd.port_count < 16; port = strtok(NULL, ","))
        crowd.ports[crowd.port_count++] = (uint16_t)atoi(port);
    crowd.source = (uint32_t)atoi(words[3]);
    crowd.path = words[4];
    crowd.extra = read_file(words[5], NULL);
    read_tokens(words[6]);
    crowd.links = zeroed(crowd.count, sizeof *crowd.links);
    for (int which = 0; which < MOMENTS; which++)
        crowd.moments[which] = zeroed(crowd.count, sizeof(int64_t));
    crowd.poll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)COMMANDS << 32};
    epoll_ctl(crowd.poll, EPOLL_CTL_ADD, STDIN_FILENO, &event);
    for (;;) {
        struct epoll_event events[1024];
        int again = links_due(), fetches_again = crowd.fetches ? fetches_due() : 1000;
        again = again < fetches_again ? again : fetches_again;
        if (command.pending) {
            int64_t left = (command.deadline - now_ns()) / 1000000 + 1;
            again = left < again ? (int)(left < 0 ? 0 : left) : again;
        }
        int ready = epoll_wait(crowd.poll, events, 1024, again);
        for (int at = 0; at < ready; at++) {
            uint32_t number = (uint32_t)events[at].data.u64;
            switch (events[at].data.u64 >> 32) {
            case COMMANDS: read_commands(); break;
            case LINK: link_event(number, events[at].events); break;
            case FETCH: fetch_event(number, events[at].events); break;
            }
        }
        look_whether_done();
    }
}
