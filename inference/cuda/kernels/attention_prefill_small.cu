// The same for GPUs with 99 KB of shared memory a block (compute capability 8.6, 8.9, 12.0), which is too little for heads of 128 numbers:
// half as many queries to a tile of keys. A row's arithmetic is the same.
#define PREFILL_M 1
#include "attention_prefill.cuh"

static_assert(Sizes<128>::SHARED_BYTES == 87040, "the launch's table has it");
PREFILL(attention_prefill_small, 128)
