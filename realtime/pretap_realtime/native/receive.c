/* What is in a hurry on the live path: samples come from LSL, lie where they should, complete a window, and the numbers
   go out, all in one call.

   `express.py` fills the struct and does the rest in Python: the accounts, the messages, and whatever is not plain. The
   reason is the processor's caches: 20 decisions a second find them cold, and what is in the way then is not work but
   the amount of code and data that work touches. Python's share of a decision, 15 us of work, takes 150 us then.

   Nothing is decided here that `Pipeline.push` would decide otherwise: where there is anything to say of a sample, no
   sample is taken, and Python looks. What a block of samples shows of the electrodes and of the stream's rate holds from
   the sample after it on: no sample is taken after a block in which an electrode may be flat. */

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

#define LOOK_NS 40000000 /* the loop waits for an outlet for less than 50 ms: somebody looks after so long, or */
#define SOON_NS 20000000 /* after this, where a timer wakes him */
#define TURN 1048576
#define MOST_CLASSES 64

static const uint64_t UNTOUCHED = 0x7ff8707265746170; /* a NaN that is no stamp; lsl.py has it too */

#ifndef SOURCE_CRC
#define SOURCE_CRC 0
#endif

const uint32_t pretap_receive_crc = SOURCE_CRC; /* of this file: a library that was built from another is not used */

/* What the thread that watches looks at. It is never freed: a watching thread outlives the interpreter. */
typedef struct {
    volatile double since_s; /* when the leader began to send; infinity: it does not */
    volatile int32_t ended;
    int32_t timer; /* a descriptor: who watches sleeps until the leader has been sending for a while; -1: he looks often */
} watch;

