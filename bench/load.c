/* The load generator: keep-alive connections, one request under way on each, every answer checked.
 *
 *   load PORT WARM_S RUN_S MOST < clients
 *
 * For each client, `clients` holds a line "REQUEST_BYTES EXPECTED_BYTES", the request, and what its answer's body
 * must contain. WARM_S seconds are not recorded, the RUN_S after them are. MOST > 0: so many requests a client.
 * Out: one JSON object. An answer that is not 200 or lacks the expected text ends it, with the answer on stderr.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_BYTES (1 << 16)
#define MOST_CLIENTS 1024
#define PATIENCE_NS 60000000000LL /* for the answers still due when the time is over */

struct client {
    int fd;
    char *request, *expected;
    size_t request_bytes, expected_bytes, filled;
    int64_t sent_ns;
    long sent;
    char answer[ANSWER_BYTES + 1];
};

static struct client *clients[MOST_CLIENTS];
static int client_count, under_way;
static int64_t *latencies_ns;
static size_t recorded, room;

static void fail(const char *what) {
    fprintf(stderr, "load: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static double cpu_s(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static char *read_bytes(size_t count) {
    char *bytes = malloc(count + 1);
    if (!bytes || fread(bytes, 1, count, stdin) != count) fail("the list of clients is cut short");
    bytes[count] = 0;
    return bytes;
}

static void read_clients(void) {
    size_t request_bytes, expected_bytes;
    while (client_count < MOST_CLIENTS && scanf("%zu %zu", &request_bytes, &expected_bytes) == 2) {
        struct client *c = clients[client_count++] = calloc(1, sizeof *c);
        if (!c || getchar() != '\n') fail("the list of clients is not well formed");
        c->request_bytes = request_bytes;
        c->expected_bytes = expected_bytes;
        c->request = read_bytes(request_bytes);
        c->expected = read_bytes(expected_bytes);
    }
}

static void connect_to(struct client *c, int port, int events) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    int on = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address)) fail("cannot connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (epoll_ctl(events, EPOLL_CTL_ADD, c->fd, &event)) fail("epoll_ctl");
}

static void ask(struct client *c) {
    size_t done = 0;
    c->filled = 0;
    c->sent++;
    under_way++;
    c->sent_ns = now_ns();
    while (done < c->request_bytes) {
        ssize_t n = write(c->fd, c->request + done, c->request_bytes - done);
        if (n < 0) fail("cannot send");
        done += n;
    }
}

/* Whether the whole answer is there; if so, it has been checked. */
static int answered(struct client *c) {
    ssize_t n = read(c->fd, c->answer + c->filled, ANSWER_BYTES - c->filled);
    if (n < 0) fail("cannot read");
    if (n == 0) errno = 0, fail(c->filled == ANSWER_BYTES ? "an answer is too long" : "the server closed a connection");
    c->filled += n;
    c->answer[c->filled] = 0;
    char *body = strstr(c->answer, "\r\n\r\n");
    char *length = body ? strcasestr(c->answer, "\r\ncontent-length:") : NULL;
    if (!body || !length || length > body) return 0;
    body += 4;
    size_t body_bytes = strtoul(length + 17, NULL, 10);
    if (c->filled < body - c->answer + body_bytes) return 0;
    if (strncmp(c->answer, "HTTP/1.1 200 ", 13) || !memmem(body, body_bytes, c->expected, c->expected_bytes)) {
        fprintf(stderr, "load: expected 200 and %s in this answer:\n%s\n", c->expected, c->answer);
        exit(1);
    }
    under_way--;
    return 1;
}

static void record(int64_t latency_ns) {
    if (recorded == room) {
        room = room ? room * 2 : 1 << 16;
        latencies_ns = realloc(latencies_ns, room * sizeof *latencies_ns);
        if (!latencies_ns) fail("no memory for latencies");
    }
    latencies_ns[recorded++] = latency_ns;
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double percentile_us(double part) {
    return recorded ? latencies_ns[(size_t)(part * (recorded - 1) + 0.5)] / 1e3 : 0;
}

int main(int argc, char **argv) {
    if (argc != 5) fail("usage: load PORT WARM_S RUN_S MOST < clients");
    int64_t warm_ns = atof(argv[2]) * 1e9, run_ns = atof(argv[3]) * 1e9;
    long most = atol(argv[4]), total = 0;
    int events = epoll_create1(0);
    read_clients();
    for (int i = 0; i < client_count; i++) connect_to(clients[i], atoi(argv[1]), events);

    double cpu_before = cpu_s();
    int64_t begin = now_ns(), from = begin + warm_ns, until = from + run_ns, now = begin;
    for (int i = 0; i < client_count; i++) ask(clients[i]);
    while (under_way) {
        struct epoll_event ready[64];
        int64_t left_ms = (until + PATIENCE_NS - now) / 1000000;
        int n = left_ms > 0 ? epoll_wait(events, ready, 64, left_ms) : 0;
        if (n < 0 && errno != EINTR) fail("epoll_wait");
        if (n == 0) errno = 0, fail("an answer did not come");
        for (int i = 0; i < n; i++) {
            struct client *c = ready[i].data.ptr;
            if (!answered(c)) continue;
            now = now_ns();
            total++;
            if (now >= from && now < until) record(now - c->sent_ns);
            if (now < until && !(most && c->sent >= most)) ask(c);
        }
    }
    double cpu = cpu_s() - cpu_before, seconds = ((now < until ? now : until) - from) / 1e9;
    qsort(latencies_ns, recorded, sizeof *latencies_ns, ascending);
    printf("{\"requests\": %zu, \"seconds\": %.6f, \"p50_us\": %.2f, \"p95_us\": %.2f, \"p99_us\": %.2f, \"max_us\": %.2f, "
           "\"all_requests\": %ld, \"cpu_s\": %.6f}\n",
           recorded, seconds, percentile_us(.5), percentile_us(.95), percentile_us(.99), percentile_us(1), total, cpu);
    return 0;
}
