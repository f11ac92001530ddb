/* Dilation: CPU time from the thread's own clock, sleeping by the monotonic one. */
#include "board/dilate.h"

#include <time.h>

#define LEAST_NS 50000   /* blocks below are not worth a look at the clocks */
#define BURST_NS 2000000 /* of CPU between two sleeps, where the time is known anyway */
#define LATE_NS  1000000 /* a wake-up may come so late on an idle machine */
#define LATE_OF  20      /* … or a 20th of the block's time */
/* Messages move on unnoticed for at most so long: real boards look between items of up to 4 ms, and
 * every look takes CPU time from the other boards of this machine. */
#define POLL_NS  2000000
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

static int64_t cpu_now(void) {
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

int64_t dilation_busy_ns(const struct dilation *d) {
    int64_t used = d->counts.cpu_ns + cpu_now() - d->cpu_ns;
    return (int64_t)((double)used / d->share);
}

static void begin_at(struct dilation *d, int64_t ns) {
    d->target_ns = ns;
    d->cpu_ns = d->awake_ns = cpu_now();
    d->end_ns = 0;
    d->over_ns = 0;
}

void dilation_begin(struct dilation *d) {
    begin_at(d, clock_ns(CLOCK_MONOTONIC) - d->over_ns);
}

void dilation_waited(struct dilation *d) {
    d->over_ns = 0;
}

void dilation_resume(struct dilation *d) {
    if (d->end_ns == 0)
        begin_at(d, clock_ns(CLOCK_MONOTONIC));
    else
        d->cpu_ns = cpu_now();
}

void dilation_expect(struct dilation *d, int64_t ns) {
    d->expected_ns = ns;
    d->end_ns = d->target_ns + ns;
    d->cpu_ns = cpu_now();
}

void dilation_share_end(struct dilation *d, const struct dilation *of) {
    d->expected_ns = of->expected_ns;
    d->end_ns = of->end_ns;
}

static void count_block(struct dilation *d, int64_t now, int64_t ns) {
    int64_t allowed = ns / LATE_OF > LATE_NS ? ns / LATE_OF : LATE_NS;
    d->counts.blocks++;
    d->counts.late += now > d->target_ns + allowed;
}

static void sleep_to_target(struct dilation *d, int64_t now, dilation_poll_fn poll, void *context) {
    while (now < d->target_ns) {
        bool in_pieces = poll != NULL && d->target_ns - now > POLL_NS;
        sleep_until(in_pieces ? now + POLL_NS : d->target_ns);
        if (in_pieces)
            poll(context);
        now = clock_ns(CLOCK_MONOTONIC);
    }
    d->cpu_ns = d->awake_ns = cpu_now();
    d->over_ns = now - d->target_ns < LATE_NS ? now - d->target_ns : LATE_NS;
}

void dilation_step(struct dilation *d, bool last, dilation_poll_fn poll, void *context) {
    const bool known = d->end_ns != 0;
    int64_t cpu = cpu_now(), used = cpu - d->cpu_ns;
    if (!last && (known ? cpu - d->awake_ns < BURST_NS : used < LEAST_NS))
        return;
    int64_t stretched = (int64_t)((double)used / d->share);
    int64_t now = clock_ns(CLOCK_MONOTONIC);
    d->target_ns += known ? stretched / 2 : stretched;
    if (known && d->target_ns > d->end_ns - d->expected_ns / 2)
        d->target_ns = d->end_ns - d->expected_ns / 2;
    d->counts.cpu_ns += used;
    if (!known && used >= LEAST_NS)
        count_block(d, now, stretched);
    sleep_to_target(d, now, poll, context);
}

void dilation_done(struct dilation *d, dilation_poll_fn poll, void *context) {
    if (d->end_ns == 0) {
        dilation_step(d, false, poll, context);
        return;
    }
    int64_t cpu = cpu_now(), now = clock_ns(CLOCK_MONOTONIC);
    d->counts.cpu_ns += cpu - d->cpu_ns;
    d->cpu_ns = cpu;
    d->target_ns = d->end_ns;
    d->end_ns = 0;
    if (d->expected_ns > 0)
        count_block(d, now, d->expected_ns);
    if (cpu - d->awake_ns >= BURST_NS)
        sleep_to_target(d, now, poll, context);
}
