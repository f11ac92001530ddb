/* Dilation: CPU time from the thread's own clock, sleeping by the monotonic one. */
#include "board/dilate.h"

#include <time.h>

#define LEAST_NS 50000   /* blocks below are not worth a look at the clocks */
#define LATE_NS  1000000 /* a wake-up may come so late on an idle machine */
#define LATE_OF  20      /* … or a 20th of the block's time */
#define POLL_NS  1000000 /* messages move on unnoticed for at most so long */
#define NS_PER_S INT64_C(1000000000)

static int64_t clock_ns(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static void sleep_until(int64_t ns) {
    struct timespec t = {.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
    (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL); /* a signal: looked at again */
}

int64_t dilation_busy_ns(const struct dilation *d) {
    int64_t used = d->counts.cpu_ns + clock_ns(CLOCK_THREAD_CPUTIME_ID) - d->cpu_ns;
    return (int64_t)((double)used / d->share);
}

void dilation_begin(struct dilation *d) {
    d->target_ns = clock_ns(CLOCK_MONOTONIC);
    d->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

void dilation_step(struct dilation *d, bool last, dilation_poll_fn poll, void *context) {
    int64_t used = clock_ns(CLOCK_THREAD_CPUTIME_ID) - d->cpu_ns;
    if (used < LEAST_NS && !last)
        return;
    int64_t stretched = (int64_t)((double)used / d->share);
    int64_t now = clock_ns(CLOCK_MONOTONIC);
    int64_t allowed = stretched / LATE_OF > LATE_NS ? stretched / LATE_OF : LATE_NS;
    d->target_ns += stretched;
    d->counts.cpu_ns += used;
    if (used >= LEAST_NS) {
        d->counts.blocks++;
        d->counts.late += now > d->target_ns + allowed;
    }
    while (now < d->target_ns) {
        bool in_pieces = poll != NULL && d->target_ns - now > POLL_NS;
        sleep_until(in_pieces ? now + POLL_NS : d->target_ns);
        if (in_pieces)
            poll(context);
        now = clock_ns(CLOCK_MONOTONIC);
    }
    d->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
}
