/* The streaming engine: every open window is a lane, and all lanes advance together as samples arrive.

   `plan.py` says what a lane computes and `compiled.py` fills the struct `plan`; the same in numpy is `python.py`. This
   file only makes it fast. It allocates when an engine is made and never again.

   Lanes lie in blocks, one value of all lanes of a block beside another, so every operation on them is one on vectors.
   Each lane's arithmetic is the same whatever the hop, the chunks and the number of lanes: sums run in a fixed order,
   tanh and log are written out, and what computes stands in functions that are not inlined, so that there is one
   version of it. On one machine equal windows give equal bits.

   `hatch_build.py` compiles it once for each kind of processor (VARIANT), with vectors as wide as that has: wider ones
   are torn apart (64 bytes on AVX2: 4 times slower than 32). `pretap_variant` says which to use. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#ifndef VARIANT
#define VARIANT plain
#define VECTOR 16
#define SELECTS
#endif
#ifndef SOURCE_CRC
#define SOURCE_CRC 0
#endif
#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define NAME(x) JOIN(x, VARIANT)

#define LANES (VECTOR / 4) /* of a block */
#define WIDE (VECTOR / 8)  /* doubles of a vector */
#define PADDED 8           /* rows of doubles are padded to a multiple of it */
#define PENDING 32         /* samples that may wait for `catch_up` */

typedef float F __attribute__((vector_size(VECTOR)));
typedef int32_t I __attribute__((vector_size(VECTOR)));
typedef double D __attribute__((vector_size(VECTOR)));
typedef int64_t L __attribute__((vector_size(VECTOR)));
typedef float H __attribute__((vector_size(VECTOR / 2)));

#define INLINE static inline __attribute__((always_inline))
#define ONCE static __attribute__((noinline))

/* What an engine is made of. Arrays belong to the caller and outlive the engine. Rows of doubles are padded to PADDED.

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

#ifdef SELECTS
const uint32_t pretap_source_crc = SOURCE_CRC; /* of this file: a library that was built from another is not used */
const int64_t pretap_plan_bytes = sizeof(plan);

/* The variant for this processor. */
const char *pretap_variant(void) {
#ifdef WITH_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        return "avx512";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
#endif
    return "plain";
}
#endif

typedef struct {
    float *h; /* all of a member's layers: hidden, then cell; [unit][LANES], members one after another */
    double *first, *sections, *slow, *power, *slow_first;
} state;

typedef struct {
    plan p;
    int64_t n_padded, n_feature_padded; /* channels, features */
    int64_t n_units, n_float, n_double; /* units of a member; rows of a block's state */
    int64_t n_groups, n_lanes, n_blocks, apart; /* lanes of a group: their windows start `apart` samples apart */
    int64_t n_each, n_lead;                     /* steps of a block of time, and before the first */
    int64_t *phase_at, *phase_groups; /* (stride + 1,) where each phase's groups begin in (n_groups,) */
    int64_t *done;                    /* (n_groups, n_blocks) up to which sample each block's lanes were advanced */
    double *doubles;                  /* states (n_groups, n_blocks, n_double, LANES) */
    float *floats;                    /* states (n_groups, n_blocks, n_float, LANES) */
    double *scratch_doubles;          /* one block: where a lane takes its first steps */
    float *scratch_floats;
    double *ring; /* (2 * n_history, n_padded) the newest samples, re-referenced */
    int64_t n_history, ring_end;
    double *shared;               /* (PENDING, n_feature_padded) steps that all lanes share, of samples not advanced yet */
    double *base;                 /* (n_groups, n_blocks, n_features, LANES) baselines */
    double *step;                 /* (n_padded,) */
    double *single;               /* (n_feature_padded,) one of a single lane */
    double *spread;               /* (n_features, LANES) */
    float *inputs, *gates, *sums; /* (members * inputs, LANES), (n_features, LANES), (4 * units, LANES) */
    int64_t n_seen, n_advanced;    /* up to where all lanes were advanced */
} engine;

INLINE F select_f(I yes, F a, F b) { return (F)((yes & (I)a) | (~yes & (I)b)); }

/* x between -limit and limit; `limit` where it is NaN. */
INLINE F within_limit(F x, F limit) {
#if defined(__AVX512F__)
    return (F)_mm512_max_ps(_mm512_min_ps((__m512)x, (__m512)limit), (__m512)-limit);
#elif defined(__AVX2__)
    return (F)_mm256_max_ps(_mm256_min_ps((__m256)x, (__m256)limit), (__m256)-limit);
#else
    x = select_f(x < limit, x, limit);
    return select_f(x > -limit, x, -limit);
#endif
}

