/* Many agents' channels in one process. crowd.c takes commands, links.c holds the channels, fetches.c the requests
   for a configuration that a nudge causes. */
#ifndef CROWD_H
#define CROWD_H

#include "base.h"

#include <sys/epoll.h>

enum kind { COMMANDS, LINK, FETCH };
enum dialect { PLAIN, SOCKET_IO };
enum state { IDLE, DIALING, SHAKING, OPEN, WAITING };

struct link {
    int fd;
    uint8_t state, failures;
    uint32_t messages;
    struct bytes read;
    int64_t dialed_at, due_at;
};

/* Moments of each link in nanoseconds, 0 where it has not come to that; a command writes them to a file. */
enum moment { FIRST, LAST, OPENED, SHOOK, LOST, FETCHED, MOMENTS };

struct crowd {
    int poll;
    enum dialect dialect;
    uint16_t ports[16];
    uint32_t port_count, source;
    const char *path, *extra;
    char **tokens;
    uint32_t count;
    struct link *links;
    int64_t *moments[MOMENTS]; /* SHOOK: how long dial and handshake took */
    /* the dials that were asked for */
    uint32_t next, end, in_flight, most_in_flight, dialing_from;
    double rate;
    int64_t dialing_since, settled_at;
    /* what to do about lost links and nudges */
    bool reconnects, fetches;
    double spread_seconds;
    uint32_t waiting;
    uint64_t open, lost, refused, heard, messages, fetched, fetch_failures, bytes;
    uint32_t statuses[600], goodbyes[5000]; /* by close code, 0: none was said */
};

extern struct crowd crowd;

/* links.c */
void link_event(uint32_t index, uint32_t events);
/* Dial what is due now; milliseconds until it should be called again, at most 1000. */
int links_due(void);
/* Nothing was heard, fetched or lost yet. Channels stay as they are. */
void links_forget(void);

/* fetches.c */
void fetches_start(uint16_t port, uint32_t lines, const char *path);
/* Fetch the configuration of that link's node, after `delay` seconds. */
void fetch(uint32_t index, double delay);
void fetch_event(uint32_t line, uint32_t events);
/* As links_due. */
int fetches_due(void);

#endif
