// The first call of a function of a shared library that is not linked: finds the library and the function, once, and goes on there.
// `build/late.rs` writes the jumps that end here.

#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

struct library {
    const char *file;
    void *handle;
};

struct entry {
    // Where the function's jump goes: `candela_late_call` at first, the function itself afterwards.
    void *address;
    const char *function;
    struct library *library;
};

// Whoever calls a CUDA library asks before whether it is there (`src/driver.rs`). What comes here all the same has nothing to
// return to: the types of the functions differ.
static void give_up(const struct entry *entry) {
    const char *why = dlerror();
    fprintf(stderr, "%s: %s cannot be called: %s\n", entry->library->file, entry->function, why ? why : "it is missing");
    fprintf(stderr, "Update the NVIDIA driver, or run the engine with --device=cpu.\n");
    _exit(1);
}

// Two threads may both do it, with the same outcome.
__attribute__((visibility("hidden"), used)) void *candela_late_find(struct entry *entry) {
    void *handle = __atomic_load_n(&entry->library->handle, __ATOMIC_ACQUIRE);
    if (!handle) {
        handle = dlopen(entry->library->file, RTLD_NOW);
        if (!handle) give_up(entry);
        __atomic_store_n(&entry->library->handle, handle, __ATOMIC_RELEASE);
    }
    void *function = dlsym(handle, entry->function);
    if (!function) give_up(entry);
    __atomic_store_n(&entry->address, function, __ATOMIC_RELEASE);
    return function;
}

// Comes with the entry in r11 and everything else as the function's caller left it. Registers that may hold arguments are kept;
// seven of them and the return address leave the stack aligned to 16.
__asm__(".text\n"
        ".globl candela_late_call\n"
        ".hidden candela_late_call\n"
        ".type candela_late_call,@function\n"
        "candela_late_call:\n"
        "  endbr64\n"
        "  pushq %rdi\n"
        "  pushq %rsi\n"
        "  pushq %rdx\n"
        "  pushq %rcx\n"
        "  pushq %r8\n"
        "  pushq %r9\n"
        "  pushq %rax\n"
        "  subq $128, %rsp\n"
        "  movups %xmm0, (%rsp)\n"
        "  movups %xmm1, 16(%rsp)\n"
        "  movups %xmm2, 32(%rsp)\n"
        "  movups %xmm3, 48(%rsp)\n"
        "  movups %xmm4, 64(%rsp)\n"
        "  movups %xmm5, 80(%rsp)\n"
        "  movups %xmm6, 96(%rsp)\n"
        "  movups %xmm7, 112(%rsp)\n"
        "  movq %r11, %rdi\n"
        "  call candela_late_find\n"
        "  movq %rax, %r11\n"
        "  movups (%rsp), %xmm0\n"
        "  movups 16(%rsp), %xmm1\n"
        "  movups 32(%rsp), %xmm2\n"
        "  movups 48(%rsp), %xmm3\n"
        "  movups 64(%rsp), %xmm4\n"
        "  movups 80(%rsp), %xmm5\n"
        "  movups 96(%rsp), %xmm6\n"
        "  movups 112(%rsp), %xmm7\n"
        "  addq $128, %rsp\n"
        "  popq %rax\n"
        "  popq %r9\n"
        "  popq %r8\n"
        "  popq %rcx\n"
        "  popq %rdx\n"
        "  popq %rsi\n"
        "  popq %rdi\n"
        "  jmp *%r11\n"
        ".size candela_late_call, .-candela_late_call\n");
