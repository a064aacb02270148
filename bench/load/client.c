/* The load client: one thread, one epoll, many connections to one HTTP/1.1 server.
 *
 * What belongs here: making requests, reading the answers correctly, and counting. It is a closed loop: a
 * connection sends its next batch when its last one is answered. Every answer is parsed and checked (status,
 * framing, body length); what is wrong is counted by kind and never as a request.
 *
 * A run goes through phases: OPENING (connections are made, a few at a time, until each has had one answer),
 * WARMUP, DRAINING (only with --requests: everything outstanding is answered, so that the window holds whole
 * requests), MEASURING (the window), FINISHED. The clocks of the server's processes (--cpu-of) are read by the
 * client itself at both ends of the window, so that no other process's scheduling shifts them.
 *
 * One line of JSON goes to stdout. With --hold the connections then stay open until stdin ends or SIGTERM or
 * SIGINT arrives, and a second line tells how many of them the server has kept.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "tls.h"

enum {
    RECEIVE_SIZE = 256 * 1024,    /* one recv(2); also what a large answer costs per wake-up */
    UNIT_SIZE = 64 * 1024,        /* a large request body is this block, repeated */
    FLAT_LIMIT = 1024 * 1024,     /* a batch up to this size is laid out whole and sent with one send(2) */
    TEXT_LIMIT = 64 * 1024,       /* the longest head, chunk size line or trailer line held */
    OPENING_LIMIT = 64,           /* connections being opened at a time: below every server's backlog */
    EVENTS_PER_WAIT = 512,
    SEGMENTS_PER_SEND = 16,
    WATCHED_LIMIT = 256,
    SOURCE_ADDRESSES = 32,        /* 127.0.0.1 to 127.0.0.32: a reconnecting client would run out of ports */
    LATENCY_SUBBITS = 7,          /* 128 steps per octave: under 0.8 % off */
    LATENCY_BUCKETS = 64 << LATENCY_SUBBITS,
};

enum phase { OPENING, WARMUP, DRAINING, MEASURING, FINISHED };

enum error_kind { CONNECT_ERROR, CLOSED_ERROR, PROTOCOL_ERROR, STATUS_ERROR, LENGTH_ERROR, TIMEOUT_ERROR, ERROR_KINDS };
static const char *const error_names[ERROR_KINDS] = {"connect", "closed", "protocol", "status", "length", "timeout"};

enum expecting { HEAD, SIZED_BODY, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILERS, BODY_UNTIL_CLOSE };

struct connection {
    int fd;                       /* -1: not open */
    void *tls;                    /* with --tls while open: its state in OpenSSL */
    bool wants_out;               /* registered for EPOLLOUT */
    bool established;
    bool had_answer;              /* since the program started: what OPENING waits for */
    bool busy;                    /* a batch is outstanding: counted in `busy_connections` */
    unsigned outstanding;         /* requests of the batch not answered yet */
    uint64_t sent;                /* bytes of the batch */
    uint64_t started;             /* ns: when the batch was begun */
    enum expecting expecting;
    int status;
    bool closes;                  /* this answer is the connection's last */
    uint64_t remaining;           /* bytes of the sized body, or of the chunk */
    uint64_t body_length;
    char *held;                   /* TEXT_LIMIT bytes, made when a head or a line arrives in parts */
    size_t held_length;
};

static struct {
    struct sockaddr_storage address;
    socklen_t address_length;
    bool loopback_ipv4;
    unsigned connections, pipeline;
    double duration, warmup, timeout;
    uint64_t requests;            /* 0: run by duration */
    const char *method, *target, *host;
    uint64_t body_size;
    bool chunked, browser, reconnect, idle, hold, head_method, tls;
    int expect_status;
    int64_t expect_length;        /* -1: any */
    unsigned max_errors;
    char extra_fields[4096];
} options = {.connections = 64, .pipeline = 1, .duration = 2.0, .warmup = 0.5, .timeout = 5.0, .method = "GET",
             .target = "/", .host = "localhost", .expect_status = 200, .expect_length = -1, .max_errors = 1000};

/* The batch: `prefix`, then `unit` sent `units` times over, then `suffix`. A small batch is all prefix. */
static struct {
    char *prefix, *unit, *suffix;
    uint64_t prefix_length, unit_length, units, suffix_length, total;
} batch;

struct cpu_reading { uint64_t cpu_ns, user_ticks, system_ticks, wait_ns; };
static struct watched { pid_t pid; clockid_t clock; struct cpu_reading before, after; } watched[WATCHED_LIMIT];
static unsigned watched_count;
static struct watched self;

static struct {
    enum phase phase;
    uint64_t phase_started, window_started, window_ended;
    uint64_t budget;              /* requests of the window not begun yet (--requests) */
    uint64_t requests, errors[ERROR_KINDS], all_errors, connects, bytes_in, bytes_out;
    uint64_t slowest;
    char first_error[256];
} run;

static struct connection *connections;
static unsigned opened_connections, answered_connections, busy_connections;
static int epoll_fd;
static uint64_t latencies[LATENCY_BUCKETS];
static char received[RECEIVE_SIZE];

static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("client: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

static void *allocate(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL)
        die("out of memory (%zu bytes)", size);
    return memory;
}

