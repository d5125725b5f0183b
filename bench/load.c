/*
 * What loads a proxy, and what answers behind it?
 *
 * One process with one epoll is both the clients and the servers, so that both fit on the one core that the
 * proxy leaves them.  Bytes are counted and not looked at: what is received is discarded in the kernel
 * (MSG_TRUNC, tcp(7)), what is echoed is only as long as what came.  The first byte of a connection says what
 * its server does: 'e' echoes, 'k' sinks, 's' sends without end, 'd' answers each message with `reply` bytes; a TLS
 * handshake is sunk, too.  'G' and 'P' begin
 * requests of HTTP: GET /N is answered with N bytes, PUT sinks its body, and an upgrade makes an echo of it.
 *
 * Clients bind to changing addresses of 127.0.0.0/8 and servers listen on several of them, because every
 * connection leaves its ports in TIME_WAIT, and the ports of a single pair of addresses would run out.
 *
 * While a measurement runs it polls without sleeping.  To wake a core that sleeps takes a virtual machine up to
 * 100 us, which the sender pays for: the slower the proxy, the more often.  Between machines no send does that.
 *
 * The servers' addresses are printed first, as JSON.  Then each line on stdin is a command, and each is
 * answered by one line of JSON:
 *
 *   measure port=P seconds=S warmup=S pid=PID [exchangers=N] [connectors=N] [rate=N] [uploads=N]
 *           [downloads=N] [pace=BYTES] [size=BYTES] [reply=BYTES] [tls=1] [secure=1] [resume=1] [pulse=N]
 *           [http=1] [files=1] [put=1] [upgrade=1]
 *       The load runs for the warm-up, and then for the seconds that count.  Exchangers send a message and
 *       wait for its echo, or for `reply` bytes, with `pulse` so often a second, evenly spread; their addresses are nobody else's.
 *       Connectors connect, do so once, and close, and `rate` does that so often a second; uploads and
 *       downloads move bytes without end, each at most `pace` a second.  PID is whose processor time is told,
 *       and for how long it waited for its core because another process had it.
 *       With tls uploads go to 127.0.0.2, the proxy's listener for TLS that it passes on, and begin with a
 *       ClientHello; what follows might as well be encrypted.
 *       With secure all clients speak TLS 1.3 with 127.0.0.3, the proxy's listener that ends it, in the same way
 *       whatever the proxy would like better; with resume all but the first resume a session.
 *       With files it is 127.0.0.7, where the proxy serves files that are called by their sizes.
 *       With http all goes to 127.0.0.4, the proxy's listener for HTTP: exchangers GET `size` bytes, or PUT them
 *       with put; connectors GET them with Connection: close.  With upgrade exchangers make a tunnel first, and
 *       exchange messages in it.
 *   hold port=P connections=N [size=BYTES] [secure=1]
 *       Open connections, exchange one message on each, and keep them.
 *   release
 *       Close what is held.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

#define SERVERS 4
#define SOURCES 200              /* addresses that clients come from, and as many for exchangers */
#define MOST_RESTING 1024        /* exchangers that wait for their time */
#define BULK (256 * 1024)        /* what a bulk sender sends at once */
#define SINK (1024 * 1024)       /* what is received at once */
#define ECHO (64 * 1024)         /* what is received at once in order to be echoed */
#define MOST_PACED 4096          /* connections of the flood that may be open at once */
#define AT_ONCE 64               /* connections of `hold` that are being opened at once */
#define EVENTS 256
#define HANDSHAKE 22             /* what a TLS record begins with that carries a ClientHello */
#define DRAIN_SECONDS 3.0
#define HOLD_SECONDS 60.0

enum kind { COMMANDS, LISTENER, SERVER, EXCHANGER, CONNECTOR, PACED, UPLOAD, DOWNLOAD, HELD, KINDS };

struct conn {
    enum kind kind;
    int fd;
    char service;                /* of a server, once it is known; of a client of HTTP, what it waits for */
    bool blocked;                /* waits for EPOLLOUT */
    size_t unsent;
    size_t awaited;
    uint64_t began;
    SSL *ssl;                    /* of a client that speaks TLS */
    bool shaken;                 /* hands */
    struct conn *previous, *next; /* among the clients */
};

