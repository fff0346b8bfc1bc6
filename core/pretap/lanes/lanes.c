/* The streaming engine: every open window is a lane, and all lanes advance together as samples arrive.

   `pretap.lanes.plan` says what is computed (the struct `plan` mirrors it), `pretap.lanes.schedule` when; the same in
   numpy is `pretap.lanes.python`. This file only makes it fast. It allocates when an engine is made and never again.

   Lanes lie in blocks of 16, one value of all 16 beside another, so every operation on them is one on vectors. Each
   lane's arithmetic is the same whatever the hop, the chunks, the number of lanes and the width of the machine's
   vectors: sums run in a fixed order, nothing is contracted to a fused multiply-add (-ffp-contract=off), tanh and log
   are written out. Equal windows give equal bits. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16 /* of a block */
#define WIDE 8   /* doubles that are computed together: rows of them are padded to this */

typedef float f16 __attribute__((vector_size(64)));
typedef int32_t i16 __attribute__((vector_size(64)));
typedef double d8 __attribute__((vector_size(64)));
typedef int64_t l8 __attribute__((vector_size(64)));
typedef float f8 __attribute__((vector_size(32)));

#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define FAST __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define FAST
#endif
#define INLINE static inline __attribute__((always_inline))

/* What an engine is made of. Arrays belong to the caller and outlive the engine. Rows of doubles are padded to WIDE.

   A step is what the network sees: row t of the scaling says how it is made of the window's samples. From row
   `n_starting` on that is `fir`, the tap for the newest sample first, each step `stride` samples after the one before;
   before, each row has its own weights, from the window's first sample on. Step t is complete `first_end + t * stride`
   samples after the window's start; the first `n_burst` are taken together, when the last of them is: their rows, or
   the baseline, read that far. */
typedef struct {
    int64_t n_channels, n_window, hop, reference;
    int64_t n_steps, stride, first_end, n_burst;
    int64_t n_fir, n_starting, n_baseline; /* n_baseline: samples that the baseline's weights reach; 0: none */
    const double *fir, *starting, *baseline; /* (n_fir,) (n_starting, n_reach) (n_baseline,) */
    int64_t n_reach;
    int64_t n_features;       /* rows of the projection: the first layer's gates, or both branches' filters */
    const double *projection; /* (n_channels, padded n_features) */
    int64_t n_members, n_classes;
    double temperature;
    int64_t n_layers;
    const int64_t *hidden; /* (n_layers,) */
    const float *weights;  /* of each member: its layers [unit][input, then own state][gate], biases [unit][gate]; dense */
    int64_t n_weights;     /* of a member */
    int64_t blocks;        /* 0: features are the first layer's gates; else LRP and ERD over so many blocks */
    int64_t lrp, erd;      /* filters of each branch, of each member */
    double lrp_uv, floor;
    int64_t n_sections;
    const double *sections; /* (n_sections, 3): gain, a1, a2; the numerator is gain * (1 - z^-2) */
} plan;

#ifndef SOURCE_CRC
#define SOURCE_CRC 0
#endif
const uint32_t pretap_source_crc = SOURCE_CRC; /* of this file: a library that was built from another is not used */
const int64_t pretap_plan_bytes = sizeof(plan);

typedef struct {
    float *h; /* all of a member's layers: hidden, then cell; [unit][LANES], members one after another */
    double *first, *sections, *slow, *power, *slow_first;
} state;