static uint64_t now_ns(void)
{
    struct timespec moment;
    clock_gettime(CLOCK_MONOTONIC, &moment);
    return (uint64_t)moment.tv_sec * 1000000000u + (uint64_t)moment.tv_nsec;
}

/* ---------------------------------------------------------------- figures */

static void record_latency(uint64_t ns)
{
    unsigned bucket = (unsigned)ns;
    if (ns >> (LATENCY_SUBBITS + 1)) {
        unsigned shift = 63 - (unsigned)__builtin_clzll(ns) - LATENCY_SUBBITS;
        bucket = (shift << LATENCY_SUBBITS) + (unsigned)(ns >> shift);
    }
    latencies[bucket]++;
    if (ns > run.slowest)
        run.slowest = ns;
}

/* The middle of the bucket that holds the given share of the answers, in microseconds. */
static double latency_percentile(double share)
{
    uint64_t wanted = (uint64_t)(share * (double)run.requests), seen = 0;
    for (unsigned bucket = 0; bucket < LATENCY_BUCKETS; bucket++) {
        seen += latencies[bucket];
        if (seen > wanted) {
            unsigned shift = bucket >> LATENCY_SUBBITS;
            shift = shift ? shift - 1 : 0;
            uint64_t low = (uint64_t)(bucket - (shift << LATENCY_SUBBITS)) << shift;
            return ((double)low + (double)((1ull << shift) - 1) / 2) / 1000;
        }
    }
    return (double)run.slowest / 1000;
}

static struct cpu_reading read_cpu(const struct watched *process)
{
    struct cpu_reading reading = {0};
    struct timespec used;
    char path[64], text[1024];
    if (clock_gettime(process->clock, &used) == 0)
        reading.cpu_ns = (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)process->pid);
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        size_t length = fread(text, 1, sizeof text - 1, file);
        text[length] = 0;
        /* The command's name may hold anything, a parenthesis too: fields are counted from the last one. */
        char *fields = strrchr(text, ')');
        if (fields != NULL)
            sscanf(fields + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &reading.user_ticks,
                   &reading.system_ticks);
        fclose(file);
    }
    snprintf(path, sizeof path, "/proc/%d/schedstat", (int)process->pid);
    file = fopen(path, "r");
    if (file != NULL) {
        if (fscanf(file, "%*u %lu", &reading.wait_ns) != 1)
            reading.wait_ns = 0;
        fclose(file);
    }
    return reading;
}

static void begin_window(void)
{
    run.phase = MEASURING;
    run.requests = run.bytes_in = run.bytes_out = run.connects = run.slowest = 0;
    memset(latencies, 0, sizeof latencies);
    self.before = read_cpu(&self);
    for (unsigned i = 0; i < watched_count; i++)
        watched[i].before = read_cpu(&watched[i]);
    run.window_started = now_ns();
}

static void end_window(void)
{
    run.phase = FINISHED;
    run.window_ended = now_ns();
    for (unsigned i = 0; i < watched_count; i++)
        watched[i].after = read_cpu(&watched[i]);
    self.after = read_cpu(&self);
}

static void print_process(const struct watched *process)
{
    printf("{\"pid\": %d, \"cpu_ns\": %lu, \"user_ticks\": %lu, \"system_ticks\": %lu, \"wait_ns\": %lu}",
           (int)process->pid, process->after.cpu_ns - process->before.cpu_ns,
           process->after.user_ticks - process->before.user_ticks,
           process->after.system_ticks - process->before.system_ticks, process->after.wait_ns - process->before.wait_ns);
}

static void print_json_string(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        unsigned char character = (unsigned char)*text;
        if (character == '"' || character == '\\')
            printf("\\%c", character);
        else if (character < 0x20 || character > 0x7e)
            printf("\\u%04x", character);
        else
            putchar(character);
    }
    putchar('"');
}

static void print_figures(void)
{
    double seconds = run.window_started ? (double)(run.window_ended - run.window_started) / 1e9 : 0;
    printf("{\"requests\": %lu, \"seconds\": %.6f, \"connections\": %u, \"answered_connections\": %u, ", run.requests,
           seconds, options.connections, answered_connections);
    printf("\"errors\": %lu, \"errors_by_kind\": {", run.all_errors);
    for (int kind = 0; kind < ERROR_KINDS; kind++)
        printf("%s\"%s\": %lu", kind ? ", " : "", error_names[kind], run.errors[kind]);
    printf("}, \"first_error\": ");
    print_json_string(run.first_error);
    printf(", \"latency_us\": {\"p50\": %.2f, \"p90\": %.2f, \"p99\": %.2f, \"max\": %.2f}, ", latency_percentile(0.5),
           latency_percentile(0.9), latency_percentile(0.99), (double)run.slowest / 1000);
    printf("\"connects\": %lu, \"bytes_in\": %lu, \"bytes_out\": %lu, \"client\": ", run.connects, run.bytes_in,
           run.bytes_out);
    print_process(&self);
    printf(", \"processes\": [");
    for (unsigned i = 0; i < watched_count; i++) {
        fputs(i ? ", " : "", stdout);
        print_process(&watched[i]);
    }
    puts("]}");
    fflush(stdout);
}

