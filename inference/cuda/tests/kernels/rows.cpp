// Tests of what treats rows and numbers one by one: gather, norms, residual sums, gates, changes of type.
#include "../../kernels/arguments.cuh"
#include "gpu.h"

namespace {

constexpr unsigned ROWS = 5;
// In vectors and not, below and above what the block's threads take at once.
constexpr unsigned WIDTHS[] = {6, 64, 129, 2048, 3080};

template <class T> std::string case_name(const char* kernel, unsigned width) {
    return std::string(kernel) + "_" + name_of<T>() + " " + std::to_string(width);
}

template <class T> void gathers() {
    Random random(1);
    for (unsigned width : WIDTHS)
        for (float scale : {1.0f, 0.37f}) {
            auto matrix = random.numbers<T>(7 * width);
            std::vector<uint32_t> ids = {3, 0, 6, 3, 7};
            gpu::Buffer<T> x(matrix), out(ids.size() * width);
            gpu::Buffer<uint32_t> chosen(ids);
            Gather args{x.at(), chosen.at(), out.at(), 7, width, scale};
            gpu::launch("gather_" + name_of<T>(), {unsigned(ids.size())}, 256, 0, &args);
            std::vector<float> expected;
            for (uint32_t id : ids)
                for (unsigned at = 0; at < width; ++at) expected.push_back(id < 7 ? rounded<T>(widen(matrix[id * width + at]) * scale) : NAN);
            check_close(out.read(), expected, 0, 0, case_name<T>("gather", width));
        }
}

// A row's norm in f64.
template <class T> std::vector<float> normed(const T* x, const std::vector<float>& weight, float eps, bool weight_in_f32) {
    double squares = 0;
    size_t width = weight.size();
    for (size_t at = 0; at < width; ++at) squares += double(widen(x[at])) * widen(x[at]);
    float scale = float(1.0 / std::sqrt(squares / double(width) + eps));
    std::vector<float> out(width);
    for (size_t at = 0; at < width; ++at) {
        float number = widen(x[at]) * scale;
        out[at] = rounded<T>((weight_in_f32 ? number : rounded<T>(number)) * weight[at]);
    }
    return out;
}

// Sums differ in their last bits, after which numbers between two steps go either way: twice, where a weight comes behind.
template <class T> constexpr float NORM_TOLERANCE = 2.5f * STEP<T> + 1e-5f;

// Of those in 16 bits nearly all are the same to the last bit, where the roundings are.
template <class T> constexpr float SAME_SHARE = 0.97f;
template <> constexpr float SAME_SHARE<float> = 0.0f;

template <class T> void rms_norms() {
    Random random(2);
    for (unsigned width : WIDTHS)
        for (bool weight_in_f32 : {false, true}) {
            unsigned stride = width + 16, groups = 1;
            auto x = random.numbers<T>(ROWS * stride, 3.0f);
            auto weight = random.numbers<float>(width, 0.2f, 1.0f);
            gpu::Buffer<T> rows(x), out(ROWS * width);
            gpu::Buffer<float> w(weight);
            RmsNorm args{rows.at(), w.at(), out.at(), width, stride, width, 1e-6f, weight_in_f32};
            gpu::launch("rms_norm_" + name_of<T>(), {ROWS, groups}, 256, width * sizeof(T), &args);
            std::vector<float> expected;
            for (unsigned row = 0; row < ROWS; ++row)
                for (float number : normed(&x[row * stride], weight, 1e-6f, weight_in_f32)) expected.push_back(number);
            check_close(out.read(), expected, 1e-6f, NORM_TOLERANCE<T>, case_name<T>("rms_norm", width));
            check_mostly(out.read(), expected, SAME_SHARE<T>, case_name<T>("rms_norm", width));
        }
}

template <class T> void layer_norms() {
    Random random(3);
    for (unsigned width : WIDTHS) {
        auto x = random.numbers<T>(ROWS * width, 2.0f, 1.0f);
        auto weight = random.numbers<float>(width, 0.2f, 1.0f), bias = random.numbers<float>(width, 0.5f);
        gpu::Buffer<T> rows(x), out(ROWS * width);
        gpu::Buffer<float> w(weight), b(bias);
        LayerNorm args{rows.at(), w.at(), b.at(), out.at(), width, 1e-12f};
        gpu::launch("layer_norm_" + name_of<T>(), {ROWS}, 256, width * sizeof(T), &args);
        std::vector<float> expected;
        for (unsigned row = 0; row < ROWS; ++row) {
            double mean = 0, squares = 0;
            const T* of = &x[row * width];
            for (unsigned at = 0; at < width; ++at) mean += widen(of[at]) / double(width);
            for (unsigned at = 0; at < width; ++at) squares += (widen(of[at]) - mean) * (widen(of[at]) - mean);
            for (unsigned at = 0; at < width; ++at)
                expected.push_back(float((widen(of[at]) - mean) / std::sqrt(squares / width + 1e-12) * weight[at] + bias[at]));
        }
        check_close(out.read(), expected, 1e-5f + 0.2f * STEP<T>, NORM_TOLERANCE<T>, case_name<T>("layer_norm", width));
    }
}

template <class T> void residuals() {
    Random random(4);
    for (unsigned width : WIDTHS)
        for (int norms = 0; norms < 4; ++norms) {
            bool of_y = norms & 1, of_sum = norms & 2;
            auto x = random.numbers<T>(ROWS * width), y = random.numbers<T>(ROWS * width, 2.0f);
            auto weight = random.numbers<float>(width, 0.2f, 1.0f), y_weight = random.numbers<float>(width, 0.2f, 1.0f);
            gpu::Buffer<T> sum(x), other(y), out(ROWS * width);
            gpu::Buffer<float> w(weight), y_w(y_weight);
            Residual args{sum.at(), other.at(), of_y ? y_w.at() : nullptr, of_sum ? w.at() : nullptr, sum.at(),
                          of_sum ? out.at() : nullptr, width, 0.3f, 1e-6f, 0};
            gpu::launch("residual_" + name_of<T>(), {ROWS}, 256, width * sizeof(T), &args);
            std::vector<float> sums, expected;
            for (unsigned row = 0; row < ROWS; ++row) {
                std::vector<float> added = normed(&y[row * width], y_weight, 1e-6f, false);
                std::vector<T> total;
                for (unsigned at = 0; at < width; ++at) {
                    float plain = of_y ? added[at] : widen(y[row * width + at]);
                    total.push_back(narrow<T>(widen(x[row * width + at]) + rounded<T>(plain * 0.3f)));
                    sums.push_back(widen(total.back()));
                }
                for (float number : normed(total.data(), weight, 1e-6f, false)) expected.push_back(number);
            }
            float absolute = of_y ? 2 * STEP<T> : 0;
            check_mostly(sum.read(), sums, SAME_SHARE<T>, case_name<T>("residual's sum", width));
            check_close(sum.read(), sums, absolute, of_y ? NORM_TOLERANCE<T> : 0, case_name<T>("residual's sum", width));
            if (of_sum) check_close(out.read(), expected, absolute + 1e-6f, 2 * NORM_TOLERANCE<T>, case_name<T>("residual", width));
        }
}

float activated(unsigned activation, float x) {
    switch (activation) {
        case 0: return x / (1 + std::exp(-x));
        case 1: return 0.5f * x * (1 + std::erf(x * 0.70710678f));
        case 2: return 0.5f * x * (1 + std::tanh(0.7978846f * (x + 0.044715f * x * x * x)));
        default: return std::max(x, 0.0f);
    }
}

template <class T> void gates() {
    Random random(5);
    for (unsigned width : WIDTHS)
        for (unsigned activation = 0; activation < 4; ++activation) {
            auto x = random.numbers<T>(ROWS * 2 * width, 2.0f);
            gpu::Buffer<T> rows(x), out(ROWS * width);
            Gated args{rows.at(), out.at(), width, activation};
            unsigned parts = unsigned((width * sizeof(T) / 16 + 256) / 256);
            gpu::launch("gated_" + name_of<T>(), {ROWS, parts}, 256, 0, &args);
            std::vector<float> expected;
            for (unsigned row = 0; row < ROWS; ++row)
                for (unsigned at = 0; at < width; ++at) {
                    float gate = widen(x[row * 2 * width + at]), up = widen(x[row * 2 * width + width + at]);
                    expected.push_back(rounded<T>(rounded<T>(activated(activation, gate)) * up));
                }
            check_close(out.read(), expected, 1e-6f, 2 * STEP<T> + 2e-6f, case_name<T>("gated", width));
            check_mostly(out.read(), expected, SAME_SHARE<T>, case_name<T>("gated", width));
        }
}

// One of the operations number by number, against a function of the number and its place.
template <class In, class Out> void one_by_one(const std::string& kernel, std::function<float(float, size_t)> function, bool of_f32 = false) {
    Random random(6);
    constexpr unsigned WIDTH = 301, COUNT = WIDTH * 17;
    auto x = random.numbers<In>(COUNT, 2.0f);
    auto y = random.numbers<Out>(COUNT);
    gpu::Buffer<In> in(x);
    gpu::Buffer<Out> other(y), out(COUNT);
    Elementwise args{in.at(), other.at(), out.at(), COUNT, WIDTH, 0, 1.7f, of_f32 ? 3.0f : 0.0f};
    gpu::launch(kernel, {(COUNT + 2047) / 2048}, 256, 0, &args);
    std::vector<float> expected;
    for (size_t at = 0; at < COUNT; ++at) {
        float second = kernel.starts_with("add_bias") ? widen(y[at % WIDTH]) : rounded<Out>(widen(y[at]) * 1.7f);
        float number = function(widen(x[at]), at);
        expected.push_back(rounded<Out>(kernel.starts_with("add") ? number + second : number));
    }
    check_close(out.read(), expected, 1e-6f, kernel.starts_with("a") || of_f32 ? STEP<Out> + 2e-6f : 0, kernel);
}

template <class T> void elementwise() {
    auto same = [](float x, size_t) { return x; };
    one_by_one<T, T>("activate_" + name_of<T>(), [](float x, size_t) { return activated(0, x); });
    one_by_one<T, T>("scale_" + name_of<T>(), [](float x, size_t) { return x * 1.7f; });
    one_by_one<T, T>("add_bias_" + name_of<T>(), same);
    one_by_one<T, T>("add_" + name_of<T>(), same);
    one_by_one<float, T>("narrow_" + name_of<T>(), same);
    one_by_one<T, float>("widen_" + name_of<T>(), same);
}

#define OF_ALL_TYPES(function) [] { function<float>(), function<Bf16>(), function<F16>(); }

const Test ROWS_TESTS[] = {
    {"rows are gathered and scaled, unknown ones are no numbers", OF_ALL_TYPES(gathers)},
    {"rms norm rounds where the family does", OF_ALL_TYPES(rms_norms)},
    {"layer norm is the formula's", OF_ALL_TYPES(layer_norms)},
    {"a residual sum may be normed before and behind", OF_ALL_TYPES(residuals)},
    {"a gate meets its up projection", OF_ALL_TYPES(gates)},
    {"operations number by number", OF_ALL_TYPES(elementwise)},
    {"logits are divided and capped",
     [] { one_by_one<float, float>("logits_scale", [](float x, size_t) { return 3.0f * std::tanh(x / 1.7f / 3.0f); }, true); }},
};

}  // namespace