typedef struct {
    plan p;
    int64_t n_padded, n_feature_padded; /* channels, features */
    int64_t n_units, n_float, n_double; /* of a block's state */
    int64_t period, n_groups, n_lanes, n_blocks, n_each, n_lead;
    int64_t *newest;          /* (n_groups,) first sample of the newest window */
    int64_t *n_windows;       /* (n_groups,) windows that have begun */
    int64_t *phase_at;        /* (stride + 1,) where each phase's groups begin in `phase_groups` */
    int64_t *phase_groups;    /* (n_groups,) */
    double *doubles;          /* states (n_groups, n_blocks, n_double, LANES) */
    float *floats;            /* states (n_groups, n_blocks, n_float, LANES) */
    double *scratch_doubles;  /* one block: where a lane takes its first steps */
    float *scratch_floats;
    double *ring;             /* (2 * n_history + 1, n_padded) */
    int64_t n_history, ring_end;
    double *base;             /* (n_groups, n_blocks, n_features, LANES) baselines */
    double *step;             /* (n_padded,) */
    double *shared;           /* (n_feature_padded,) the step that all lanes share */
    double *single;           /* (n_feature_padded,) one of a single lane */
    double *spread;           /* (n_features, LANES) */
    float *inputs, *gates, *next; /* (most inputs, LANES), (4 * units, LANES), (units, LANES) */
    int64_t n_seen, n_started, shared_at;
} engine;

INLINE f16 f_select(i16 yes, f16 a, f16 b) { return (f16)((yes & (i16)a) | (~yes & (i16)b)); }

/* tanh, within 2 units in the last place of float32: e^(2|x|) - 1 = t without cancellation, then t / (t + 2). */
INLINE f16 tanh16(f16 x) {
    const i16 sign = (i16)x & (INT32_MIN - (i16){0});
    f16 a = (f16)((i16)x ^ sign);
    a = f_select(a < 9.5f, a, (f16){0} + 9.5f); /* beyond, tanh is 1; infinity ends here too */
    const f16 z = a + a;
    const f16 round = {12582912.0f, 12582912.0f, 12582912.0f, 12582912.0f, 12582912.0f, 12582912.0f,
                       12582912.0f, 12582912.0f, 12582912.0f, 12582912.0f, 12582912.0f, 12582912.0f,
                       12582912.0f, 12582912.0f, 12582912.0f, 12582912.0f}; /* 1.5 * 2^23 */
    const f16 shifted = z * 1.44269504f + round;
    const f16 k = shifted - round; /* the nearest whole number of powers of two */
    const f16 r = (z - k * 0.693359375f) - k * -2.12194440e-4f; /* ln 2 in two parts, the first exact in 9 bits */
    f16 q = r * (1.0f / 5040) + (1.0f / 720);
    q = q * r + (1.0f / 120);
    q = q * r + (1.0f / 24);
    q = q * r + (1.0f / 6);
    q = q * r + 0.5f;
    q = q * r * r + r; /* e^r - 1 for |r| <= 0.35 */
    const f16 power = (f16)(((i16)shifted - (i16)round + 127) << 23); /* 2^k */
    const f16 t = power * q + (power - 1.0f);
    return (f16)((i16)(t / (t + 2.0f)) | sign);
}

/* ln of positive normal numbers, within 1e-12: exponent and 2 atanh((m - 1) / (m + 1)) of the mantissa. */
INLINE d8 log8(d8 x) {
    const l8 bits = (l8)x;
    const l8 magic = (l8){0} + 0x4338000000000000; /* 1.5 * 2^52: the whole number added to its bits, as a double */
    const l8 off = bits - 0x3FE6A09E667F3BCD;      /* sqrt(1/2): the mantissa is taken from there to sqrt(2) */
    const l8 exponent = off >> 52;
    const d8 m = (d8)(bits - (exponent << 52));
    const d8 e = (d8)(exponent + magic) - (d8)magic;
    const d8 s = (m - 1.0) / (m + 1.0), s2 = s * s;
    d8 sum = s2 * (1.0 / 15) + (1.0 / 13);
    sum = sum * s2 + (1.0 / 11);
    sum = sum * s2 + (1.0 / 9);
    sum = sum * s2 + (1.0 / 7);
    sum = sum * s2 + (1.0 / 5);
    sum = sum * s2 + (1.0 / 3);
    sum = sum * s2 + 1.0;
    return e * 0.6931471805599453 + 2.0 * s * sum;
}

/* One LSTM layer of one member takes a step in the 16 lanes of a block. `given` holds what the inputs add to the gates
   (4 * n_hidden rows, gates of a unit beside one another); where it is NULL, `x` are n_in inputs with weights. */
