/* The compiled engine of the decoder: every open window is a lane, and all lanes advance together as samples arrive.
   Called by `compiled.py`, and by C code that gets the addresses of the functions from there.

   `plan.py` defines the steps of a lane, `compiled.py` fills the struct `plan`, and `python.py` computes the same in
   numpy. This file only makes it fast. It allocates memory when an engine is made and never again.

   Lanes lie in blocks. The values of all lanes of a block are adjacent, so one vector operation advances them all. A
   lane's arithmetic does not depend on the hop, the chunks or the number of lanes: sums run in a fixed order, tanh and
   log are written out, and the functions that compute are not inlined, so that there is only one version of each. On
   one machine equal windows give equal bits.

   `hatch_build.py` compiles this file once for each kind of processor (VARIANT), with vectors as wide as its registers.
   The compiler splits wider vectors (64 bytes on AVX2 are 4 times slower than 32). `pretap_variant` names the variant
   to use. */

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

#define LANES (VECTOR / 4) /* lanes of a block */
#define WIDE (VECTOR / 8)  /* doubles in a vector */
#define PADDED 8           /* rows of doubles are padded to a multiple of this */
#define PENDING 32         /* the most samples left for `catch_up` */

typedef float F __attribute__((vector_size(VECTOR)));
typedef int32_t I __attribute__((vector_size(VECTOR)));
typedef double D __attribute__((vector_size(VECTOR)));
typedef int64_t L __attribute__((vector_size(VECTOR)));
typedef float H __attribute__((vector_size(VECTOR / 2)));

#define INLINE static inline __attribute__((always_inline))
#define ONCE static __attribute__((noinline))

/* The description of an engine. The arrays belong to the caller and must outlive the engine. Rows of doubles are padded
   to PADDED.

   A step is one input of the network, a weighted sum of the window's samples. From step `n_starting` on, the weights
   are `fir`, newest sample first. Each earlier step has a row of its own in `starting`, from the window's first sample
   on. Step t is complete `first_end + t * stride` samples after the window's start. The first `n_burst` steps are
   computed together when the last of them is complete, because their rows or the baseline read that far. */
typedef struct {
    int64_t n_channels, n_window, hop, reference;
    int64_t n_steps, stride, first_end, n_burst;
    int64_t n_fir, n_starting, n_baseline; /* n_baseline: samples with a weight in the baseline; 0: no baseline */
    const double *fir, *starting, *baseline; /* (n_fir,) (n_starting, n_reach) (n_baseline,) */
    int64_t n_reach;
    int64_t n_features;       /* rows of the projection: the first layer's gates, or both branches' filters */
    const double *projection; /* (n_channels, padded n_features) */
    int64_t n_members, n_classes;
    double temperature;
    int64_t n_layers;
    const int64_t *hidden; /* (n_layers,) */
    const float *weights;  /* per member: layers [unit][input, then own state][gate], biases [unit][gate]; dense */
    int64_t n_weights;     /* per member */
    int64_t blocks;        /* 0: features are the first layer's gates; otherwise the blocks of time of LRP and ERD */
    int64_t lrp, erd;      /* filters of each branch, per member */
    double floor; /* added to each power before the logarithm */
    int64_t n_sections;
    const double *sections; /* (n_sections, 3): gain, a1, a2; the numerator is gain * (1 - z^-2) */
} plan;

#ifdef SELECTS
const uint32_t pretap_source_crc = SOURCE_CRC; /* of this file; `compiled.py` refuses a library with another */
const int64_t pretap_plan_bytes = sizeof(plan);

/* Return the variant for this processor. */
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
    float *h; /* for each member, for each layer: hidden, then cell; [unit][LANES] */
    double *first, *sections, *slow, *power, *slow_first;
} state;

typedef struct {
    plan p;
    int64_t n_padded, n_feature_padded; /* channels, features */
    int64_t n_units, n_float, n_double; /* units per member; rows of a block's state */
    int64_t n_groups, n_lanes, n_blocks, apart; /* windows of a group start `apart` samples apart */
    int64_t n_each, n_lead;                     /* steps in a block of time, and before the first block */
    int64_t *phase_at, *phase_groups; /* (stride + 1,) first index of each phase in phase_groups (n_groups,) */
    int64_t *done;                    /* (n_groups, n_blocks) the sample up to which each block was advanced */
    double *doubles;                  /* states (n_groups, n_blocks, n_double, LANES) */
    float *floats;                    /* states (n_groups, n_blocks, n_float, LANES) */
    double *scratch_doubles;          /* one block, in which a lane computes its burst */
    float *scratch_floats;
    double *ring; /* (2 * n_history, n_padded) the newest samples, re-referenced */
    int64_t n_history, ring_end;
    double *shared;               /* (PENDING, n_feature_padded) the steps that lanes share, for the newest samples */
    double *base;                 /* (n_groups, n_blocks, n_features, LANES) baselines */
    double *step;                 /* (n_padded,) */
    double *single;               /* (n_feature_padded,) the step of a single lane */
    double *spread;               /* (n_features, LANES) */
    float *inputs, *gates, *sums; /* (members * inputs, LANES), (n_features, LANES), (4 * units, LANES) */
    int64_t n_seen, n_advanced;    /* samples received, and samples to which all lanes were advanced */
} engine;

