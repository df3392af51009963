// Runs blocks: fibers and the order they run in, barriers, warp operations, shared memory. See `block.h`.
#include "block.h"

#include <sys/mman.h>

#include <algorithm>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <numeric>
#include <random>
#include <string>

#include "memory.h"

#if !defined(__x86_64__)
#error "the software device switches stacks in x86-64 assembly"
#endif

// Saves what a call must keep on the stack, notes the stack at `*from` and goes on with the other one.
extern "C" void software_switch(void** from, void* to);
asm(R"(
.text
.globl software_switch
.type software_switch, @function
software_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size software_switch, .-software_switch
)");

namespace software {

thread_local Running running;

namespace {

constexpr size_t STACK_BYTES = 256 * 1024;
constexpr size_t SHARED_BYTES_MAX = 227 * 1024;
constexpr unsigned THREADS_MAX = 1024;
// Not a number as f32, bf16 and f16.
constexpr int POISON = 0xff;

std::map<std::string, const Kernel*>& kernels() {
    static std::map<std::string, const Kernel*> all;
    return all;
}

struct Warp {
    void* operations[WARP] = {};
    void (*runs[WARP])(void* const*, unsigned) = {};
    unsigned masks[WARP] = {};
    unsigned arrived = 0;
};

// What a block has while it runs.
struct Block {
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    // The order that threads take turns in. So many go on together as long as one of them can: a warp runs ahead of the others as far
    // as it gets, or all go side by side.
    std::vector<unsigned> order;
    size_t stride = WARP;
    unsigned live = 0, waiting = 0, counted = 0, counted_result = 0;
    const void* arguments = nullptr;
    void* scheduler = nullptr;
    std::vector<unsigned char> dynamic;
    std::map<const void*, std::vector<unsigned char>> arrays;
    size_t shared_bytes = 0;
};

thread_local Block block;

// Stacks are kept for the next launch.
void* stack_of(unsigned thread) {
    thread_local std::vector<void*> stacks;
    while (stacks.size() <= thread) {
        void* memory = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) fail("no memory for the stack of a thread");
        stacks.push_back(static_cast<char*>(memory) + STACK_BYTES);
    }
    return stacks[thread];
}

void wait_as(State state) {
    Thread& thread = *running.thread;
    thread.state = state;
    software_switch(&thread.stack, block.scheduler);
}

void thread_main() {
    running.kernel->run(block.arguments);
    Thread& thread = *running.thread;
    if (!thread.copies.empty()) fail("a thread ended with copies that belong to no group");
    block.live -= 1;
    wait_as(State::Done);
    std::abort();
}

// A stack that begins with thread_main.
void* fresh_stack(unsigned thread) {
    void** top = static_cast<void**>(stack_of(thread));
    *--top = nullptr;  // where thread_main would return to
    *--top = reinterpret_cast<void*>(&thread_main);
    for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
    return top;
}

std::vector<unsigned> thread_order(unsigned count) {
    std::vector<unsigned> order(count);
    std::iota(order.begin(), order.end(), 0u);
    block.stride = WARP;
    const char* asked = std::getenv("SOFTWARE_DEVICE_ORDER");
    if (asked == nullptr || std::strcmp(asked, "forward") == 0) return order;
    if (std::strcmp(asked, "backward") == 0) {
        std::reverse(order.begin(), order.end());
    } else {
        std::mt19937 random(static_cast<unsigned>(std::atoi(asked)));
        std::shuffle(order.begin(), order.end(), random);
        block.stride = count;
    }
    return order;
}

void release_barrier() {
    for (Thread& thread : block.threads)
        if (thread.state == State::AtBarrier) thread.state = State::Ready;
    block.counted_result = block.counted;
    block.waiting = block.counted = 0;
}

[[noreturn]] void report_deadlock() {
    unsigned at_barrier = 0, in_warp = 0;
    for (Thread& thread : block.threads) {
        at_barrier += thread.state == State::AtBarrier;
        in_warp += thread.state == State::InWarp;
        if (thread.state == State::InWarp) running.thread = &thread;
    }
    fail("threads wait for each other for ever: %u at a barrier, %u in warp operations, %zu in all", at_barrier, in_warp,
         block.threads.size());
}

// Each of these threads until it waits; false if all do already.
bool run_ready(size_t from, size_t to) {
    bool ran = false;
    for (size_t place = from; place < to; ++place) {
        Thread& it = block.threads[block.order[place]];
        if (it.state != State::Ready) continue;
        ran = true;
        running.thread = &it;
        software_switch(&block.scheduler, it.stack);
    }
    return ran;
}

void run_block() {
    for (unsigned thread = 0; thread < block.threads.size(); ++thread) {
        Thread& it = block.threads[thread];
        it.stack = fresh_stack(thread);
        it.state = State::Ready;
        it.copies.clear();
        it.copy_groups.clear();
    }
    for (Warp& warp : block.warps) warp = Warp{};
    block.live = block.threads.size();
    block.waiting = block.counted = 0;
    block.arrays.clear();
    std::memset(block.dynamic.data(), POISON, block.dynamic.size());
    while (block.live > 0) {
        bool ran = false;
        for (size_t from = 0; from < block.order.size(); from += block.stride)
            while (run_ready(from, std::min(from + block.stride, block.order.size()))) ran = true;
        if (ran) continue;
        if (block.waiting != block.live) report_deadlock();
        release_barrier();
    }
    running.thread = nullptr;
}

}  // namespace

