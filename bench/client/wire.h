/* The two things that come from a server: answers of HTTP/1.1 and frames of RFC 6455. */
#ifndef WIRE_H
#define WIRE_H

#include <stdbool.h>
#include <stddef.h>

struct answer {
    int status;
    size_t size;        /* of head and body together */
    bool closes;        /* the server ends the connection behind it */
    double retry_after; /* seconds; negative where it says nothing */
};

/* 1: there is a whole answer; 0: more must come; -1: this is none that we can read (chunked bodies neither). */
int answer_read(const char *data, size_t len, struct answer *answer);
/* What stands behind `name:` in the head, spaces skipped; NULL where it is not there. Ends at a line's end. */
const char *header(const char *data, size_t len, const char *name);

enum { TEXT = 1, CLOSE = 8, PING = 9, PONG = 10 };

struct frame {
    int opcode;
    const char *payload;
    size_t len;
    size_t size; /* with its head */
};

/* 1: there is a whole frame; 0: more must come; -1: masked or fragmented, which no server here sends. */
int frame_read(const char *data, size_t len, struct frame *frame);
/* A frame of at most 125 bytes, masked with zeros, into `out`; its size. */
size_t frame_write(char *out, int opcode, const char *payload, size_t len);

#endif