INLINE F select_f(I yes, F a, F b) { return (F)((yes & (I)a) | (~yes & (I)b)); }

/* Clip x to [-limit, limit]; NaN becomes `limit`. */
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

/* tanh within 7 units in the last place of float32: an odd polynomial over an even one, with the smallest relative
   error for these degrees. Of the floats near each exact coefficient, those with the smallest error were chosen. */
INLINE F tanh_of(F x) {
    const F a = within_limit(x, (F){0} + 8.6f), y = a * a; /* beyond, tanh is 1 in float32 */
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

/* ln of positive normal numbers within 1e-12: exponent * ln 2 + 2 atanh((m - 1) / (m + 1)), with the mantissa m. */
INLINE D log_of(D x) {
    const L bits = (L)x;
    const L magic = (L){0} + 0x4338000000000000; /* 1.5 * 2^52; an integer added to its bits is added to its value */
    const L off = bits - 0x3FE6A09E667F3BCD;      /* sqrt(1/2): the mantissa lies in [sqrt(1/2), sqrt(2)) */
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

/* Compute the weighted sums of the gates of `n_units` units, whose weights are `w`. */
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

/* Advance one LSTM layer of one member by a step, in the lanes of a block, and return the weights after this layer's.
   `given` holds the inputs' contributions to the gates (4 * n_hidden rows, the gates of a unit adjacent). If it is
   NULL, `x` holds n_in inputs, which have weights.

   The loops run over sums, then gates, then cells of all units, with the sums of two units at once. Neighbouring
   operations then do not depend on each other, and the processor can overlap them. */
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
        /* sigmoid(z) = tanh(z / 2) / 2 + 1/2; `compiled.py` has halved the weights of these gates */
        const F i = gates[0] * 0.5f + 0.5f, f = gates[1] * 0.5f + 0.5f, o = gates[3] * 0.5f + 0.5f;
        c[u] = f * c[u] + i * gates[2];
        h[u] = o * tanh_of(c[u]);
    }
    return bias + 4 * n_hidden;
}

/* Advance all layers of all members by a step, from `given` (members * 4 * hidden[0], LANES) or from `x`
   (members * n_in, LANES). */
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

/* Return the parts of a block's state, each [row][LANES]. */
INLINE state parts(const engine *e, float *floats, double *doubles) {
    const int64_t n_lrp = e->p.n_members * e->p.lrp, n_erd = e->p.n_members * e->p.erd;
    state s = {.h = floats, .first = doubles};
    s.sections = s.first + e->p.n_features * LANES;
    s.slow = s.sections + 2 * e->p.n_sections * n_erd * LANES;
    s.power = s.slow + n_lrp * LANES;
    s.slow_first = s.power + n_erd * LANES;
    return s;
}

/* Add one step to the sums of the slow potential and of the power in the band, in the lanes of a block. */
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

/* End a block of time: run the LSTMs on its features. `opened` is the lane whose first block this was, or -1. */
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
                ((H *)x)[half] = __builtin_convertvector(*sum / n - ((D *)slow_first)[half], H);
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

/* The lanes of a block for which a step is special; -1 for no lane. */
typedef struct {
    int64_t fresh;   /* at its first step */
    int64_t opening; /* at the start of its first block of time */
    int64_t opened;  /* at the end of its first block of time */
    int ends;        /* whether a block of time ends: the same for all lanes of a group */
} events;

/* Advance the network by a step with the features `spread` (n_features, LANES), in the lanes of a block. */
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

/* Write to `out` (n_features) the projection of a step: n samples from row `at` of the ring on, times `weights`. The
   rows are read forwards or backwards (`direction` 1 or -1). */
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

/* Return the row of the ring that holds sample `n`, counted from 0. */
INLINE int64_t row_of(const engine *e, int64_t n) { return e->ring_end - (e->n_seen - n); }

/* Return the projected step t, without the baseline, of the window that starts at sample `start`, after n samples. */
INLINE const double *lane_step(const engine *e, int64_t t, int64_t start, int64_t n) {
    const plan *p = &e->p;
    const int64_t end = start + p->first_end + t * p->stride; /* before n within a burst */
    if (t >= p->n_starting && end == n) return e->shared + (n - 1) % PENDING * e->n_feature_padded;
    if (t < p->n_starting) {
        const int64_t n_reach = p->n_reach < n - start ? p->n_reach : n - start;
        project(e, p->starting + t * p->n_reach, n_reach, row_of(e, start), 1, e->single);
    } else {
        project(e, p->fir, p->n_fir, row_of(e, end - 1), -1, e->single);
    }
    return e->single;
}