static void count_error(enum error_kind kind, const char *format, ...)
{
    run.errors[kind]++;
    run.all_errors++;
    if (run.first_error[0] == 0) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(run.first_error, sizeof run.first_error, format, arguments);
        va_end(arguments);
    }
    if (run.all_errors >= options.max_errors && run.phase != FINISHED) {
        if (run.phase == MEASURING)
            end_window();
        run.phase = FINISHED;
    }
}

/* ---------------------------------------------------------------- requests */

/* What a current browser sends with a navigation: ten fields, about 800 bytes of head. */
static const char browser_fields[] =
    "Connection: keep-alive\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8\r\n"
    "Referer: http://www.example.com/catalogue/spring?page=3&sort=price&filter=available\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Accept-Language: en-GB,en-US;q=0.9,en;q=0.8,de;q=0.7,fr;q=0.6\r\n"
    "Cookie: session=eyJ1c2VyIjo0MjQyLCJjYXJ0IjpbMTcsMjMsNDJdLCJsYW5nIjoiZW4ifQ.ZnRk7A.Qm9x2vX3lq8ZB1pKfT0wYh5sUeI; "
    "csrftoken=Wb6vN0aYp3QzJ8tLx1RkE5mHc7GdS2fU9oIiKlMnOpQrStUv; theme=dark; _visit=1718890476.4.1.1718891188.60.0.0\r\n"
    "Cache-Control: max-age=0\r\n";

static void append(char **text, uint64_t *length, const void *more, size_t more_length)
{
    *text = realloc(*text, *length + more_length + 1);
    if (*text == NULL)
        die("out of memory");
    memcpy(*text + *length, more, more_length);
    *length += more_length;
}

static void append_body(char **text, uint64_t *length, uint64_t size)
{
    char *letters = allocate(size + 1);
    for (uint64_t i = 0; i < size; i++)
        letters[i] = (char)('a' + i % 26);
    append(text, length, letters, size);
    free(letters);
}

static void append_chunk(char **text, uint64_t *length, uint64_t size)
{
    char line[32];
    append(text, length, line, (size_t)snprintf(line, sizeof line, "%lx\r\n", size));
    append_body(text, length, size);
    append(text, length, "\r\n", 2);
}

static void lay_out_batch(void)
{
    char head[16384];
    int written = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: %s\r\n%s%s", options.method, options.target,
                           options.host, options.browser ? browser_fields : "", options.extra_fields);
    if (written < 0 || (size_t)written >= sizeof head - 128)
        die("the head is too long");
    if (options.chunked)
        written += sprintf(head + written, "Transfer-Encoding: chunked\r\n");
    else if (options.body_size || strcmp(options.method, "POST") == 0 || strcmp(options.method, "PUT") == 0)
        written += sprintf(head + written, "Content-Length: %lu\r\n", options.body_size);
    written += sprintf(head + written, "\r\n");

    append(&batch.prefix, &batch.prefix_length, head, (size_t)written);
    uint64_t whole = options.body_size / UNIT_SIZE, rest = options.body_size % UNIT_SIZE;
    batch.units = whole;
    if (options.chunked) {
        append_chunk(&batch.unit, &batch.unit_length, UNIT_SIZE);
        if (rest)
            append_chunk(&batch.suffix, &batch.suffix_length, rest);
        append(&batch.suffix, &batch.suffix_length, "0\r\n\r\n", 5);
    } else {
        append_body(&batch.unit, &batch.unit_length, UNIT_SIZE);
        append_body(&batch.suffix, &batch.suffix_length, rest);
    }
    batch.total = batch.prefix_length + batch.units * batch.unit_length + batch.suffix_length;
    if (batch.total * options.pipeline <= FLAT_LIMIT) {
        for (; batch.units; batch.units--)
            append(&batch.prefix, &batch.prefix_length, batch.unit, batch.unit_length);
        append(&batch.prefix, &batch.prefix_length, batch.suffix, batch.suffix_length);
        batch.suffix_length = 0;
        uint64_t one = batch.prefix_length;
        char *request = allocate(one);
        memcpy(request, batch.prefix, one);
        for (unsigned copy = 1; copy < options.pipeline; copy++)
            append(&batch.prefix, &batch.prefix_length, request, one);
        free(request);
        batch.total = batch.prefix_length;
    } else if (options.pipeline > 1) {
        die("%u pipelined requests of %lu bytes are more than a batch holds (%d bytes)", options.pipeline, batch.total,
            FLAT_LIMIT);
    }
}

static void close_connection(struct connection *connection)
{
    if (connection->busy) {
        connection->busy = false;
        busy_connections--;
    }
    if (connection->tls != NULL)
        tls.SSL_free(connection->tls);
    connection->tls = NULL;
    if (connection->fd >= 0)
        close(connection->fd);
    connection->fd = -1;
    connection->wants_out = connection->established = connection->closes = false;
    connection->outstanding = 0;
    connection->expecting = HEAD;
    connection->held_length = 0;
}

static void watch_output(struct connection *connection, bool wanted)
{
    if (connection->wants_out == wanted)
        return;
    struct epoll_event event = {.events = wanted ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, connection->fd, &event) < 0)
        die("epoll_ctl: %s", strerror(errno));
    connection->wants_out = wanted;
}