INLINE const float *layer(const float *w, int64_t n_in, int64_t n_hidden, const f16 *given, const f16 *x, f16 *h,
                          f16 *c, f16 *next) {
    const float *bias = w + 4 * n_hidden * ((given ? 0 : n_in) + n_hidden);
    for (int64_t u = 0; u < n_hidden; u++) {
        f16 i = (f16){0} + bias[4 * u], f = (f16){0} + bias[4 * u + 1];
        f16 g = (f16){0} + bias[4 * u + 2], o = (f16){0} + bias[4 * u + 3];
        if (given) {
            i += given[4 * u], f += given[4 * u + 1], g += given[4 * u + 2], o += given[4 * u + 3];
        } else {
            for (int64_t k = 0; k < n_in; k++, w += 4)
                i += w[0] * x[k], f += w[1] * x[k], g += w[2] * x[k], o += w[3] * x[k];
        }
        for (int64_t k = 0; k < n_hidden; k++, w += 4)
            i += w[0] * h[k], f += w[1] * h[k], g += w[2] * h[k], o += w[3] * h[k];
        /* sigmoid(z) = tanh(z / 2) / 2 + 1/2; the weights of these gates are halved already */
        i = tanh16(i) * 0.5f + 0.5f, f = tanh16(f) * 0.5f + 0.5f, o = tanh16(o) * 0.5f + 0.5f;
        c[u] = f * c[u] + i * tanh16(g);
        next[u] = o * tanh16(c[u]);
    }
    memcpy(h, next, n_hidden * sizeof(f16));
    return bias + 4 * n_hidden;
}

/* All layers of all members take a step. `given`: (members * 4 * hidden[0], LANES), or `x`: (members * n_in, LANES). */
INLINE void networks(const engine *e, float *floats, const f16 *given, const f16 *x, int64_t n_in) {
    const plan *p = &e->p;
    f16 *state = (f16 *)floats;
    for (int64_t m = 0; m < p->n_members; m++) {
        const float *w = p->weights + m * p->n_weights;
        const f16 *below = given ? NULL : x + m * n_in, *first = given ? given + m * 4 * p->hidden[0] : NULL;
        int64_t n_below = n_in;
        for (int64_t l = 0; l < p->n_layers; l++) {
            const int64_t n = p->hidden[l];
            w = layer(w, n_below, n, l ? NULL : first, below, state, state + n, (f16 *)e->next);
            below = state, n_below = n, state += 2 * n;
        }
    }
}

/* The parts of a block's state in doubles: [row][LANES] each. */
INLINE state parts(const engine *e, float *floats, double *doubles) {
    const int64_t n_lrp = e->p.n_members * e->p.lrp, n_erd = e->p.n_members * e->p.erd;
    state s = {.h = floats, .first = doubles};
    s.sections = s.first + e->p.n_features * LANES;
    s.slow = s.sections + 2 * e->p.n_sections * n_erd * LANES;
    s.power = s.slow + n_lrp * LANES;
    s.slow_first = s.power + n_erd * LANES;
    return s;
}

/* Sum up the slow potential and the power in the band of one step, in the 16 lanes of a block. */
INLINE void accumulate(const engine *e, state s, const d8 *step) {
    const plan *p = &e->p;
    d8 *slow = (d8 *)s.slow, *power = (d8 *)s.power, *z = (d8 *)s.sections;
    const d8 *first = (const d8 *)s.first;
    for (int64_t m = 0; m < p->n_members; m++) {
        for (int64_t k = 0; k < 2 * p->lrp; k++) *slow++ += *step++;
        first += 2 * p->lrp;
        for (int64_t k = 0; k < p->erd; k++, step += 2, first += 2, power += 2, z += 4 * p->n_sections)
            for (int64_t half = 0; half < 2; half++) {
                d8 y = step[half] - first[half], *one = z + half;
                for (int64_t j = 0; j < p->n_sections; j++, one += 4) { /* transposed direct form II */
                    const double *c = p->sections + 3 * j;
                    const d8 in = c[0] * y;
                    y = in + one[0];
                    one[0] = one[2] - c[1] * y;
                    one[2] = -in - c[2] * y;
                }
                power[half] += y * y;
            }
    }
}

