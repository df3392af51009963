// Times the kernels that decide on a GPU, as graphs do: launches one behind the other, medians between events. Each line has the bytes
// that must move, or the operations that must be done, over the time, and their share of the ceiling: a copy of 2 GB, and what the
// first argument says of the matrix rate in TFLOP/s (790 were measured on an H200). On the software device its times mean nothing;
// with `--small` it only shows that everything runs.
#include "../../kernels/arguments.cuh"

#include <algorithm>

#include "gpu.h"

namespace {

bool is_small = false;
double copy_rate = 1.0, matrix_rate = 790e12;

// Random numbers of 16 bits, none of them great, made again and again from a part.
uintptr_t numbers(size_t count) {
    static Random random(21);
    auto part = random.numbers<Bf16>(std::min<size_t>(count, 1 << 20));
    uintptr_t memory = gpu::allocate(2 * count);
    for (size_t at = 0; at < count; at += part.size())
        gpu::upload(memory + 2 * at, part.data(), 2 * std::min(part.size(), count - at));
    return memory;
}

// Seconds of a launch: the median of several, after some that do not count.
double seconds(const std::function<void()>& launch) {
    std::vector<double> all;
    int rounds = is_small ? 1 : 20;
    for (int round = -(rounds / 4); round < rounds; ++round) {
        double took = gpu::seconds(launch);
        if (round >= 0) all.push_back(took);
    }
    std::sort(all.begin(), all.end());
    return all[all.size() / 2];
}

void report(const std::string& what, double took, double bytes, double operations) {
    double of_copy = bytes / took / copy_rate, of_matrix = operations / took / matrix_rate;
    std::printf("%-44s %9.1f us %8.0f GB/s (%3.0f %%) %7.1f TFLOP/s (%3.0f %%)\n", what.c_str(), took * 1e6, bytes / took / 1e9, of_copy * 100,
                operations / took / 1e12, of_matrix * 100);
}

struct Heads8B {
    uint32_t heads = 32, kv_heads = 8, dim = 128;
} const SHAPE;

// A batch of sequences of one length, each with so many queries, over a cache that holds them all.
void attention(uint32_t count, uint32_t queries, uint32_t length) {
    constexpr uint32_t SPLIT_TOKENS = 256, SPLITS_MAX = 32, DIM = 128;
    uint32_t width = (length + 31) / 32, rows = count * queries, row_numbers = SHAPE.heads * SHAPE.dim;
    std::vector<uint32_t> starts, lengths(count, length), tables;
    for (uint32_t s = 0; s <= count; ++s) starts.push_back(s * queries);
    for (uint32_t block = 0; block < count * width; ++block) tables.push_back(block * 7919 % (count * width));
    size_t cache_numbers = size_t(count) * width * 2 * SHAPE.kv_heads * 32 * DIM;
    gpu::Buffer<uint32_t> d_starts(starts), d_lengths(lengths), d_tables(tables), first_item(count + 1), items(count * SPLITS_MAX),
        first_tile(count + 1);
    gpu::Buffer<float> partial(size_t(count) * SPLITS_MAX * row_numbers), state(size_t(count) * SPLITS_MAX * SHAPE.heads * 2);
    uintptr_t cache = numbers(cache_numbers), q = numbers(size_t(rows) * row_numbers), out = numbers(size_t(rows) * row_numbers);
    Sequences sequences{d_starts.at(), d_lengths.at(), d_tables.at(), count, width};
    Scores scores{0.088f, 0.0f, 0, 1};
    Plan plan{first_item.at(), items.at(), first_tile.at()};
    AttentionPlan planning{sequences, plan, 0, SPLIT_TOKENS, SPLITS_MAX, 128};
    gpu::launch("attention_plan", {}, 256, 0, &planning);
    auto *p_q = reinterpret_cast<void*>(q), *p_cache = reinterpret_cast<void*>(cache), *p_out = reinterpret_cast<void*>(out);
    AttentionDecode decode{sequences, scores, plan, p_q, p_cache, p_out, partial.at(), state.at(), SHAPE.heads, SHAPE.kv_heads, DIM,
                           SPLIT_TOKENS, SPLITS_MAX};
    AttentionPrefill prefill{sequences, scores, plan, p_q, p_cache, p_out, SHAPE.heads, SHAPE.kv_heads, DIM, 0};
    double took = seconds([&] {
        if (queries == 1) {
            gpu::enqueue("attention_decode_128_bf16", {264}, 128, 0, &decode);
            gpu::enqueue("attention_join_bf16", {count, SHAPE.heads / 4}, 128, 0, &decode);
        } else {
            gpu::enqueue("attention_prefill_128_bf16", {rows / 128 + count, SHAPE.heads}, 128, 104448, &prefill);
        }
    });
    double seen = double(length) - (queries - 1) / 2.0;
    std::string what = queries == 1 ? "decode" : "prefill of " + std::to_string(queries);
    report(what + ", " + std::to_string(count) + " sequences of " + std::to_string(length), took, 2.0 * double(cache_numbers + 2 * size_t(rows) * row_numbers),
           4.0 * rows * seen * row_numbers);
    for (uintptr_t memory : {cache, q, out}) gpu::release(memory);
}

void sampling(uint32_t rows, float temperature, float top_p) {
    constexpr uint32_t VOCAB = 128256;
    uint32_t vocab = is_small ? 999 : VOCAB;
    Random random(22);
    std::vector<SamplingRow> how(rows, {temperature, top_p, 0.0f, 0, uint64_t(1) << 52, ALL_ALLOWED, 0, 0, 1.0f, 0.0f, 0.0f, NO_TOKEN});
    gpu::Buffer<float> logits(random.numbers<float>(size_t(rows) * vocab, 3.0f)), kept(1);
    gpu::Buffer<SamplingRow> d_how(how);
    gpu::Buffer<uint32_t> tokens(rows);
    Sampling args{logits.at(), d_how.at(), nullptr, kept.at(), nullptr, tokens.at(), vocab};
    double took = seconds([&] { gpu::enqueue("sample", {rows}, 1024, 0, &args); });
    report("sample " + std::to_string(rows) + " rows, temperature " + std::to_string(temperature) + ", top-p " + std::to_string(top_p), took,
           4.0 * rows * vocab, 0);
}

void residual(uint32_t rows) {
    constexpr uint32_t WIDTH = 4096;
    size_t count = size_t(rows) * WIDTH;
    uintptr_t x = numbers(count), y = numbers(count), out = numbers(count);
    gpu::Buffer<float> weight(std::vector<float>(WIDTH, 1.0f));
    auto* sum = reinterpret_cast<void*>(x);
    Residual args{sum, reinterpret_cast<void*>(y), nullptr, weight.at(), sum, reinterpret_cast<void*>(out), WIDTH, 1.0f, 1e-6f, 0};
    double took = seconds([&] { gpu::enqueue("residual_bf16", {rows}, 256, 2 * WIDTH, &args); });
    report("residual and norm of " + std::to_string(rows) + " rows", took, 2.0 * 4 * double(count), 0);
    for (uintptr_t memory : {x, y, out}) gpu::release(memory);
}

// A product with a matrix in blocks, or the same matrix made numbers, which then are written too.
void blocks(const std::string& kind, double bytes_of_256, uint32_t rows) {
    uint32_t inputs = is_small ? 256 : 4096, outputs = is_small ? 64 : 28672;
    size_t count = size_t(inputs) * outputs, bytes = size_t(double(count) / 256 * bytes_of_256);
    // All in one place, the scales too: what the numbers are makes no difference.
    uintptr_t weight = numbers(bytes / 2 + count / 32), x = numbers(size_t(16) * inputs), out = numbers(rows == 0 ? count : size_t(rows) * outputs);
    Blocks in_blocks{reinterpret_cast<void*>(weight), reinterpret_cast<void*>(weight)};
    QuantizedMatmul product{in_blocks, reinterpret_cast<void*>(x), nullptr, reinterpret_cast<void*>(out), rows, inputs, outputs, outputs};
    Dequantize whole{in_blocks, nullptr, reinterpret_cast<void*>(out), outputs, inputs, 1.0f};
    double took = seconds([&] {
        if (rows == 0) gpu::enqueue("dequantize_" + kind + "_bf16", {outputs}, 128, 0, &whole);
        else gpu::enqueue("quantized_matmul_" + kind + "_bf16", {outputs / 8, (rows + 7) / 8}, 128, 0, &product);
    });
    std::string what = rows == 0 ? " as numbers" : ", " + std::to_string(rows) + " rows";
    report("4096 x 28672 in " + kind + what, took, double(bytes) + (rows == 0 ? 2.0 * double(count) : 0), 2.0 * rows * double(count));
    for (uintptr_t memory : {weight, x, out}) gpu::release(memory);
}

void all_blocks(uint32_t rows) {
    blocks("q8_0", 272, rows);
    blocks("q4_k", 144, rows);
    blocks("q6_k", 210, rows);
}

}  // namespace

