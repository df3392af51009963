// libcuda of software: memory. What a stream copies from ordinary host memory is taken when it is asked for, as a driver does; pinned
// memory is read when the stream comes to it.
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "block.h"
#include "driver.h"
#include "memory.h"
#include "stream.h"

using namespace software;

namespace {

std::mutex pinned_lock;

std::map<uintptr_t, size_t>& pinned() {
    static auto* all = new std::map<uintptr_t, size_t>;
    return *all;
}

bool is_pinned(const void* host) {
    std::lock_guard held(pinned_lock);
    auto at = reinterpret_cast<uintptr_t>(host);
    auto next = pinned().upper_bound(at);
    if (next == pinned().begin()) return false;
    auto& [begin, bytes] = *--next;
    return at < begin + bytes;
}

void* device(CUdeviceptr pointer, size_t bytes, const char* what) {
    auto* at = reinterpret_cast<void*>(pointer);
    if (bytes > 0 && !is_allocated(at, bytes)) fail("%s: %zu bytes from %p on are not allocated on the device", what, bytes, at);
    return at;
}

CUresult allocate_to(CUdeviceptr* pointer, size_t bytes) {
    if (bytes == 0) return INVALID_VALUE;
    void* memory = allocate(bytes);
    *pointer = reinterpret_cast<CUdeviceptr>(memory);
    return memory == nullptr ? OUT_OF_MEMORY : SUCCESS;
}

template <class Number> CUresult fill(CUdeviceptr to, Number value, size_t count, Handle stream) {
    auto* numbers = static_cast<Number*>(device(to, count * sizeof(Number), "memset"));
    enqueue(stream_of(stream), [=] {
        for (size_t at = 0; at < count; ++at) numbers[at] = value;
    });
    return SUCCESS;
}

CUresult in_order(Handle stream, CUresult (*copy)(void*, const void*, size_t, Handle), void* to, const void* from, size_t bytes) {
    if (is_capturing()) return CAPTURE_UNSUPPORTED;
    finish_all();
    CUresult result = copy(to, from, bytes, stream);
    finish(stream_of(stream));
    return result;
}

CUresult copy(void* to, const void* from, size_t bytes, Handle stream) {
    enqueue(stream_of(stream), [=] { std::memmove(to, from, bytes); });
    return SUCCESS;
}

}  // namespace

EXPORTED CUresult cuMemAlloc_v2(CUdeviceptr* pointer, size_t bytes) {
    return is_capturing() ? CAPTURE_UNSUPPORTED : allocate_to(pointer, bytes);
}

EXPORTED CUresult cuMemFree_v2(CUdeviceptr pointer) {
    if (is_capturing()) return CAPTURE_UNSUPPORTED;
    finish_all();
    if (pointer != 0) release(reinterpret_cast<void*>(pointer));
    return SUCCESS;
}

// Memory of a graph is the graph's for good, and without contents at every replay.
EXPORTED CUresult cuMemAllocAsync(CUdeviceptr* pointer, size_t bytes, Handle handle) {
    CUresult result = allocate_to(pointer, bytes);
    Stream& stream = stream_of(handle);
    if (result == SUCCESS && stream.graph != nullptr) {
        auto* memory = reinterpret_cast<void*>(*pointer);
        stream.graph->memory.insert(memory);
        enqueue(stream, [=] { std::memset(memory, 0xff, bytes); });
    }
    return result;
}

EXPORTED CUresult cuMemFreeAsync(CUdeviceptr pointer, Handle handle) {
    auto* memory = reinterpret_cast<void*>(pointer);
    Stream& stream = stream_of(handle);
    if (stream.graph != nullptr) {
        if (stream.graph->memory.contains(memory)) return SUCCESS;
        std::fprintf(stderr, "software device: memory from before a capture is freed in it\n");
        return INVALID_VALUE;
    }
    enqueue(stream, [=] { release(memory); });
    return SUCCESS;
}

EXPORTED CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
    *free = bytes_free();
    *total = bytes_total();
    return SUCCESS;
}