/* A block of time ends: its features go through the LSTMs. `opened`: the lane whose first block this was, or -1. */
INLINE void end_block(const engine *e, state s, int64_t opened) {
    const plan *p = &e->p;
    const double n = (double)e->n_each;
    double *slow = s.slow, *slow_first = s.slow_first, *power = s.power;
    float *x = e->inputs;
    for (int64_t m = 0; m < p->n_members; m++) {
        for (int64_t k = 0; k < p->lrp; k++, slow += LANES, slow_first += LANES, x += LANES) {
            if (opened >= 0) slow_first[opened] = slow[opened] / n;
            for (int64_t half = 0; half < 2; half++) {
                d8 *sum = (d8 *)slow + half;
                const d8 mean = (*sum / n - ((d8 *)slow_first)[half]) / p->lrp_uv;
                ((f8 *)x)[half] = __builtin_convertvector(mean, f8);
                *sum = (d8){0};
            }
        }
        for (int64_t k = 0; k < p->erd; k++, power += LANES, x += LANES)
            for (int64_t half = 0; half < 2; half++) {
                d8 *sum = (d8 *)power + half;
                ((f8 *)x)[half] = __builtin_convertvector(log8(*sum / n + p->floor), f8);
                *sum = (d8){0};
            }
    }
    networks(e, s.h, NULL, (const f16 *)e->inputs, p->lrp + p->erd);
}

INLINE void clear_lane(float *floats, int64_t n_float, double *doubles, int64_t n_double, int64_t lane) {
    for (int64_t k = 0; k < n_float; k++) floats[k * LANES + lane] = 0;
    for (int64_t k = 0; k < n_double; k++) doubles[k * LANES + lane] = 0;
}

/* What happens to single lanes at a step: -1 where there is none. */
typedef struct {
    int64_t fresh;   /* takes its first step */
    int64_t opening; /* starts its first block of time */
    int64_t opened;  /* ends it */
    int ends;        /* a block of time ends: in all lanes, which are at the same place of theirs */
} events;

/* The network takes a step in the lanes of a block; `spread` (n_features, LANES) is what it sees. */
INLINE void take_step(const engine *e, float *floats, double *doubles, const double *spread, events at) {
    const plan *p = &e->p;
    if (at.fresh >= 0) clear_lane(floats, e->n_float, doubles, e->n_double, at.fresh);
    if (!p->blocks) {
        networks(e, floats, (const f16 *)e->gates, NULL, 0);
        return;
    }
    const state s = parts(e, floats, doubles);
    if (at.fresh >= 0)
        for (int64_t k = 0; k < p->n_features; k++) s.first[k * LANES + at.fresh] = spread[k * LANES + at.fresh];
    if (at.opening >= 0) clear_lane(floats, e->n_float, s.slow, (p->lrp + p->erd) * p->n_members, at.opening);
    accumulate(e, s, (const d8 *)spread);
    if (at.ends) end_block(e, s, at.opened);
}

/* What the first layer takes, in its own precision. */
INLINE void to_gates(const engine *e) {
    if (e->p.blocks) return;
    for (int64_t k = 0; k < 2 * e->p.n_features; k++)
        ((f8 *)e->gates)[k] = __builtin_convertvector(((const d8 *)e->spread)[k], f8);
}

