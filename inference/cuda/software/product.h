// Matrix products of software: what cuBLAS computes, number by number in f32 (f64 for f64), column-major as it has them.
#pragma once

#include <cstdint>

namespace software {

// Types of numbers, as `cudaDataType` has them.
enum Type : int { F32 = 0, F64 = 1, F16 = 2, BF16 = 14 };

struct Matrix {
    const void* data;
    Type type;
    int64_t leading;
    bool transposed;
};

struct Product {
    int64_t m, n, k;
    Matrix a, b, c;
    void* d;
    Type d_type;
    int64_t d_leading;
    double alpha, beta;
    // [m], added to every column; null where there is none.
    const void* bias;
    Type bias_type;
};

// d = alpha · a · b + beta · c + bias. Ends the process where a matrix does not lie in the device's memory.
void multiply(const Product& product);

int64_t bytes_of(Type type);

}  // namespace software
