// Tests of matrices in blocks: products with few rows, and rows as numbers, against plain loops over weights that are made here together
// with their blocks.
#include "../../kernels/arguments.cuh"

#include <algorithm>

#include "gpu.h"

namespace {

using Bytes = std::vector<uint8_t>;

// Random blocks as the device has them, and the numbers that they stand for.
struct Matrix {
    Bytes quants;
    std::vector<F16> scales;
    std::vector<float> numbers;
    uint32_t rows, width;
};

void append(Bytes& to, F16 number) {
    to.push_back(uint8_t(number.bits & 255));
    to.push_back(uint8_t(number.bits >> 8));
}

F16 scale(Random& random) { return narrow<F16>(0.002f + 0.0001f * float(random.below(100))); }

void q8_0(Random& random, Matrix& to) {
    to.scales.push_back(scale(random));
    for (int at = 0; at < 32; ++at) {
        int8_t quant = int8_t(random.below(256));
        to.quants.push_back(uint8_t(quant));
        to.numbers.push_back(widen(to.scales.back()) * float(quant));
    }
}

// Where weight `at` of a block of 256 lies: its lane, its part, its place in that.
struct Place {
    unsigned lane, part, i;
    explicit Place(unsigned at) : lane(at % 64 / 8), part(at / 64), i(at % 8) {}
    // Which byte of the lanes' lower bits, and how far up in it.
    unsigned byte() const { return lane * 16 + part * 4 + i % 4; }
    unsigned shift() const { return i / 4 * 4; }
};

void q4_k(Random& random, Matrix& to) {
    F16 of_scales = scale(random), of_minima = scale(random);
    uint8_t scales[8], minima[8];
    for (int sub = 0; sub < 8; ++sub) scales[sub] = uint8_t(random.below(64)), minima[sub] = uint8_t(random.below(64));
    append(to.quants, of_scales);
    append(to.quants, of_minima);
    for (int j = 0; j < 4; ++j) to.quants.push_back(uint8_t(scales[j] | scales[j + 4] >> 4 << 6));
    for (int j = 0; j < 4; ++j) to.quants.push_back(uint8_t(minima[j] | minima[j + 4] >> 4 << 6));
    for (int j = 4; j < 8; ++j) to.quants.push_back(uint8_t((scales[j] & 15) | (minima[j] & 15) << 4));
    Bytes lower(128);
    for (unsigned at = 0; at < 256; ++at) {
        Place place(at);
        unsigned quant = random.below(16), sub = at / 32;
        lower[place.byte()] = uint8_t(lower[place.byte()] | quant << place.shift());
        to.numbers.push_back(widen(of_scales) * float(scales[sub]) * float(quant) - widen(of_minima) * float(minima[sub]));
    }
    to.quants.insert(to.quants.end(), lower.begin(), lower.end());
}

void q6_k(Random& random, Matrix& to) {
    to.scales.push_back(scale(random));
    Bytes lower(128), upper(64), scales(16);
    for (uint8_t& own : scales) own = uint8_t(random.below(256));
    for (unsigned at = 0; at < 256; ++at) {
        Place place(at);
        unsigned quant = random.below(64);
        lower[place.byte()] = uint8_t(lower[place.byte()] | (quant & 15) << place.shift());
        uint8_t& byte = upper[place.lane * 8 + place.part / 2 * 4 + place.i % 4];
        byte = uint8_t(byte | quant >> 4 << (place.part % 2 * 4 + place.i / 4 * 2));
        to.numbers.push_back(widen(to.scales.back()) * float(int8_t(scales[at / 16])) * float(int(quant) - 32));
    }
    for (const Bytes& part : {lower, upper, scales}) to.quants.insert(to.quants.end(), part.begin(), part.end());
}

struct Kind {
    std::string name;
    unsigned block;
    void (*append)(Random&, Matrix&);
};
const Kind KINDS[] = {{"q8_0", 32, q8_0}, {"q4_k", 256, q4_k}, {"q6_k", 256, q6_k}};

Matrix matrix(const Kind& kind, uint32_t rows, uint32_t width) {
    Matrix made{{}, {}, {}, rows, width};
    Random random(rows + width);
    for (uint32_t block = 0; block < rows * (width / kind.block); ++block) kind.append(random, made);
    return made;
}

struct OnDevice {
    gpu::Buffer<uint8_t> quants;
    gpu::Buffer<F16> scales;
    Blocks blocks;
    explicit OnDevice(const Matrix& it)
        : quants(it.quants), scales(it.scales), blocks{quants.at(), it.scales.empty() ? nullptr : scales.at()} {}
};

// Below a warp's step, a part of the next, several; of q8_0 no whole blocks of 256 too.
std::vector<uint32_t> widths(const Kind& kind) {
    if (kind.block == 32) return {32, 96, 1024, 1376, 2080};
    return {256, 768, 1024, 2304};
}

template <class T> void rows_as_numbers() {
    for (const Kind& kind : KINDS)
        for (uint32_t width : widths(kind)) {
            Matrix it = matrix(kind, 5, width);
            OnDevice device(it);
            std::string name = kind.name + "_" + name_of<T>() + " " + std::to_string(width);
            gpu::Buffer<T> out(it.numbers.size());
            Dequantize args{device.blocks, nullptr, out.at(), it.rows, width, 1.0f};
            gpu::launch("dequantize_" + kind.name + "_" + name_of<T>(), {it.rows}, 128, 0, &args);
            std::vector<T> expected;
            for (float number : it.numbers) expected.push_back(narrow<T>(number));
            check_same(out.read(), expected, "dequantize_" + name);
            std::vector<uint32_t> ids = {4, 0, 7, 4};
            gpu::Buffer<uint32_t> chosen(ids);
            for (float factor : {1.0f, 0.37f}) {
                gpu::Buffer<T> rows(ids.size() * width);
                Dequantize gather{device.blocks, chosen.at(), rows.at(), it.rows, width, factor};
                gpu::launch("quantized_gather_" + kind.name + "_" + name_of<T>(), {unsigned(ids.size())}, 128, 0, &gather);
                std::vector<float> scaled;
                for (uint32_t id : ids)
                    for (uint32_t at = 0; at < width; ++at)
                        scaled.push_back(id < it.rows ? rounded<T>(rounded<T>(it.numbers[id * width + at]) * factor) : NAN);
                check_close(rows.read(), scaled, 0, 0, "quantized_gather_" + name);
            }
        }
}

constexpr uint32_t ROWS = 17;

// The first `rows` rows' products, into rows that are wider than the outputs.
template <class T, class Out>
std::vector<Out> multiplied(const Kind& kind, const Matrix& it, const OnDevice& device, const gpu::Buffer<T>& x, const T* bias, uint32_t rows) {
    uint32_t stride = it.rows + 3;
    gpu::Buffer<Out> out(size_t(rows) * stride);
    QuantizedMatmul args{device.blocks, x.at(), bias, out.at(), rows, it.width, it.rows, stride};
    std::string wide = name_of<T>() == name_of<Out>() ? "" : "wide_";
    gpu::launch("quantized_matmul_" + wide + kind.name + "_" + name_of<T>(), {(it.rows + 7) / 8, (rows + 7) / 8}, 128, 0, &args);
    std::vector<Out> all = out.read(), own;
    for (uint32_t row = 0; row < rows; ++row) {
        auto first = all.begin() + row * stride;
        own.insert(own.end(), first, first + it.rows);
        check(std::all_of(first + it.rows, first + stride, [](Out x) { return std::isnan(widen(x)); }), "written beside the outputs");
    }
    return own;
}

template <class T, class Out> void products(const Kind& kind, uint32_t outputs, uint32_t width, bool biased) {
    Matrix it = matrix(kind, outputs, width);
    OnDevice device(it);
    Random random(width);
    auto x = random.numbers<T>(ROWS * width), bias = random.numbers<T>(outputs);
    gpu::Buffer<T> d_x(x), d_bias(bias);
    const T* added = biased ? d_bias.at() : nullptr;
    std::vector<float> expected, sizes;
    for (uint32_t row = 0; row < ROWS; ++row)
        for (uint32_t column = 0; column < outputs; ++column) {
            double sum = biased ? widen(bias[column]) : 0, size = 0;
            for (uint32_t k = 0; k < width; ++k) {
                double product = double(widen(x[row * width + k])) * it.numbers[size_t(column) * width + k];
                sum += product;
                size += std::fabs(product);
            }
            expected.push_back(float(sum));
            sizes.push_back(float(size));
        }
    std::string what = kind.name + "_" + name_of<T>() + " " + std::to_string(outputs) + " x " + std::to_string(width);
    auto all = multiplied<T, Out>(kind, it, device, d_x, added, ROWS);
    float greatest = *std::max_element(sizes.begin(), sizes.end());
    check_close(all, expected, 3e-7f * greatest, 0.51f * STEP<Out>, "products of " + what);
    for (uint32_t rows = 1; rows < ROWS; ++rows) {
        auto some = multiplied<T, Out>(kind, it, device, d_x, added, rows);
        check_same(some, std::vector<Out>(all.begin(), all.begin() + rows * outputs), std::to_string(rows) + " rows of " + what);
    }
}

template <class T> void all_products() {
    for (const Kind& kind : KINDS)
        for (uint32_t width : widths(kind)) {
            products<T, T>(kind, 13, width, true);
            products<T, float>(kind, 8, width, false);
        }
}

#define OF_ALL_TYPES(function) [] { function<float>(), function<Bf16>(), function<F16>(); }

const Test QUANTIZED_TESTS[] = {
    {"rows in blocks are the same numbers, gathered and scaled", OF_ALL_TYPES(rows_as_numbers)},
    {"products with blocks are those of their numbers, a row's the same among few rows as among many", OF_ALL_TYPES(all_products)},
};

}  // namespace
