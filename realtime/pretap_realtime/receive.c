/* What is in a hurry on the live path: samples come from LSL, lie where they should, complete a window, and the numbers
   go out, all in one call.

   `express.py` fills the struct and does the rest in Python: the accounts, the messages, and whatever is not plain. The
   reason is the processor's caches: 20 decisions a second find them cold, and what is in the way then is not work but
   the amount of code and data that work touches. Python's share of a decision, 15 us of work, takes 150 us then.

   Nothing is decided here that `Pipeline.push` would decide otherwise: where there is anything to say of a sample, no
   sample is taken, and Python looks. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define LONG_S 0.005

#ifndef SOURCE_CRC
#define SOURCE_CRC 0
#endif

const uint32_t pretap_receive_crc = SOURCE_CRC; /* of this file: a library that was built from another is not used */

/* What the thread that watches looks at. It is never freed: a watching thread outlives the interpreter. */
typedef struct {
    volatile double since_s; /* when the leader began to send; infinity: it does not */
    volatile int32_t ended;
} watch;

typedef struct {
    /* liblsl */
    unsigned long (*pull)(void *, float *, double *, unsigned long, unsigned long, double, int32_t *);
    void *inlet;
    float *x;       /* (n_room, n_channels) */
    double *stamps; /* (n_room,) */
    int64_t n_room, n_channels, n_wanted;
    double timeout_s;
    /* `Health.is_sound`: up to `n_quick` samples, the first one number `n_seen`, lie within `limit` of their places */
    int64_t n_quick, n_most; /* nothing is taken of more than n_most: an overload */
    double t0_s, s_ref, rate_hz, n_ref, n_seen, limit;
    /* the decoder: it has taken `n_decoded` samples since it was reset */
    int64_t (*push)(void *, const float *, int64_t, int64_t *, double *);
    void *lanes;
    int64_t n_decoded, n_classes, n_ends;
    int64_t *ends;  /* (n_ends,) */
    double *probs; /* (n_ends, n_classes) */
    /* the outlet */
    int32_t (*send)(void *, const float *, double, int32_t);
    void *outlet; /* NULL: nothing is sent */
    double (*clock)(void);
    float *row; /* (n_classes + 1,), the last one is there already */
    double stamp_to_clock_s, too_old_s, pause_s;
    watch *watch;
    /* what came of it */
    int64_t n_new, at, n_taken, n_found, n_sent; /* the piece is samples at .. at + n_taken of n_new */
    int32_t error;
} receiver;

const int64_t pretap_receiver_bytes = sizeof(receiver);

static double monotonic(void) {
    struct timespec now;
#ifdef __APPLE__
    clock_gettime(CLOCK_UPTIME_RAW, &now); /* what Python's time.monotonic is */
#else
    clock_gettime(CLOCK_MONOTONIC, &now);
#endif
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void wait(double seconds) {
    const struct timespec pause = {(time_t)seconds, (long)(1e9 * (seconds - (double)(time_t)seconds))};
    nanosleep(&pause, NULL);
}

watch *pretap_watch(void) {
    watch *made = malloc(sizeof(watch));
    if (made) made->since_s = INFINITY, made->ended = 0;
    return made;
}

/* Wait until the leader has been sending for `slow_s`, or all has ended: a look each `look_s`. */
void pretap_wait_until_slow(const watch *w, double slow_s, double look_s) {
    while (!w->ended && monotonic() - w->since_s <= slow_s) wait(look_s);
}

/* Decide on the next samples that are there, at most `n_quick`. */
void pretap_take(receiver *r) {
    const int64_t n_left = r->n_new - r->at, n = n_left < r->n_quick ? n_left : r->n_quick;
    const double *stamps = r->stamps + r->at;
    r->n_taken = r->n_found = r->n_sent = 0;
    if (n <= 0 || n_left > r->n_most) return;
    double place = r->n_seen;
    for (int64_t i = 0; i < n; i++, place += 1) /* NaN is off the line too */
        if (!(fabs(((stamps[i] - r->t0_s) - r->s_ref) * r->rate_hz - (place - r->n_ref)) <= r->limit)) return;
    const int64_t n_found = r->push(r->lanes, r->x + r->at * r->n_channels, n, r->ends, r->probs);
    if (n_found < 0) return; /* a value is not finite */
    r->n_taken = n, r->n_found = n_found;
    if (!r->outlet) return;
    double began_s = 0;
    for (int64_t k = 0; k < n_found; k++) {
        const double t_s = stamps[r->ends[k] - r->n_decoded - 1] + r->stamp_to_clock_s;
        if (r->clock() - t_s > r->too_old_s) return;
        for (int64_t c = 0; c < r->n_classes; c++) r->row[c] = (float)r->probs[k * r->n_classes + c];
        if (!k) r->watch->since_s = began_s = monotonic();
        r->n_sent = k + 1; /* before it is: where it hangs, it will be once that ends */
        r->send(r->outlet, r->row, t_s, 1);
        if (monotonic() - began_s > LONG_S) return; /* another thread may be about to go on from here, see publisher.py */
    }
    if (r->n_sent) wait(r->pause_s); /* liblsl sends in a thread of its own, which would wait for what Python does next */
}

/* Wait for `n_wanted` samples, take all that are there, and decide on the first of them. */
void pretap_receive(receiver *r) {
    const unsigned long n_channels = (unsigned long)r->n_channels, n_wanted = (unsigned long)r->n_wanted;
    const unsigned long n_rest = (unsigned long)r->n_room - n_wanted;
    r->n_new = r->at = r->n_taken = r->n_found = r->n_sent = 0, r->error = 0;
    unsigned long n = r->pull(r->inlet, r->x, r->stamps, n_wanted * n_channels, n_wanted, r->timeout_s, &r->error);
    n /= n_channels;
    if (n == n_wanted && n_rest && !r->error)
        n += r->pull(r->inlet, r->x + n * n_channels, r->stamps + n, n_rest * n_channels, n_rest, 0.0, &r->error) /
             n_channels;
    r->n_new = (int64_t)n;
    if (n) pretap_take(r);
}