/* tanh, within 7 units in the last place of float32: an odd polynomial over an even one, the best of these degrees for
   the relative error; then its coefficients as floats that came out best among their neighbours. */
INLINE F tanh_of(F x) {
    const F a = within_limit(x, (F){0} + 8.6f), y = a * a; /* beyond, it is 1 */
    F p = y * 1.8564334e-11f - 1.2477963e-08f;
    p = p * y + 8.777766e-06f;
    p = p * y + 0.002716585f;
    p = p * y + 0.119196735f;
    p = p * y + 0.920613f;
    F q = y * 0.00021377516f + 0.021990947f;
    q = q * y + 0.42606768f;
    q = q * y + 0.92061293f;
    return a * p / q;
}

/* ln of positive normal numbers, within 1e-12: exponent and 2 atanh((m - 1) / (m + 1)) of the mantissa. */
INLINE D log_of(D x) {
    const L bits = (L)x;
    const L magic = (L){0} + 0x4338000000000000; /* 1.5 * 2^52: the whole number added to its bits, as a double */
    const L off = bits - 0x3FE6A09E667F3BCD;      /* sqrt(1/2): the mantissa is taken from there to sqrt(2) */
    const L exponent = off >> 52;
    const D m = (D)(bits - (exponent << 52));
    const D e = (D)(exponent + magic) - (D)magic;
    const D s = (m - 1.0) / (m + 1.0), s2 = s * s;
    D sum = s2 * (1.0 / 15) + (1.0 / 13);
    sum = sum * s2 + (1.0 / 11);
    sum = sum * s2 + (1.0 / 9);
    sum = sum * s2 + (1.0 / 7);
    sum = sum * s2 + (1.0 / 5);
    sum = sum * s2 + (1.0 / 3);
    sum = sum * s2 + 1.0;
    return e * 0.6931471805599453 + 2.0 * s * sum;
}

/* The sums that `n_units` units' gates are made of; `w` are these units' weights. */
INLINE void sum_up(const float *w, int64_t n_units, const float *bias, const F *given, const F *x, int64_t n_in,
                   const F *h, int64_t n_hidden, F *gates) {
    const int64_t n_weights = 4 * ((given ? 0 : n_in) + n_hidden);
    F sums[8];
    for (int64_t g = 0; g < 4 * n_units; g++) sums[g] = given ? given[g] + bias[g] : (F){0} + bias[g];
    if (!given)
        for (int64_t k = 0; k < n_in; k++, w += 4)
            for (int64_t g = 0; g < 4 * n_units; g++) sums[g] += w[g / 4 * n_weights + g % 4] * x[k];
    for (int64_t k = 0; k < n_hidden; k++, w += 4)
        for (int64_t g = 0; g < 4 * n_units; g++) sums[g] += w[g / 4 * n_weights + g % 4] * h[k];
    for (int64_t g = 0; g < 4 * n_units; g++) gates[g] = sums[g];
}

/* One LSTM layer of one member takes a step in the lanes of a block. `given` holds what the inputs add to the gates
   (4 * n_hidden rows, gates of a unit beside one another); where it is NULL, `x` are n_in inputs with weights.

   Sums, then gates, then cells, each of all units, and the sums of two units at once: what waits for nothing of what
   came before it, the processor works on meanwhile. */
INLINE const float *layer(const float *w, int64_t n_in, int64_t n_hidden, const F *given, const F *x, F *h,
                          F *c, F *gates) {
    const int64_t n_weights = 4 * ((given ? 0 : n_in) + n_hidden);
    const float *bias = w + n_hidden * n_weights;
    int64_t u = 0;
    for (; u + 2 <= n_hidden; u += 2)
        sum_up(w + u * n_weights, 2, bias + 4 * u, given ? given + 4 * u : NULL, x, n_in, h, n_hidden, gates + 4 * u);
    if (u < n_hidden)
        sum_up(w + u * n_weights, 1, bias + 4 * u, given ? given + 4 * u : NULL, x, n_in, h, n_hidden, gates + 4 * u);
    for (int64_t k = 0; k < 4 * n_hidden; k++) gates[k] = tanh_of(gates[k]);
    for (u = 0; u < n_hidden; u++, gates += 4) {
        /* sigmoid(z) = tanh(z / 2) / 2 + 1/2; the weights of these gates are halved already */
        const F i = gates[0] * 0.5f + 0.5f, f = gates[1] * 0.5f + 0.5f, o = gates[3] * 0.5f + 0.5f;
        c[u] = f * c[u] + i * gates[2];
        h[u] = o * tanh_of(c[u]);
    }
    return bias + 4 * n_hidden;
}

