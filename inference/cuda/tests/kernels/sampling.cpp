// Tests of drawing tokens: the same token as a plain sampler that follows the definition in `sampling.cuh`, bit for bit; the distribution;
// log probabilities against f64.
#include "../../kernels/arguments.cuh"

#include <algorithm>
#include <numeric>

#include "gpu.h"

namespace {

// The definition of e^x for x <= 0, as the CPU's operations have it.
float exact_exp(float x) {
    volatile float moved = std::max(x, -87.33654f) * 1.44269504f;
    moved = moved + 12582912.0f;
    volatile float power = moved - 12582912.0f;
    volatile float rest = power * -0.693359375f;
    rest = rest + std::max(x, -87.33654f);
    volatile float low = power * 2.12194440e-4f;
    rest = rest + low;
    volatile float sum = 1.3891997e-3f;
    for (float coefficient : {8.372654e-3f, 4.1666544e-2f, 0.16666502f, 0.5f, 1.0f, 1.0f}) {
        volatile float product = sum * rest;
        sum = product + coefficient;
    }
    return x < -87.33654f ? 0.0f : std::ldexp(float(sum), int(power));
}

struct Request {
    SamplingRow row = {1.0f, 1.0f, 0.0f, 0, 0, ALL_ALLOWED, 0, 0, 1.0f, 0.0f, 0.0f, NO_TOKEN};
    std::vector<Edit> edits;
    std::vector<bool> allowed;
};

std::vector<float> edited(std::vector<float> logits, const Request& it) {
    for (auto& edit : it.edits) {
        float logit = logits[edit.token];
        if (edit.kind & 1) logit = -INFINITY;
        logit += edit.bias;
        if (edit.kind & 2 && std::isfinite(logit)) {
            logit = logit > 0 ? logit / it.row.repetition_penalty : logit * it.row.repetition_penalty;
            volatile float frequency = it.row.frequency_penalty * float(edit.count);
            if (edit.count > 0) logit = (logit - frequency) - it.row.presence_penalty;
            logit = std::clamp(logit, -3.40282347e38f, 3.40282347e38f);
        }
        logits[edit.token] = logit;
    }
    return logits;
}

// By full sorts, in plain order.
uint32_t expected_token(const std::vector<float>& raw, const Request& it) {
    if (it.row.token != NO_TOKEN) return it.row.token;
    std::vector<float> logits = edited(raw, it);
    for (size_t token = 0; token < it.allowed.size(); ++token)
        if (!it.allowed[token]) logits[token] = -INFINITY;
    for (float logit : logits)
        if (std::isnan(logit)) return NO_TOKEN;
    std::vector<uint32_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return logits[a] > logits[b]; });
    float greatest = logits[order[0]];
    if (!std::isfinite(greatest)) return NO_TOKEN;
    if (it.row.temperature == 0) return order[0];
    if (it.row.top_k > 0 && it.row.top_k < order.size()) order.resize(it.row.top_k);
    std::vector<uint64_t> weights(logits.size(), 0);
    uint64_t total = 0;
    for (uint32_t token : order) {
        volatile float apart = logits[token] - greatest;
        float weight = exact_exp(apart / it.row.temperature);
        weights[token] = weight < it.row.min_p ? 0 : uint64_t(weight * 274877906944.0f);
        total += weights[token];
    }
    if (it.row.top_p < 1) {
        uint64_t goal = std::max<uint64_t>(1, uint64_t(double(it.row.top_p) * double(total))), sum = 0;
        for (uint32_t token : order) {
            if (sum >= goal) weights[token] = 0;
            sum += weights[token];
        }
        total = std::accumulate(weights.begin(), weights.end(), uint64_t(0));
    }
    auto left = uint64_t(static_cast<unsigned __int128>(it.row.uniform) * total >> 53);
    for (uint32_t token = 0; token < weights.size(); ++token) {
        if (weights[token] > left) return token;
        left -= weights[token];
    }
    return NO_TOKEN;
}

