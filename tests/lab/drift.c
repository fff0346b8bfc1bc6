/* A clock that runs too fast: loaded before libc (LD_PRELOAD), it makes CLOCK_MONOTONIC gain DRIFT_PPM microseconds a
   second from DRIFT_BASE_S on. A time namespace only shifts a clock. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    static double ppm, base_s;
    if (!real) {
        const char *gain = getenv("DRIFT_PPM"), *base = getenv("DRIFT_BASE_S");
        ppm = gain ? atof(gain) : 0, base_s = base ? atof(base) : 0;
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    }
    const int result = real(id, now);
    if (!result && id == CLOCK_MONOTONIC) {
        const double gained_s = ((double)now->tv_sec - base_s + 1e-9 * (double)now->tv_nsec) * ppm * 1e-6;
        const long long ns = now->tv_nsec + (long long)(gained_s * 1e9);
        now->tv_sec += ns / 1000000000, now->tv_nsec = ns % 1000000000;
    }
    return result;
}
