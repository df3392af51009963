// Attention of sequences with several queries: `attention_prefill_D_T`.
#include "attention_prefill.cuh"

// Bytes of shared memory to launch with.
constexpr int PREFILL_SHARED_64 = Sizes<64>::SHARED_BYTES;
constexpr int PREFILL_SHARED_80 = Sizes<80>::SHARED_BYTES;
constexpr int PREFILL_SHARED_96 = Sizes<96>::SHARED_BYTES;
constexpr int PREFILL_SHARED_112 = Sizes<112>::SHARED_BYTES;
constexpr int PREFILL_SHARED_128 = Sizes<128>::SHARED_BYTES;
constexpr int PREFILL_SHARED_192 = Sizes<192>::SHARED_BYTES;
constexpr int PREFILL_SHARED_256 = Sizes<256>::SHARED_BYTES;
static_assert(PREFILL_SHARED_64 == 55296 && PREFILL_SHARED_80 == 67584 && PREFILL_SHARED_96 == 79872 && PREFILL_SHARED_112 == 92160 &&
              PREFILL_SHARED_128 == 104448 && PREFILL_SHARED_192 == 76800 && PREFILL_SHARED_256 == 101376,
              "the launch's table has these");

#define OF(D) PREFILL(attention_prefill, D)
OF(64) OF(80) OF(96) OF(112) OF(128) OF(192) OF(256)