/* `reads`: nothing can be sent until something is received, as in the middle of a TLS handshake. */
static ssize_t send_from(const struct connection *connection, bool *reads)
{
    uint64_t at = connection->sent;
    if (connection->tls != NULL)
        return tls_send(connection->tls, batch.prefix + at, batch.total - at, reads);
    if (batch.prefix_length == batch.total)
        return send(connection->fd, batch.prefix + at, batch.total - at, MSG_NOSIGNAL);
    struct iovec segments[SEGMENTS_PER_SEND];
    struct msghdr message = {.msg_iov = segments};
    uint64_t body_end = batch.prefix_length + batch.units * batch.unit_length;
    while (message.msg_iovlen < SEGMENTS_PER_SEND && at < batch.total) {
        char *start;
        uint64_t length;
        if (at < batch.prefix_length) {
            start = batch.prefix + at;
            length = batch.prefix_length - at;
        } else if (at < body_end) {
            uint64_t within = (at - batch.prefix_length) % batch.unit_length;
            start = batch.unit + within;
            length = batch.unit_length - within;
        } else {
            start = batch.suffix + (at - body_end);
            length = batch.total - at;
        }
        segments[message.msg_iovlen++] = (struct iovec){start, length};
        at += length;
    }
    return sendmsg(connection->fd, &message, MSG_NOSIGNAL);
}

static void fail(struct connection *connection, enum error_kind kind, const char *reason);

static void flush(struct connection *connection)
{
    bool reads = false;
    while (connection->sent < batch.total) {
        ssize_t sent = send_from(connection, &reads);
        if (sent >= 0) {
            connection->established = true;
            connection->sent += (uint64_t)sent;
            run.bytes_out += (uint64_t)sent;
        } else if (errno == EAGAIN) {
            watch_output(connection, !reads);
            return;
        } else if (errno == EPIPE || errno == ECONNRESET) {
            /* The answer that explains it may be waiting to be read; if none is, reading tells. */
            connection->sent = batch.total;
        } else if (errno != EINTR) {
            fail(connection, connection->established ? CLOSED_ERROR : CONNECT_ERROR, strerror(errno));
            return;
        }
    }
    watch_output(connection, false);
}

static void begin_batch(struct connection *connection, uint64_t now)
{
    connection->busy = true;
    busy_connections++;
    connection->outstanding = options.pipeline;
    connection->sent = 0;
    connection->started = now;
    flush(connection);
}

static void open_connection(struct connection *connection, uint64_t now)
{
    static unsigned next_source;
    int family = options.address.ss_family, one = 1;
    /* connect(2) of a Unix socket answers EAGAIN, and no event ever follows, when the backlog is full: block. */
    int kind = SOCK_STREAM | SOCK_CLOEXEC | (family == AF_UNIX ? 0 : SOCK_NONBLOCK);
    connection->fd = socket(family, kind, 0);
    if (connection->fd < 0)
        die("socket: %s", strerror(errno));
    if (family != AF_UNIX)
        setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (options.reconnect && options.loopback_ipv4) {
        struct sockaddr_in source = {.sin_family = AF_INET};
        source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + next_source++ % SOURCE_ADDRESSES);
        setsockopt(connection->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(connection->fd, (struct sockaddr *)&source, sizeof source) < 0)
            die("bind: %s", strerror(errno));
    }
    run.connects++;
    if (connect(connection->fd, (struct sockaddr *)&options.address, options.address_length) < 0 && errno != EINPROGRESS) {
        fail(connection, CONNECT_ERROR, strerror(errno));
        return;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, connection->fd, &event) < 0)
        die("epoll_ctl: %s", strerror(errno));
    if (options.tls && (connection->tls = tls_open(connection->fd)) == NULL)
        die("OpenSSL makes no connection");
    begin_batch(connection, now);
}

static void fail(struct connection *connection, enum error_kind kind, const char *reason)
{
    count_error(kind, "%s: %s", error_names[kind], reason);
    close_connection(connection);
}

/* ---------------------------------------------------------------- answers */

/* A piece of text that ends with `delimiter`: in `*data` itself, or put together in `held` when it came in parts.
 * Moves `*data` past it. 1: found; 0: more bytes are needed, all were taken; -1: it is longer than TEXT_LIMIT. */
static int take_text(struct connection *connection, const char **data, size_t *length, const char *delimiter,
                     size_t delimiter_length, const char **text, size_t *text_length)
{
    if (connection->held_length == 0) {
        const char *end = memmem(*data, *length, delimiter, delimiter_length);
        if (end != NULL) {
            *text = *data;
            *text_length = (size_t)(end - *data) + delimiter_length;
            *data += *text_length;
            *length -= *text_length;
            return 1;
        }
    }
    if (connection->held == NULL)
        connection->held = allocate(TEXT_LIMIT);
    size_t before = connection->held_length, room = TEXT_LIMIT - before, taken = *length < room ? *length : room;
    memcpy(connection->held + before, *data, taken);
    connection->held_length += taken;
    size_t from = before >= delimiter_length ? before - delimiter_length + 1 : 0;
    const char *end = memmem(connection->held + from, connection->held_length - from, delimiter, delimiter_length);
    if (end == NULL) {
        *data += *length;
        *length = 0;
        return connection->held_length == TEXT_LIMIT ? -1 : 0;
    }
    *text = connection->held;
    *text_length = (size_t)(end - connection->held) + delimiter_length;
    *data += *text_length - before;
    *length -= *text_length - before;
    connection->held_length = 0;
    return 1;
}

