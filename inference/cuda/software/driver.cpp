// libcuda of software: devices, contexts, modules, launches. Memory, streams and graphs are in `driver_memory.cpp` and
// `driver_streams.cpp`. Modules hold the kernels that were compiled in, whatever image they are loaded from.
#include "driver.h"

#include <cstdlib>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "block.h"
#include "memory.h"
#include "stream.h"

using namespace software;

namespace {

constexpr int DRIVER_VERSION = 13000;
// A kernel that takes more shared memory must have been told so.
constexpr size_t SHARED_UNTOLD = 48 * 1024;
constexpr int SHARED_OPTIN = 227 * 1024;
constexpr int MAX_DYNAMIC_SHARED = 8;

int context_marker;
Handle const CONTEXT = &context_marker;
thread_local Handle current = nullptr;

// Dynamic shared memory that each kernel may take.
std::map<const Kernel*, size_t>& shared_told() {
    static auto* told = new std::map<const Kernel*, size_t>;
    return *told;
}
std::mutex told_lock;

int device_count() {
    const char* asked = std::getenv("SOFTWARE_DEVICE_COUNT");
    return asked == nullptr ? 1 : std::atoi(asked);
}

}  // namespace

EXPORTED CUresult cuInit(unsigned) {
    watch_faults();
    return device_count() > 0 ? SUCCESS : NO_DEVICE;
}

EXPORTED CUresult cuDriverGetVersion(int* version) {
    *version = DRIVER_VERSION;
    return SUCCESS;
}

EXPORTED CUresult cuDeviceGetCount(int* count) {
    *count = device_count();
    return SUCCESS;
}

EXPORTED CUresult cuDeviceGet(CUdevice* device, int ordinal) {
    *device = ordinal;
    return ordinal >= 0 && ordinal < device_count() ? SUCCESS : INVALID_DEVICE;
}

EXPORTED CUresult cuDeviceGetName(char* name, int length, CUdevice) {
    std::snprintf(name, static_cast<size_t>(length), "Software device");
    return SUCCESS;
}

EXPORTED CUresult cuDeviceGetUuid_v2(char* uuid, CUdevice device) {
    std::memset(uuid, 0, 16);
    uuid[15] = static_cast<char>(device);
    return SUCCESS;
}

EXPORTED CUresult cuDeviceGetUuid(char* uuid, CUdevice device) { return cuDeviceGetUuid_v2(uuid, device); }

EXPORTED CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice) {
    *bytes = bytes_total();
    return SUCCESS;
}

EXPORTED CUresult cuDeviceGetAttribute(int* value, int attribute, CUdevice) {
    static const std::map<int, int> known = {
        {MAX_THREADS_PER_BLOCK, 1024}, {SHARED_PER_BLOCK, 48 * 1024}, {WARP_SIZE, 32},
        {REGISTERS_PER_BLOCK, 65536},  {CLOCK_RATE, 1000000},         {MULTIPROCESSORS, 4},
        {INTEGRATED, 0},               {CONCURRENT_KERNELS, 1},       {L2_BYTES, 1 << 20},
        {THREADS_PER_MULTIPROCESSOR, 2048}, {UNIFIED_ADDRESSING, 1},  {CAPABILITY_MAJOR, 9},
        {CAPABILITY_MINOR, 0},         {SHARED_PER_MULTIPROCESSOR, 228 * 1024},
        {SHARED_PER_BLOCK_OPTIN, SHARED_OPTIN}, {MEMORY_POOLS, 1},
    };
    auto found = known.find(attribute);
    if (found == known.end()) fail("cuDeviceGetAttribute: attribute %d is not known", attribute);
    *value = found->second;
    return SUCCESS;
}

EXPORTED CUresult cuDevicePrimaryCtxRetain(Handle* context, CUdevice) {
    *context = CONTEXT;
    return SUCCESS;
}
EXPORTED CUresult cuDevicePrimaryCtxRelease_v2(CUdevice) { return SUCCESS; }

EXPORTED CUresult cuCtxSetCurrent(Handle context) {
    watch_faults();
    current = context;
    return SUCCESS;
}
EXPORTED CUresult cuCtxGetCurrent(Handle* context) {
    *context = current;
    return SUCCESS;
}
EXPORTED CUresult cuCtxGetDevice(CUdevice* device) {
    *device = 0;
    return current == nullptr ? 201 : SUCCESS;
}
EXPORTED CUresult cuCtxSetFlags(unsigned) { return SUCCESS; }
EXPORTED CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    *least = *greatest = 0;
    return SUCCESS;
}
EXPORTED CUresult cuCtxSynchronize() {
    if (is_capturing()) return CAPTURE_UNSUPPORTED;
    finish_all();
    return SUCCESS;
}