/* for bench.example, which offers h2 */
static const char hello[] =
    "\x16\x03\x01\x00\x7b\x01\x00\x00\x77\x03\x03\x00\x01\x02\x03\x04\x05\x06\x07\x08"
    "\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c"
    "\x1d\x1e\x1f\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x06\x0a\x0a"
    "\x13\x01\xc0\x2f\x01\x00\x00\x28\x00\x00\x00\x12\x00\x10\x00\x00\x0d\x62\x65\x6e"
    "\x63\x68\x2e\x65\x78\x61\x6d\x70\x6c\x65\x00\x10\x00\x05\x00\x03\x02\x68\x32\x00"
    "\x2b\x00\x05\x04\x03\x04\x03\x03";

static int poller;
static int served;               /* server connections that are open */
static struct conn clients;      /* head of the ring of all clients */
static int open_of[KINDS], missing[KINDS];
static struct conn *resting[MOST_RESTING];
static int rest;                 /* how many of these there are */
static uint64_t interval;        /* nanoseconds from one exchange of an exchanger to the next; 0 is none */
static struct sockaddr_in target;
static size_t message = 64;
static size_t reply;            /* bytes for each message; 0 is as many as it has, which are its own */
static unsigned pace;            /* bytes a second of a bulk transfer; 0 is as fast as it goes */
static bool tls;                 /* uploads begin with a ClientHello */
static SSL_CTX *secure;          /* with which clients speak TLS; NULL is not at all */
static SSL_SESSION *session;     /* that is resumed */
static bool resume;
static bool http, put, upgrade;  /* HTTP is spoken; bodies go to the server; it becomes a tunnel */
static char asking[512], page[BULK + 256]; /* the head of each request, and room for an answer */
static bool recording, stopping;
static uint64_t handshakes, resumed;
static uint64_t exchanges, connects, opened, errors, bytes_up, bytes_down, held;
static uint64_t idle;            /* nanoseconds of polling in vain */
static uint32_t *latencies;
static size_t sampled, room;
static char echo_bytes[BULK], sink_bytes[BULK], want_bytes[BULK], json_bytes[BULK], scratch[SINK + 1];
static char command[1024];
static size_t command_length;
static bool command_ready, finished;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static double cpu_of(clockid_t whose)
{
    struct timespec at;
    if (clock_gettime(whose, &at))
        return -1;
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

/* For how long a process was ready to run while something else had its core, in seconds (/proc/PID/schedstat). */
static double wait_of(pid_t pid)
{
    char path[64];
    unsigned long long ran, waited = 0;
    snprintf(path, sizeof path, "/proc/%d/schedstat", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    if (fscanf(file, "%llu %llu", &ran, &waited) != 2)
        waited = 0;
    fclose(file);
    return (double)waited / 1e9;
}

static void watch(struct conn *c, int how, uint32_t events)
{
    struct epoll_event event = {.events = events, .data = {.ptr = c}};
    if (epoll_ctl(poller, how, c->fd, &event))
        die("epoll_ctl");
}

static struct conn *made(enum kind kind, int fd)
{
    struct conn *c = calloc(1, sizeof *c);
    if (!c)
        die("calloc");
    c->kind = kind;
    c->fd = fd;
    return c;
}

static void sample(uint64_t nanoseconds)
{
    if (sampled == room) {
        room = room ? room * 2 : 1 << 20;
        latencies = realloc(latencies, room * sizeof *latencies);
        if (!latencies)
            die("realloc");
    }
    latencies[sampled++] = nanoseconds > UINT32_MAX ? UINT32_MAX : (uint32_t)nanoseconds;
}

static void slow_down(int fd)
{
    unsigned most = pace ? pace : ~0u;
    setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &most, sizeof most);
}

/* Wait for what TLS wants, after a call that has not succeeded; false if the connection is lost. */
static bool wants(struct conn *c, int result)
{
    int what = SSL_get_error(c->ssl, result);
    if (what == SSL_ERROR_WANT_READ)
        return true;
    if (what != SSL_ERROR_WANT_WRITE)
        return false;
    if (!c->blocked) {
        c->blocked = true;
        watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
    return true;
}

/* Send up to `unsent` bytes; false if the connection is lost. */
static bool push(struct conn *c, const char *bytes, uint32_t reading)
{
    while (c->ssl && c->unsent) {
        if (!c->shaken)
            return true;
        int sent = SSL_write(c->ssl, bytes, c->unsent < BULK ? (int)c->unsent : BULK);
        if (sent <= 0)
            return wants(c, sent);
        c->unsent -= (size_t)sent;
    }
    while (c->unsent) {
        size_t size = c->unsent < BULK ? c->unsent : BULK;
        ssize_t sent = send(c->fd, bytes, size, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN)
                return false;
            if (!c->blocked) {
                c->blocked = true;
                watch(c, EPOLL_CTL_MOD, reading | EPOLLOUT);
            }
            return true;
        }
        c->unsent -= (size_t)sent;
    }
    if (c->blocked) {
        c->blocked = false;
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
    }
    return true;
}

/* HTTP, as far as it is needed: heads are short, and come whole. */

static const char *header(const char *head, const char *name)
{
    const char *found = strcasestr(head, name);
    return found ? found + strlen(name) : NULL;
}

/* Where the body begins behind a head in `scratch`, of which so much is there; 0 if it is not whole. */
static size_t head_of(size_t got)
{
    scratch[got] = 0;
    const char *end = strstr(scratch, "\r\n\r\n");
    return end ? (size_t)(end - scratch) + 4 : 0;
}

/* Records as an API answers with, which compress to some 30 %. */
static void write_json(void)
{
    static const char *words[] = {"amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron"};
    unsigned state = 1;
    for (size_t n = 0; n < sizeof json_bytes - 1;) {
        unsigned r = state = state * 1103515245 + 12345;
        n += (size_t)snprintf(json_bytes + n, sizeof json_bytes - n,
                              "{\"id\":%u,\"name\":\"%s %s\",\"price\":%u.%02u,\"tags\":[\"%s\",\"%s\"],\"active\":%s},\n",
                              r >> 4, words[r >> 8 & 7], words[r >> 11 & 7], r >> 14 & 1023, (r >> 9) % 100,
                              words[r >> 17 & 7], words[r >> 20 & 7], r >> 24 & 1 ? "true" : "false");
    }
}

/* Answer with so many bytes; false if the connection is lost. */
static bool answer(struct conn *c, size_t size, bool json)
{
    static char date[32];        /* of the first answer: an old one would be too old to be stored */
    if (!date[0]) {
        time_t now = time(NULL);
        strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime(&now));
    }
    int head = snprintf(page, 256, "HTTP/1.1 200 OK\r\nServer: bench\r\nDate: %s\r\n"
                        "Content-Type: application/%s\r\nContent-Length: %zu\r\n\r\n",
                        date, json ? "json" : "octet-stream", size);
    size_t first = size < BULK ? size : BULK;
    memcpy(page + head, json ? json_bytes : sink_bytes, first);
    ssize_t sent = send(c->fd, page, (size_t)head + first, MSG_NOSIGNAL);
    if (sent < head)
        return false;            /* a head fits into the buffer that the last answer has left empty */
    c->unsent = size - (size_t)(sent - head);
    return push(c, sink_bytes, EPOLLIN);
}

