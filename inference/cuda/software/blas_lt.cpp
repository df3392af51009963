// libcublasLt of software: descriptors, and the one product with its epilogue of a bias.
#include <cstring>
#include <map>

#include "block.h"
#include "driver.h"
#include "product.h"
#include "stream.h"

using namespace software;

namespace {

// Attributes of a product.
enum : int { COMPUTE_TYPE = 0, SCALE_TYPE = 1, POINTER_MODE = 2, OP_A = 3, OP_B = 4, EPILOGUE = 7, BIAS = 8, BIAS_TYPE = 26 };
// Attributes of a layout.
enum : int { TYPE = 0, ORDER = 1, ROWS = 2, COLUMNS = 3, LEADING = 4, BATCHES = 5, STRIDE = 6 };
enum : int { EPILOGUE_NONE = 1, EPILOGUE_BIAS = 4 };
constexpr int COLUMN_MAJOR = 0;

using Attributes = std::map<int, int64_t>;

int set(Handle handle, int attribute, const void* value, size_t bytes) {
    int64_t number = 0;
    if (bytes > sizeof number) fail("cublasLt: attribute %d of %zu bytes", attribute, bytes);
    std::memcpy(&number, value, bytes);
    (*static_cast<Attributes*>(handle))[attribute] = number;
    return 0;
}

int64_t number_of(const Attributes& of, int attribute, int64_t otherwise) {
    auto found = of.find(attribute);
    return found == of.end() ? otherwise : found->second;
}

Matrix matrix(const void* data, const Attributes& layout, bool transposed, int64_t index) {
    if (number_of(layout, ORDER, COLUMN_MAJOR) != COLUMN_MAJOR) fail("cublasLt: a matrix that is not column-major");
    auto type = static_cast<Type>(layout.at(TYPE));
    int64_t bytes = index * number_of(layout, STRIDE, 0) * bytes_of(type);
    return {static_cast<const unsigned char*>(data) + bytes, type, layout.at(LEADING), transposed};
}

void check_attributes(const Attributes& product) {
    for (auto& [attribute, value] : product) {
        bool known = attribute == COMPUTE_TYPE || attribute == SCALE_TYPE || attribute == OP_A || attribute == OP_B ||
                     attribute == BIAS || attribute == BIAS_TYPE || (attribute == POINTER_MODE && value == 0) ||
                     (attribute == EPILOGUE && (value == EPILOGUE_NONE || value == EPILOGUE_BIAS));
        if (!known) fail("cublasLt: attribute %d = %ld of a product", attribute, value);
    }
}

}  // namespace

EXPORTED int cublasLtCreate(Handle* handle) {
    *handle = new char{0};
    return 0;
}
EXPORTED int cublasLtDestroy(Handle handle) {
    delete static_cast<char*>(handle);
    return 0;
}
EXPORTED int cublasLtMatmulDescCreate(Handle* product, int compute, int scale) {
    *product = new Attributes{{COMPUTE_TYPE, compute}, {SCALE_TYPE, scale}};
    return 0;
}
EXPORTED int cublasLtMatmulDescDestroy(Handle product) {
    delete static_cast<Attributes*>(product);
    return 0;
}
EXPORTED int cublasLtMatmulDescSetAttribute(Handle product, int attribute, const void* value, size_t bytes) {
    return set(product, attribute, value, bytes);
}
EXPORTED int cublasLtMatrixLayoutCreate(Handle* layout, int type, uint64_t rows, uint64_t columns, int64_t leading) {
    *layout = new Attributes{
        {TYPE, type}, {ROWS, static_cast<int64_t>(rows)}, {COLUMNS, static_cast<int64_t>(columns)}, {LEADING, leading}};
    return 0;
}
EXPORTED int cublasLtMatrixLayoutDestroy(Handle layout) { return cublasLtMatmulDescDestroy(layout); }
EXPORTED int cublasLtMatrixLayoutSetAttribute(Handle layout, int attribute, const void* value, size_t bytes) {
    return set(layout, attribute, value, bytes);
}
EXPORTED int cublasLtMatmulPreferenceCreate(Handle* preference) {
    *preference = new Attributes;
    return 0;
}
EXPORTED int cublasLtMatmulPreferenceDestroy(Handle preference) { return cublasLtMatmulDescDestroy(preference); }
EXPORTED int cublasLtMatmulPreferenceSetAttribute(Handle preference, int attribute, const void* value, size_t bytes) {
    return set(preference, attribute, value, bytes);
}

struct Heuristic {
    uint64_t algorithm[8];
    size_t workspace_bytes;
    int state;
    float waves;
    int reserved[4];
};

EXPORTED int cublasLtMatmulAlgoGetHeuristic(Handle, Handle, Handle, Handle, Handle, Handle, Handle, int, Heuristic* results, int* count) {
    results[0] = Heuristic{};
    *count = 1;
    return 0;
}

EXPORTED int cublasLtMatmul(Handle, Handle product, const void* alpha, const void* a, Handle a_layout, const void* b, Handle b_layout,
                            const void* beta, const void* c, Handle c_layout, void* d, Handle d_layout, const void*, void*, size_t,
                            Handle stream) {
    auto of = [](Handle handle) -> const Attributes& { return *static_cast<Attributes*>(handle); };
    const Attributes& asked = of(product);
    check_attributes(asked);
    if (asked.at(SCALE_TYPE) != F32) fail("cublasLt: scalars of type %ld", asked.at(SCALE_TYPE));
    bool a_transposed = number_of(asked, OP_A, 0) != 0, b_transposed = number_of(asked, OP_B, 0) != 0;
    int64_t k = of(a_layout).at(a_transposed ? ROWS : COLUMNS);
    if (of(b_layout).at(b_transposed ? COLUMNS : ROWS) != k) fail("cublasLt: the matrices do not meet");
    bool biased = number_of(asked, EPILOGUE, EPILOGUE_NONE) == EPILOGUE_BIAS;
    const void* bias = biased ? reinterpret_cast<const void*>(asked.at(BIAS)) : nullptr;
    for (int64_t index = 0; index < number_of(of(d_layout), BATCHES, 1); ++index) {
        Matrix out = matrix(d, of(d_layout), false, index);
        Product one{of(d_layout).at(ROWS), of(d_layout).at(COLUMNS), k,
                    matrix(a, of(a_layout), a_transposed, index), matrix(b, of(b_layout), b_transposed, index),
                    matrix(c, of(c_layout), false, index), const_cast<void*>(out.data), out.type, out.leading,
                    *static_cast<const float*>(alpha), *static_cast<const float*>(beta), bias,
                    static_cast<Type>(number_of(asked, BIAS_TYPE, out.type))};
        enqueue(stream_of(stream), [one] { multiply(one); });
    }
    return 0;
}