static bool is_field(const char *line, const char *colon, const char *name, size_t name_length)
{
    return (size_t)(colon - line) == name_length && strncasecmp(line, name, name_length) == 0;
}

static bool has_word(const char *value, const char *end, const char *word)
{
    size_t length = strlen(word);
    for (; value + length <= end; value++)
        if (strncasecmp(value, word, length) == 0)
            return true;
    return false;
}

/* Reads an answer's head and sets what is expected next. NULL, or what is wrong with it. */
static const char *read_head(struct connection *connection, const char *head, size_t length)
{
    const char *end = head + length - 2;
    if (length < 17 || memcmp(head, "HTTP/1.", 7) != 0 || head[8] != ' ')
        return "no HTTP/1.x status line";
    bool old = head[7] == '0', keeps = !old, chunked = false, sized = false;
    uint64_t content_length = 0;
    for (int digit = 9; digit < 12; digit++)
        if (head[digit] < '0' || head[digit] > '9')
            return "the status is no number";
    connection->status = (head[9] - '0') * 100 + (head[10] - '0') * 10 + (head[11] - '0');

    const char *line = memchr(head, '\n', length);
    for (line++; line < end;) {
        const char *line_end = memchr(line, '\r', (size_t)(end - line) + 1);
        const char *colon = line_end ? memchr(line, ':', (size_t)(line_end - line)) : NULL;
        if (colon == NULL || line_end[1] != '\n')
            return "a field line without a colon or CRLF";
        const char *value = colon + 1;
        while (value < line_end && (*value == ' ' || *value == '\t'))
            value++;
        if (is_field(line, colon, "content-length", 14)) {
            if (sized || value == line_end)
                return "content-length repeated or empty";
            sized = true;
            for (; value < line_end; value++) {
                if (*value < '0' || *value > '9' || content_length > UINT64_MAX / 16)
                    return "content-length is no number";
                content_length = content_length * 10 + (uint64_t)(*value - '0');
            }
        } else if (is_field(line, colon, "transfer-encoding", 17)) {
            chunked = has_word(value, line_end, "chunked");
        } else if (is_field(line, colon, "connection", 10)) {
            keeps = has_word(value, line_end, "close") ? false : has_word(value, line_end, "keep-alive") ? true : keeps;
        }
        line = line_end + 2;
    }
    connection->closes = !keeps;
    connection->body_length = 0;
    if (chunked && sized)
        return "both content-length and transfer-encoding";
    if (options.head_method || connection->status == 204 || connection->status == 304) {
        connection->expecting = SIZED_BODY;
        connection->remaining = 0;
    } else if (chunked) {
        connection->expecting = CHUNK_SIZE;
    } else if (sized) {
        connection->expecting = SIZED_BODY;
        connection->remaining = content_length;
    } else {
        connection->expecting = BODY_UNTIL_CLOSE;
        connection->closes = true;
    }
    return NULL;
}

static bool read_chunk_size(const char *line, size_t length, uint64_t *size)
{
    *size = 0;
    size_t digits = 0;
    for (; digits < length; digits++) {
        char character = (char)(line[digits] | 0x20);
        unsigned value = line[digits] >= '0' && line[digits] <= '9' ? (unsigned)(line[digits] - '0')
                         : character >= 'a' && character <= 'f'     ? (unsigned)(character - 'a' + 10)
                                                                    : 16;
        if (value == 16)
            break;
        *size = *size * 16 + value;
    }
    return digits > 0 && digits <= 15 && (line[digits] == '\r' || line[digits] == ';');
}

static void count_answer(struct connection *connection, uint64_t now)
{
    connection->expecting = HEAD;
    connection->outstanding--;
    if (!connection->had_answer) {
        connection->had_answer = true;
        answered_connections++;
    }
    if (connection->status != options.expect_status) {
        count_error(STATUS_ERROR, "status: %d instead of %d", connection->status, options.expect_status);
    } else if (options.expect_length >= 0 && connection->body_length != (uint64_t)options.expect_length) {
        count_error(LENGTH_ERROR, "length: a body of %lu bytes instead of %ld", connection->body_length,
                    options.expect_length);
    } else {
        run.requests++;
        record_latency(now - connection->started);
    }
}