/* A request has come, or more of its body. */
static bool respond(struct conn *c, size_t got)
{
    if (c->awaited) {
        c->awaited -= got < c->awaited ? got : c->awaited;
        return c->awaited || answer(c, 2, false);
    }
    size_t body = head_of(got);
    if (!body)
        return false;
    if (header(scratch, "upgrade: websocket")) {
        static const char switching[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"; /* RFC 6455, 1.3 */
        c->service = 'e';
        return send(c->fd, switching, sizeof switching - 1, MSG_NOSIGNAL) > 0;
    }
    if (scratch[0] == 'G') {
        bool json = !strncmp(scratch + 5, "json/", 5);
        return answer(c, strtoul(scratch + (json ? 10 : 5), NULL, 10), json);
    }
    const char *length = header(scratch, "content-length:");
    size_t size = length ? strtoul(length, NULL, 10) : 0;
    c->awaited = size - (got - body);
    return c->awaited || answer(c, 2, false);
}

/* The servers */

static void serve_no_more(struct conn *c)
{
    close(c->fd);
    free(c);
    served--;
}

static void accept_some(struct conn *listener)
{
    for (int i = 0; i < 32; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK);
        if (fd < 0) {
            if (errno == EAGAIN || errno == ECONNABORTED)
                return;
            die("accept4");
        }
        watch(made(SERVER, fd), EPOLL_CTL_ADD, EPOLLIN);
        served++;
    }
}