/* All layers of all members take a step. `given`: (members * 4 * hidden[0], LANES), or `x`: (members * n_in, LANES). */
INLINE void networks(const engine *e, float *floats, const F *given, const F *x, int64_t n_in) {
    const plan *p = &e->p;
    F *state = (F *)floats;
    for (int64_t m = 0; m < p->n_members; m++) {
        const float *w = p->weights + m * p->n_weights;
        const F *below = given ? NULL : x + m * n_in, *first = given ? given + m * 4 * p->hidden[0] : NULL;
        int64_t n_below = n_in;
        for (int64_t l = 0; l < p->n_layers; l++) {
            const int64_t n = p->hidden[l];
            w = layer(w, n_below, n, l ? NULL : first, below, state, state + n, (F *)e->sums);
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

/* Sum up the slow potential and the power in the band of one step, in the lanes of a block. */
INLINE void accumulate(const engine *e, state s, const D *step) {
    const plan *p = &e->p;
    D *slow = (D *)s.slow, *power = (D *)s.power, *z = (D *)s.sections;
    const D *first = (const D *)s.first;
    for (int64_t m = 0; m < p->n_members; m++) {
        for (int64_t k = 0; k < 2 * p->lrp; k++) *slow++ += *step++;
        first += 2 * p->lrp;
        for (int64_t k = 0; k < p->erd; k++, step += 2, first += 2, power += 2, z += 4 * p->n_sections)
            for (int64_t half = 0; half < 2; half++) {
                D y = step[half] - first[half], *one = z + half;
                for (int64_t j = 0; j < p->n_sections; j++, one += 4) { /* transposed direct form II */
                    const double *c = p->sections + 3 * j;
                    const D in = c[0] * y;
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
                D *sum = (D *)slow + half;
                const D mean = (*sum / n - ((D *)slow_first)[half]) / p->lrp_uv;
                ((H *)x)[half] = __builtin_convertvector(mean, H);
                *sum = (D){0};
            }
        }
        for (int64_t k = 0; k < p->erd; k++, power += LANES, x += LANES)
            for (int64_t half = 0; half < 2; half++) {
                D *sum = (D *)power + half;
                ((H *)x)[half] = __builtin_convertvector(log_of(*sum / n + p->floor), H);
                *sum = (D){0};
            }
    }
    networks(e, s.h, NULL, (const F *)e->inputs, p->lrp + p->erd);
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
ONCE void take_step(const engine *e, float *floats, double *doubles, const double *spread, events at) {
    const plan *p = &e->p;
    if (at.fresh >= 0) clear_lane(floats, e->n_float, doubles, e->n_double, at.fresh);
    if (!p->blocks) {
        for (int64_t k = 0; k < 2 * p->n_features; k++)
            ((H *)e->gates)[k] = __builtin_convertvector(((const D *)spread)[k], H);
        networks(e, floats, (const F *)e->gates, NULL, 0);
        return;
    }
    const state s = parts(e, floats, doubles);
    if (at.fresh >= 0)
        for (int64_t k = 0; k < p->n_features; k++) s.first[k * LANES + at.fresh] = spread[k * LANES + at.fresh];
    if (at.opening >= 0) clear_lane(floats, e->n_float, s.slow, (p->lrp + p->erd) * p->n_members, at.opening);
    accumulate(e, s, (const D *)spread);
    if (at.ends) end_block(e, s, at.opened);
}

/* out (n_features) = the projection of the step that `weights` make of the n samples from row `at` of the ring on. */
ONCE void project(const engine *e, const double *weights, int64_t n, int64_t at, int64_t direction, double *out) {
    const int64_t wide = e->n_padded / WIDE, features = e->n_feature_padded / WIDE;
    D *step = (D *)e->step, *y = (D *)out;
    for (int64_t k = 0; k < wide; k++) step[k] = (D){0};
    const D *row = (const D *)(e->ring + at * e->n_padded);
    for (int64_t i = 0; i < n; i++, row += direction * wide)
        for (int64_t k = 0; k < wide; k++) step[k] += weights[i] * row[k];
    for (int64_t k = 0; k < features; k++) y[k] = (D){0};
    for (int64_t c = 0; c < e->p.n_channels; c++)
        for (int64_t k = 0; k < features; k++) y[k] += e->step[c] * ((const D *)e->p.projection)[c * features + k];
}

/* The row of the ring that holds sample `n` (counted from 0). */
INLINE int64_t row_of(const engine *e, int64_t n) { return e->ring_end - (e->n_seen - n); }

/* Step t of the window that starts with sample `start`, without the baseline. */
INLINE const double *lane_step(const engine *e, int64_t t, int64_t start, int64_t n) {
    const plan *p = &e->p;
    const int64_t end = start + p->first_end + t * p->stride; /* in a burst it was complete a while ago */
    if (t >= p->n_starting && end == n) return e->shared + (n - 1) % PENDING * e->n_feature_padded;
    if (t < p->n_starting) {
        const int64_t n_reach = p->n_reach < n - start ? p->n_reach : n - start;
        project(e, p->starting + t * p->n_reach, n_reach, row_of(e, start), 1, e->single);
    } else {
        project(e, p->fir, p->n_fir, row_of(e, end - 1), -1, e->single);
    }
    return e->single;
}

/* Is step t the last of a block of time? */
INLINE int ends_block(const engine *e, int64_t t) {
    return e->n_each && ((t - e->n_lead) % e->n_each + e->n_each) % e->n_each == e->n_each - 1;
}

/* The baseline of the window that starts with sample `start`, projected. */
INLINE void set_baseline(const engine *e, int64_t start, double *base, int64_t lane) {
    if (!e->p.n_baseline) return;
    project(e, e->p.baseline, e->p.n_baseline, row_of(e, start), 1, e->single);
    for (int64_t k = 0; k < e->p.n_features; k++) base[k * LANES + lane] = e->single[k];
}

/* A lane takes its first steps in the scratch block and moves in. */
INLINE void burst(const engine *e, int64_t n, int64_t age, float *floats, double *doubles, double *base, int64_t lane) {
    const plan *p = &e->p;
    set_baseline(e, n - age, base, lane);
    for (int64_t t = 0; t < p->n_burst; t++) {
        const double *step = lane_step(e, t, n - age, n);
        for (int64_t k = 0; k < p->n_features; k++)
            e->spread[k * LANES] = step[k] - (p->n_baseline ? base[k * LANES + lane] : 0);
        const int64_t last_opening = e->n_lead + e->n_each - 1;
        const events at = {t ? -1 : 0, t == e->n_lead ? 0 : -1, t == last_opening ? 0 : -1, ends_block(e, t)};
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

/* The youngest lane of a group whose age, after n samples, is at least `low`: its number and age; -1 for none. */
INLINE int64_t at_least(const engine *e, int64_t g, int64_t n, int64_t low, int64_t *age) {
    const int64_t begun = (n - 1) / e->p.hop + 1; /* windows, of all groups */
    if (begun <= g) return -1;
    const int64_t newest = (begun - 1 - g) / e->n_groups; /* counted in the group */
    const int64_t youngest = n - (newest * e->n_groups + g) * e->p.hop;
    const int64_t back = youngest >= low ? 0 : (low - youngest + e->apart - 1) / e->apart;
    *age = youngest + back * e->apart;
    return newest < back || back >= e->n_lanes ? -1 : (newest - back) % e->n_lanes;
}

INLINE int64_t exactly(const engine *e, int64_t g, int64_t n, int64_t wanted) {
    int64_t age;
    const int64_t lane = at_least(e, g, n, wanted, &age);
    return lane >= 0 && age == wanted ? lane : -1;
}

/* Lane `lane` of a group as a lane of its block `b`; -1 where it lies in another. */
INLINE int64_t within(int64_t lane, int64_t b) { return lane >= 0 && lane / LANES == b ? lane % LANES : -1; }

/* The step that ends after n samples is taken in the lanes of a block. */
INLINE void advance(engine *e, int64_t g, int64_t b, int64_t n) {
    const plan *p = &e->p;
    const int64_t burst_age = p->first_end + (p->n_burst - 1) * p->stride;
    int64_t age;
    int64_t lane = at_least(e, g, n, burst_age, &age);
    if (lane < 0) return; /* none is old enough */
    const int ends = ends_block(e, (age - p->first_end) / p->stride);
    const int64_t first = within(exactly(e, g, n, burst_age), b);
    const int64_t opening = within(exactly(e, g, n, p->first_end + e->n_lead * p->stride), b);
    const int64_t opened = within(exactly(e, g, n, p->first_end + (e->n_lead + e->n_each - 1) * p->stride), b);
    const int64_t at = g * e->n_blocks + b;
    float *floats = e->floats + at * e->n_float * LANES;
    double *doubles = e->doubles + at * e->n_double * LANES, *base = e->base + at * p->n_features * LANES;
    const double *shared = e->shared + (n - 1) % PENDING * e->n_feature_padded;
    for (int64_t k = 0; k < p->n_features; k++) {
        D *row = (D *)(e->spread + k * LANES);
        row[0] = row[1] = (D){0} + shared[k];
    }
    for (; lane >= 0 && (age - p->first_end) / p->stride < p->n_starting; lane = at_least(e, g, n, age + 1, &age)) {
        const int64_t column = within(lane, b);
        if (column < 0 || (p->n_burst > 1 && age == burst_age)) continue;
        const double *step = lane_step(e, (age - p->first_end) / p->stride, n - age, n);
        for (int64_t k = 0; k < p->n_features; k++) e->spread[k * LANES + column] = step[k];
    }
    if (p->n_burst == 1 && first >= 0) set_baseline(e, n - burst_age, base, first);
    if (p->n_baseline)
        for (int64_t k = 0; k < 2 * p->n_features; k++) ((D *)e->spread)[k] -= ((D *)base)[k];
    take_step(e, floats, doubles, e->spread, (events){p->n_burst == 1 ? first : -1, opening, opened, ends});
    if (p->n_burst > 1 && first >= 0) burst(e, n, burst_age, floats, doubles, base, first);
}

/* All steps of a block up to sample n. */
INLINE void catch_up(engine *e, int64_t g, int64_t b, int64_t n) {
    int64_t *done = e->done + g * e->n_blocks + b;
    const int64_t stride = e->p.stride, phase = (g * e->p.hop + e->p.first_end) % stride;
    const int64_t next = *done + 1 + ((phase - *done - 1) % stride + stride) % stride;
    for (int64_t at = next; at <= n; at += stride) advance(e, g, b, at);
    *done = n;
}

/* One sample goes into the ring, re-referenced. */
INLINE void remember(engine *e, const float *x) {
    const int64_t n = e->p.n_channels;
    if (e->ring_end == 2 * e->n_history) { /* the newest move to the front: every stretch of the ring is unbroken */
        memcpy(e->ring, e->ring + e->n_history * e->n_padded, e->n_history * e->n_padded * sizeof(double));
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

/* Advance every lane to the newest sample: what `process` left for later. */
void NAME(pretap_catch_up)(engine *e) {
    if (e->n_advanced == e->n_seen) return;
    for (int64_t g = 0; g < e->n_groups; g++)
        for (int64_t b = 0; b < e->n_blocks; b++) catch_up(e, g, b, e->n_seen);
    e->n_advanced = e->n_seen;
}

/* Take n samples (n, n_channels); write every decision they complete: `ends`, `probs` (.., n_classes). Returns how many,
   or -1 where a value is not finite; then nothing was taken. Only the lanes whose windows are full are advanced: the
   others follow with the next `catch_up` or `process`. */
int64_t NAME(pretap_process)(engine *e, const float *x, int64_t n, int64_t *ends, double *probs) {
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
        if (e->n_seen - e->n_advanced == PENDING || !i) NAME(pretap_catch_up)(e);
        remember(e, x + i * p->n_channels);
        const int64_t now = e->n_seen, phase = now % p->stride;
        if (e->phase_at[phase] == e->phase_at[phase + 1]) continue; /* no step ends here */
        if (now >= p->n_fir) { /* before, no lane is old enough for it */
            project(e, p->fir, p->n_fir, e->ring_end - 1, -1, e->shared + (now - 1) % PENDING * e->n_feature_padded);
        }
        for (int64_t k = e->phase_at[phase]; k < e->phase_at[phase + 1]; k++) {
            const int64_t g = e->phase_groups[k], full = exactly(e, g, now, p->n_window);
            if (full < 0) continue;
            catch_up(e, g, full / LANES, now);
            const int64_t at = g * e->n_blocks + full / LANES;
            decide(e, e->floats + at * e->n_float * LANES, full % LANES, probs + n_found * p->n_classes);
            ends[n_found++] = now;
        }
    }
    return n_found;
}

void NAME(pretap_reset)(engine *e) {
    e->n_seen = e->n_advanced = e->ring_end = 0;
    memset(e->done, 0, e->n_groups * e->n_blocks * sizeof(int64_t));
}

static int64_t gcd(int64_t a, int64_t b) { return b ? gcd(b, a % b) : a; }

static int64_t padded(int64_t n) { return (n + PADDED - 1) / PADDED * PADDED; }

/* Take `n` values of `size` bytes from the memory at *at, at a multiple of 64 bytes; or only count them, from NULL. */
static void *take(char **at, size_t *total, int64_t n, size_t size) {
    const size_t n_bytes = ((size_t)n * size + 63) / 64 * 64;
    void *taken = *at;
    if (*at) *at += n_bytes;
    *total += n_bytes;
    return taken;
}

/* Lay the engine's arrays out in the memory at `at`; returns the bytes they take. */
static size_t lay_out(engine *e, char *at) {
    const plan *p = &e->p;
    const int64_t states = e->n_groups * e->n_blocks, wide = e->n_feature_padded;
    size_t total = 0;
    e->phase_at = take(&at, &total, p->stride + 1, sizeof(int64_t));
    e->phase_groups = take(&at, &total, e->n_groups, sizeof(int64_t));
    e->done = take(&at, &total, states, sizeof(int64_t));
    e->doubles = take(&at, &total, states * e->n_double * LANES, sizeof(double));
    e->floats = take(&at, &total, states * e->n_float * LANES, sizeof(float));
    e->scratch_doubles = take(&at, &total, e->n_double * LANES, sizeof(double));
    e->scratch_floats = take(&at, &total, e->n_float * LANES, sizeof(float));
    e->ring = take(&at, &total, 2 * e->n_history * e->n_padded, sizeof(double));
    e->shared = take(&at, &total, PENDING * wide, sizeof(double));
    e->base = take(&at, &total, p->n_baseline ? states * p->n_features * LANES : 0, sizeof(double));
    e->step = take(&at, &total, e->n_padded, sizeof(double));
    e->single = take(&at, &total, wide, sizeof(double));
    e->spread = take(&at, &total, p->n_features * LANES, sizeof(double));
    e->inputs = take(&at, &total, p->n_members * (p->lrp + p->erd) * LANES, sizeof(float));
    e->gates = take(&at, &total, p->n_features * LANES, sizeof(float));
    e->sums = take(&at, &total, 4 * e->n_units * LANES, sizeof(float));
    return total;
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

/* Make an engine for a plan; NULL where there is no memory. It is one piece: `pretap_free` gives it back. */
engine *NAME(pretap_new)(const plan *given) {
    engine sizes = {.p = *given}, *e = &sizes;
    const plan *p = &e->p;
    e->n_padded = padded(p->n_channels), e->n_feature_padded = padded(p->n_features);
    for (int64_t l = 0; l < p->n_layers; l++) e->n_units += p->hidden[l];
    e->n_float = 2 * e->n_units * p->n_members;
    if (p->blocks) {
        e->n_each = p->n_steps / p->blocks, e->n_lead = p->n_steps - p->blocks * e->n_each;
        e->n_double = p->n_features + p->n_members * (2 * p->lrp + p->erd + 2 * p->n_sections * p->erd);
    }
    /* Windows of a group start a whole number of periods apart, so its lanes are at the same place of a block of time. */
    const int64_t period = p->stride * (e->n_each ? e->n_each : 1);
    e->n_groups = period / gcd(period, p->hop);
    e->apart = e->n_groups * p->hop;
    e->n_lanes = (p->n_window + e->apart - 1) / e->apart;
    e->n_blocks = (e->n_lanes + LANES - 1) / LANES;
    const int64_t burst_age = p->first_end + (p->n_burst - 1) * p->stride;
    const int64_t starting_age = p->first_end + p->n_starting * p->stride;
    e->n_history = p->n_fir + p->n_burst * p->stride;
    if (e->n_history < burst_age) e->n_history = burst_age;
    if (e->n_history < starting_age) e->n_history = starting_age;
    e->n_history += PENDING;
    const size_t header = (sizeof(engine) + 63) / 64 * 64, total = header + lay_out(e, NULL);
    char *memory = aligned_alloc(64, total);
    if (!memory) return NULL;
    memset(memory, 0, total);
    engine *made = (engine *)memory;
    *made = sizes;
    lay_out(made, memory + header);
    sort_groups(made);
    NAME(pretap_reset)(made);
    return made;
}

void NAME(pretap_free)(engine *e) { free(e); }
