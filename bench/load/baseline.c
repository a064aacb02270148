/* The physical limit: the least an HTTP/1.1 server on epoll can do for a request.
 *
 * One thread accepts, receives, finds the end of each head and sends a fixed answer whose head is as long as a
 * Python server's. It validates nothing, keeps no time and logs nothing. What belongs here is only what a
 * scenario needs: a fixed answer of any size (default), --echo (a sized request body returned in the chunks it
 * arrived in) and --sink (a sized request body read and thrown away before the fixed answer).
 *
 * Prints one line, `running on http://ADDRESS:PORT`, on stdout when it listens.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    RECEIVE_SIZE = 256 * 1024,
    HEAD_LIMIT = 64 * 1024,
    COPIES = 64,               /* answers laid out one after another: a pipelined batch leaves in one send(2) */
    FLAT_LIMIT = 64 * 1024,    /* a larger answer's body is one block sent again and again */
    SEGMENTS_PER_SEND = 16,
    EVENTS_PER_WAIT = 512,
};

struct connection {
    int fd;
    bool wants_out;
    bool in_body;
    uint64_t body_remaining;
    uint64_t answers_due, answer_sent;   /* fixed answers owed; bytes sent of the first of them */
    char *held;                          /* the beginning of a head */
    size_t held_length;
    char *unsent;                        /* echoed bytes the client has not taken */
    size_t unsent_length;
};

static enum { FIXED, ECHO, SINK } mode;
static char *answers;                    /* COPIES flat answers, or the head of a large one */
static uint64_t answer_head_length, answer_body_length = 13, answer_length;
static bool flat;
static char block[FLAT_LIMIT], received[RECEIVE_SIZE];
static int epoll_fd, listener;

static const char echo_head[] =
    "HTTP/1.1 200 OK\r\ndate: Thu, 20 Jun 2024 13:34:36 GMT\r\nserver: baseline\r\n"
    "content-type: application/octet-stream\r\ntransfer-encoding: chunked\r\n\r\n";

static void die(const char *what)
{
    fprintf(stderr, "baseline: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void *allocate(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL)
        die("calloc");
    return memory;
}

static void lay_out_answers(void)
{
    char head[256];
    memset(block, 'x', sizeof block);
    answer_head_length = (uint64_t)snprintf(
        head, sizeof head, "HTTP/1.1 200 OK\r\ndate: Thu, 20 Jun 2024 13:34:36 GMT\r\nserver: baseline\r\n"
        "content-type: text/plain\r\ncontent-length: %lu\r\n\r\n", answer_body_length);
    answer_length = answer_head_length + answer_body_length;
    flat = answer_length <= FLAT_LIMIT;
    uint64_t one = flat ? answer_length : answer_head_length, copies = flat ? COPIES : 1;
    answers = allocate(one * copies);
    for (uint64_t copy = 0; copy < copies; copy++) {
        memcpy(answers + copy * one, head, answer_head_length);
        if (flat) {
            char *body = answers + copy * one + answer_head_length;
            memcpy(body, block, answer_body_length);
            if (answer_body_length == 13)
                memcpy(body, "Hello, World!", 13);
        }
    }
}

static void drop(struct connection *connection)
{
    close(connection->fd);
    free(connection->held);
    free(connection->unsent);
    free(connection);
}

/* While output waits, nothing is read: the client that does not take its answers is not served further. */
static void watch(struct connection *connection, bool wants_out)
{
    if (connection->wants_out == wants_out)
        return;
    struct epoll_event event = {.events = wants_out ? EPOLLOUT : EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, connection->fd, &event) < 0)
        die("epoll_ctl");
    connection->wants_out = wants_out;
}

/* Sends what is owed. false: the connection is broken. */
static bool flush(struct connection *connection)
{
    while (connection->unsent_length) {
        ssize_t sent = send(connection->fd, connection->unsent, connection->unsent_length, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN)
                return false;
            watch(connection, true);
            return true;
        }
        connection->unsent_length -= (size_t)sent;
        memmove(connection->unsent, connection->unsent + sent, connection->unsent_length);
    }
    while (connection->answers_due) {
        ssize_t sent;
        if (flat) {
            uint64_t together = connection->answers_due < COPIES ? connection->answers_due : COPIES;
            sent = send(connection->fd, answers + connection->answer_sent,
                        together * answer_length - connection->answer_sent, MSG_NOSIGNAL);
        } else {
            struct iovec segments[SEGMENTS_PER_SEND];
            struct msghdr message = {.msg_iov = segments};
            uint64_t at = connection->answer_sent;
            if (at < answer_head_length) {
                segments[message.msg_iovlen++] = (struct iovec){answers + at, answer_head_length - at};
                at = answer_head_length;
            }
            while (message.msg_iovlen < SEGMENTS_PER_SEND && at < answer_length) {
                uint64_t left = answer_length - at, length = left < sizeof block ? left : sizeof block;
                segments[message.msg_iovlen++] = (struct iovec){block, length};
                at += length;
            }
            sent = sendmsg(connection->fd, &message, MSG_NOSIGNAL);
        }
        if (sent < 0) {
            if (errno != EAGAIN)
                return false;
            watch(connection, true);
            return true;
        }
        connection->answer_sent += (uint64_t)sent;
        connection->answers_due -= connection->answer_sent / answer_length;
        connection->answer_sent %= answer_length;
    }
    watch(connection, false);
    return true;
}