/* Reads what arrived. NULL, or what is wrong with it. */
static const char *read_answers(struct connection *connection, const char *data, size_t length, uint64_t now)
{
    const char *text, *wrong;
    size_t text_length;
    int found;
    while (length > 0) {
        switch (connection->expecting) {
        case HEAD:
            if (connection->outstanding == 0)
                return "bytes nobody asked for";
            found = take_text(connection, &data, &length, "\r\n\r\n", 4, &text, &text_length);
            if (found <= 0)
                return found ? "an endless head" : NULL;
            wrong = read_head(connection, text, text_length);
            if (wrong != NULL)
                return wrong;
            if (connection->status < 200) {
                connection->expecting = HEAD;
                break;
            }
            if (connection->expecting == SIZED_BODY && connection->remaining == 0)
                count_answer(connection, now);
            break;
        case SIZED_BODY:
        case CHUNK_DATA: {
            uint64_t taken = length < connection->remaining ? length : connection->remaining;
            data += taken;
            length -= taken;
            connection->remaining -= taken;
            connection->body_length += taken;
            if (connection->remaining == 0) {
                if (connection->expecting == CHUNK_DATA)
                    connection->expecting = CHUNK_END;
                else
                    count_answer(connection, now);
            }
            break;
        }
        case CHUNK_SIZE:
            found = take_text(connection, &data, &length, "\r\n", 2, &text, &text_length);
            if (found <= 0)
                return found ? "an endless chunk size" : NULL;
            if (!read_chunk_size(text, text_length, &connection->remaining))
                return "a chunk size that is no number";
            connection->expecting = connection->remaining ? CHUNK_DATA : TRAILERS;
            break;
        case CHUNK_END:
            found = take_text(connection, &data, &length, "\r\n", 2, &text, &text_length);
            if (found <= 0)
                return found ? "a chunk longer than its size" : NULL;
            if (text_length != 2)
                return "a chunk longer than its size";
            connection->expecting = CHUNK_SIZE;
            break;
        case TRAILERS:
            found = take_text(connection, &data, &length, "\r\n", 2, &text, &text_length);
            if (found <= 0)
                return found ? "an endless trailer" : NULL;
            if (text_length == 2)
                count_answer(connection, now);
            break;
        case BODY_UNTIL_CLOSE:
            connection->body_length += length;
            return NULL;
        }
    }
    return NULL;
}

/* The batch is answered: what the connection does next depends on the phase. */
static void go_on(struct connection *connection, uint64_t now)
{
    connection->busy = false;
    busy_connections--;
    bool reopens = connection->closes || options.reconnect;
    if (reopens)
        close_connection(connection);
    if (run.phase == DRAINING || run.phase == FINISHED || options.idle)
        return;
    if (run.phase == MEASURING && options.requests) {
        if (run.budget == 0)
            return;
        run.budget -= options.pipeline < run.budget ? options.pipeline : run.budget;
    }
    if (reopens)
        open_connection(connection, now);
    else
        begin_batch(connection, now);
}

static void receive(struct connection *connection, uint64_t *now)
{
    ssize_t length = connection->tls != NULL ? tls_receive(connection->tls, received, sizeof received)
                                             : recv(connection->fd, received, sizeof received, MSG_DONTWAIT);
    *now = now_ns();
    if (length < 0) {
        if (errno != EAGAIN && errno != EINTR)
            fail(connection, connection->established ? CLOSED_ERROR : CONNECT_ERROR, strerror(errno));
        return;
    }
    if (length == 0) {
        if (connection->expecting == BODY_UNTIL_CLOSE) {
            count_answer(connection, *now);
            if (connection->outstanding)
                fail(connection, CLOSED_ERROR, "the server closed before every pipelined answer");
            else
                go_on(connection, *now);
        } else if (connection->outstanding == 0) {
            fail(connection, CLOSED_ERROR, "the server closed an idle connection");
        } else {
            fail(connection, CLOSED_ERROR, "the server closed before the answer was complete");
        }
        return;
    }
    run.bytes_in += (uint64_t)length;
    const char *wrong = read_answers(connection, received, (size_t)length, *now);
    if (wrong != NULL)
        fail(connection, PROTOCOL_ERROR, wrong);
    else if (connection->busy && connection->outstanding == 0 && connection->sent == batch.total)
        go_on(connection, *now);
    else if (connection->closes && connection->expecting == HEAD && connection->busy)
        fail(connection, CLOSED_ERROR, "the server announced its close before every pipelined answer");
}

static void handle(struct connection *connection, uint32_t events, uint64_t *now)
{
    if (connection->tls != NULL && connection->sent < batch.total)
        flush(connection);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && connection->fd >= 0) {
        uint64_t before;
        do {
            before = run.bytes_in;
            receive(connection, now);
        } while (run.bytes_in != before && connection->tls != NULL && tls.SSL_has_pending(connection->tls));
    }
    if ((events & EPOLLOUT) && connection->fd >= 0 && connection->wants_out) {
        flush(connection);
        if (connection->fd >= 0 && connection->busy && connection->outstanding == 0 && connection->sent == batch.total)
            go_on(connection, *now);
    }
}

/* ---------------------------------------------------------------- the run */

/* Connections are opened a few at a time; one that failed is opened again, within --max-errors. */
static void open_missing(uint64_t now)
{
    while (run.phase == OPENING && opened_connections < options.connections &&
           opened_connections - answered_connections < OPENING_LIMIT)
        open_connection(&connections[opened_connections++], now);
}

static void sweep(uint64_t now)
{
    uint64_t limit = (uint64_t)(options.timeout * 1e9);
    for (unsigned i = 0; i < opened_connections && run.phase != FINISHED; i++) {
        struct connection *connection = &connections[i];
        if (connection->fd >= 0 && connection->busy && now > connection->started + limit)
            fail(connection, TIMEOUT_ERROR, "a batch was not answered in time");
        bool needed = !options.idle || !connection->had_answer;
        bool within_budget = !(run.phase == MEASURING && options.requests) || run.budget > 0;
        if (connection->fd < 0 && needed && within_budget && run.phase != DRAINING) {
            if (run.phase == MEASURING && options.requests)
                run.budget--;
            open_connection(connection, now);
        }
    }
}