// Rows of one step: uploads, draws, and gives the tokens; logits are the same afterwards.
std::vector<uint32_t> draw(const std::vector<std::vector<float>>& logits, std::vector<Request> requests) {
    uint32_t vocab = uint32_t(logits[0].size()), words = (vocab + 31) / 32, rows = uint32_t(logits.size());
    std::vector<float> all;
    std::vector<SamplingRow> d_rows;
    std::vector<Edit> edits;
    std::vector<uint32_t> masks;
    for (uint32_t row = 0; row < rows; ++row) {
        all.insert(all.end(), logits[row].begin(), logits[row].end());
        SamplingRow& own = requests[row].row;
        own.first_edit = uint32_t(edits.size());
        own.edits = uint32_t(requests[row].edits.size());
        edits.insert(edits.end(), requests[row].edits.begin(), requests[row].edits.end());
        if (!requests[row].allowed.empty()) {
            own.mask = uint32_t(masks.size() / words);
            masks.resize(masks.size() + words);
            for (uint32_t token = 0; token < vocab; ++token)
                if (requests[row].allowed[token]) masks[size_t(own.mask) * words + token / 32] |= 1u << token % 32;
        }
        d_rows.push_back(own);
    }
    gpu::Buffer<float> d_logits(all), kept(edits.size());
    gpu::Buffer<SamplingRow> how(d_rows);
    gpu::Buffer<Edit> d_edits(edits);
    gpu::Buffer<uint32_t> d_masks(masks), tokens(rows);
    Sampling args{d_logits.at(), how.at(), d_edits.at(), kept.at(), d_masks.at(), tokens.at(), vocab};
    gpu::launch("edit_logits", {rows}, 256, 0, &args);
    gpu::launch("sample", {rows}, 1024, 0, &args);
    gpu::launch("restore_logits", {rows}, 256, 0, &args);
    check_same(d_logits.read(), all, "logits are restored");
    return tokens.read();
}

void check_draw(const std::vector<std::vector<float>>& logits, const std::vector<Request>& requests, const std::string& what) {
    std::vector<uint32_t> seen = draw(logits, requests), expected;
    for (size_t row = 0; row < logits.size(); ++row) expected.push_back(expected_token(logits[row], requests[row]));
    for (size_t row = 0; row < logits.size(); ++row)
        check(seen[row] == expected[row], what + ", row " + std::to_string(row) + ": " + std::to_string(seen[row]) + ", not " + std::to_string(expected[row]));
}

Request random_request(Random& random, uint32_t vocab) {
    Request it;
    auto one_of = [&](std::initializer_list<float> all) { return *(all.begin() + random.below(unsigned(all.size()))); };
    it.row.temperature = one_of({0.0f, 0.3f, 1.0f, 1.0f, 2.0f});
    it.row.top_k = uint32_t(one_of({0, 0, 1, 5, 40, 1000, 3000, 1e6}));
    it.row.top_p = one_of({1.0f, 1.0f, 0.0001f, 0.5f, 0.9f, 0.999f});
    it.row.min_p = one_of({0.0f, 0.0f, 0.05f, 0.5f});
    it.row.uniform = (uint64_t(random.engine()) << 21 | random.engine() >> 11) & ((uint64_t(1) << 53) - 1);
    it.row.repetition_penalty = one_of({1.0f, 1.3f});
    it.row.frequency_penalty = one_of({0.0f, 0.4f});
    it.row.presence_penalty = one_of({0.0f, 0.7f});
    for (uint32_t edit = 0; edit < random.below(6); ++edit) {
        uint32_t token = edit * (vocab / 7);
        if (edit > 0 && token == it.edits.back().token) break;
        it.edits.push_back({token, random.below(4), one_of({0.0f, 2.5f, -1.0f}), random.below(3)});
    }
    if (random.below(4) == 0) {
        it.allowed.assign(vocab, false);
        for (uint32_t token = 0; token < vocab; ++token) it.allowed[token] = random.below(3) == 0;
        it.allowed[random.below(vocab)] = true;
    }
    return it;
}

// Sizes below and above what a block and its list hold; sharp and flat; with ties.
void draws_as_defined() {
    Random random(11);
    for (uint32_t vocab : {1u, 7u, 257u, 5003u, 12000u})
        for (float scale : {0.0f, 0.5f, 4.0f}) {
            std::vector<std::vector<float>> logits;
            std::vector<Request> requests;
            for (unsigned row = 0; row < 12; ++row) {
                logits.push_back(random.numbers<float>(vocab, scale));
                if (row % 3 == 0)
                    for (float& logit : logits.back()) logit = std::round(logit);
                requests.push_back(random_request(random, vocab));
            }
            check_draw(logits, requests, std::to_string(vocab) + " tokens, scale " + std::to_string(scale));
        }
}