/* out (n_features) = the projection of the step that `weights` make of the n samples from row `at` of the ring on. */
INLINE void project(const engine *e, const double *weights, int64_t n, int64_t at, int64_t direction, double *out) {
    const int64_t wide = e->n_padded / WIDE, features = e->n_feature_padded / WIDE;
    d8 *step = (d8 *)e->step, *y = (d8 *)out;
    for (int64_t k = 0; k < wide; k++) step[k] = (d8){0};
    const d8 *row = (const d8 *)(e->ring + at * e->n_padded);
    for (int64_t i = 0; i < n; i++, row += direction * wide)
        for (int64_t k = 0; k < wide; k++) step[k] += weights[i] * row[k];
    for (int64_t k = 0; k < features; k++) y[k] = (d8){0};
    for (int64_t c = 0; c < e->p.n_channels; c++)
        for (int64_t k = 0; k < features; k++) y[k] += e->step[c] * ((const d8 *)e->p.projection)[c * features + k];
}

/* Step t of the window whose first sample is `age` rows before the ring's end; without the baseline. */
INLINE const double *lane_step(engine *e, int64_t t, int64_t age) {
    const plan *p = &e->p;
    if (t < p->n_starting) {
        const int64_t n = p->n_reach < age ? p->n_reach : age;
        project(e, p->starting + t * p->n_reach, n, e->ring_end - age, 1, e->single);
        return e->single;
    }
    const int64_t back = age - (p->first_end + t * p->stride); /* in a burst the step ended a while ago */
    if (back) {
        project(e, p->fir, p->n_fir, e->ring_end - 1 - back, -1, e->single);
        return e->single;
    }
    if (e->shared_at != e->n_seen) {
        project(e, p->fir, p->n_fir, e->ring_end - 1, -1, e->shared);
        e->shared_at = e->n_seen;
    }
    return e->shared;
}

/* Is step t the last of a block of time? */
INLINE int ends_block(const engine *e, int64_t t) {
    return e->n_each && ((t - e->n_lead) % e->n_each + e->n_each) % e->n_each == e->n_each - 1;
}

/* The window's baseline, projected; its first sample is `age` rows before the ring's end. */
INLINE void set_baseline(engine *e, int64_t age, double *base, int64_t lane) {
    if (!e->p.n_baseline) return;
    project(e, e->p.baseline, e->p.n_baseline, e->ring_end - age, 1, e->single);
    for (int64_t k = 0; k < e->p.n_features; k++) base[k * LANES + lane] = e->single[k];
}

/* A lane takes its first steps in the scratch block and moves in. */
INLINE void burst(engine *e, int64_t age, float *floats, double *doubles, double *base, int64_t lane) {
    const plan *p = &e->p;
    set_baseline(e, age, base, lane);
    for (int64_t t = 0; t < p->n_burst; t++) {
        const double *step = lane_step(e, t, age);
        for (int64_t k = 0; k < p->n_features; k++)
            e->spread[k * LANES] = step[k] - (p->n_baseline ? base[k * LANES + lane] : 0);
        to_gates(e);
        const int64_t n_opened = e->n_lead + e->n_each - 1;
        const events at = {t ? -1 : 0, t == e->n_lead ? 0 : -1, t == n_opened ? 0 : -1, ends_block(e, t)};
        take_step(e, e->scratch_floats, e->scratch_doubles, e->spread, at);
    }
    for (int64_t k = 0; k < e->n_float; k++) floats[k * LANES + lane] = e->scratch_floats[k * LANES];
    for (int64_t k = 0; k < e->n_double; k++) doubles[k * LANES + lane] = e->scratch_doubles[k * LANES];
}

/* The mean of the members' logits over the temperature, through the softmax. */
INLINE void decide(const engine *e, const float *floats, int64_t lane, double *probs) {
    const plan *p = &e->p;
    const int64_t n_last = p->hidden[p->n_layers - 1], n_state = e->n_units * 2;
    for (int64_t k = 0; k < p->n_classes; k++) probs[k] = 0;
    for (int64_t m = 0; m < p->n_members; m++) {
        const float *dense = p->weights + (m + 1) * p->n_weights - p->n_classes * (n_last + 1);
        const float *h = floats + (m * n_state + n_state - 2 * n_last) * LANES + lane;
        for (int64_t k = 0; k < p->n_classes; k++, dense += n_last) {
            float sum = 0;
            for (int64_t u = 0; u < n_last; u++) sum += dense[u] * h[u * LANES];
            probs[k] += (double)(sum + p->weights[(m + 1) * p->n_weights - p->n_classes + k]);
        }
    }
    double highest = -INFINITY, total = 0;
    for (int64_t k = 0; k < p->n_classes; k++) {
        probs[k] = probs[k] / (double)p->n_members / p->temperature;
        if (probs[k] > highest) highest = probs[k];
    }
    for (int64_t k = 0; k < p->n_classes; k++) total += probs[k] = exp(probs[k] - highest);
    for (int64_t k = 0; k < p->n_classes; k++) probs[k] /= total;
}