static void advance(uint64_t now)
{
    double in_phase = (double)(now - run.phase_started) / 1e9;
    if (run.phase == OPENING && answered_connections == options.connections) {
        run.phase = options.idle ? FINISHED : WARMUP;
        run.phase_started = now;
    } else if (run.phase == WARMUP && in_phase >= options.warmup) {
        if (options.requests)
            run.phase = DRAINING;
        else
            begin_window();
        run.phase_started = now;
    } else if (run.phase == DRAINING && busy_connections == 0) {
        begin_window();
        run.budget = options.requests;
        for (unsigned i = 0; i < options.connections && run.budget > 0; i++) {
            run.budget -= options.pipeline < run.budget ? options.pipeline : run.budget;
            if (connections[i].fd < 0)
                open_connection(&connections[i], run.window_started);
            else
                begin_batch(&connections[i], run.window_started);
        }
    } else if (run.phase == MEASURING) {
        bool over = options.requests ? run.budget == 0 && busy_connections == 0
                                     : (double)(now - run.window_started) / 1e9 >= options.duration;
        if (over)
            end_window();
    }
}

static void hold(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    struct pollfd waits[2] = {{.fd = 0, .events = POLLIN}, {.fd = signalfd(-1, &signals, SFD_CLOEXEC), .events = POLLIN}};
    for (;;) {
        char ignored[64];
        if (poll(waits, 2, -1) < 0 && errno != EINTR)
            die("poll: %s", strerror(errno));
        if (waits[1].revents || (waits[0].revents && read(0, ignored, sizeof ignored) <= 0))
            break;
    }
    unsigned kept = 0;
    char byte;
    for (unsigned i = 0; i < options.connections; i++)
        if (connections[i].fd >= 0 && recv(connections[i].fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN)
            kept++;
    printf("{\"kept\": %u}\n", kept);
}

static void drive(void)
{
    struct epoll_event events[EVENTS_PER_WAIT];
    uint64_t now = now_ns(), swept = now, opening_limit = (uint64_t)((options.timeout + 10) * 1e9);
    run.phase_started = now;
    while (run.phase != FINISHED) {
        open_missing(now);
        int count = epoll_wait(epoll_fd, events, EVENTS_PER_WAIT, 20);
        if (count < 0 && errno != EINTR)
            die("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < count && run.phase != FINISHED; i++)
            handle(events[i].data.ptr, events[i].events, &now);
        if (count <= 0)
            now = now_ns();
        if (now - swept > 50000000u) {
            swept = now;
            sweep(now);
        }
        if (run.phase == OPENING && now - run.phase_started > opening_limit)
            die("only %u of %u connections were answered; %s", answered_connections, options.connections,
                run.first_error);
        if (run.phase != FINISHED)
            advance(now);
    }
}

/* ---------------------------------------------------------------- options */

static void set_address(const char *text)
{
    if (strncmp(text, "unix:", 5) == 0) {
        struct sockaddr_un *address = (struct sockaddr_un *)&options.address;
        if (strlen(text + 5) >= sizeof address->sun_path)
            die("the socket path is too long: %s", text + 5);
        address->sun_family = AF_UNIX;
        strcpy(address->sun_path, text + 5);
        options.address_length = sizeof *address;
        return;
    }
    char host[64];
    const char *colon = strrchr(text, ':');
    bool bracketed = text[0] == '[';
    size_t host_length = colon ? (size_t)(colon - text) - (bracketed ? 2 : 0) : 0;
    if (colon == NULL || host_length >= sizeof host)
        die("give the server as ADDRESS:PORT, [ADDRESS]:PORT or unix:PATH, not %s", text);
    memcpy(host, text + bracketed, host_length);
    host[host_length] = 0;
    struct sockaddr_in *ipv4 = (struct sockaddr_in *)&options.address;
    struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *)&options.address;
    uint16_t port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, host, &ipv4->sin_addr) == 1) {
        ipv4->sin_family = AF_INET;
        ipv4->sin_port = port;
        options.address_length = sizeof *ipv4;
        options.loopback_ipv4 = ntohl(ipv4->sin_addr.s_addr) >> 24 == 127;
    } else if (inet_pton(AF_INET6, host, &ipv6->sin6_addr) == 1) {
        ipv6->sin6_family = AF_INET6;
        ipv6->sin6_port = port;
        options.address_length = sizeof *ipv6;
    } else {
        die("%s is no numeric address", host);
    }
    options.host = text;
}

static void watch_process(const char *text)
{
    if (watched_count == WATCHED_LIMIT)
        die("at most %d processes", WATCHED_LIMIT);
    struct watched *process = &watched[watched_count++];
    process->pid = (pid_t)atoi(text);
    int failed = clock_getcpuclockid(process->pid, &process->clock);
    if (failed)
        die("no CPU clock of process %s: %s", text, strerror(failed));
}

