// The software device's memory: every allocation ends at pages that nobody may touch, begins as numbers that are none, and is
// never handed out a second time.
#pragma once

#include <cstddef>

namespace software __attribute__((visibility("default"))) {

// Ends the process where the address space is used up; null where `bytes` are more than the device has left.
void* allocate(size_t bytes);

// Ends the process where `pointer` is not what `allocate` gave, or was freed.
void release(void* pointer);

// Whether the bytes from `pointer` on belong to one allocation.
bool is_allocated(const void* pointer, size_t bytes);

// Bytes that are not handed out, and all the device has (`SOFTWARE_DEVICE_MEMORY`).
size_t bytes_free();
size_t bytes_total();

// Ends the process where something was written between an allocation and the pages around it.
void check_guards();

// Makes faults on this thread say which kernel they happened in.
void watch_faults();

}  // namespace software