Kernel::Kernel(const char* name, void (*run)(const void*), size_t argument_bytes, unsigned threads_max)
    : name(name), run(run), argument_bytes(argument_bytes), threads_max(threads_max) {
    if (!kernels().emplace(name, this).second) fail("two kernels have the name %s", name);
}

const Kernel* find_kernel(const char* name) {
    auto found = kernels().find(name);
    return found == kernels().end() ? nullptr : found->second;
}

void launch(const Kernel& kernel, Dim3 grid, Dim3 size, size_t shared_bytes, const void* arguments) {
    unsigned threads = size.x * size.y * size.z;
    running = Running{nullptr, {0, 0, 0}, size, grid, &kernel};
    watch_faults();
    if (threads == 0 || threads > std::min(kernel.threads_max, THREADS_MAX))
        fail("a block of %u threads; the kernel is made for %u", threads, kernel.threads_max);
    if (shared_bytes > SHARED_BYTES_MAX) fail("%zu bytes of shared memory; there are %zu", shared_bytes, SHARED_BYTES_MAX);
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535)
        fail("a grid of %u, %u, %u blocks", grid.x, grid.y, grid.z);
    std::vector<unsigned char> copied(kernel.argument_bytes);
    std::memcpy(copied.data(), arguments, copied.size());
    block.arguments = copied.data();
    block.threads.assign(threads, Thread{});
    block.warps.assign((threads + WARP - 1) / WARP, Warp{});
    block.order = thread_order(threads);
    block.dynamic.assign(shared_bytes, POISON);
    for (unsigned thread = 0; thread < threads; ++thread) {
        Thread& it = block.threads[thread];
        it.index = {thread % size.x, thread / size.x % size.y, thread / (size.x * size.y)};
        it.lane = thread % WARP;
        it.warp = thread / WARP;
    }
    for (unsigned z = 0; z < grid.z; ++z)
        for (unsigned y = 0; y < grid.y; ++y)
            for (unsigned x = 0; x < grid.x; ++x) {
                running.block_index = {x, y, z};
                block.shared_bytes = shared_bytes;
                run_block();
            }
    check_guards();
    running = Running{};
}

unsigned barrier(bool counted) {
    block.waiting += 1;
    block.counted += counted;
    wait_as(State::AtBarrier);
    return block.counted_result;
}

void in_warp(unsigned mask, void* operation, void (*run)(void* const*, unsigned)) {
    Thread& thread = *running.thread;
    Warp& warp = block.warps[thread.warp];
    unsigned mine = 1u << thread.lane;
    if ((mask & mine) == 0) fail("a warp operation with mask %08x, which leaves out the lane itself", mask);
    if (warp.arrived & mine) fail("a lane came twice to a warp operation");
    warp.operations[thread.lane] = operation;
    warp.runs[thread.lane] = run;
    warp.masks[thread.lane] = mask;
    warp.arrived |= mine;
    for (unsigned lane = 0; lane < WARP; ++lane) {
        bool other = (warp.arrived & mask) >> lane & 1u;
        if (other && (warp.masks[lane] != mask || warp.runs[lane] != run))
            fail("lanes %u and %u of a warp came to different operations (masks %08x, %08x)", thread.lane, lane, mask,
                 warp.masks[lane]);
    }
    if ((warp.arrived & mask) != mask) return wait_as(State::InWarp);
    run(warp.operations, mask);
    warp.arrived &= ~mask;
    for (unsigned lane = 0; lane < WARP; ++lane) {
        unsigned other = thread.warp * WARP + lane;
        if (mask >> lane & 1u && other < block.threads.size() && block.threads[other].state == State::InWarp)
            block.threads[other].state = State::Ready;
    }
}

void* dynamic_shared() { return block.dynamic.data(); }

void* static_shared(const void* key, size_t bytes) {
    auto found = block.arrays.find(key);
    if (found == block.arrays.end()) {
        block.shared_bytes += bytes;
        if (block.shared_bytes > SHARED_BYTES_MAX) fail("more than %zu bytes of shared memory", SHARED_BYTES_MAX);
        found = block.arrays.emplace(key, std::vector<unsigned char>(bytes, POISON)).first;
    }
    return found->second.data();
}

void fail(const char* format, ...) {
    // What goes wrong in here ends the process at once.
    std::signal(SIGSEGV, SIG_DFL);
    std::signal(SIGILL, SIG_DFL);
    std::fprintf(stderr, "software device: ");
    va_list list;
    va_start(list, format);
    std::vfprintf(stderr, format, list);
    va_end(list);
    if (running.kernel != nullptr) {
        Dim3 at = running.block_index;
        std::fprintf(stderr, "; in %s, block %u,%u,%u", running.kernel->name, at.x, at.y, at.z);
        if (running.thread != nullptr) {
            Dim3 index = running.thread->index;
            std::fprintf(stderr, ", thread %u,%u,%u", index.x, index.y, index.z);
        }
    }
    std::fprintf(stderr, "\n");
    std::abort();
}

}  // namespace software