EXPORTED CUresult cuGetErrorName(CUresult error, const char** name) {
    static thread_local std::string text;
    text = "error " + std::to_string(error) + " of the software device";
    *name = text.c_str();
    return SUCCESS;
}
EXPORTED CUresult cuGetErrorString(CUresult error, const char** text) { return cuGetErrorName(error, text); }

EXPORTED CUresult cuModuleLoadData(Handle* module, const void* image) {
    *module = new char{0};
    return image == nullptr ? INVALID_VALUE : SUCCESS;
}
EXPORTED CUresult cuModuleLoadDataEx(Handle* module, const void* image, unsigned, int*, void**) {
    return cuModuleLoadData(module, image);
}
EXPORTED CUresult cuModuleLoad(Handle* module, const char* path) { return cuModuleLoadData(module, path); }
EXPORTED CUresult cuModuleUnload(Handle module) {
    delete static_cast<char*>(module);
    return SUCCESS;
}

EXPORTED CUresult cuModuleGetFunction(Handle* function, Handle, const char* name) {
    const Kernel* kernel = find_kernel(name);
    *function = const_cast<Kernel*>(kernel);
    if (kernel == nullptr) std::fprintf(stderr, "software device: there is no kernel %s\n", name);
    return kernel == nullptr ? NOT_FOUND : SUCCESS;
}

EXPORTED CUresult cuFuncSetAttribute(Handle function, int attribute, int value) {
    // How shared memory and cache are divided changes nothing here.
    if (attribute == 9) return SUCCESS;
    if (attribute != MAX_DYNAMIC_SHARED) fail("cuFuncSetAttribute: attribute %d is not known", attribute);
    if (value > SHARED_OPTIN) return INVALID_VALUE;
    std::lock_guard held(told_lock);
    shared_told()[static_cast<const Kernel*>(function)] = static_cast<size_t>(value);
    return SUCCESS;
}
EXPORTED CUresult cuFuncSetCacheConfig(Handle, int) { return SUCCESS; }

EXPORTED CUresult cuFuncGetAttribute(int* value, int attribute, Handle function) {
    if (attribute != 0) fail("cuFuncGetAttribute: attribute %d is not known", attribute);
    *value = static_cast<int>(static_cast<const Kernel*>(function)->threads_max);
    return SUCCESS;
}

EXPORTED CUresult cuFuncGetParamInfo(Handle function, size_t index, size_t* offset, size_t* bytes) {
    if (index > 0) return INVALID_VALUE;
    *offset = 0;
    *bytes = static_cast<const Kernel*>(function)->argument_bytes;
    return SUCCESS;
}

EXPORTED CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Handle, int, size_t) {
    *blocks = 2;
    return SUCCESS;
}
EXPORTED CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, Handle, int, size_t, unsigned) {
    *blocks = 2;
    return SUCCESS;
}

EXPORTED CUresult cuLaunchKernel(Handle function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                                 unsigned block_y, unsigned block_z, unsigned shared_bytes, Handle stream, void** parameters,
                                 void** extra) {
    auto* kernel = static_cast<const Kernel*>(function);
    if (kernel == nullptr) return INVALID_HANDLE;
    if (extra != nullptr || parameters == nullptr) fail("cuLaunchKernel: parameters come as a list");
    {
        std::lock_guard held(told_lock);
        auto told = shared_told().find(kernel);
        size_t most = told == shared_told().end() ? SHARED_UNTOLD : told->second;
        if (shared_bytes > most) {
            std::fprintf(stderr, "software device: %s takes %u bytes of shared memory and was told of %zu\n", kernel->name,
                         shared_bytes, most);
            return INVALID_VALUE;
        }
    }
    auto* begin = static_cast<const unsigned char*>(parameters[0]);
    std::vector<unsigned char> arguments(begin, begin + kernel->argument_bytes);
    Dim3 grid{grid_x, grid_y, grid_z}, block{block_x, block_y, block_z};
    enqueue(stream_of(stream), [kernel, grid, block, shared_bytes, arguments] {
        launch(*kernel, grid, block, shared_bytes, arguments.data());
    });
    return SUCCESS;
}
