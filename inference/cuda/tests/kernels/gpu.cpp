// See `gpu.h`. Where CANDELA_KERNELS names a folder, kernels are in the `.fatbin` and `.cubin` files there; the software device has
// them compiled in.
#include "gpu.h"

#include <dlfcn.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>

namespace {

using Handle = void*;

[[noreturn]] void stop(const std::string& why) {
    std::fprintf(stderr, "%s\n", why.c_str());
    std::exit(2);
}

template <class Function> Function* find(const char* name) {
    static void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
    if (library == nullptr) stop(std::string("libcuda.so.1: ") + dlerror());
    auto* found = reinterpret_cast<Function*>(dlsym(library, name));
    if (found == nullptr) stop(std::string("the driver has no ") + name);
    return found;
}

template <class... Types> void call(const char* name, Types... values) {
    int result = find<int(Types...)>(name)(values...);
    if (result != 0) stop(std::string(name) + " failed with error " + std::to_string(result));
}

// What is enqueued goes here; the default stream but for captures.
Handle stream = nullptr;

std::vector<Handle> load_modules() {
    std::vector<std::string> images;
    const char* folder = std::getenv("CANDELA_KERNELS");
    if (folder == nullptr) images.push_back("compiled in");
    if (folder != nullptr)
        for (auto& entry : std::filesystem::directory_iterator(folder)) {
            auto ending = entry.path().extension();
            if (ending != ".fatbin" && ending != ".cubin") continue;
            std::ifstream file(entry.path(), std::ios::binary);
            images.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
        }
    std::vector<Handle> modules;
    for (auto& image : images) {
        Handle module = nullptr;
        call("cuModuleLoadData", &module, static_cast<const void*>(image.data()));
        modules.push_back(module);
    }
    return modules;
}

std::vector<Handle>& modules() {
    static std::vector<Handle> loaded = [] {
        Handle context = nullptr;
        int device = 0;
        call("cuInit", 0u);
        call("cuDeviceGet", &device, 0);
        call("cuDevicePrimaryCtxRetain", &context, device);
        call("cuCtxSetCurrent", context);
        return load_modules();
    }();
    return loaded;
}

Handle function_of(const std::string& kernel) {
    static std::map<std::string, Handle> found;
    auto known = found.find(kernel);
    if (known != found.end()) return known->second;
    for (Handle module : modules()) {
        Handle function = nullptr;
        if (find<int(Handle*, Handle, const char*)>("cuModuleGetFunction")(&function, module, kernel.c_str()) == 0)
            return found[kernel] = function;
    }
    stop("there is no kernel " + kernel);
}

}  // namespace

namespace gpu {

uintptr_t allocate(size_t bytes) {
    modules();
    uintptr_t memory = 0;
    call("cuMemAlloc_v2", &memory, bytes);
    return memory;
}
void release(uintptr_t memory) { call("cuMemFree_v2", memory); }
void upload(uintptr_t to, const void* from, size_t bytes) {
    if (bytes > 0) call("cuMemcpyHtoD_v2", to, from, bytes);
}
void download(void* to, uintptr_t from, size_t bytes) {
    if (bytes > 0) call("cuMemcpyDtoH_v2", to, from, bytes);
}

void enqueue(const std::string& kernel, Size grid, unsigned threads, size_t shared_bytes, const void* arguments) {
    constexpr int MAX_DYNAMIC_SHARED = 8;
    Handle function = function_of(kernel);
    if (shared_bytes > 48 * 1024) call("cuFuncSetAttribute", function, MAX_DYNAMIC_SHARED, int(shared_bytes));
    void* parameters[] = {const_cast<void*>(arguments)};
    call("cuLaunchKernel", function, grid.x, grid.y, grid.z, threads, 1u, 1u, unsigned(shared_bytes), stream,
         static_cast<void**>(parameters), static_cast<void**>(nullptr));
}

void launch(const std::string& kernel, Size grid, unsigned threads, size_t shared_bytes, const void* arguments) {
    enqueue(kernel, grid, threads, shared_bytes, arguments);
    call("cuCtxSynchronize");
}

void* capture(const std::function<void()>& work) {
    constexpr int OF_THREAD = 1;
    Handle graph = nullptr, instance = nullptr, captured = nullptr;
    call("cuStreamCreate", &captured, 1u);
    stream = captured;
    call("cuStreamBeginCapture_v2", stream, OF_THREAD);
    work();
    call("cuStreamEndCapture", stream, &graph);
    stream = nullptr;
    call("cuGraphInstantiateWithFlags", &instance, graph, 0ull);
    return instance;
}

void replay(void* graph) {
    call("cuGraphLaunch", graph, stream);
    call("cuCtxSynchronize");
}

void copy(uintptr_t to, uintptr_t from, size_t bytes) { call("cuMemcpyDtoDAsync_v2", to, from, bytes, Handle(nullptr)); }

double seconds(const std::function<void()>& work) {
    static Handle events[2];
    for (Handle& event : events)
        if (event == nullptr) call("cuEventCreate", &event, 0u);
    call("cuEventRecord", events[0], Handle(nullptr));
    work();
    call("cuEventRecord", events[1], Handle(nullptr));
    call("cuEventSynchronize", events[1]);
    float milliseconds = 0.0f;
    call("cuEventElapsedTime", &milliseconds, events[0], events[1]);
    return milliseconds / 1e3;
}

}  // namespace gpu