static void serve(struct conn *c, uint32_t events)
{
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        ssize_t got;
        if (c->service && (c->service != 'h' || c->awaited))
            got = recv(c->fd, scratch, c->service == 'e' ? ECHO : SINK, MSG_TRUNC);
        else if ((got = recv(c->fd, scratch, ECHO, 0)) > 0 && !c->service)
            c->service = scratch[0] == HANDSHAKE ? 'k' : scratch[0] == 'G' || scratch[0] == 'P' ? 'h' : scratch[0];
        if (got < 0 && errno == EAGAIN)
            got = 0;
        else if (got <= 0) {
            serve_no_more(c);
            return;
        }
        if (c->service == 'k') {
            bytes_up += (uint64_t)got;
        } else if (c->service == 'h') {
            if (put)
                bytes_up += (uint64_t)got;
            if (got && !respond(c, (size_t)got)) {
                serve_no_more(c);
                return;
            }
        } else if (c->service == 'e') {
            c->unsent += (size_t)got;
            if (!push(c, echo_bytes, EPOLLIN))
                serve_no_more(c);
            return;
        } else if (c->service == 'd') {
            c->unsent += got ? reply : 0;  /* a message comes whole: it is one record, or one segment */
            if (!push(c, sink_bytes, EPOLLIN))
                serve_no_more(c);
            return;
        } else if (c->service == 's' && got) {
            slow_down(c->fd);
            watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return;
        }
    }
    if (events & EPOLLOUT) {
        if (c->service == 'e') {
            if (!push(c, echo_bytes, EPOLLIN))
                serve_no_more(c);
        } else if (c->service == 'h' || c->service == 'd') {
            if (!push(c, sink_bytes, EPOLLIN))
                serve_no_more(c);
        } else if (send(c->fd, sink_bytes, BULK, MSG_NOSIGNAL) < 0 && errno != EAGAIN) {
            serve_no_more(c);
        }
    }
}

/* The clients */

static void closed(struct conn *c)
{
    for (int i = 0; i < rest; i++)
        if (resting[i] == c)
            resting[i--] = resting[--rest];
    c->previous->next = c->next;
    c->next->previous = c->previous;
    open_of[c->kind]--;
    if (c->ssl) {
        if (c->shaken)
            SSL_shutdown(c->ssl);
        SSL_free(c->ssl);
    }
    close(c->fd);
    free(c);
}

static void failed(struct conn *c)
{
    errors++;
    if (c->kind != PACED)
        missing[c->kind]++;      /* opened again by the loop, not from here: it may fail at once */
    closed(c);
}

/* Send the head of a request, and the body behind it. */
static bool ask(struct conn *c)
{
    c->unsent = put ? message : 0;
    if (send(c->fd, asking, strlen(asking), MSG_NOSIGNAL) < 0) {
        c->service = 'A';        /* it is not connected yet */
        c->blocked = true;
        watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
        return errno == EAGAIN;
    }
    c->service = 'a';
    return push(c, sink_bytes, EPOLLIN);
}

static bool begin(struct conn *c)
{
    c->began = now();
    if (http && c->service != 'e')
        return ask(c);
    c->unsent = message;
    c->awaited = reply ? reply : message;
    return push(c, reply ? want_bytes : echo_bytes, EPOLLIN);
}

