// Tests of heads, cache and attention, against softmax in f64: ragged sequences, windows, caps, all head sizes, groups, block tables with
// holes; and a batch against its members alone, bit for bit.
#include "../../kernels/arguments.cuh"
#include <algorithm>

#include "gpu.h"

namespace {

struct Sequence {
    uint32_t queries, length;
};

struct Case {
    uint32_t dim, heads, kv_heads, window;
    float softcap;
    bool causal;
    std::vector<Sequence> sequences;
};

constexpr uint32_t SPLIT_TOKENS = 64, SPLITS_MAX = 4;

std::string name_of(const Case& it) {
    return std::to_string(it.heads) + "/" + std::to_string(it.kv_heads) + " heads of " + std::to_string(it.dim) + ", window " +
           std::to_string(it.window) + ", cap " + std::to_string(it.softcap);
}

// Keys and values of every sequence, and where they lie: blocks in random order with unused ones between them, which are no numbers.
template <class T> struct Cache {
    const Case& of;
    uint32_t table_width = 0, blocks = 0;
    std::vector<uint32_t> tables;
    std::vector<T> numbers;

    Cache(const Case& of, Random& random) : of(of) {
        for (auto& sequence : of.sequences) {
            uint32_t own = (sequence.length + 31) / 32;
            table_width = std::max(table_width, own + 1);
            blocks += 2 * own + 1;
        }
        std::vector<uint32_t> order(blocks);
        for (uint32_t block = 0; block < blocks; ++block) order[block] = block;
        std::shuffle(order.begin(), order.end(), random.engine);
        numbers.assign(size_t(blocks) * 2 * of.kv_heads * 32 * of.dim, narrow<T>(NAN));
        for (auto& sequence : of.sequences) {
            for (uint32_t place = 0; place < table_width; ++place) {
                bool used = place < (sequence.length + 31) / 32;
                tables.push_back(used ? order.back() : 0);
                if (used) order.pop_back();
            }
            for (uint32_t token = 0; token < sequence.length; ++token)
                for (uint32_t head = 0; head < of.kv_heads; ++head)
                    for (uint32_t number = 0; number < of.dim; ++number)
                        for (bool value : {false, true}) at(token, head, number, value) = narrow<T>(random.normal());
        }
    }

    // A number of the sequence that was added last, or of `sequence`.
    T& at(uint32_t token, uint32_t head, uint32_t number, bool value) {
        return at(uint32_t(tables.size() / table_width) - 1, token, head, number, value);
    }
    T& at(uint32_t sequence, uint32_t token, uint32_t head, uint32_t number, bool value) {
        size_t block = tables[sequence * table_width + token / 32];
        return numbers[(((block * 2 + value) * of.kv_heads + head) * 32 + token % 32) * of.dim + number];
    }
};

template <class T> float scale_of(const Case& it) { return 1.0f / std::sqrt(float(it.dim)); }

// In f64, row after row.
template <class T> std::vector<float> reference(const Case& it, Cache<T>& cache, const std::vector<T>& queries) {
    std::vector<float> out;
    uint32_t row = 0;
    for (uint32_t s = 0; s < it.sequences.size(); ++s)
        for (uint32_t query = 0; query < it.sequences[s].queries; ++query, ++row)
            for (uint32_t head = 0; head < it.heads; ++head) {
                uint32_t length = it.sequences[s].length, kv_head = head / (it.heads / it.kv_heads);
                if (length == 0) {
                    out.insert(out.end(), it.dim, 0.0f);
                    continue;
                }
                uint32_t position = length - it.sequences[s].queries + query, to = it.causal ? position + 1 : length;
                uint32_t from = it.window > 0 && position + 1 > it.window ? position + 1 - it.window : 0;
                std::vector<double> scores;
                double greatest = -INFINITY, total = 0;
                for (uint32_t token = from; token < to; ++token) {
                    double score = 0;
                    for (uint32_t number = 0; number < it.dim; ++number)
                        score += double(widen(queries[(size_t(row) * it.heads + head) * it.dim + number])) * widen(cache.at(s, token, kv_head, number, false));
                    score *= scale_of<T>(it);
                    if (it.softcap > 0) score = it.softcap * std::tanh(score / it.softcap);
                    scores.push_back(score);
                    greatest = std::max(greatest, score);
                }
                for (double& score : scores) total += score = std::exp(score - greatest);
                for (uint32_t number = 0; number < it.dim; ++number) {
                    double sum = 0;
                    for (uint32_t token = from; token < to; ++token) sum += scores[token - from] * widen(cache.at(s, token, kv_head, number, true));
                    out.push_back(float(sum / total));
                }
            }
    return out;
}


// Runs the kernels over the sequences first..end of the case, in a bucket that has room for one more.
template <class T>
std::vector<T> run(const Case& it, Cache<T>& cache, const std::vector<T>& queries, uint32_t first, uint32_t end, bool plain, bool small = false) {
    std::vector<uint32_t> starts = {0}, lengths;
    for (uint32_t s = first; s < end; ++s) {
        starts.push_back(starts.back() + it.sequences[s].queries);
        lengths.push_back(it.sequences[s].length);
    }
    uint32_t count = end - first, rows = starts.back();
    std::vector<uint32_t> tables(cache.tables.begin() + first * cache.table_width, cache.tables.begin() + end * cache.table_width);
    gpu::Buffer<uint32_t> d_starts(starts), d_lengths(lengths), d_tables(tables);
    Sequences sequences{d_starts.at(), d_lengths.at(), d_tables.at(), count, cache.table_width};
    Scores scores{scale_of<T>(it), it.softcap, it.window, it.causal};
    gpu::Buffer<uint32_t> first_item(count + 1), items(size_t(count) * SPLITS_MAX), first_tile(count + 1);
    Plan plan{first_item.at(), items.at(), first_tile.at()};
    gpu::Buffer<T> d_queries(queries), d_cache(cache.numbers), out(size_t(rows) * it.heads * it.dim);
    gpu::Buffer<float> partial(size_t(count) * SPLITS_MAX * it.heads * it.dim), state(size_t(count) * SPLITS_MAX * it.heads * 2);
    AttentionPrefill prefill{sequences, scores, plan, d_queries.at(), d_cache.at(), out.at(), it.heads, it.kv_heads, it.dim, plain};
    std::string type = "_" + ::name_of<T>(), sized = "_" + std::to_string(it.dim) + type;
    if (plain) {
        gpu::launch("attention_plain" + type, {rows, (it.heads + 3) / 4}, 128, 0, &prefill);
        return out.read();
    }
    uint32_t tile_rows = it.dim <= 128 && !small ? 128 : 64;
    AttentionPlan planning{sequences, plan, it.window, SPLIT_TOKENS, SPLITS_MAX, tile_rows};
    gpu::launch("attention_plan", {}, 256, 0, &planning);
    AttentionDecode decode{sequences, scores, plan, d_queries.at(), d_cache.at(), out.at(), partial.at(), state.at(),
                           it.heads, it.kv_heads, it.dim, SPLIT_TOKENS, SPLITS_MAX};
    gpu::launch("attention_decode" + sized, {5, 1, (it.heads / it.kv_heads + 15) / 16}, 128, 0, &decode);
    gpu::launch("attention_join" + type, {count, (it.heads + 3) / 4}, 128, 0, &decode);
    uint32_t tokens = it.dim <= 128 ? 64 : 32, shared = 2 * (tile_rows + 4 * tokens) * (it.dim + 8);
    gpu::launch((small ? "attention_prefill_small" : "attention_prefill") + sized, {rows / tile_rows + count, it.heads}, 128, shared, &prefill);
    return out.read();
}

template <class T> void attends(const Case& it, bool plain) {
    Random random(it.dim * 31 + it.heads * 7 + it.window);
    Cache<T> cache(it, random);
    uint32_t rows = 0;
    for (auto& sequence : it.sequences) rows += sequence.queries;
    auto queries = random.numbers<T>(size_t(rows) * it.heads * it.dim, 2.0f);
    std::string what = std::string(plain ? "plain " : "") + ::name_of<T>() + " " + name_of(it);
    auto out = run(it, cache, queries, 0, uint32_t(it.sequences.size()), plain);
    check_close(out, reference(it, cache, queries), 1.2f * STEP<T> + 2e-5f, STEP<T>, what);
    if (it.dim == 128 && !plain)
        check_same(run(it, cache, queries, 0, uint32_t(it.sequences.size()), false, true), out, what + ": in small tiles");
    size_t row = 0, width = size_t(it.heads) * it.dim;
    for (uint32_t s = 0; s < it.sequences.size(); ++s) {
        size_t from = row * width, to = (row += it.sequences[s].queries) * width;
        std::vector<T> own_queries(queries.begin() + from, queries.begin() + to), own(out.begin() + from, out.begin() + to);
        if (!own.empty()) check_same(run(it, cache, own_queries, s, s + 1, plain), own, what + ": alone, sequence " + std::to_string(s));
    }
}

// Decoded ones within one split and in several, at the ends of blocks and beyond the most splits; one that is no sequence; chunks of a
// prompt, whole prompts, more rows than a tile has.
const std::vector<Sequence> RAGGED = {{1, 1}, {1, 33}, {5, 5}, {1, 0}, {1, 300}, {70, 101}, {1, 64}, {2, 129}, {140, 140}};
const std::vector<Sequence> FEW = {{1, 47}, {1, 97}, {19, 40}, {33, 33}};

template <class T> void all_head_sizes() {
    for (uint32_t dim : {64, 80, 96, 112, 128, 192, 256}) attends<T>({dim, 4, 2, 0, 0.0f, true, FEW}, false);
}

template <class T> void groups() {
    for (uint32_t group : {1, 2, 3, 5, 8, 12, 16, 20}) attends<T>({64, group * 2, 2, 0, 0.0f, true, FEW}, false);
}

template <class T> void windows_and_caps() {
    for (uint32_t window : {0, 1, 31, 70})
        for (float cap : {0.0f, 5.0f}) attends<T>({64, 2, 1, window, cap, true, RAGGED}, false);
    attends<T>({128, 4, 1, 0, 0.0f, true, RAGGED}, false);
    attends<T>({96, 2, 2, 0, 0.0f, false, FEW}, false);
}

template <class T> void plain() {
    for (uint32_t window : {0, 1, 70}) attends<T>({24, 6, 2, window, window > 0 ? 4.0f : 0.0f, true, RAGGED}, true);
    attends<T>({256, 3, 3, 0, 0.0f, false, FEW}, true);
}

// One head of a token, normed and turned as the CPU does.
template <class T> std::vector<float> prepared(const T* head, const Heads& args, const std::vector<float>& weight, const float* angles) {
    std::vector<float> out(args.head_dim);
    double squares = 0;
    for (uint32_t i = 0; i < args.head_dim; ++i) squares += double(out[i] = widen(head[i])) * out[i];
    float scale = float(1 / std::sqrt(squares / args.head_dim + args.eps));
    if (!weight.empty())
        for (uint32_t i = 0; i < args.head_dim; ++i) out[i] = rounded<T>(rounded<T>(out[i] * scale) * weight[i]);
    for (uint32_t pair = 0; pair < args.rotary_dim / 2; ++pair) {
        uint32_t one = args.interleaved ? 2 * pair : pair, other = args.interleaved ? one + 1 : pair + args.rotary_dim / 2;
        float cosine = rounded<T>(angles[pair]), sine = rounded<T>(angles[args.rotary_dim / 2 + pair]), a = out[one], b = out[other];
        out[one] = rounded<T>(rounded<T>(a * cosine) - rounded<T>(b * sine));
        out[other] = rounded<T>(rounded<T>(b * cosine) + rounded<T>(a * sine));
    }
    return out;
}

template <class T> void heads_to_cache(uint32_t dim, uint32_t rotary, bool interleaved, bool normed) {
    constexpr uint32_t HEADS = 3, KV_HEADS = 2, ROWS = 5, BLOCKS = 4, CONTEXT = 40;
    constexpr uint32_t COUNT = HEADS + 2 * KV_HEADS;
    Random random(dim + rotary);
    auto product = random.numbers<T>(ROWS * COUNT * dim);
    auto table = random.numbers<float>(CONTEXT * std::max(rotary, 1u), 0.5f);
    auto q_weight = random.numbers<float>(dim, 0.2f, 1.0f), k_weight = random.numbers<float>(dim, 0.2f, 1.0f);
    std::vector<uint32_t> positions = {0, 39, 7, 8, 0}, slots = {33, 0, 127, 64, NO_SLOT};
    size_t cache_count = size_t(BLOCKS) * 2 * KV_HEADS * 32 * dim;
    gpu::Buffer<T> x(product), queries(ROWS * HEADS * dim), cache(cache_count);
    gpu::Buffer<float> angles(table), q_w(q_weight), k_w(k_weight);
    gpu::Buffer<uint32_t> d_positions(positions), d_slots(slots);
    Heads args{x.at(), d_positions.at(), d_slots.at(), angles.at(), normed ? q_w.at() : nullptr, normed ? k_w.at() : nullptr,
               queries.at(), cache.at(), BLOCKS * 32, HEADS, KV_HEADS, dim, rotary, interleaved, 0, 1e-6f};
    gpu::launch("heads_" + ::name_of<T>(), {ROWS, (COUNT + 3) / 4}, 128, 0, &args);
    std::vector<float> expected, in_cache(cache_count, NAN);
    for (uint32_t row = 0; row < ROWS; ++row)
        for (uint32_t head = 0; head < COUNT; ++head) {
            const T* of = &product[(row * COUNT + head) * dim];
            const float* turn = &table[positions[row] * rotary];
            std::vector<float> numbers;
            if (head < HEADS) numbers = prepared(of, args, normed ? q_weight : std::vector<float>(), turn);
            else if (head < HEADS + KV_HEADS) numbers = prepared(of, args, normed ? k_weight : std::vector<float>(), turn);
            else for (uint32_t i = 0; i < dim; ++i) numbers.push_back(widen(of[i]));
            if (head < HEADS) expected.insert(expected.end(), numbers.begin(), numbers.end());
            else if (slots[row] != NO_SLOT)
                for (uint32_t i = 0; i < dim; ++i)
                    in_cache[((size_t(slots[row]) / 32 * 2 * KV_HEADS + head - HEADS) * 32 + slots[row] % 32) * dim + i] = numbers[i];
        }
    std::string what = ::name_of<T>() + " heads of " + std::to_string(dim) + ", " + std::to_string(rotary) + " turned";
    float tolerance = normed ? 3 * STEP<T> + 1e-5f : STEP<T> * 0.01f;
    check_close(queries.read(), expected, tolerance, tolerance, what);
    check_mostly(queries.read(), expected, sizeof(T) == 2 ? 0.97f : 0.0f, what);
    check_close(cache.read(), in_cache, tolerance, tolerance, what + ": cache");
}

template <class T> void heads() {
    for (bool normed : {false, true})
        for (bool interleaved : {false, true})
            for (auto [dim, rotary] : {std::pair{64u, 64u}, {80u, 32u}, {128u, 128u}, {256u, 0u}, {6u, 4u}})
                heads_to_cache<T>(dim, rotary, interleaved, normed);
}

#define OF_ALL_TYPES(function) [] { function<float>(), function<Bf16>(), function<F16>(); }
#define OF_HALF_TYPES(function) [] { function<Bf16>(), function<F16>(); }

const Test ATTENTION_TESTS[] = {
    {"heads are normed, turned and put in the cache", OF_ALL_TYPES(heads)},
    {"attention without tensor cores", OF_ALL_TYPES(plain)},
    {"attention of all head sizes", OF_HALF_TYPES(all_head_sizes)},
    {"attention of groups of query heads", OF_HALF_TYPES(groups)},
    {"attention with windows and caps, ragged", OF_HALF_TYPES(windows_and_caps)},
};

}  // namespace