/* Sends one piece of an echo with its framing; what the socket does not take is kept. false: broken. */
static bool echo(struct connection *connection, const char *data, size_t length, bool first, bool last)
{
    char size_line[24];
    struct iovec segments[5];
    struct msghdr message = {.msg_iov = segments};
    if (first)
        segments[message.msg_iovlen++] = (struct iovec){(void *)echo_head, sizeof echo_head - 1};
    if (length) {
        int written = snprintf(size_line, sizeof size_line, "%zx\r\n", length);
        segments[message.msg_iovlen++] = (struct iovec){size_line, (size_t)written};
        segments[message.msg_iovlen++] = (struct iovec){(void *)data, length};
        segments[message.msg_iovlen++] = (struct iovec){"\r\n", 2};
    }
    if (last)
        segments[message.msg_iovlen++] = (struct iovec){"0\r\n\r\n", 5};
    if (message.msg_iovlen == 0)
        return true;
    ssize_t sent = connection->unsent_length ? 0 : sendmsg(connection->fd, &message, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        return false;
    size_t skip = sent > 0 ? (size_t)sent : 0;
    for (size_t i = 0; i < message.msg_iovlen; i++) {
        size_t part = segments[i].iov_len, skipped = skip < part ? skip : part;
        skip -= skipped;
        if (part == skipped)
            continue;
        char *grown = realloc(connection->unsent, connection->unsent_length + part - skipped);
        if (grown == NULL)
            die("realloc");
        connection->unsent = grown;
        memcpy(grown + connection->unsent_length, (char *)segments[i].iov_base + skipped, part - skipped);
        connection->unsent_length += part - skipped;
    }
    return true;
}

static uint64_t content_length(const char *head, size_t length)
{
    static const char name[] = "\r\ncontent-length:";
    for (const char *at = head; at + sizeof name < head + length; at++) {
        at = memchr(at, '\r', (size_t)(head + length - at));
        if (at == NULL || at + sizeof name >= head + length)
            break;
        if (strncasecmp(at, name, sizeof name - 1) == 0)
            return strtoull(at + sizeof name - 1, NULL, 10);
    }
    return 0;
}

static bool serve(struct connection *connection, const char *data, size_t length)
{
    bool answered_head = true;
    while (length || !answered_head) {
        if (connection->in_body) {
            uint64_t taken = length < connection->body_remaining ? length : connection->body_remaining;
            connection->body_remaining -= taken;
            bool last = connection->body_remaining == 0;
            if (mode == ECHO && !echo(connection, data, taken, !answered_head, last))
                return false;
            if (mode == SINK && last)
                connection->answers_due++;
            answered_head = true;
            connection->in_body = !last;
            data += taken;
            length -= taken;
            continue;
        }
        const char *end = memmem(data, length, "\r\n\r\n", 4);
        if (end == NULL) {
            if (length > HEAD_LIMIT)
                return false;
            if (connection->held == NULL)
                connection->held = allocate(HEAD_LIMIT);
            memmove(connection->held, data, length);
            connection->held_length = length;
            break;
        }
        size_t head_length = (size_t)(end - data) + 4;
        if (mode == FIXED) {
            connection->answers_due++;
        } else {
            connection->body_remaining = content_length(data, head_length);
            connection->in_body = true;
            answered_head = false;
        }
        data += head_length;
        length -= head_length;
    }
    return flush(connection);
}

static void handle(struct connection *connection, uint32_t events)
{
    bool alive = true;
    if (events & EPOLLOUT) {
        alive = flush(connection);
    } else {
        size_t held = connection->held_length;
        if (held) {
            memcpy(received, connection->held, held);
            connection->held_length = 0;
        }
        ssize_t length = recv(connection->fd, received + held, sizeof received - held, 0);
        if (length > 0) {
            alive = serve(connection, received, held + (size_t)length);
        } else if (length == 0 || errno != EAGAIN) {
            alive = false;
        } else {
            connection->held_length = held;
        }
    }
    if (!alive)
        drop(connection);
}

static void accept_all(void)
{
    int one = 1;
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct connection *connection = allocate(sizeof *connection);
        connection->fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
            die("epoll_ctl");
    }
}

static void listen_tcp(uint16_t port)
{
    int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 4096) < 0)
        die("listen");
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("running on http://127.0.0.1:%d\n", ntohs(address.sin_port));
}

static void listen_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        die(path);
    }
    strcpy(address.sun_path, path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0)
        die("listen");
    printf("running on unix:%s\n", path);
}

int main(int count, char **values)
{
    uint16_t port = 0;
    const char *path = NULL;
    for (int i = 1; i < count; i++) {
        if (strcmp(values[i], "--echo") == 0)
            mode = ECHO;
        else if (strcmp(values[i], "--sink") == 0)
            mode = SINK;
        else if (strcmp(values[i], "--answer") == 0 && i + 1 < count)
            answer_body_length = strtoull(values[++i], NULL, 10);
        else if (strcmp(values[i], "--port") == 0 && i + 1 < count)
            port = (uint16_t)atoi(values[++i]);
        else if (strcmp(values[i], "--unix") == 0 && i + 1 < count)
            path = values[++i];
        else {
            fputs("baseline [--port N | --unix PATH] [--answer BYTES] [--echo | --sink]\n", stderr);
            return 2;
        }
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    lay_out_answers();
    if (path)
        listen_unix(path);
    else
        listen_tcp(port);
    fflush(stdout);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event) < 0)
        die("epoll");
    for (;;) {
        struct epoll_event events[EVENTS_PER_WAIT];
        int ready = epoll_wait(epoll_fd, events, EVENTS_PER_WAIT, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr == NULL)
                accept_all();
            else
                handle(events[i].data.ptr, events[i].events);
        }
    }
}
