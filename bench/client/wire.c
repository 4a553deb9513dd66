#include "wire.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *header(const char *data, size_t len, const char *name)
{
    size_t size = strlen(name);
    const char *end = data + len;
    for (const char *line = memchr(data, '\n', len); line; line = memchr(line, '\n', (size_t)(end - line))) {
        line++;
        if ((size_t)(end - line) > size && strncasecmp(line, name, size) == 0 && line[size] == ':') {
            line += size + 1;
            while (line < end && *line == ' ')
                line++;
            return line;
        }
    }
    return NULL;
}

int answer_read(const char *data, size_t len, struct answer *answer)
{
    const char *end = memmem(data, len, "\r\n\r\n", 4);
    if (!end)
        return 0;
    if (len < 12 || memcmp(data, "HTTP/1.", 7) != 0)
        return -1;
    size_t head = (size_t)(end - data) + 4, body = 0;
    answer->status = atoi(data + 9);
    const char *connection = header(data, head, "Connection"), *length = header(data, head, "Content-Length");
    const char *later = header(data, head, "Retry-After");
    answer->closes = connection && strncasecmp(connection, "close", 5) == 0;
    answer->retry_after = later ? atof(later) : -1;
    if (answer->status != 101 && answer->status != 204 && answer->status != 304) {
        if (length)
            body = (size_t)strtoul(length, NULL, 10);
        else if (!answer->closes)
            return -1;
    }
    answer->size = head + body;
    return len >= answer->size;
}

int frame_read(const char *data, size_t len, struct frame *frame)
{
    const unsigned char *head = (const unsigned char *)data;
    if (len < 2)
        return 0;
    if (!(head[0] & 0x80) || head[1] & 0x80)
        return -1;
    size_t start = 2, payload = head[1];
    if (payload >= 126) {
        size_t width = payload == 126 ? 2 : 8;
        if (len < 2 + width)
            return 0;
        payload = 0;
        for (size_t at = 0; at < width; at++)
            payload = payload << 8 | head[2 + at];
        start += width;
    }
    if (len - start < payload)
        return 0;
    *frame = (struct frame){head[0] & 0x0f, data + start, payload, start + payload};
    return 1;
}

size_t frame_write(char *out, int opcode, const char *payload, size_t len)
{
    out[0] = (char)(0x80 | opcode);
    out[1] = (char)(0x80 | len);
    memset(out + 2, 0, 4);
    memcpy(out + 6, payload, len);
    return len + 6;
}
