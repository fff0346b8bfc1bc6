/* The fast path: samples come from LSL, are plain, complete a window, and the probabilities go out, all in one call.

   `fast_path.py` fills the struct and does the rest in Python: the checks, the messages, and whatever is not plain. The
   reason is the processor's caches. 20 decisions a second find them cold, and then the cost is not the work but the
   amount of code and data that it touches: Python's share of a decision, 15 us of work, takes 150 us then.

   Nothing is decided here that `Pipeline.process` would decide otherwise. If a timestamp is off the line or a value is
   not finite, no sample is taken, and Python examines them. A flat electrode takes effect with the sample after the
   block that shows it, so no sample is taken after a block in which an electrode may be flat. */

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef __linux__
#include <sys/timerfd.h>
#include <unistd.h>
#endif

/* The loop waits for an outlet for less than 50 ms, so the watchdog thread looks every POLL_NS, or every TIMER_NS if a
   timer can wake it. */
#define POLL_NS 40000000
#define TIMER_NS 20000000
#define CLAIM 1048576
#define MAX_CLASSES 64

static const uint64_t UNWRITTEN = 0x7ff8707265746170; /* a NaN that is no timestamp; inlets.py has it too */

#ifndef SOURCE_CRC
#define SOURCE_CRC 0
#endif

const uint32_t pretap_receive_crc = SOURCE_CRC; /* of this file: a library built from another one is not used */

/* What the watchdog thread looks at. It is never freed, because that thread outlives the interpreter. */
typedef struct {
    volatile double since_s; /* when the leader began to send; infinity if it does not */
    volatile int32_t ended;
    int32_t timer; /* a descriptor: the watchdog sleeps until the leader has been sending for a while; -1: it polls */
} watch;