/* The youngest lane of a group whose age is at least `low`: its number, and its age; -1 where there is none. */
INLINE int64_t at_least(const engine *e, int64_t g, int64_t low, int64_t *age) {
    const int64_t apart = e->n_groups * e->p.hop, newest = e->n_seen - e->newest[g];
    const int64_t back = newest >= low ? 0 : (low - newest + apart - 1) / apart;
    *age = newest + back * apart;
    const int64_t window = e->n_windows[g] - 1 - back; /* counted in the group */
    return window < 0 || back >= e->n_lanes ? -1 : window % e->n_lanes;
}

INLINE int64_t exactly(const engine *e, int64_t g, int64_t wanted) {
    int64_t age;
    const int64_t lane = at_least(e, g, wanted, &age);
    return age == wanted ? lane : -1;
}

/* Lane `lane` of a group as a lane of its block `b`; -1 where it lies in another. */
INLINE int64_t within(int64_t lane, int64_t b) { return lane >= 0 && lane / LANES == b ? lane % LANES : -1; }

/* A step ends in all lanes of a group. Returns 1 where one of its windows is full: `probs` are its probabilities. */
INLINE int64_t advance_group(engine *e, int64_t g, double *probs) {
    const plan *p = &e->p;
    const int64_t burst_age = p->first_end + (p->n_burst - 1) * p->stride;
    const int64_t bursting = p->n_burst > 1 ? exactly(e, g, burst_age) : -1;
    const int64_t fresh = p->n_burst > 1 ? -1 : exactly(e, g, burst_age);
    const int64_t opening = exactly(e, g, p->first_end + e->n_lead * p->stride);
    const int64_t opened = exactly(e, g, p->first_end + (e->n_lead + e->n_each - 1) * p->stride);
    const int64_t full = exactly(e, g, p->n_window);
    int64_t age;
    if (at_least(e, g, burst_age, &age) < 0) return 0; /* none is old enough */
    const int ends = ends_block(e, (age - p->first_end) / p->stride);
    const double *shared = NULL; /* while no lane is old enough for it, the ring may not even reach back so far */
    if (e->n_seen >= p->n_fir) shared = lane_step(e, p->n_starting, p->first_end + p->n_starting * p->stride);
    int spread = 0; /* `shared` lies in all lanes of e->spread */
    for (int64_t b = 0; b < e->n_blocks; b++) {
        const int64_t at = g * e->n_blocks + b;
        float *floats = e->floats + at * e->n_float * LANES;
        double *doubles = e->doubles + at * e->n_double * LANES, *base = e->base + at * p->n_features * LANES;
        if (!spread) {
            for (int64_t k = 0; k < p->n_features; k++) {
                d8 *row = (d8 *)(e->spread + k * LANES);
                row[0] = row[1] = (d8){0} + (shared ? shared[k] : 0);
            }
        }
        int changed = !spread;
        spread = 1;
        int64_t lane = at_least(e, g, burst_age + (p->n_burst > 1 ? p->stride : 0), &age);
        for (; lane >= 0 && (age - p->first_end) / p->stride < p->n_starting; lane = at_least(e, g, age + 1, &age)) {
            const int64_t column = within(lane, b);
            if (column < 0) continue;
            const double *step = lane_step(e, (age - p->first_end) / p->stride, age);
            for (int64_t k = 0; k < p->n_features; k++) e->spread[k * LANES + column] = step[k];
            spread = 0, changed = 1;
        }
        if (within(fresh, b) >= 0) set_baseline(e, burst_age, base, within(fresh, b));
        if (p->n_baseline) {
            for (int64_t k = 0; k < 2 * p->n_features; k++) ((d8 *)e->spread)[k] -= ((d8 *)base)[k];
            spread = 0, changed = 1;
        }
        if (changed) to_gates(e);
        take_step(e, floats, doubles, e->spread,
                  (events){within(fresh, b), within(opening, b), within(opened, b), ends});
        if (within(bursting, b) >= 0) {
            burst(e, burst_age, floats, doubles, base, within(bursting, b));
            spread = 0;
        }
        if (within(full, b) >= 0) decide(e, floats, within(full, b), probs);
    }
    return full >= 0;
}