void rows_without_a_token() {
    std::vector<float> fine = {1, 2, 3}, nan = {1, NAN, 3}, infinite = {1, INFINITY, 3}, none(3, -INFINITY);
    Request plain, greedy, masked, known;
    greedy.row.temperature = 0;
    known.row.token = 2;
    masked.allowed = {true, false, true};
    std::vector<std::vector<float>> logits = {fine, nan, infinite, none, nan, nan, fine, fine, nan};
    std::vector<Request> requests = {plain, plain, plain, greedy, greedy, masked, masked, known, known};
    check_draw(logits, requests, "rows that are not numbers");
    check(draw({nan}, {plain})[0] == NO_TOKEN, "a row that is not a number has no token");
    check(draw({nan}, {masked})[0] != NO_TOKEN, "what is not allowed may be no number");
}

void draws_follow_the_softmax() {
    constexpr unsigned DRAWS = 200;
    std::vector<float> logits = {0.0f, 1.0f, -1.0f, 2.0f, 0.5f};
    std::vector<Request> requests(DRAWS);
    Random random(12);
    for (auto& request : requests) request.row.uniform = (uint64_t(random.engine()) << 21) & ((uint64_t(1) << 53) - 1);
    double total = 0;
    std::vector<double> share(logits.size(), 0);
    for (float logit : logits) total += std::exp(logit);
    for (uint32_t token : draw(std::vector<std::vector<float>>(DRAWS, logits), requests)) share.at(token) += 1.0 / DRAWS;
    for (size_t token = 0; token < logits.size(); ++token)
        check(std::fabs(share[token] - std::exp(logits[token]) / total) < 0.1, "token " + std::to_string(token) + " was drawn too often or too seldom");
}

void logprobs_are_the_log_softmax() {
    constexpr uint32_t TOP_MAX = 1024;
    Random random(13);
    for (uint32_t vocab : {1u, 30u, 6001u})
        for (float scale : {0.0f, 3.0f}) {
            std::vector<uint32_t> tops = {0, 1, 20, NO_TOKEN, TOP_MAX}, tokens;
            std::vector<float> logits;
            for (size_t row = 0; row < tops.size(); ++row) {
                auto own = random.numbers<float>(vocab, scale);
                if (vocab > 20) own[3] = own[9], own[11] = -INFINITY;
                logits.insert(logits.end(), own.begin(), own.end());
                tokens.push_back(random.below(vocab));
            }
            gpu::Buffer<float> d_logits(logits), logprobs(tops.size()), top_logprobs(tops.size() * TOP_MAX);
            gpu::Buffer<uint32_t> d_tokens(tokens), d_tops(tops), ranks(tops.size()), top_tokens(tops.size() * TOP_MAX);
            Logprobs args{d_logits.at(), d_tokens.at(), d_tops.at(), logprobs.at(), ranks.at(), top_tokens.at(), top_logprobs.at(), vocab, TOP_MAX};
            gpu::launch("token_logprobs", {unsigned(tops.size())}, 1024, 0, &args);
            auto seen = logprobs.read(), seen_tops = top_logprobs.read();
            auto seen_ranks = ranks.read(), seen_tokens = top_tokens.read();
            for (size_t row = 0; row < tops.size(); ++row) {
                if (tops[row] == NO_TOKEN) {
                    check(std::isnan(seen[row]), "a row that is left out is not written");
                    continue;
                }
                const float* of = &logits[row * vocab];
                double total = 0;
                std::vector<uint32_t> order(vocab);
                std::iota(order.begin(), order.end(), 0u);
                std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return of[a] > of[b]; });
                for (uint32_t token = 0; token < vocab; ++token) total += std::exp(double(of[token]));
                auto expected = [&](uint32_t token) { return float(of[token] - std::log(total)); };
                std::vector<float> own = {seen[row]}, wanted = {expected(tokens[row])};
                uint32_t count = std::min(tops[row], vocab), rank = 0;
                for (uint32_t token = 0; token < vocab; ++token) rank += of[token] >= of[tokens[row]];
                check(seen_ranks[row] == rank, "another rank");
                for (uint32_t at = 0; at < count; ++at) {
                    check(seen_tokens[row * TOP_MAX + at] == order[at], "another token among the likeliest");
                    own.push_back(seen_tops[row * TOP_MAX + at]);
                    wanted.push_back(expected(order[at]));
                }
                check_close(own, wanted, 1e-5f, 1e-6f, "logprobs of " + std::to_string(vocab));
            }
        }
}

const Test SAMPLING_TESTS[] = {
    {"tokens are drawn as defined", draws_as_defined},
    {"rows without a token say so", rows_without_a_token},
    {"draws follow the softmax", draws_follow_the_softmax},
    {"log probabilities are the log softmax", logprobs_are_the_log_softmax},
};

}  // namespace