typedef struct {
    /* liblsl */
    unsigned long (*pull)(void *, float *, double *, unsigned long, unsigned long, double, int32_t *);
    uint32_t (*available)(void *);
    void *inlet;
    float *x;       /* (n_room, n_channels) */
    double *stamps; /* (n_room,) */
    int64_t n_room, n_channels;
    double timeout_s;
    /* `Health.is_sound`: up to `n_quick` samples, the first one number `n_seen`, lie within `limit` of their places */
    int64_t n_quick, n_most; /* nothing is taken of more than n_most: an overload */
    double t0_s, s_ref, rate_hz, n_ref, n_seen, limit;
    /* `Electrodes`: a block of `n_block` samples began `n_before` samples before the first of those */
    int64_t n_block, n_before;
    double flat_uv;
    /* the decoder: it has taken `n_decoded` samples since it was reset */
    int64_t (*push)(void *, const float *, int64_t, int64_t *, double *);
    void (*settle)(void *);
    void *lanes;
    int64_t n_decoded, n_to_next, n_classes;
    int64_t *ends;  /* as many as a piece has samples */
    double *probs; /* (as many, n_classes) */
    /* the outlet */
    int32_t (*send)(void *, const float *, double, int32_t);
    void *outlet; /* NULL: nothing is sent */
    double (*clock)(void);
    double quality; /* goes out behind the probabilities */
    double stamp_to_clock_s, too_old_s, pause_s;
    watch *watch;
    int64_t turn, n_calls;
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

/* Wake who watches each `ns`; 0: never. */
static void wake_after(const watch *w, int64_t ns) {
#ifdef __linux__
    const struct itimerspec when = {{0, ns}, {0, ns}};
    if (w->timer >= 0) timerfd_settime(w->timer, 0, &when, NULL);
#else
    (void)w, (void)ns;
#endif
}

/* Note since when the leader sends; infinity: it does not. */
void pretap_watch_since(watch *w, double since_s) {
    const int changes = isinf(since_s) != isinf(w->since_s);
    w->since_s = since_s;
    if (changes) wake_after(w, isinf(since_s) ? 0 : SOON_NS);
}

void pretap_watch_end(watch *w) {
    w->ended = 1;
    wake_after(w, 1);
}

/* Wait until the leader has been sending for `slow_s` when somebody looks, or all has ended. */
void pretap_wait_until_slow(const watch *w, double slow_s) {
    while (!w->ended && monotonic() - w->since_s <= slow_s) {
#ifdef __linux__
        uint64_t n_times;
        if (w->timer >= 0 && (read(w->timer, &n_times, sizeof n_times) > 0 || errno == EINTR)) continue;
#endif
        pause_for(1e-9 * LOOK_NS);
    }
}

/* `turn` is a call's number times TURN, plus twice the rows it has sent, plus one while it sends; 0: it was stopped. */
static int passes(receiver *r, int64_t from) {
    return __atomic_compare_exchange_n(&r->turn, &from, from + 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static int64_t new_turn(receiver *r) {
    const int64_t turn = TURN * ++r->n_calls;
    __atomic_store_n(&r->turn, turn, __ATOMIC_SEQ_CST);
    return turn;
}

/* Let the call that hangs send no more; says in `n_sent` how many rows it handed over, and returns whether it hangs in the
   last of them: then none of them may be out. */
int64_t pretap_stop(receiver *r) {
    const int64_t turn = __atomic_exchange_n(&r->turn, 0, __ATOMIC_SEQ_CST);
    r->n_sent = (turn % TURN + 1) / 2;
    return turn % 2;
}

/* Take up to `n` samples. Where the source goes meanwhile liblsl says that none came, though some may lie in the buffers:
   those whose stamps it has written. */
static int64_t pull(receiver *r, int64_t n, double timeout_s, int32_t *error) {
    float *x = r->x + r->n_new * r->n_channels;
    double *stamps = r->stamps + r->n_new;
    for (int64_t i = 0; i < n; i++) memcpy(stamps + i, &UNTOUCHED, sizeof UNTOUCHED);
    const unsigned long most = (unsigned long)n, n_values = most * (unsigned long)r->n_channels;
    int64_t got = (int64_t)r->pull(r->inlet, x, stamps, n_values, most, timeout_s, error) / r->n_channels;
    if (*error)
        for (got = 0; got < n && memcmp(stamps + got, &UNTOUCHED, sizeof UNTOUCHED); got++) {}
    return got;
}

/* Say whether each electrode lives in the block, which is over: nearly always its first samples show it. */
static int lives(const receiver *r) {
    const float *x = r->x + (r->at - r->n_before) * r->n_channels;
    for (int64_t c = 0; c < r->n_channels; c++) {
        int64_t i = 1;
        while (i < r->n_block && !(fabs((double)x[i * r->n_channels + c] - (double)x[c]) > r->flat_uv)) i++;
        if (i >= r->n_block) return 0;
    }
    return 1;
}

/* Decide on the samples that are there and follow those that were taken: as many as make `n_quick` of them.
   Returns how many decisions were sent: where it hangs, another thread uses the struct before it returns. */
static int64_t decide(receiver *r, int64_t turn) {
    const int64_t start = r->at + r->n_taken, n_there = r->n_new - start, n_room = r->n_quick - r->n_taken;
    const int64_t n_left = r->n_block - r->n_before - r->n_taken; /* of the block */
    int64_t n = n_there < n_room ? n_there : n_room;
    if (n <= 0 || n_there > r->n_most) return 0;
    if (n > n_left && !lives(r)) n = n_left;
    if (n <= 0) return 0;
    const double *stamps = r->stamps + start;
    double place = r->n_seen + (double)r->n_taken;
    for (int64_t i = 0; i < n; i++, place += 1) /* NaN is off the line too */
        if (!(fabs(((stamps[i] - r->t0_s) - r->s_ref) * r->rate_hz - (place - r->n_ref)) <= r->limit)) return 0;
    const int64_t n_found = r->push(r->lanes, r->x + start * r->n_channels, n, r->ends, r->probs);
    if (n_found < 0) return 0; /* a value is not finite */
    const int64_t n_before = r->n_decoded + r->n_taken;
    r->n_taken += n, r->n_found = n_found;
    if (!r->outlet) return 0;
    const double pause_s = r->pause_s;
    const int64_t n_classes = r->n_classes;
    const double oldest_s = r->clock() - r->stamp_to_clock_s - r->too_old_s;
    int64_t n_due = 0, k = 0;
    while (n_due < n_found && stamps[r->ends[n_due] - n_before - 1] >= oldest_s) n_due++;
    while (k < n_due) { /* what is read here may be another thread's by now; then `passes` says so */
        const int64_t i = r->ends[k] - n_before - 1;
        if (i < 0 || i >= n) return k;
        float row[MOST_CLASSES + 1];
        for (int64_t c = 0; c < n_classes; c++) row[c] = (float)r->probs[k * n_classes + c];
        row[n_classes] = (float)r->quality;
        const double t_s = stamps[i] + r->stamp_to_clock_s;
        if (!passes(r, turn + 2 * k)) return k; /* another thread goes on from here */
        if (!k) pretap_watch_since(r->watch, monotonic());
        r->send(r->outlet, row, t_s, k == n_due - 1); /* they go out with the last one */
        if (!passes(r, turn + 2 * k++ + 1)) return k;
    }
    if (k) pause_for(pause_s); /* liblsl sends in a thread of its own, which would wait for Python */
    return k;
}

/* Decide on what follows the samples that were taken; returns how many decisions were sent. */
int64_t pretap_go_on(receiver *r) {
    r->at += r->n_taken;
    r->n_taken = r->n_found = 0;
    return decide(r, new_turn(r));
}

/* Take samples and decide on them: until there is a decision, something to say, or `timeout_s` is over.

   It waits for half of the samples that the next decision needs, then for half of the rest, and so on: so most of its
   work is done, and the caches are warm, when the last sample comes. Returns how many decisions were sent. */
int64_t pretap_receive(receiver *r) {
    const int64_t turn = new_turn(r);
    const double until_s = monotonic() + r->timeout_s;
    double left_s = r->timeout_s;
    r->n_new = r->at = r->n_taken = r->n_found = 0, r->error = 0;
    r->settle(r->lanes); /* what the last decision left for later */
    do {
        int64_t n_wanted = (r->n_to_next - r->n_taken + 1) / 2;
        if (n_wanted < 1) n_wanted = 1;
        if (n_wanted > r->n_room - r->n_new) n_wanted = r->n_room - r->n_new;
        int32_t error = 0;
        int64_t n_there = n_wanted;
        for (double wait_s = left_s; n_there > 0 && !error; wait_s = 0) { /* then all that is there */
            const int64_t got = pull(r, n_there, wait_s, &error);
            r->n_new += got;
            const int64_t n_room = r->n_room - r->n_new, n_more = error || !got ? 0 : r->available(r->inlet);
            n_there = n_more < n_room ? n_more : n_room;
        }
        if (error) {
            if (!r->n_new) r->error = error; /* else the next call says so: these samples did come */
            break;
        }
        const int64_t n_sent = decide(r, turn);
        if (n_sent || r->n_found || r->n_taken < r->n_new || r->n_taken >= r->n_quick) return n_sent;
        r->settle(r->lanes);
        left_s = until_s - monotonic();
    } while (left_s > 0);
    return decide(r, turn);
}