EXPORTED CUresult cuMemHostAlloc(void** pointer, size_t bytes, unsigned) {
    *pointer = std::malloc(bytes);
    if (*pointer == nullptr) return OUT_OF_MEMORY;
    std::memset(*pointer, 0xff, bytes);
    std::lock_guard held(pinned_lock);
    pinned()[reinterpret_cast<uintptr_t>(*pointer)] = bytes;
    return SUCCESS;
}

EXPORTED CUresult cuMemFreeHost(void* pointer) {
    std::lock_guard held(pinned_lock);
    if (pinned().erase(reinterpret_cast<uintptr_t>(pointer)) == 0) fail("cuMemFreeHost: %p is not pinned memory", pointer);
    std::free(pointer);
    return SUCCESS;
}

EXPORTED CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* host, size_t bytes, Handle handle) {
    void* at = device(to, bytes, "copy to the device");
    Stream& stream = stream_of(handle);
    if (is_pinned(host)) return copy(at, host, bytes, handle);
    // A graph would read the memory again at each replay.
    if (stream.graph != nullptr) return CAPTURE_UNSUPPORTED;
    auto* begin = static_cast<const unsigned char*>(host);
    auto kept = std::make_shared<std::vector<unsigned char>>(begin, begin + bytes);
    enqueue(stream, [=] { std::memcpy(at, kept->data(), bytes); });
    return SUCCESS;
}

EXPORTED CUresult cuMemcpyDtoHAsync_v2(void* host, CUdeviceptr from, size_t bytes, Handle handle) {
    const void* at = device(from, bytes, "copy from the device");
    Stream& stream = stream_of(handle);
    if (!is_pinned(host)) {
        if (stream.graph != nullptr) return CAPTURE_UNSUPPORTED;
        finish(stream);
        std::memcpy(host, at, bytes);
        return SUCCESS;
    }
    return copy(host, at, bytes, handle);
}

EXPORTED CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, Handle stream) {
    return copy(device(to, bytes, "copy on the device"), device(from, bytes, "copy on the device"), bytes, stream);
}

EXPORTED CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* host, size_t bytes) {
    return in_order(nullptr, copy, device(to, bytes, "copy to the device"), host, bytes);
}
EXPORTED CUresult cuMemcpyDtoH_v2(void* host, CUdeviceptr from, size_t bytes) {
    return in_order(nullptr, copy, host, device(from, bytes, "copy from the device"), bytes);
}
EXPORTED CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    return in_order(nullptr, copy, device(to, bytes, "copy on the device"), device(from, bytes, "copy on the device"), bytes);
}

EXPORTED CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, Handle stream) {
    return fill(to, value, count, stream);
}
EXPORTED CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count, Handle stream) {
    return fill(to, value, count, stream);
}
EXPORTED CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, Handle stream) {
    return fill(to, value, count, stream);
}
EXPORTED CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t count) {
    CUresult result = fill(to, value, count, nullptr);
    finish_all();
    return result;
}

EXPORTED CUresult cuDeviceGetDefaultMemPool(Handle* pool, CUdevice) {
    static char marker;
    *pool = &marker;
    return SUCCESS;
}
EXPORTED CUresult cuDeviceGetMemPool(Handle* pool, CUdevice device) { return cuDeviceGetDefaultMemPool(pool, device); }
EXPORTED CUresult cuMemPoolSetAttribute(Handle, int, void*) { return SUCCESS; }
EXPORTED CUresult cuMemPoolTrimTo(Handle, size_t) { return SUCCESS; }
EXPORTED CUresult cuMemPoolGetAttribute(Handle, int attribute, void* value) {
    // Memory of the pool, reserved or used, now or at most: what is handed out.
    if (attribute < 5 || attribute > 8) fail("cuMemPoolGetAttribute: attribute %d is not known", attribute);
    *static_cast<uint64_t*>(value) = bytes_total() - bytes_free();
    return SUCCESS;
}
