// libcublas of software: the matrix products that are called, column-major, in the order of their stream.
#include <cstring>

#include "block.h"
#include "driver.h"
#include "product.h"
#include "stream.h"

using namespace software;

namespace {

struct Blas {
    Handle stream = nullptr;
    int pointer_mode = 0, math_mode = 0;
};

constexpr int COMPUTE_16F = 64, COMPUTE_64F = 70;

double scalar(const void* value, int compute) {
    if (compute == COMPUTE_64F) return *static_cast<const double*>(value);
    if (compute == COMPUTE_16F || compute == COMPUTE_16F + 1) return static_cast<double>(*static_cast<const _Float16*>(value));
    return *static_cast<const float*>(value);
}

const void* behind(const void* data, int64_t numbers, Type type) {
    return static_cast<const unsigned char*>(data) + numbers * bytes_of(type);
}

}  // namespace

EXPORTED int cublasCreate_v2(Handle* handle) {
    *handle = new Blas;
    return 0;
}
EXPORTED int cublasDestroy_v2(Handle handle) {
    delete static_cast<Blas*>(handle);
    return 0;
}
EXPORTED int cublasSetStream_v2(Handle handle, Handle stream) {
    static_cast<Blas*>(handle)->stream = stream;
    return 0;
}
EXPORTED int cublasGetStream_v2(Handle handle, Handle* stream) {
    *stream = static_cast<Blas*>(handle)->stream;
    return 0;
}
EXPORTED int cublasSetWorkspace_v2(Handle, void*, size_t) { return 0; }
EXPORTED int cublasSetMathMode(Handle handle, int mode) {
    static_cast<Blas*>(handle)->math_mode = mode;
    return 0;
}
EXPORTED int cublasGetMathMode(Handle handle, int* mode) {
    *mode = static_cast<Blas*>(handle)->math_mode;
    return 0;
}
EXPORTED int cublasSetPointerMode_v2(Handle, int mode) {
    if (mode != 0) fail("cublasSetPointerMode: scalars in device memory");
    return 0;
}
EXPORTED int cublasGetVersion_v2(Handle, int* version) {
    *version = 130000;
    return 0;
}

EXPORTED int cublasGemmStridedBatchedEx(Handle handle, int a_op, int b_op, int m, int n, int k, const void* alpha, const void* a,
                                        int a_type, int lda, long long a_stride, const void* b, int b_type, int ldb,
                                        long long b_stride, const void* beta, void* c, int c_type, int ldc, long long c_stride,
                                        int count, int compute, int) {
    Product product{m, n, k,
                    {a, static_cast<Type>(a_type), lda, a_op != 0},
                    {b, static_cast<Type>(b_type), ldb, b_op != 0},
                    {c, static_cast<Type>(c_type), ldc, false},
                    c, static_cast<Type>(c_type), ldc,
                    scalar(alpha, compute), scalar(beta, compute), nullptr, F32};
    for (int index = 0; index < count; ++index) {
        Product one = product;
        one.a.data = behind(a, index * a_stride, one.a.type);
        one.b.data = behind(b, index * b_stride, one.b.type);
        one.c.data = behind(c, index * c_stride, one.c.type);
        one.d = const_cast<void*>(one.c.data);
        enqueue(stream_of(static_cast<Blas*>(handle)->stream), [one] { multiply(one); });
    }
    return 0;
}

EXPORTED int cublasGemmEx(Handle handle, int a_op, int b_op, int m, int n, int k, const void* alpha, const void* a, int a_type, int lda,
                          const void* b, int b_type, int ldb, const void* beta, void* c, int c_type, int ldc, int compute, int algorithm) {
    return cublasGemmStridedBatchedEx(handle, a_op, b_op, m, n, k, alpha, a, a_type, lda, 0, b, b_type, ldb, 0, beta, c, c_type, ldc, 0,
                                      1, compute, algorithm);
}

EXPORTED int cublasSgemm_v2(Handle handle, int a_op, int b_op, int m, int n, int k, const float* alpha, const float* a, int lda,
                            const float* b, int ldb, const float* beta, float* c, int ldc) {
    return cublasGemmEx(handle, a_op, b_op, m, n, k, alpha, a, F32, lda, b, F32, ldb, beta, c, F32, ldc, 68, 0);
}