typedef struct {
    /* liblsl */
    unsigned long (*pull)(void *, float *, double *, unsigned long, unsigned long, double, int32_t *);
    uint32_t (*available)(void *);
    void *inlet;
    float *x;           /* (max_samples, n_channels), after n_accepted rows of earlier calls */
    double *timestamps; /* (max_samples,) */
    int64_t max_samples, n_channels;
    double timeout_s;
    /* the horizon, see plain_samples.py: up to n_plain samples, the first one number n_first, are on time */
    int64_t n_plain, n_overload; /* none is taken of more than n_overload samples */
    int64_t is_exact;            /* timestamps are the times of the samples; otherwise the line is */
    double t0_s, s_ref, rate_hz, n_ref, n_first, limit, n_floor, floor_s;
    /* the flat-channel check comes n_to_flat_check samples after the horizon's start, n_accepted samples ago */
    int64_t n_to_flat_check, n_accepted;
    double flat_uv;
    /* the decoder: it has processed n_decoded samples since it was reset */
    int64_t (*process)(void *, const float *, int64_t, int64_t *, double *);
    void (*catch_up)(void *);
    void *lanes; /* NULL: no sample is taken */
    int64_t n_decoded, n_to_next, n_classes;
    int64_t *ends; /* as many as there may be plain samples */
    double *probs; /* (as many, n_classes) */
    /* the outlet */
    int32_t (*send)(void *, const float *, double, int32_t);
    void *outlet; /* NULL: nothing is sent */
    double (*clock)(void);
    double quality; /* goes out after the probabilities */
    double clock_offset_s, max_age_s, pause_s;
    watch *watch;
    int64_t claim, n_calls;
    /* the result: samples start .. start + n_taken of the n_new that came were plain */
    int64_t n_new, start, n_taken, n_found, n_sent;
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

static void pause_for(double seconds) {
    const struct timespec pause = {(time_t)seconds, (long)(1e9 * (seconds - (double)(time_t)seconds))};
    nanosleep(&pause, NULL);
}

watch *pretap_watch(void) {
    watch *made = malloc(sizeof(watch));
    if (!made) return NULL;
    made->since_s = INFINITY, made->ended = 0, made->timer = -1;
#ifdef __linux__
    made->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
#endif
    return made;
}

/* Wake the watchdog every `ns`; 0: never. */
static void wake_every(const watch *w, int64_t ns) {
#ifdef __linux__
    const struct itimerspec when = {{0, ns}, {0, ns}};
    if (w->timer >= 0) timerfd_settime(w->timer, 0, &when, NULL);
#else
    (void)w, (void)ns;
#endif
}

/* Note since when the leader sends; infinity if it does not. */
void pretap_watch_since(watch *w, double since_s) {
    const int changes = isinf(since_s) != isinf(w->since_s);
    w->since_s = since_s;
    if (changes) wake_every(w, isinf(since_s) ? 0 : TIMER_NS);
}

void pretap_watch_end(watch *w) {
    w->ended = 1;
    wake_every(w, 1);
}

/* Wait until the leader has been sending for `slow_s` when the watchdog looks, or the loop has ended. */
void pretap_wait_until_slow(const watch *w, double slow_s) {
    while (!w->ended && monotonic() - w->since_s <= slow_s) {
#ifdef __linux__
        uint64_t n_times;
        if (w->timer >= 0 && (read(w->timer, &n_times, sizeof n_times) > 0 || errno == EINTR)) continue;
#endif
        pause_for(1e-9 * POLL_NS);
    }
}

/* Two threads may want to send the same row: the one in this call, and the one that replaces it because the call hangs
   in an outlet. `claim` decides, with one atomic word: the number of the call times CLAIM, plus twice the rows it has
   sent, plus one while it sends; 0 after it was cancelled.
   1. Before a row this call changes the word from even to odd, after it from odd to the next even number.
   2. The other thread swaps the word for 0, and learns from the old value which rows are out, and whether one is being
      sent at that moment.
   3. Whichever comes second finds another value than it expects: this call returns without touching the struct again,
      which may hold the next call's data by then. So each row is sent once, and none is lost, unless the outlet has to be
      replaced: the new outlet gets all rows of the call.
   For example, of two rows this call sends the first (claim 0 to 1 to 2) and hangs in the second (3). The other thread
   finds 3: two rows were handed over, and the call hangs in the last of them. */
static int claims(receiver *r, int64_t from) {
    return __atomic_compare_exchange_n(&r->claim, &from, from + 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static int64_t new_claim(receiver *r) {
    const int64_t claim = CLAIM * ++r->n_calls;
    __atomic_store_n(&r->claim, claim, __ATOMIC_SEQ_CST);
    return claim;
}

/* Make a call that hangs send no more rows. Set `n_sent` to the rows it handed over, and return whether it hangs in the
   last of them: then possibly none has gone out. */
int64_t pretap_cancel(receiver *r) {
    const int64_t claim = __atomic_exchange_n(&r->claim, 0, __ATOMIC_SEQ_CST);
    r->n_sent = (claim % CLAIM + 1) / 2;
    return claim % 2;
}

/* Pull up to `n` samples. If the source is lost meanwhile, liblsl says that none came, though some may be in the
   buffers: those whose timestamps it has written. */
static int64_t pull(receiver *r, int64_t n, double timeout_s, int32_t *error) {
    float *x = r->x + r->n_new * r->n_channels;
    double *timestamps = r->timestamps + r->n_new;
    for (int64_t i = 0; i < n; i++) memcpy(timestamps + i, &UNWRITTEN, sizeof UNWRITTEN);
    const unsigned long max = (unsigned long)n, n_values = max * (unsigned long)r->n_channels;
    int64_t got = (int64_t)r->pull(r->inlet, x, timestamps, n_values, max, timeout_s, error) / r->n_channels;
    if (*error)
        for (got = 0; got < n && memcmp(timestamps + got, &UNWRITTEN, sizeof UNWRITTEN); got++) {}
    return got;
}

/* Do what the last decision left for later. */
static void catch_up(const receiver *r) {
    if (r->lanes) r->catch_up(r->lanes);
}

/* Whether each channel moves before the flat-channel check: nearly always its first samples show it. */
static int all_move(const receiver *r) {
    const float *x = r->x + (r->start - r->n_accepted) * r->n_channels;
    for (int64_t c = 0; c < r->n_channels; c++) {
        int64_t i = 1;
        while (i < r->n_to_flat_check && !(fabs((double)x[i * r->n_channels + c] - (double)x[c]) > r->flat_uv)) i++;
        if (i >= r->n_to_flat_check) return 0;
    }
    return 1;
}

/* Whether consecutive timestamps, the first of sample number `n_first`, are on time: `ExpectedTimestamps.are_met`. */
static int are_on_time(const receiver *r, const double *timestamps, int64_t n, double n_first) {
    for (int64_t i = 0; i < n; i++, n_first += 1) /* NaN is off the line too */
        if (!(fabs(((timestamps[i] - r->t0_s) - r->s_ref) * r->rate_hz - (n_first - r->n_ref)) <= r->limit)) return 0;
    return 1;
}

/* When a plain sample, number `n`, was taken: `ExpectedTimestamps.times_s`. */
static double time_of(const receiver *r, double timestamp, double n) {
    if (r->is_exact) return timestamp;
    const double line_s = r->t0_s + (r->s_ref + (n - r->n_ref) / r->rate_hz);
    return fmax(line_s, r->floor_s + 0.5 * (n - r->n_floor) / r->rate_hz);
}

/* Decide on the samples that came after those that were taken, up to the horizon.
   Return how many decisions were sent. If the call hangs, another thread uses the struct before it returns. */
static int64_t decide(receiver *r, int64_t claim) {
    const int64_t start = r->start + r->n_taken, n_there = r->n_new - start, n_plain = r->n_plain - r->n_taken;
    const int64_t n_unchecked = r->n_to_flat_check - r->n_accepted - r->n_taken;
    int64_t n = n_there < n_plain ? n_there : n_plain;
    if (!r->lanes || n <= 0 || n_there > r->n_overload) return 0;
    if (n > n_unchecked && !all_move(r)) n = n_unchecked;
    if (n <= 0) return 0;
    const double *timestamps = r->timestamps + start, n_first = r->n_first + (double)r->n_taken;
    if (!are_on_time(r, timestamps, n, n_first)) return 0;
    const int64_t n_found = r->process(r->lanes, r->x + start * r->n_channels, n, r->ends, r->probs);
    if (n_found < 0) return 0; /* a value is not finite */
    const int64_t n_before = r->n_decoded + r->n_taken;
    r->n_taken += n, r->n_found = n_found;
    if (!r->outlet) return 0;
    const double pause_s = r->pause_s; /* copies: once another thread has claimed the rows, it sets the struct */
    const int64_t n_classes = r->n_classes;
    int32_t (*const send)(void *, const float *, double, int32_t) = r->send;
    void *const outlet = r->outlet;
    const double oldest_s = r->clock() - r->clock_offset_s - r->max_age_s;
    int64_t n_due = 0, k = 0;
    for (; n_due < n_found; n_due++) {
        const int64_t i = r->ends[n_due] - n_before - 1;
        if (time_of(r, timestamps[i], n_first + (double)i) < oldest_s) break;
    }
    while (k < n_due) { /* what is read here may be another thread's by now; then `claims` says so */
        const int64_t i = r->ends[k] - n_before - 1;
        if (i < 0 || i >= n) return k;
        float row[MAX_CLASSES + 1];
        for (int64_t c = 0; c < n_classes; c++) row[c] = (float)r->probs[k * n_classes + c];
        row[n_classes] = (float)r->quality;
        const double t_s = time_of(r, timestamps[i], n_first + (double)i) + r->clock_offset_s;
        if (!claims(r, claim + 2 * k)) return k; /* another thread goes on from here */
        if (!k) pretap_watch_since(r->watch, monotonic());
        send(outlet, row, t_s, k == n_due - 1); /* all go out with the last one; it fails only for a row too short */
        if (!claims(r, claim + 2 * k++ + 1)) return k;
    }
    if (k) pause_for(pause_s); /* liblsl sends in a thread of its own, which Python would keep from running */
    return k;
}

/* Decide on what came after the samples that were taken; return how many decisions were sent. */
int64_t pretap_take_more(receiver *r) {
    r->start += r->n_taken;
    r->n_taken = r->n_found = 0;
    return decide(r, new_claim(r));
}

/* Pull samples and decide on them, until there is a decision, a sample that is not plain, or `timeout_s` is over.

   It waits for half of the samples that the next decision needs, then for half of the rest, and so on. So most of the
   work is done, and the caches are warm, when the last sample comes. Return how many decisions were sent. */
int64_t pretap_receive(receiver *r) {
    const int64_t claim = new_claim(r);
    const double until_s = monotonic() + r->timeout_s;
    double left_s = r->timeout_s;
    r->n_new = r->start = r->n_taken = r->n_found = 0, r->error = 0;
    catch_up(r);
    do {
        int64_t n_wanted = (r->n_to_next - r->n_taken + 1) / 2;
        if (n_wanted < 1) n_wanted = 1;
        if (n_wanted > r->max_samples - r->n_new) n_wanted = r->max_samples - r->n_new;
        int32_t error = 0;
        int64_t n_there = n_wanted;
        for (double wait_s = left_s; n_there > 0 && !error; wait_s = 0) { /* then all that is there */
            const int64_t got = pull(r, n_there, wait_s, &error);
            r->n_new += got;
            const int64_t n_free = r->max_samples - r->n_new, n_more = error || !got ? 0 : r->available(r->inlet);
            n_there = n_more < n_free ? n_more : n_free;
        }
        if (error) {
            if (!r->n_new) r->error = error; /* otherwise the next call reports it: these samples did come */
            break;
        }
        const int64_t n_sent = decide(r, claim);
        if (n_sent || r->n_found || r->n_taken < r->n_new || r->n_taken >= r->n_plain) return n_sent;
        catch_up(r);
        left_s = until_s - monotonic();
    } while (left_s > 0);
    return decide(r, claim);
}
