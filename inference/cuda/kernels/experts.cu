// Mixtures of experts: which experts a token goes to, and the sum of what they make of it. The products are in `experts_matmul.cu`.
#include "arguments.cuh"
#include "device.cuh"

constexpr uint32_t TILE_ROWS = 64;
// Columns of a block of `experts_matmul_f32`.
constexpr uint32_t PLAIN_COLUMNS = 32;
constexpr uint32_t ROUTE_WARPS = 4;

// The lane's greatest of what is left, of equals the first; something even where nothing is a number.
struct Best {
    float value;
    uint32_t expert;
    __device__ static Best of(Best a, Best b) {
        if (a.expert == NO_SLOT) return b;
        if (b.expert == NO_SLOT) return a;
        bool first = a.value > b.value || (!(b.value > a.value) && a.expert < b.expert);
        return first ? a : b;
    }
};

__device__ Best best_of_warp(const float* left, uint32_t experts) {
    Best best{0.0f, NO_SLOT};
    for (uint32_t expert = lane_index(); expert < experts; expert += WARP_LANES)
        if (!(left[expert] < 0.0f)) best = Best::of(best, {left[expert], expert});
    for (int apart = WARP_LANES / 2; apart > 0; apart /= 2) {
        Best other{__shfl_xor_sync(ALL_LANES, best.value, apart), __shfl_xor_sync(ALL_LANES, best.expert, apart)};
        best = Best::of(best, other);
    }
    return best;
}

// One warp a row: softmax over all experts, then the best of them, written in the order of the experts.
__device__ void route(const ExpertsRoute& args) {
    DYNAMIC_SHARED(float, all);
    uint32_t row = blockIdx.x * ROUTE_WARPS + warp_index(), lane = lane_index(), count = args.per_token;
    if (row >= args.rows) return;
    uint32_t* experts = args.to.experts + size_t(row) * count;
    if (args.live_rows != nullptr && row >= *args.live_rows) {
        if (lane < count) experts[lane] = args.experts, args.to.weights[size_t(row) * count + lane] = 0.0f;
        return;
    }
    float *left = all + warp_index() * args.experts, greatest = -INFINITE, total = 0.0f;
    const float* logits = args.logits + size_t(row) * args.experts;
    for (uint32_t expert = lane; expert < args.experts; expert += WARP_LANES) greatest = Greatest::of(logits[expert], greatest);
    greatest = across_warp<Greatest>(greatest);
    for (uint32_t expert = lane; expert < args.experts; expert += WARP_LANES) {
        left[expert] = expf(logits[expert] - greatest);
        total += left[expert];
    }
    total = across_warp<Sum>(total);
    __syncwarp();
    Best own{0.0f, NO_SLOT};
    float sum = 0.0f;
    for (uint32_t choice = 0; choice < count; ++choice) {
        Best best = best_of_warp(left, args.experts);
        sum += best.value;
        if (lane == choice) own = best;
        __syncwarp();
        if (lane == 0) left[best.expert] = -1.0f;
        __syncwarp();
    }
    uint32_t rank = 0;
    for (uint32_t choice = 0; choice < count; ++choice) rank += __shfl_sync(ALL_LANES, own.expert, choice) < own.expert;
    if (lane < count) {
        experts[rank] = own.expert;
        args.to.weights[size_t(row) * count + rank] = own.value / (args.normalized ? sum : total);
    }
}

__device__ void count_assignments(const ExpertsRoute& args) {
    SHARED(uint32_t, parts, WARP_LANES);
    uint32_t count = 0, all = args.rows * args.per_token;
    for (uint32_t at = threadIdx.x; at < all; at += blockDim.x) count += args.to.experts[at] == blockIdx.x;
    count = across_block<Sum>(count, 0u, parts);
    if (threadIdx.x == 0) args.to.counts[blockIdx.x] = count;
}

