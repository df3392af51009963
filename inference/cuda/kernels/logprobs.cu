// How likely a token was, and which were likelier, by the model's own logits.
#include "sampling.cuh"

// Sorts the list, the greatest first, by networks of comparisons (Batcher 1968). Room for the next power of two is filled with 0.
__device__ void sort_list(uint64_t* list, uint32_t count) {
    uint32_t room = 1;
    while (room < count) room *= 2;
    for (uint32_t at = count + threadIdx.x; at < room; at += SAMPLING_THREADS) list[at] = 0;
    for (uint32_t run = 2; run <= room; run *= 2)
        for (uint32_t apart = run / 2; apart > 0; apart /= 2) {
            __syncthreads();
            for (uint32_t at = threadIdx.x; at < room; at += SAMPLING_THREADS) {
                uint32_t other = at ^ apart;
                bool falls = (at & run) == 0;
                if (other > at && (list[at] < list[other]) == falls) {
                    uint64_t kept = list[at];
                    list[at] = list[other];
                    list[other] = kept;
                }
            }
        }
    __syncthreads();
}

__device__ void logprobs_of_row(const Logprobs& args) {
    SHARED(uint64_t, list, LIST_MAX);
    SHARED(uint64_t, parts, WARP_LANES);
    SHARED(double, sums, WARP_LANES);
    SHARED(uint32_t, length, 1);
    uint32_t top = args.tops[blockIdx.x], token = args.tokens[blockIdx.x];
    if (top == NO_TOKEN) return;
    Row row(args.logits + size_t(blockIdx.x) * args.vocab, nullptr, args.vocab);
    uint64_t first = 0, is_bad = token >= row.vocab;
    row.for_each(0, row.vocab, [&](uint64_t place) {
        float logit = row.logit_at(place);
        if (logit != logit) is_bad = 1;
        first = Greatest::of(place, first);
    });
    float greatest = row.logit_at(across_block<Greatest>(first, uint64_t(0), parts));
    is_bad = across_block<Greatest>(is_bad, uint64_t(0), parts);
    if (is_bad || !(fabsf(greatest) < INFINITE)) {
        if (threadIdx.x == 0) args.logprobs[blockIdx.x] = NOT_A_NUMBER, args.ranks[blockIdx.x] = 0;
        return;
    }
    double sum = 0.0;
    uint64_t rank = 0;
    float chosen = row.logit(token);
    row.for_each(0, row.vocab, [&](uint64_t place) {
        sum += double(exact_exp(__fsub_rn(row.logit_at(place), greatest)));
        rank += row.logit_at(place) >= chosen;
    });
    double log_total = log(across_block<Sum>(sum, 0.0, sums));
    rank = across_block<Sum>(rank, uint64_t(0), parts);
    auto logprob = [&](float logit) { return float(double(logit) - double(greatest) - log_total); };
    if (threadIdx.x == 0) args.logprobs[blockIdx.x] = logprob(chosen), args.ranks[blockIdx.x] = uint32_t(rank);
    uint32_t count = top < row.vocab ? top : row.vocab;
    if (count == 0) return;
    Tokens tokens{row, list, 0, false};
    uint64_t bound = bound_of_greatest(tokens, count, length, parts);
    if (!tokens.in_list) tokens.take_from(bound, length);
    sort_list(list, tokens.count);
    for (uint32_t at = threadIdx.x; at < count; at += SAMPLING_THREADS) {
        size_t out = size_t(blockIdx.x) * args.top_max + at;
        args.top_tokens[out] = row.token_at(list[at]);
        args.top_logprobs[out] = logprob(row.logit_at(list[at]));
    }
}

KERNEL(token_logprobs, Logprobs, 1024, 1, logprobs_of_row(args))