/* One sample goes into the ring, re-referenced. */
INLINE void remember(engine *e, const float *x) {
    const int64_t n = e->p.n_channels;
    if (e->ring_end == 2 * e->n_history + 1) { /* the newest move to the front: every stretch of the ring is unbroken */
        memmove(e->ring, e->ring + (e->ring_end - e->n_history) * e->n_padded, e->n_history * e->n_padded * sizeof(double));
        e->ring_end = e->n_history;
    }
    double *row = e->ring + e->ring_end * e->n_padded, mean = 0;
    if (e->p.reference) {
        for (int64_t c = 0; c < n; c++) mean += (double)x[c];
        mean /= (double)n;
    }
    for (int64_t c = 0; c < n; c++) row[c] = (double)x[c] - mean;
    e->ring_end++, e->n_seen++;
}

/* Take n samples (n, n_channels); write every decision they complete: `ends`, `probs` (.., n_classes). Returns how many,
   or -1 where a value is not finite; then nothing was taken. */
FAST int64_t pretap_push(engine *e, const float *x, int64_t n, int64_t *ends, double *probs) {
    const plan *p = &e->p;
    int32_t bad = 0;
    for (int64_t i = 0; i < n * p->n_channels; i++) {
        int32_t bits;
        memcpy(&bits, x + i, 4);
        bad |= (bits & 0x7F800000) == 0x7F800000;
    }
    if (bad) return -1;
    int64_t n_found = 0;
    for (int64_t i = 0; i < n; i++) {
        if (e->n_seen == e->n_started * p->hop) { /* a window starts with this sample */
            const int64_t g = e->n_started++ % e->n_groups;
            e->newest[g] = e->n_seen;
            e->n_windows[g]++;
        }
        remember(e, x + i * p->n_channels);
        const int64_t phase = e->n_seen % p->stride;
        for (int64_t k = e->phase_at[phase]; k < e->phase_at[phase + 1]; k++)
            if (advance_group(e, e->phase_groups[k], probs + n_found * p->n_classes)) ends[n_found++] = e->n_seen;
    }
    return n_found;
}

void pretap_reset(engine *e) {
    e->n_seen = e->n_started = e->ring_end = 0;
    e->shared_at = -1;
    memset(e->n_windows, 0, e->n_groups * sizeof(int64_t));
}

static int64_t gcd(int64_t a, int64_t b) { return b ? gcd(b, a % b) : a; }

static int64_t padded(int64_t n) { return (n + WIDE - 1) / WIDE * WIDE; }

static void *zeros(int64_t n, size_t size) {
    const size_t n_bytes = ((size_t)(n ? n : 1) * size + 63) / 64 * 64;
    void *memory = aligned_alloc(64, n_bytes);
    if (memory) memset(memory, 0, n_bytes);
    return memory;
}

void pretap_free(engine *e) {
    if (!e) return;
    void *all[] = {e->newest, e->n_windows, e->phase_at, e->phase_groups, e->doubles, e->floats, e->scratch_doubles, e->scratch_floats,
                   e->ring, e->base, e->step, e->shared, e->single, e->spread, e->inputs, e->gates, e->next};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) free(all[k]);
    free(e);
}