static void open_client(enum kind kind)
{
    static const int on = 1;
    static uint32_t turns[2];    /* of the addresses of exchangers, and of all others */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0)
        die("socket");
    struct conn *c = made(kind, fd);
    c->next = &clients;
    c->previous = clients.previous;
    clients.previous->next = c;
    clients.previous = c;
    open_of[kind]++;
    opened++;
    bool other = kind != EXCHANGER;
    uint32_t net = other ? 1 : 3; /* 127.1.0.1 and on; 127.3.0.1 and on */
    uint32_t turn = turns[other]++;
    uint32_t source = INADDR_LOOPBACK + (net << 16) + turn % SOURCES;
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = {htonl(source)}};
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&from, sizeof from))
        die("bind");
    if (kind == UPLOAD)
        slow_down(fd);
    c->began = now();            /* of a connector the connect counts too */
    if (connect(fd, (struct sockaddr *)&target, sizeof target) && errno != EINPROGRESS) {
        failed(c);
        return;
    }
    uint64_t began = c->began;
    if (secure) {
        c->ssl = SSL_new(secure);
        if (!c->ssl || !SSL_set_fd(c->ssl, fd))
            die("SSL_new");
        SSL_set_connect_state(c->ssl);
        if (resume && session)
            SSL_set_session(c->ssl, session);
        c->blocked = true;       /* until it is connected */
    }
    watch(c, EPOLL_CTL_ADD, kind == UPLOAD || secure ? EPOLLIN | EPOLLOUT : EPOLLIN);
    bool good = true;
    if (kind == DOWNLOAD) {
        c->unsent = 1;
        good = push(c, "s", EPOLLIN);
    } else if (kind == UPLOAD) {
        c->unsent = tls ? sizeof hello - 1 : 0;
    } else if (kind == EXCHANGER && interval && rest < MOST_RESTING) {
        double part = turn * 0.618; /* of the golden ratio, which spreads any number of them */
        c->began = began + (uint64_t)((double)interval * (part - (double)(uint64_t)part));
        resting[rest++] = c;
    } else {
        good = begin(c);
        c->began = began;
    }
    if (!good)
        failed(c);
}

/* The answer is complete. */
static void answered(struct conn *c)
{
    enum kind kind = c->kind;
    if (kind == EXCHANGER) {
        exchanges++;
        if (recording)
            sample(now() - c->began);
        if (interval && rest < MOST_RESTING) {
            c->began += interval;
            resting[rest++] = c;
        } else if (!begin(c))
            failed(c);
    } else if (kind == HELD) {
        held++;
    } else {
        connects++;
        if (resume && !session)
            session = SSL_get1_session(c->ssl);
        if (recording && kind == CONNECTOR)
            sample(now() - c->began);
        closed(c);
        if (kind == CONNECTOR && !stopping)
            open_client(CONNECTOR);
    }
}

/* Upload as much as the kernel takes now; false if the connection is lost. */
static bool upload_tls(struct conn *c)
{
    for (;;) {
        int sent = SSL_write(c->ssl, sink_bytes, BULK);
        if (sent <= 0)
            return wants(c, sent);
    }
}

/* A client that speaks TLS. */
static void attend_tls(struct conn *c, uint32_t events)
{
    const char *bytes = c->kind == DOWNLOAD ? "s" : reply ? want_bytes : echo_bytes;
    if (c->blocked && events & EPOLLOUT) {
        c->blocked = false;
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
    }
    if (!c->shaken) {
        int done = SSL_do_handshake(c->ssl);
        if (done != 1) {
            if (!wants(c, done))
                failed(c);
            return;
        }
        c->shaken = true;
        handshakes++;
        resumed += (uint64_t)SSL_session_reused(c->ssl);
    }
    if (!(c->kind == UPLOAD ? upload_tls(c) : push(c, bytes, EPOLLIN))) {
        failed(c);
        return;
    }
    for (;;) {
        int got = SSL_read(c->ssl, scratch, SINK);
        if (got <= 0) {
            if (!wants(c, got))
                failed(c);
            return;
        }
        if (c->kind == DOWNLOAD || reply)
            bytes_down += (uint64_t)got;
        if (c->kind == DOWNLOAD)
            continue;
        c->awaited -= (size_t)got < c->awaited ? (size_t)got : c->awaited;
        if (!c->awaited && !c->unsent) {
            answered(c);
            return;              /* it may be gone; of an answer nothing is left */
        }
    }
}

