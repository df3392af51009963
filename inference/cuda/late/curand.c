// cuRAND without its library of 130 MB. candle makes a generator for every device; the engine draws its random numbers itself,
// seeded by request, so the generator is never asked for any. Making, seeding and removing one works; drawing from one is refused
// with a status, which candle returns as an error.

#include <stddef.h>

// CURAND_STATUS_SUCCESS and CURAND_STATUS_NOT_INITIALIZED of curand.h.
enum { SUCCESS = 0, NOT_INITIALIZED = 101 };

static int generator;

int curandCreateGenerator(void **made, int kind) {
    (void)kind;
    *made = &generator;
    return SUCCESS;
}

int curandDestroyGenerator(void *made) {
    (void)made;
    return SUCCESS;
}

int curandSetStream(void *made, void *stream) {
    (void)made, (void)stream;
    return SUCCESS;
}

int curandSetPseudoRandomGeneratorSeed(void *made, unsigned long long seed) {
    (void)made, (void)seed;
    return SUCCESS;
}

__attribute__((visibility("hidden"))) int candela_curand_refused(void) {
    return NOT_INITIALIZED;
}
