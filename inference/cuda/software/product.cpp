// See `product.h`. A number's sum runs over k in order whatever else is computed, so that a row does not depend on the batch.
#include "product.h"

#include <cstring>
#include <vector>

#include "block.h"
#include "memory.h"

namespace software {
namespace {

double read(const void* data, Type type, int64_t at) {
    switch (type) {
        case F32: return static_cast<const float*>(data)[at];
        case F64: return static_cast<const double*>(data)[at];
        case F16: return static_cast<const _Float16*>(data)[at];
        case BF16: {
            uint32_t bits = static_cast<uint32_t>(static_cast<const uint16_t*>(data)[at]) << 16;
            float number;
            std::memcpy(&number, &bits, sizeof number);
            return number;
        }
    }
    fail("a matrix of type %d", type);
}

void write(void* data, Type type, int64_t at, double number) {
    switch (type) {
        case F32: static_cast<float*>(data)[at] = static_cast<float>(number); return;
        case F64: static_cast<double*>(data)[at] = number; return;
        case F16: static_cast<_Float16*>(data)[at] = static_cast<_Float16>(static_cast<float>(number)); return;
        case BF16: {
            float single = static_cast<float>(number);
            uint32_t bits;
            std::memcpy(&bits, &single, sizeof bits);
            bits = single != single ? 0x7fff0000u : bits + 0x7fffu + (bits >> 16 & 1u);
            static_cast<uint16_t*>(data)[at] = static_cast<uint16_t>(bits >> 16);
            return;
        }
    }
    fail("a matrix of type %d", type);
}

void check(const char* name, const void* data, Type type, int64_t rows, int64_t columns, int64_t leading) {
    if (rows == 0 || columns == 0) return;
    if (leading < rows) fail("matrix product: %s has %ld rows and a leading dimension of %ld", name, rows, leading);
    int64_t bytes = ((columns - 1) * leading + rows) * bytes_of(type);
    if (!is_allocated(data, static_cast<size_t>(bytes))) fail("matrix product: %s is not in the device's memory", name);
}

// Row after row of op(x), so that sums read side by side.
std::vector<float> rows_of(const Matrix& x, int64_t rows, int64_t k, bool by_column) {
    std::vector<float> out(static_cast<size_t>(rows * k));
    for (int64_t row = 0; row < rows; ++row)
        for (int64_t at = 0; at < k; ++at) {
            bool swapped = x.transposed != by_column;
            int64_t place = swapped ? at + row * x.leading : row + at * x.leading;
            out[static_cast<size_t>(row * k + at)] = static_cast<float>(read(x.data, x.type, place));
        }
    return out;
}

}  // namespace

int64_t bytes_of(Type type) {
    switch (type) {
        case F32: return 4;
        case F64: return 8;
        case F16:
        case BF16: return 2;
    }
    fail("a matrix of type %d", type);
}

void multiply(const Product& it) {
    check("a", it.a.data, it.a.type, it.a.transposed ? it.k : it.m, it.a.transposed ? it.m : it.k, it.a.leading);
    check("b", it.b.data, it.b.type, it.b.transposed ? it.n : it.k, it.b.transposed ? it.k : it.n, it.b.leading);
    check("d", it.d, it.d_type, it.m, it.n, it.d_leading);
    if (it.beta != 0.0) check("c", it.c.data, it.c.type, it.m, it.n, it.c.leading);
    std::vector<float> a = rows_of(it.a, it.m, it.k, false), b = rows_of(it.b, it.n, it.k, true);
    for (int64_t column = 0; column < it.n; ++column)
        for (int64_t row = 0; row < it.m; ++row) {
            const float *x = &a[static_cast<size_t>(row * it.k)], *y = &b[static_cast<size_t>(column * it.k)];
            float sum = 0.0f;
            for (int64_t at = 0; at < it.k; ++at) sum += x[at] * y[at];
            double number = it.alpha * sum;
            if (it.beta != 0.0) number += it.beta * read(it.c.data, it.c.type, row + column * it.c.leading);
            if (it.bias != nullptr) number += read(it.bias, it.bias_type, row);
            write(it.d, it.d_type, row + column * it.d_leading, number);
        }
}

}  // namespace software