static void attend(struct conn *c, uint32_t events)
{
    if (c->ssl) {
        attend_tls(c, events);
        return;
    }
    if (events & EPOLLOUT) {
        if (c->kind == UPLOAD) {
            /* The ClientHello fits into the empty buffer of a new socket. */
            ssize_t sent = send(c->fd, c->unsent ? hello : sink_bytes, c->unsent ? c->unsent : BULK, MSG_NOSIGNAL);
            if (sent < 0 && errno != EAGAIN) {
                failed(c);
                return;
            }
            if (sent > 0)
                c->unsent = 0;
        } else if (c->service == 'A') {
            c->blocked = false;
            watch(c, EPOLL_CTL_MOD, EPOLLIN);
            if (!ask(c)) {
                failed(c);
                return;
            }
        } else if (!push(c, c->kind == DOWNLOAD ? "s" : c->service == 'a' ? sink_bytes : reply ? want_bytes : echo_bytes, EPOLLIN)) {
            failed(c);
            return;
        }
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        ssize_t got = recv(c->fd, scratch, SINK - 1, c->service == 'a' ? 0 : MSG_TRUNC);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            failed(c);
            return;
        }
        if (c->service == 'a') {
            size_t body = head_of((size_t)got);
            const char *length = body ? header(scratch, "content-length:") : NULL;
            if (upgrade && body && strstr(scratch, " 101 ")) {
                c->service = 'e';
                c->unsent = c->awaited = 0;
                if (!begin(c))
                    failed(c);
                return;
            }
            if (!length || !strstr(scratch, " 200 ")) {
                failed(c);
                return;
            }
            c->service = 'b';
            c->awaited = body + strtoul(length, NULL, 10);
        }
        if (http && !put && c->service == 'b')
            bytes_down += (uint64_t)got;
        if (c->kind == DOWNLOAD) {
            bytes_down += (uint64_t)got;
            return;
        }
        c->awaited -= (size_t)got < c->awaited ? (size_t)got : c->awaited;
        if (!c->awaited && !c->unsent)
            answered(c);
    }
}

/* The loop */

static void read_command(void)
{
    ssize_t got = read(0, command + command_length, sizeof command - 1 - command_length);
    if (got <= 0) {
        finished = true;
        return;
    }
    command_length += (size_t)got;
    command[command_length] = 0;
    command_ready = strchr(command, '\n') != NULL;
}

static void turn(int milliseconds)
{
    struct epoll_event events[EVENTS];
    uint64_t before = recording ? now() : 0;
    int count = epoll_wait(poller, events, EVENTS, milliseconds);
    if (count < 0 && errno != EINTR)
        die("epoll_wait");
    if (!count && recording)
        idle += now() - before;
    for (int i = 0; i < count; i++) {
        struct conn *c = events[i].data.ptr;
        switch (c->kind) {
        case COMMANDS: read_command(); break;
        case LISTENER: accept_some(c); break;
        case SERVER: serve(c, events[i].events); break;
        default: attend(c, events[i].events);
        }
    }
    for (int kind = 0; kind < KINDS; kind++) {
        int again = missing[kind];
        missing[kind] = 0;
        while (again-- > 0 && !stopping)
            open_client(kind);
    }
}

/* Exchangers whose time has come begin; what they wait for us counts, too, as their users would say. */
static void wake(void)
{
    uint64_t at = now();
    for (int i = rest - 1; i >= 0; i--) {
        struct conn *c = resting[i];
        if (c->began > at)
            continue;
        uint64_t due = c->began;
        resting[i] = resting[--rest];
        bool good = begin(c);
        c->began = due;
        if (!good)
            failed(c);
    }
}

