// Tests of mixtures of experts: who is chosen, where assignments lie, products and sums, against plain loops.
#include "../../kernels/arguments.cuh"

#include <algorithm>
#include <numeric>

#include "gpu.h"

namespace {

struct Mixture {
    uint32_t rows, live, experts, per_token, hidden, inner;
    bool normalized;
};

struct Choice {
    uint32_t expert;
    float weight;
};

// The row's experts by weight, of equals the first; then in the order of the experts.
std::vector<Choice> chosen(const float* logits, const Mixture& it) {
    std::vector<uint32_t> order(it.experts);
    std::iota(order.begin(), order.end(), 0u);
    float greatest = *std::max_element(logits, logits + it.experts), total = 0, sum = 0;
    auto exponential = [&](uint32_t expert) { return std::exp(logits[expert] - greatest); };
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return exponential(a) > exponential(b); });
    for (uint32_t expert : order) total += exponential(expert);
    order.resize(it.per_token);
    for (uint32_t expert : order) sum += exponential(expert);
    std::sort(order.begin(), order.end());
    std::vector<Choice> out;
    for (uint32_t expert : order) out.push_back({expert, exponential(expert) / (it.normalized ? sum : total)});
    return out;
}

struct Memory {
    gpu::Buffer<uint32_t> experts, counts, first, first_tile, tokens, places;
    gpu::Buffer<float> weights;
    Assignments assignments;
    explicit Memory(const Mixture& it)
        : experts(it.rows * it.per_token), counts(it.experts), first(it.experts + 1), first_tile(it.experts + 1),
          tokens(it.rows * it.per_token), places(it.rows * it.per_token), weights(it.rows * it.per_token),
          assignments{experts.at(), weights.at(), counts.at(), first.at(), first_tile.at(), tokens.at(), places.at()} {}
};

void route(const Mixture& it, const std::vector<float>& logits, Memory& memory) {
    gpu::Buffer<float> d_logits(logits);
    gpu::Buffer<uint32_t> live(std::vector<uint32_t>{it.live});
    ExpertsRoute args{d_logits.at(), live.at(), memory.assignments, it.rows, it.experts, it.per_token, it.normalized};
    gpu::launch("experts_route", {(it.rows + 3) / 4}, 128, 16 * it.experts, &args);
    gpu::launch("experts_count", {it.experts}, 256, 0, &args);
    gpu::launch("experts_place", {it.experts}, 256, 0, &args);
}

template <class T>
std::vector<T> matmul(const Mixture& it, const Memory& memory, const gpu::Buffer<T>& x, const std::vector<T>& weight, uint32_t columns,
                      uint32_t inner, bool by_assignment) {
    uint32_t all = it.rows * it.per_token;
    gpu::Buffer<T> w(weight), out(size_t(all) * columns);
    ExpertsMatmul args{x.at(), w.at(), out.at(), memory.assignments, it.experts, it.per_token, columns, inner, by_assignment};
    if (std::is_same_v<T, float>) gpu::launch("experts_matmul_f32", {all, (columns + 31) / 32}, 128, 0, &args);
    else gpu::launch("experts_matmul_" + name_of<T>(), {(columns + 127) / 128, all / 64 + std::min(it.experts, all)}, 128, EXPERTS_SHARED, &args);
    return out.read();
}

template <class T> void mixes(const Mixture& it) {
    Random random(it.rows + it.experts);
    auto logits = random.numbers<float>(it.rows * it.experts, 2.0f);
    for (size_t at = 0; at + 1 < it.experts; at += 3) logits[at] = logits[at + 1];
    Memory memory(it);
    route(it, logits, memory);
    auto experts = memory.experts.read(), places = memory.places.read(), tokens = memory.tokens.read(), first = memory.first.read();
    auto weights = memory.weights.read();
    check(first.back() == it.live * it.per_token, "every assignment has a place");
    auto x = random.numbers<T>(it.rows * it.hidden), up = random.numbers<T>(size_t(it.experts) * it.inner * it.hidden, 0.2f);
    auto down = random.numbers<T>(size_t(it.experts) * it.hidden * it.inner, 0.2f);
    gpu::Buffer<T> d_x(x);
    auto inner = matmul<T>(it, memory, d_x, up, it.inner, it.hidden, false);
    gpu::Buffer<T> d_inner(inner);
    auto outer = matmul<T>(it, memory, d_inner, down, it.hidden, it.inner, true);
    gpu::Buffer<T> d_outer(outer), sums(it.rows * it.hidden);
    ExpertsMatmul args{d_outer.at(), nullptr, sums.at(), memory.assignments, it.experts, it.per_token, it.hidden, 0, 0};
    gpu::launch("experts_combine_" + name_of<T>(), {it.rows}, 256, 0, &args);
    std::vector<float> expected, expected_inner(inner.size(), NAN), expected_weights;
    for (uint32_t row = 0; row < it.rows; ++row) {
        std::vector<float> sum(it.hidden, 0.0f);
        auto choices = row < it.live ? chosen(&logits[row * it.experts], it) : std::vector<Choice>();
        for (uint32_t choice = 0; choice < it.per_token; ++choice) {
            uint32_t at = row * it.per_token + choice;
            if (row >= it.live) {
                check(experts[at] == it.experts, "rows beyond the batch have no experts");
                continue;
            }
            check(experts[at] == choices[choice].expert, "another expert");
            check(std::fabs(weights[at] - choices[choice].weight) < 1e-6f, "another weight");
            uint32_t place = places[at], expert = experts[at];
            check(place >= first[expert] && place < first[expert + 1] && tokens[place] == row, "an assignment lies elsewhere");
            std::vector<float> middle(it.inner);
            for (uint32_t column = 0; column < it.inner; ++column) {
                double number = 0;
                for (uint32_t k = 0; k < it.hidden; ++k)
                    number += double(widen(x[row * it.hidden + k])) * widen(up[(size_t(expert) * it.inner + column) * it.hidden + k]);
                expected_inner[place * it.inner + column] = float(number);
            }
            for (uint32_t column = 0; column < it.hidden; ++column) {
                double number = 0;
                for (uint32_t k = 0; k < it.inner; ++k)
                    number += double(widen(inner[place * it.inner + k])) * widen(down[(size_t(expert) * it.hidden + column) * it.inner + k]);
                sum[column] += weights[at] * rounded<T>(float(number));
            }
        }
        expected.insert(expected.end(), sum.begin(), sum.end());
    }
    std::string what = name_of<T>() + " mixture of " + std::to_string(it.experts) + " for " + std::to_string(it.rows);
    check_close(inner, expected_inner, 1e-4f, STEP<T>, what + ", inner");
    // Here, in f32, sums of f32 are compared with sums of f64.
    check_close(sums.read(), expected, 2 * STEP<T> + (sizeof(T) == 4 ? 4e-6f : 0.0f), STEP<T>, what);
}

template <class T> void all_mixtures() {
    mixes<T>({1, 1, 4, 2, 64, 40, true});
    mixes<T>({6, 5, 9, 3, 72, 136, false});
    mixes<T>({150, 150, 2, 1, 128, 64, true});
    mixes<T>({70, 66, 40, 8, 16, 24, true});
}

const Test EXPERTS_TESTS[] = {
    {"a mixture of experts is the sum of the chosen ones", [] { all_mixtures<Bf16>(), all_mixtures<F16>(), all_mixtures<float>(); }},
};

}  // namespace
