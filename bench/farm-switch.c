/* A switch with latency, for bench/farm on kernels without netem.
 *
 *     farm-switch --delay US --rate MBIT --control FIFO FD...
 *
 * Each FD is a board's network namespace, open; there the switch takes the TAP device eth0, whose
 * address is 02:77:00:00:00:NN, NN the board's number.  A frame that a board sends (shaped there by
 * the kernel) waits for that board's one-way delay, then stands in the queue of the receiving
 * board's link, which passes RATE on (0: no limit) and holds at most 50 ms: what comes beyond is
 * dropped, as a switch does.  Lines on the FIFO change links: "rate BOARD MBIT", "delay BOARD US",
 * "cut BOARD 0", "join BOARD 0".  Prints "ready"; on SIGTERM says how many frames passed. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define BOARDS_MAX     99
#define FRAMES_MAX     32768
#define FRAME_BYTES    1600
#define FRAME_OVERHEAD 24       /* preamble, gap, checksum: as tbf's "overhead 24" */
#define QUEUE_NS       50000000 /* the longest wait for a busy link */
#define BURST          64       /* frames taken from one board before the others have a turn */

struct frame {
    int64_t due_ns; /* arrives at the receiver's queue, or (queued) at the receiver */
    uint64_t order; /* among equal times */
    int to;
    bool queued; /* has its place on the receiver's link */
    int bytes;
    unsigned char data[FRAME_BYTES];
};

struct link {
    int tap;
    int64_t delay_ns;
    double ns_per_byte; /* 0: no limit */
    int64_t free_ns;    /* when the receiver's link has sent everything queued */
    bool cut;
};

struct sw {
    struct link links[BOARDS_MAX + 1]; /* by board number, from 1 */
    int boards, control, epoll;
    struct frame *frames;
    int *unused, unused_count;
    int *heap, heap_count; /* of frames by due_ns, least first */
    uint64_t order, passed, dropped;
};

static volatile sig_atomic_t stopping;

static void on_signal(int number) {
    (void)number;
    stopping = 1;
}