// The block's expert's assignments behind those of the experts before it.
__device__ void place_assignments(const ExpertsRoute& args) {
    SHARED(uint32_t, parts, WARP_LANES);
    uint32_t expert = blockIdx.x, first = 0, tiles = 0, all = args.rows * args.per_token;
    for (uint32_t other = threadIdx.x; other < expert; other += blockDim.x) {
        first += args.to.counts[other];
        tiles += (args.to.counts[other] + TILE_ROWS - 1) / TILE_ROWS;
    }
    first = across_block<Sum>(first, 0u, parts);
    tiles = across_block<Sum>(tiles, 0u, parts);
    if (threadIdx.x == 0) {
        uint32_t own = args.to.counts[expert];
        args.to.first[expert] = first;
        args.to.first_tile[expert] = tiles;
        if (expert + 1 == args.experts) {
            args.to.first[args.experts] = first + own;
            args.to.first_tile[args.experts] = tiles + (own + TILE_ROWS - 1) / TILE_ROWS;
        }
    }
    for (uint32_t from = 0; from < all; from += blockDim.x) {
        uint32_t at = from + threadIdx.x;
        bool mine = at < all && args.to.experts[at] == expert;
        uint32_t votes = __ballot_sync(ALL_LANES, mine), before = 0, round = 0;
        __syncthreads();
        if (lane_index() == 0) parts[warp_index()] = __popc(votes);
        __syncthreads();
        for (int warp = 0; warp < int(blockDim.x) / WARP_LANES; ++warp) {
            if (warp < warp_index()) before += parts[warp];
            round += parts[warp];
        }
        uint32_t place = first + before + __popc(votes & ((1u << lane_index()) - 1));
        if (mine) {
            args.to.tokens[place] = at / args.per_token;
            args.to.places[at] = place;
        }
        first += round;
    }
}

// One row's assignment and 32 columns: in f32, for which tensor cores are too coarse. A warp has a column at a time.
__device__ void multiply_plain(const ExpertsMatmul& args) {
    uint32_t at = blockIdx.x, low = 0, high = args.experts - 1;
    if (at >= args.by.first[args.experts]) return;
    while (low < high) {
        uint32_t middle = (low + high + 1) / 2;
        if (args.by.first[middle] <= at) low = middle;
        else high = middle - 1;
    }
    size_t row = args.by_assignment ? at : args.by.tokens[at];
    const float* x = static_cast<const float*>(args.x) + row * args.inner;
    const float* weight = static_cast<const float*>(args.weight) + size_t(low) * args.columns * args.inner;
    float* out = static_cast<float*>(args.out) + size_t(at) * args.columns;
    uint32_t end = min(args.columns, (blockIdx.y + 1) * PLAIN_COLUMNS);
    for (uint32_t column = blockIdx.y * PLAIN_COLUMNS + warp_index(); column < end; column += blockDim.x / WARP_LANES) {
        float sum = 0.0f;
        for (uint32_t k = lane_index(); k < args.inner; k += WARP_LANES) sum += x[k] * weight[size_t(column) * args.inner + k];
        sum = across_warp<Sum>(sum);
        if (lane_index() == 0) out[column] = sum;
    }
}

template <class T> __device__ void combine(const ExpertsMatmul& args) {
    const uint32_t* experts = args.by.experts + size_t(blockIdx.x) * args.per_token;
    for (uint32_t column = threadIdx.x; column < args.columns; column += blockDim.x) {
        float sum = 0.0f;
        for (uint32_t choice = 0; choice < args.per_token; ++choice) {
            size_t at = size_t(blockIdx.x) * args.per_token + choice;
            if (experts[choice] >= args.experts) continue;
            sum += args.by.weights[at] * widen(static_cast<const T*>(args.x)[size_t(args.by.places[at]) * args.columns + column]);
        }
        static_cast<T*>(args.out)[size_t(blockIdx.x) * args.columns + column] = narrow<T>(sum);
    }
}

KERNEL(experts_route, ExpertsRoute, 128, 8, route(args))
KERNEL(experts_count, ExpertsRoute, 256, 4, count_assignments(args))
KERNEL(experts_place, ExpertsRoute, 256, 4, place_assignments(args))
#define COMBINE(suffix, T) KERNEL(experts_combine_##suffix, ExpertsMatmul, 256, 4, combine<T>(args))
FOR_EACH_TYPE(COMBINE)
KERNEL(experts_matmul_f32, ExpertsMatmul, 128, 8, multiply_plain(args))