/* Which groups have a step at which phase of the stride. */
static void sort_groups(engine *e) {
    const plan *p = &e->p;
    int64_t n = 0;
    for (int64_t phase = 0; phase < p->stride; phase++) {
        e->phase_at[phase] = n;
        for (int64_t g = 0; g < e->n_groups; g++)
            if ((g * p->hop + p->first_end) % p->stride == phase) e->phase_groups[n++] = g;
    }
    e->phase_at[p->stride] = n;
}

/* Make an engine for a plan; NULL where there is no memory. */
engine *pretap_new(const plan *given) {
    engine *e = calloc(1, sizeof(engine));
    if (!e) return NULL;
    e->p = *given;
    const plan *p = &e->p;
    e->n_padded = padded(p->n_channels), e->n_feature_padded = padded(p->n_features);
    for (int64_t l = 0; l < p->n_layers; l++) e->n_units += p->hidden[l];
    e->n_float = 2 * e->n_units * p->n_members;
    if (p->blocks) {
        e->n_each = p->n_steps / p->blocks, e->n_lead = p->n_steps - p->blocks * e->n_each;
        e->n_double = p->n_features + p->n_members * (2 * p->lrp + p->erd + 2 * p->n_sections * p->erd);
    }
    /* Lanes of a group start a whole number of periods apart, so they are at the same place of a block of time. */
    e->period = p->stride * (e->n_each ? e->n_each : 1);
    e->n_groups = e->period / gcd(e->period, p->hop);
    e->n_lanes = (p->n_window + e->n_groups * p->hop - 1) / (e->n_groups * p->hop);
    e->n_blocks = (e->n_lanes + LANES - 1) / LANES;
    const int64_t burst_age = p->first_end + (p->n_burst - 1) * p->stride;
    const int64_t starting_age = p->first_end + p->n_starting * p->stride;
    e->n_history = p->n_fir + p->n_burst * p->stride;
    if (e->n_history < burst_age) e->n_history = burst_age;
    if (e->n_history < starting_age) e->n_history = starting_age;
    const int64_t n_inputs = p->n_members * (p->lrp + p->erd);
    const int64_t n_states = e->n_groups * e->n_blocks;
    e->newest = zeros(e->n_groups, sizeof(int64_t));
    e->n_windows = zeros(e->n_groups, sizeof(int64_t));
    e->phase_at = zeros(p->stride + 1, sizeof(int64_t));
    e->phase_groups = zeros(e->n_groups, sizeof(int64_t));
    e->doubles = zeros(n_states * e->n_double * LANES, sizeof(double));
    e->floats = zeros(n_states * e->n_float * LANES, sizeof(float));
    e->scratch_doubles = zeros(e->n_double * LANES, sizeof(double));
    e->scratch_floats = zeros(e->n_float * LANES, sizeof(float));
    e->ring = zeros((2 * e->n_history + 1) * e->n_padded, sizeof(double));
    e->base = zeros(n_states * p->n_features * LANES, sizeof(double));
    e->step = zeros(e->n_padded, sizeof(double));
    e->shared = zeros(e->n_feature_padded, sizeof(double));
    e->single = zeros(e->n_feature_padded, sizeof(double));
    e->spread = zeros(p->n_features * LANES, sizeof(double));
    e->inputs = zeros(n_inputs * LANES, sizeof(float));
    e->gates = zeros(p->n_features * LANES, sizeof(float));
    e->next = zeros(e->n_units * LANES, sizeof(float));
    void *all[] = {e->newest, e->n_windows, e->phase_at, e->phase_groups, e->doubles, e->floats, e->scratch_doubles, e->scratch_floats,
                   e->ring, e->base, e->step, e->shared, e->single, e->spread, e->inputs, e->gates, e->next};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        if (!all[k]) {
            pretap_free(e);
            return NULL;
        }
    sort_groups(e);
    pretap_reset(e);
    return e;
}