static void die(const char *what) {
    fprintf(stderr, "farm-switch: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- frames by time -------------------------------------------------------------------------- */

static bool earlier(const struct sw *s, int a, int b) {
    const struct frame *x = &s->frames[a], *y = &s->frames[b];
    return x->due_ns != y->due_ns ? x->due_ns < y->due_ns : x->order < y->order;
}

static void heap_put(struct sw *s, int f) {
    int i = s->heap_count++;
    s->frames[f].order = s->order++;
    for (; i > 0 && earlier(s, f, s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = f;
}

static int heap_take(struct sw *s) {
    int first = s->heap[0], f = s->heap[--s->heap_count], i = 0;
    for (int child; (child = 2 * i + 1) < s->heap_count; i = child) {
        if (child + 1 < s->heap_count && earlier(s, s->heap[child + 1], s->heap[child]))
            child++;
        if (!earlier(s, s->heap[child], f))
            break;
        s->heap[i] = s->heap[child];
    }
    s->heap[i] = f;
    return first;
}

static void drop(struct sw *s, int f) {
    s->unused[s->unused_count++] = f;
    s->dropped++;
}

/* ---- boards' side ---------------------------------------------------------------------------- */

static void send_to(struct sw *s, int f, int to) {
    s->frames[f].to = to;
    s->frames[f].queued = false;
    heap_put(s, f);
}

/* To everybody but the sender. */
static void send_to_all(struct sw *s, int f, int from) {
    for (int b = 1; b <= s->boards; b++) {
        if (b == from || s->unused_count == 0)
            continue;
        int copy = s->unused[--s->unused_count];
        s->frames[copy] = s->frames[f];
        send_to(s, copy, b);
    }
    s->unused[s->unused_count++] = f;
}

static void take_frames(struct sw *s, int from) {
    struct link *l = &s->links[from];
    for (int i = 0; i < BURST && s->unused_count > 0; i++) {
        int f = s->unused[s->unused_count - 1];
        struct frame *frame = &s->frames[f];
        ssize_t n = read(l->tap, frame->data, sizeof frame->data);
        if (n < 14) /* nothing there, or no Ethernet frame */
            return;
        s->unused_count--;
        frame->bytes = (int)n;
        frame->due_ns = now_ns() + l->delay_ns;
        int to = frame->data[5];
        if (l->cut)
            drop(s, f);
        else if ((frame->data[0] & 1) != 0) /* broadcast or multicast */
            send_to_all(s, f, from);
        else if (frame->data[1] == 0x77 && to >= 1 && to <= s->boards)
            send_to(s, f, to);
        else
            drop(s, f);
    }
}

/* The frame is due: at the queue of its receiver's link, or behind that at the receiver. */
static void move_on(struct sw *s, int f) {
    struct frame *frame = &s->frames[f];
    struct link *l = &s->links[frame->to];
    if (l->cut) {
        drop(s, f);
    } else if (!frame->queued) {
        int64_t start = l->free_ns > frame->due_ns ? l->free_ns : frame->due_ns;
        if (start - frame->due_ns > QUEUE_NS) {
            drop(s, f);
            return;
        }
        l->free_ns = start + (int64_t)((frame->bytes + FRAME_OVERHEAD) * l->ns_per_byte);
        frame->due_ns = l->free_ns;
        frame->queued = true;
        heap_put(s, f);
    } else if (write(l->tap, frame->data, (size_t)frame->bytes) < 0) {
        drop(s, f);
    } else {
        s->passed++;
        s->unused[s->unused_count++] = f;
    }
}

/* ---- control --------------------------------------------------------------------------------- */

static void set_rate(struct link *l, double mbit) {
    l->ns_per_byte = mbit > 0 ? 8000 / mbit : 0;
}

static void obey(struct sw *s, const char *line) {
    char what[16];
    int board;
    double value;
    if (sscanf(line, "%15s %d %lf", what, &board, &value) != 3 || board < 1 || board > s->boards) {
        fprintf(stderr, "farm-switch: not understood: %s\n", line);
        return;
    }
    struct link *l = &s->links[board];
    if (strcmp(what, "rate") == 0)
        set_rate(l, value);
    else if (strcmp(what, "delay") == 0)
        l->delay_ns = (int64_t)(value * 1000);
    else
        l->cut = strcmp(what, "cut") == 0;
}

/* Lines are shorter than PIPE_BUF, so each read gets whole ones. */
static void read_control(struct sw *s) {
    char text[4096], *rest = text;
    ssize_t n = read(s->control, text, sizeof text - 1);
    if (n <= 0)
        return;
    text[n] = '\0';
    for (char *line; (line = strsep(&rest, "\n")) != NULL;)
        if (line[0] != '\0')
            obey(s, line);
}

/* ---- beginning ------------------------------------------------------------------------------- */

static void watch(struct sw *s, int fd, int number) {
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = (uint32_t)number};
    if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e) != 0)
        die("epoll");
}

static void plug_in(struct sw *s, int namespace, int board) {
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    strcpy(request.ifr_name, "eth0");
    if (setns(namespace, CLONE_NEWNET) != 0)
        die("entering a board's namespace");
    close(namespace);
    int tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (tap < 0 || ioctl(tap, TUNSETIFF, &request) != 0)
        die("taking a board's TAP device");
    s->links[board].tap = tap;
    watch(s, tap, board);
}

static void prepare(struct sw *s, const char *fifo) {
    s->frames = calloc(FRAMES_MAX, sizeof *s->frames);
    s->unused = calloc(FRAMES_MAX, sizeof *s->unused);
    s->heap = calloc(FRAMES_MAX, sizeof *s->heap);
    if (s->frames == NULL || s->unused == NULL || s->heap == NULL)
        die("memory for frames");
    while (s->unused_count < FRAMES_MAX) {
        s->unused[s->unused_count] = s->unused_count;
        s->unused_count++;
    }
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->control = open(fifo, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (s->control < 0)
        die(fifo);
    watch(s, s->control, 0);
}

/* On time, or the boards' round trips would be what this process' scheduling makes them. */
static void be_punctual(void) {
    struct sched_param p = {.sched_priority = 10};
    if (sched_setscheduler(0, SCHED_FIFO, &p) != 0)
        fprintf(stderr, "farm-switch: no real-time priority: delays will vary\n");
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
}

/* ---- running --------------------------------------------------------------------------------- */

static void run(struct sw *s) {
    while (!stopping) {
        struct epoll_event events[BOARDS_MAX + 1];
        struct timespec wait = {0}, *limit = NULL;
        if (s->heap_count > 0) {
            int64_t ns = s->frames[s->heap[0]].due_ns - now_ns();
            if (ns > 0)
                wait = (struct timespec){.tv_sec = (time_t)(ns / 1000000000),
                                         .tv_nsec = (long)(ns % 1000000000)};
            limit = &wait;
        }
        int n = epoll_pwait2(s->epoll, events, BOARDS_MAX + 1, limit, NULL);
        for (int i = 0; i < n; i++) {
            int board = (int)events[i].data.u32;
            if (board == 0)
                read_control(s);
            else
                take_frames(s, board);
        }
        for (int64_t now = now_ns(); s->heap_count > 0 && s->frames[s->heap[0]].due_ns <= now;)
            move_on(s, heap_take(s));
    }
}

int main(int argc, char **argv) {
    static struct sw s;
    const char *fifo = NULL;
    double delay_us = 0, mbit = 0;
    int at = 1;
    for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        if (strcmp(argv[at], "--delay") == 0)
            delay_us = atof(argv[at + 1]);
        else if (strcmp(argv[at], "--rate") == 0)
            mbit = atof(argv[at + 1]);
        else if (strcmp(argv[at], "--control") == 0)
            fifo = argv[at + 1];
        else
            break;
    }
    s.boards = argc - at;
    if (fifo == NULL || s.boards < 1 || s.boards > BOARDS_MAX) {
        fprintf(stderr, "usage: farm-switch --delay US --rate MBIT --control FIFO FD...\n");
        return 2;
    }
    prepare(&s, fifo);
    for (int b = 1; b <= s.boards; b++) {
        s.links[b].delay_ns = (int64_t)(delay_us * 1000);
        set_rate(&s.links[b], mbit);
        plug_in(&s, atoi(argv[at + b - 1]), b);
    }
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    be_punctual();
    printf("ready\n");
    fflush(stdout);
    run(&s);
    fprintf(stderr, "farm-switch: %llu frames, %llu dropped\n", (unsigned long long)s.passed,
            (unsigned long long)s.dropped);
    return 0;
}