int main(int count, char** words) {
    is_small = count > 1 && std::string(words[1]) == "--small";
    if (count > 1 && !is_small) matrix_rate = std::atof(words[1]) * 1e12;
    size_t bytes = is_small ? 1 << 20 : size_t(2) << 30;
    uintptr_t from = numbers(bytes / 2), to = numbers(bytes / 2);
    copy_rate = 2.0 * double(bytes) / seconds([&] { gpu::copy(to, from, bytes); });
    std::printf("a copy: %.0f GB/s\n", copy_rate / 1e9);
    for (uintptr_t memory : {from, to}) gpu::release(memory);
    if (is_small) {
        attention(2, 1, 300);
        attention(1, 130, 130);
        sampling(2, 1.0f, 0.9f);
        residual(2);
        all_blocks(3);
        all_blocks(0);
        return 0;
    }
    for (auto [sequences, length] : {std::pair{1u, 1024u}, {1u, 32768u}, {64u, 1024u}, {256u, 1024u}, {256u, 4096u}}) attention(sequences, 1, length);
    for (auto [sequences, length] : {std::pair{1u, 2048u}, {1u, 16384u}, {16u, 512u}}) attention(sequences, length, length);
    attention(1, 2048, 16384);
    for (uint32_t rows : {1u, 64u, 256u}) {
        sampling(rows, 0.0f, 1.0f);
        sampling(rows, 1.0f, 1.0f);
        sampling(rows, 1.0f, 0.9f);
        residual(rows);
    }
    residual(8192);
    for (uint32_t rows : {1u, 2u, 4u, 8u, 16u, 0u}) all_blocks(rows);
}