static void run_until(uint64_t end, double rate)
{
    uint64_t began = now(), issued = 0, at;
    while ((at = now()) < end && !finished) {
        uint64_t due = (uint64_t)(rate * (double)(at - began) / 1e9);
        for (; issued < due; issued++)
            if (open_of[PACED] < MOST_PACED)
                open_client(PACED);
            else
                errors++;
        if (rest)
            wake();
        turn(0);
    }
}

/* Close all clients, and wait until the proxy has let go of the servers. */
static void close_all(void)
{
    stopping = true;
    while (clients.next != &clients)
        closed(clients.next);
    memset(missing, 0, sizeof missing);
    uint64_t end = now() + (uint64_t)(DRAIN_SECONDS * 1e9);
    while (served && now() < end)
        turn(10);
    stopping = false;
}

static double option(const char *name, double otherwise)
{
    char key[64];
    snprintf(key, sizeof key, " %s=", name);
    const char *found = strstr(command, key);
    return found ? atof(found + strlen(key)) : otherwise;
}

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double percentile(double share)
{
    return sampled ? latencies[(size_t)(share * (double)(sampled - 1))] / 1e3 : 0;
}

static void prepare_tls(void)
{
    SSL_CTX_free(secure);
    SSL_SESSION_free(session);
    secure = NULL;
    session = NULL;
    resume = option("resume", 0) > 0;
    handshakes = resumed = 0;
    if (option("secure", 0) <= 0)
        return;
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 2);
    secure = SSL_CTX_new(TLS_client_method());
    if (!secure || !SSL_CTX_set_min_proto_version(secure, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(secure, "TLS_AES_256_GCM_SHA384") || !SSL_CTX_set1_groups_list(secure, "X25519"))
        die("SSL_CTX_new");
    SSL_CTX_set_read_ahead(secure, 1);
    SSL_CTX_set_mode(secure, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                 SSL_MODE_RELEASE_BUFFERS);
}

static void prepare(void)
{
    target.sin_family = AF_INET;
    tls = option("tls", 0) > 0;
    http = option("http", 0) > 0, put = option("put", 0) > 0, upgrade = option("upgrade", 0) > 0;
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (option("files", 0) > 0 ? 6 : http ? 3 : tls));
    prepare_tls();
    target.sin_port = htons((uint16_t)option("port", 0));
    message = (size_t)option("size", 64);
    reply = (size_t)option("reply", 0);
    if (put)
        snprintf(asking, sizeof asking, "PUT / HTTP/1.1\r\nHost: bench\r\nUser-Agent: load\r\nContent-Length: %zu\r\n\r\n", message);
    else
        snprintf(asking, sizeof asking, "GET /%zu HTTP/1.1\r\nHost: bench\r\nUser-Agent: load\r\nAccept: */*\r\n%s\r\n", message,
                 upgrade ? "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" : option("connectors", 0) > 0 ? "Connection: close\r\n" : "");
    pace = (unsigned)option("pace", 0);
    double pulse = option("pulse", 0);
    interval = pulse > 0 ? (uint64_t)(1e9 / pulse) : 0;
    exchanges = connects = opened = errors = bytes_up = bytes_down = held = 0;
    sampled = 0;
}