static const char usage[] =
    "client [options] ADDRESS:PORT|[ADDRESS]:PORT|unix:PATH\n"
    "  --connections N       connections kept open (64)\n"
    "  --duration SECONDS    length of the measured window (2)\n"
    "  --requests N          measure this many requests instead\n"
    "  --warmup SECONDS      before the window (0.5)\n"
    "  --pipeline K          requests sent at a time on a connection (1)\n"
    "  --method M --target T request line (GET /)\n"
    "  --body-size BYTES     request body; --chunked sends it with the chunked coding\n"
    "  --headers browser     ten fields, about 800 bytes; --header 'Name: value' adds one\n"
    "  --tls                 TLS; the server's certificate is not checked\n"
    "  --reconnect           a new connection for every batch\n"
    "  --idle N              open N connections, one request each, and measure nothing\n"
    "  --hold                keep the connections until stdin ends or SIGTERM, then count those kept\n"
    "  --expect-status S --expect-length BYTES   what a right answer has (200, any)\n"
    "  --timeout SECONDS     for one batch (5)\n"
    "  --max-errors N        give up after so many (1000)\n"
    "  --cpu-of PID          report this process's CPU time over the window; may be repeated\n";

static void read_options(int count, char **values)
{
    enum { CONNECTIONS = 1, DURATION, REQUESTS, WARMUP_SECONDS, PIPELINE, METHOD, TARGET, BODY_SIZE, CHUNKED, HEADERS,
           HEADER, RECONNECT, IDLE, HOLD, EXPECT_STATUS, EXPECT_LENGTH, TIMEOUT, MAX_ERRORS, CPU_OF, TLS, HELP };
    static const struct option names[] = {
        {"connections", 1, 0, CONNECTIONS}, {"duration", 1, 0, DURATION}, {"requests", 1, 0, REQUESTS},
        {"warmup", 1, 0, WARMUP_SECONDS}, {"pipeline", 1, 0, PIPELINE}, {"method", 1, 0, METHOD},
        {"target", 1, 0, TARGET}, {"body-size", 1, 0, BODY_SIZE}, {"chunked", 0, 0, CHUNKED},
        {"headers", 1, 0, HEADERS}, {"header", 1, 0, HEADER}, {"reconnect", 0, 0, RECONNECT}, {"idle", 1, 0, IDLE},
        {"hold", 0, 0, HOLD}, {"expect-status", 1, 0, EXPECT_STATUS}, {"expect-length", 1, 0, EXPECT_LENGTH},
        {"timeout", 1, 0, TIMEOUT}, {"max-errors", 1, 0, MAX_ERRORS}, {"cpu-of", 1, 0, CPU_OF},
        {"tls", 0, 0, TLS}, {"help", 0, 0, HELP}, {0, 0, 0, 0}};
    int option;
    while ((option = getopt_long(count, values, "", names, NULL)) != -1) {
        switch (option) {
        case CONNECTIONS: options.connections = (unsigned)atoi(optarg); break;
        case DURATION: options.duration = atof(optarg); break;
        case REQUESTS: options.requests = strtoull(optarg, NULL, 10); break;
        case WARMUP_SECONDS: options.warmup = atof(optarg); break;
        case PIPELINE: options.pipeline = (unsigned)atoi(optarg); break;
        case METHOD: options.method = optarg; break;
        case TARGET: options.target = optarg; break;
        case BODY_SIZE: options.body_size = strtoull(optarg, NULL, 10); break;
        case CHUNKED: options.chunked = true; break;
        case HEADERS: options.browser = strcmp(optarg, "browser") == 0; break;
        case HEADER:
            if (strlen(options.extra_fields) + strlen(optarg) + 3 > sizeof options.extra_fields)
                die("too many fields");
            strcat(strcat(options.extra_fields, optarg), "\r\n");
            break;
        case RECONNECT: options.reconnect = true; break;
        case IDLE: options.idle = true; options.connections = (unsigned)atoi(optarg); break;
        case HOLD: options.hold = true; break;
        case EXPECT_STATUS: options.expect_status = atoi(optarg); break;
        case EXPECT_LENGTH: options.expect_length = atoll(optarg); break;
        case TIMEOUT: options.timeout = atof(optarg); break;
        case MAX_ERRORS: options.max_errors = (unsigned)atoi(optarg); break;
        case TLS: options.tls = true; break;
        case CPU_OF: watch_process(optarg); break;
        case HELP: fputs(usage, stdout); exit(0);
        default: fputs(usage, stderr); exit(2);
        }
    }
    if (optind != count - 1 || options.connections == 0 || options.pipeline == 0) {
        fputs(usage, stderr);
        exit(2);
    }
    set_address(values[optind]);
    options.head_method = strcmp(options.method, "HEAD") == 0;
}

int main(int count, char **values)
{
    read_options(count, values);
    lay_out_batch();
    if (options.tls && batch.prefix_length != batch.total)
        die("with --tls a batch is at most %d bytes", FLAT_LIMIT);
    const char *missing = options.tls ? tls_begin() : NULL;
    if (missing != NULL)
        die("--tls: %s", missing);
    self = (struct watched){.pid = getpid(), .clock = CLOCK_PROCESS_CPUTIME_ID};
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    connections = allocate(sizeof *connections * options.connections);
    for (unsigned i = 0; i < options.connections; i++)
        connections[i].fd = -1;
    drive();
    print_figures();
    if (options.hold)
        hold();
    return run.all_errors ? 1 : 0;
}
