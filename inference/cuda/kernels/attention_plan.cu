// What each block of the attention does in this step, from the lengths of the sequences alone.
#include "attention.cuh"

// Sums before each thread, and of all. `parts` has room for a value a warp.
__device__ uint32_t sum_before(uint32_t value, uint32_t* parts, uint32_t* all) {
    uint32_t before = value;
    for (int apart = 1; apart < WARP_LANES; apart *= 2) {
        uint32_t other = __shfl_up_sync(ALL_LANES, before, apart);
        if (lane_index() >= apart) before += other;
    }
    __syncthreads();
    if (lane_index() == WARP_LANES - 1) parts[warp_index()] = before;
    __syncthreads();
    uint32_t warps = 0, total = 0;
    for (int warp = 0; warp < int(blockDim.x) / WARP_LANES; ++warp) {
        if (warp < warp_index()) warps += parts[warp];
        total += parts[warp];
    }
    *all = total;
    return warps + before - value;
}

__device__ void plan_attention(const AttentionPlan& args) {
    SHARED(uint32_t, parts, WARP_LANES);
    const Sequences& of = args.sequences;
    uint32_t items = 0, tiles = 0;
    for (uint32_t first = 0; first < of.count; first += blockDim.x) {
        uint32_t sequence = first + threadIdx.x, splits = 0, own_tiles = 0;
        if (sequence < of.count) {
            uint32_t queries = of.cu_seqlens_q[sequence + 1] - of.cu_seqlens_q[sequence], length = of.seqlens_k[sequence];
            if (queries == 1) splits = splits_of(length, args.window, args.split_tokens, args.splits_max).count;
            if (queries > 1) own_tiles = (queries + args.tile_rows - 1) / args.tile_rows;
        }
        uint32_t items_all, tiles_all;
        uint32_t item = items + sum_before(splits, parts, &items_all), tile = tiles + sum_before(own_tiles, parts, &tiles_all);
        if (sequence < of.count) {
            args.plan.first_item[sequence] = item;
            args.plan.first_tile[sequence] = tile;
            for (uint32_t split = 0; split < splits; ++split) args.plan.items[item + split] = sequence;
        }
        items += items_all;
        tiles += tiles_all;
    }
    if (threadIdx.x == 0) {
        args.plan.first_item[of.count] = items;
        args.plan.first_tile[of.count] = tiles;
    }
}

KERNEL(attention_plan, AttentionPlan, 256, 1, plan_attention(args))