static void measure(void)
{
    static const struct { const char *name; enum kind kind; } loads[] = {
        {"exchangers", EXCHANGER}, {"connectors", CONNECTOR}, {"uploads", UPLOAD}, {"downloads", DOWNLOAD},
    };
    double rate = option("rate", 0);
    pid_t pid = (pid_t)option("pid", 0);
    clockid_t proxy;
    if (clock_getcpuclockid(pid, &proxy))
        proxy = CLOCK_PROCESS_CPUTIME_ID;
    prepare();
    for (size_t i = 0; i < sizeof loads / sizeof *loads; i++)
        for (int n = (int)option(loads[i].name, 0); n > 0; n--)
            open_client(loads[i].kind);
    run_until(now() + (uint64_t)(option("warmup", 0.3) * 1e9), rate);

    uint64_t handshakes0 = handshakes, resumed0 = resumed;
    uint64_t exchanges0 = exchanges, connects0 = connects, opened0 = opened, up0 = bytes_up, down0 = bytes_down, began = now();
    double cpu = cpu_of(proxy);
    double waited = wait_of(pid), own_waited = wait_of(getpid());
    idle = 0;
    recording = true;
    run_until(began + (uint64_t)(option("seconds", 1) * 1e9), rate);
    recording = false;
    cpu = cpu_of(proxy) - cpu;
    waited = wait_of(pid) - waited;
    own_waited = wait_of(getpid()) - own_waited;
    double seconds = (double)(now() - began) / 1e9;
    double busy = seconds - (double)idle / 1e9;
    handshakes -= handshakes0, resumed -= resumed0;
    exchanges -= exchanges0, connects -= connects0, opened -= opened0, bytes_up -= up0, bytes_down -= down0;

    close_all();
    qsort(latencies, sampled, sizeof *latencies, ascending);
    printf("{\"seconds\": %.6f, \"cpu\": %.6f, \"load_busy\": %.6f, \"waited\": %.6f, \"load_waited\": %.6f, "
           "\"exchanges\": %llu, \"connects\": %llu, \"opened\": %llu, "
           "\"handshakes\": %llu, \"resumed\": %llu, "
           "\"bytes_up\": %llu, \"bytes_down\": %llu, \"errors\": %llu, \"p50\": %.2f, \"p99\": %.2f, "
           "\"left\": %d}\n",
           seconds, cpu, busy, waited, own_waited, (unsigned long long)exchanges, (unsigned long long)connects,
           (unsigned long long)opened, (unsigned long long)handshakes, (unsigned long long)resumed,
           (unsigned long long)bytes_up, (unsigned long long)bytes_down, (unsigned long long)errors,
           percentile(0.5), percentile(0.99), served);
}

static void hold(void)
{
    uint64_t connections = (uint64_t)option("connections", 0);
    uint64_t end = now() + (uint64_t)(HOLD_SECONDS * 1e9);
    prepare();
    while (held < connections && now() < end && !finished) {
        uint64_t begun = (uint64_t)open_of[HELD];
        for (; begun < connections && begun < held + AT_ONCE; begun++)
            open_client(HELD);
        turn(10);
    }
    printf("{\"held\": %llu, \"errors\": %llu}\n", (unsigned long long)held, (unsigned long long)errors);
}

static void release(void)
{
    close_all();
    printf("{\"left\": %d}\n", served);
}

static void listen_on_all(void)
{
    static const int on = 1;
    in_port_t port = 0;
    printf("{\"servers\": [");
    for (uint32_t i = 0; i < SERVERS; i++) {
        struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = port};
        own.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (2u << 16) + i); /* 127.2.0.1 and on */
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* what is accepted inherits it */
        if (bind(fd, (struct sockaddr *)&own, sizeof own) || listen(fd, 4096))
            die("listen");
        socklen_t length = sizeof own;
        getsockname(fd, (struct sockaddr *)&own, &length);
        port = own.sin_port;
        watch(made(LISTENER, fd), EPOLL_CTL_ADD, EPOLLIN);
        printf("%s\"%s:%d\"", i ? ", " : "", inet_ntoa(own.sin_addr), ntohs(port));
    }
    printf("]}\n");
}

int main(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    memset(echo_bytes, 'e', sizeof echo_bytes);
    memset(sink_bytes, 'k', sizeof sink_bytes);
    memset(want_bytes, 'd', sizeof want_bytes);
    write_json();
    clients.next = clients.previous = &clients;
    poller = epoll_create1(EPOLL_CLOEXEC);
    listen_on_all();
    watch(made(COMMANDS, 0), EPOLL_CTL_ADD, EPOLLIN);
    while (!finished) {
        turn(-1);
        if (!command_ready)
            continue;
        command_ready = false;
        if (!strncmp(command, "measure ", 8))
            measure();
        else if (!strncmp(command, "hold ", 5))
            hold();
        else if (!strncmp(command, "release", 7))
            release();
        else
            printf("{\"error\": \"unknown command\"}\n");
        command_length = 0;
    }
    return 0;
}
