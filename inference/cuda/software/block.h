// Blocks of threads on the processor: a launch runs block after block, a block's threads as fibers that take turns at barriers
// and warp operations. What CUDA C++ itself offers to kernels stands in `device.h`; this is what it is made of.
//
// A thread runs until it waits. Which one runs next is the launch's order (`SOFTWARE_DEVICE_ORDER`): forward or backward, a warp as far
// as it gets before the next, or all threads shuffled by a seed. Results must not depend on it: one that does is a race.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace software __attribute__((visibility("default"))) {

struct Dim3 {
    unsigned x = 1, y = 1, z = 1;
};

constexpr unsigned WARP = 32;

// A kernel that was compiled in: one parameter, a struct.
struct Kernel {
    const char* name;
    void (*run)(const void* arguments);
    size_t argument_bytes;
    // What it was compiled for: blocks have no more threads.
    unsigned threads_max;

    Kernel(const char* name, void (*run)(const void*), size_t argument_bytes, unsigned threads_max);
};

// By name; null where there is none.
const Kernel* find_kernel(const char* name);

// Runs all blocks of a launch. Ends the process with a message where a kernel does what a GPU would not survive.
void launch(const Kernel& kernel, Dim3 grid, Dim3 block, size_t shared_bytes, const void* arguments);

// A copy to shared memory that was begun and has not been waited for.
struct Copy {
    void* to;
    const void* from;
    size_t bytes, bytes_zero;
};

enum class State { Ready, AtBarrier, InWarp, Done };

struct Thread {
    void* stack = nullptr;
    State state = State::Ready;
    Dim3 index;
    unsigned lane = 0, warp = 0;
    // Copies of this thread: those not yet in a group, then groups, the oldest first.
    std::vector<Copy> copies;
    std::vector<std::vector<Copy>> copy_groups;
};

// What the running thread is and what it belongs to.
struct Running {
    Thread* thread = nullptr;
    Dim3 block_index, block_size, grid_size;
    const Kernel* kernel = nullptr;
};
extern thread_local Running running;

// Waits for all threads of the block that have not ended. Returns how many of them came with `counted`.
unsigned barrier(bool counted);

// Does `run` once all lanes of `mask` have come with an operation of the same kind; `operations[lane]` are theirs.
void in_warp(unsigned mask, void* operation, void (*run)(void* const* operations, unsigned mask));

// The same for a type with `void run(Op* const* lanes, unsigned mask)`.
template <class Op> void in_warp(unsigned mask, Op& operation) {
    in_warp(mask, &operation, [](void* const* lanes, unsigned mask) {
        Op::run(reinterpret_cast<Op* const*>(lanes), mask);
    });
}

// The block's dynamic shared memory, and an array of static shared memory, which is known by `key`.
void* dynamic_shared();
void* static_shared(const void* key, size_t bytes);

// Ends the process: what happened, in which kernel, block and thread.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace software
