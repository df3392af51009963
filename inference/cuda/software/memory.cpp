// See `memory.h`. An allocation's end lies at a page that cannot be read; its begin is aligned to 16 bytes only, so that a kernel
// that relies on more than views of tensors give is found out.
#include "memory.h"

#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "block.h"

namespace software {
namespace {

constexpr size_t PAGE = 4096, ALIGNMENT = 16;
constexpr size_t ADDRESSES = size_t{1} << 42;
constexpr size_t TOTAL_DEFAULT = size_t{4} << 30;
// Of the slack before an allocation those next to it are looked at.
constexpr size_t GUARD_BYTES = 64;
constexpr unsigned char POISON = 0xff, GUARD = 0xa5;

struct Allocation {
    size_t bytes;
    // The pages it has.
    unsigned char* pages;
    size_t page_bytes;
};

struct Arena {
    std::recursive_mutex lock;
    unsigned char* begin = nullptr;
    size_t used = 0, handed_out = 0;
    std::map<uintptr_t, Allocation> live;
};

Arena& arena() {
    static Arena* arena = [] {
        auto* made = new Arena;
        void* memory =
            mmap(nullptr, ADDRESSES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) fail("no address space for the device's memory");
        made->begin = static_cast<unsigned char*>(memory);
        return made;
    }();
    return *arena;
}

size_t up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

// The slack before the first byte, and between the last and the page.
void check_guard(uintptr_t at, const Allocation& it) {
    auto* begin = reinterpret_cast<unsigned char*>(at);
    unsigned char* end = it.pages + it.page_bytes;
    auto check = [&](unsigned char* from, unsigned char* to) {
        for (; from < to; ++from)
            if (*from != GUARD) fail("written at %td of an allocation of %zu bytes", from - begin, it.bytes);
    };
    check(std::max(it.pages, begin - std::min<size_t>(GUARD_BYTES, begin - it.pages)), begin);
    check(begin + it.bytes, end);
}

struct sigaction before_segv, before_ill;

void on_fault(int signal, siginfo_t* info, void*) {
    auto* at = static_cast<unsigned char*>(info->si_addr);
    Arena& all = arena();
    if (signal == SIGSEGV && at >= all.begin && at < all.begin + ADDRESSES) {
        auto next = all.live.upper_bound(reinterpret_cast<uintptr_t>(at));
        if (next != all.live.begin()) {
            auto& [begin, it] = *--next;
            fail("touched byte %td of an allocation of %zu bytes, or memory that was freed",
                 at - reinterpret_cast<unsigned char*>(begin), it.bytes);
        }
        fail("touched device memory that was never allocated, at %td", at - all.begin);
    }
    if (running.thread != nullptr)
        fail(signal == SIGILL ? "undefined behaviour (alignment, bounds, shift)" : "touched %p, which is no device memory",
             info->si_addr);
    sigaction(signal, signal == SIGSEGV ? &before_segv : &before_ill, nullptr);
}

}  // namespace

void* allocate(size_t bytes) {
    Arena& all = arena();
    std::lock_guard held(all.lock);
    if (bytes > bytes_free()) return nullptr;
    size_t room = up(bytes, ALIGNMENT), page_bytes = up(room > 0 ? room : 1, PAGE);
    if (all.used + page_bytes + 2 * PAGE > ADDRESSES) fail("the address space is used up");
    unsigned char* pages = all.begin + all.used + PAGE;
    all.used += page_bytes + PAGE;
    if (mprotect(pages, page_bytes, PROT_READ | PROT_WRITE) != 0) fail("no memory for %zu bytes", bytes);
    unsigned char* begin = pages + page_bytes - room;
    std::memset(pages, GUARD, static_cast<size_t>(begin - pages));
    std::memset(begin, POISON, bytes);
    std::memset(begin + bytes, GUARD, static_cast<size_t>(pages + page_bytes - (begin + bytes)));
    all.live.emplace(reinterpret_cast<uintptr_t>(begin), Allocation{bytes, pages, page_bytes});
    all.handed_out += bytes;
    return begin;
}

void release(void* pointer) {
    Arena& all = arena();
    std::lock_guard held(all.lock);
    auto found = all.live.find(reinterpret_cast<uintptr_t>(pointer));
    if (found == all.live.end()) fail("%p is freed, which is not allocated", pointer);
    check_guard(found->first, found->second);
    madvise(found->second.pages, found->second.page_bytes, MADV_DONTNEED);
    mprotect(found->second.pages, found->second.page_bytes, PROT_NONE);
    all.handed_out -= found->second.bytes;
    all.live.erase(found);
}

bool is_allocated(const void* pointer, size_t bytes) {
    Arena& all = arena();
    std::lock_guard held(all.lock);
    auto at = reinterpret_cast<uintptr_t>(pointer);
    auto next = all.live.upper_bound(at);
    if (next == all.live.begin()) return false;
    auto& [begin, it] = *--next;
    return at - begin <= it.bytes && bytes <= it.bytes - (at - begin);
}

size_t bytes_total() {
    const char* asked = std::getenv("SOFTWARE_DEVICE_MEMORY");
    return asked == nullptr ? TOTAL_DEFAULT : std::strtoull(asked, nullptr, 10);
}

size_t bytes_free() {
    Arena& all = arena();
    std::lock_guard held(all.lock);
    size_t total = bytes_total();
    return total > all.handed_out ? total - all.handed_out : 0;
}

void check_guards() {
    Arena& all = arena();
    std::lock_guard held(all.lock);
    for (auto& [begin, it] : all.live) check_guard(begin, it);
}

void watch_faults() {
    // Threads have a stack for signals of their own; those of Rust have one already.
    thread_local unsigned char stack[64 * 1024];
    stack_t alternate{};
    sigaltstack(nullptr, &alternate);
    if (alternate.ss_flags & SS_DISABLE) {
        alternate = {stack, 0, sizeof stack};
        sigaltstack(&alternate, nullptr);
    }
    static std::once_flag once;
    std::call_once(once, [] {
        struct sigaction action {};
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        sigaction(SIGSEGV, &action, &before_segv);
        sigaction(SIGILL, &action, &before_ill);
    });
}

}  // namespace software