/* Return whether step t is the last of a block of time. */
INLINE int ends_block(const engine *e, int64_t t) {
    return e->n_each && ((t - e->n_lead) % e->n_each + e->n_each) % e->n_each == e->n_each - 1;
}

/* Write the projected baseline of the window that starts at sample `start` to a lane of `base`. */
INLINE void set_baseline(const engine *e, int64_t start, double *base, int64_t lane) {
    if (!e->p.n_baseline) return;
    project(e, e->p.baseline, e->p.n_baseline, row_of(e, start), 1, e->single);
    for (int64_t k = 0; k < e->p.n_features; k++) base[k * LANES + lane] = e->single[k];
}

/* Compute the burst of a lane in the scratch block, then copy the state to the lane. */
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

/* Compute a lane's probabilities: the softmax of the members' mean logits, divided by the temperature. */
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

/* Return the youngest lane of a group whose age after n samples is at least `low`, or -1; write its age. */
INLINE int64_t at_least(const engine *e, int64_t g, int64_t n, int64_t low, int64_t *age) {
    const int64_t begun = (n - 1) / e->p.hop + 1; /* windows begun in all groups */
    if (begun <= g) return -1;
    const int64_t newest = (begun - 1 - g) / e->n_groups; /* its number within the group */
    const int64_t youngest = n - (newest * e->n_groups + g) * e->p.hop;
    const int64_t back = youngest >= low ? 0 : (low - youngest + e->apart - 1) / e->apart;
    *age = youngest + back * e->apart;
    return newest < back || back >= e->n_lanes ? -1 : (newest - back) % e->n_lanes;
}

/* Return the lane of a group whose age after n samples is `wanted`, or -1. */
INLINE int64_t exactly(const engine *e, int64_t g, int64_t n, int64_t wanted) {
    int64_t age;
    const int64_t lane = at_least(e, g, n, wanted, &age);
    return lane >= 0 && age == wanted ? lane : -1;
}

/* Return the index within block `b` of lane `lane` of a group, or -1 if it lies in another block. */
INLINE int64_t within(int64_t lane, int64_t b) { return lane >= 0 && lane / LANES == b ? lane % LANES : -1; }

/* Advance the lanes of a block by the step that is complete after n samples. */
INLINE void advance(engine *e, int64_t g, int64_t b, int64_t n) {
    const plan *p = &e->p;
    const int64_t burst_age = p->first_end + (p->n_burst - 1) * p->stride;
    int64_t age;
    int64_t lane = at_least(e, g, n, burst_age, &age);
    if (lane < 0) return; /* no lane is old enough */
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

/* Advance the lanes of a block by all steps up to sample n. */
INLINE void catch_up(engine *e, int64_t g, int64_t b, int64_t n) {
    int64_t *done = e->done + g * e->n_blocks + b;
    const int64_t stride = e->p.stride, phase = (g * e->p.hop + e->p.first_end) % stride;
    const int64_t next = *done + 1 + ((phase - *done - 1) % stride + stride) % stride;
    for (int64_t at = next; at <= n; at += stride) advance(e, g, b, at);
    *done = n;
}

/* Re-reference one sample and append it to the ring. */
INLINE void remember(engine *e, const float *x) {
    const int64_t n = e->p.n_channels;
    if (e->ring_end == 2 * e->n_history) { /* full: move the newest to the front, so that they stay contiguous */
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

/* Advance every lane to the newest sample; `process` leaves this for later. */
void NAME(pretap_catch_up)(engine *e) {
    if (e->n_advanced == e->n_seen) return;
    for (int64_t g = 0; g < e->n_groups; g++)
        for (int64_t b = 0; b < e->n_blocks; b++) catch_up(e, g, b, e->n_seen);
    e->n_advanced = e->n_seen;
}

/* Process n samples (n, n_channels), and write the decisions that they complete to `ends` and `probs` (.., n_classes).
   Return the number of decisions, or -1 if a value is not finite; then no sample was processed. Only blocks
   with a full window are advanced. The others follow at the next `catch_up` or `process`, or after PENDING samples. */
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
        if (e->phase_at[phase] == e->phase_at[phase + 1]) continue; /* no lane has a step here */
        if (now >= p->n_fir) { /* before, no lane is old enough for a shared step */
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

/* Reserve `n` values of `size` bytes in the memory at *at, in multiples of 64 bytes. If *at is NULL, only count. */
static void *take(char **at, size_t *total, int64_t n, size_t size) {
    const size_t n_bytes = ((size_t)n * size + 63) / 64 * 64;
    void *taken = *at;
    if (*at) *at += n_bytes;
    *total += n_bytes;
    return taken;
}

/* Lay the engine's arrays out in the memory at `at`; return their size in bytes. If `at` is NULL, only count. */
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

/* List the groups that have a step at each phase of the stride. */
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

/* Make an engine for a plan; return NULL if there is no memory. It is a single allocation, freed by `pretap_free`. */
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
    /* Windows of a group start a whole number of periods apart, so their blocks of time coincide. */
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
