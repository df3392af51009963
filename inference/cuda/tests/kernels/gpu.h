// A device as the tests of the kernels see it: memory, launches, numbers. It goes through the driver's interface alone, so that the same
// program runs on a GPU and on the software device, whichever libcuda.so.1 the loader finds.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

namespace gpu {

struct Size {
    unsigned x = 1, y = 1, z = 1;
};

// Memory of the device. Ends the process where there is none.
uintptr_t allocate(size_t bytes);
void release(uintptr_t memory);
void upload(uintptr_t to, const void* from, size_t bytes);
void download(void* to, uintptr_t from, size_t bytes);

// Runs a kernel by its name; `launch` waits for it.
void enqueue(const std::string& kernel, Size grid, unsigned threads, size_t shared_bytes, const void* arguments);
// What `work` enqueues, as a graph; and a replay of it, which is waited for.
void* capture(const std::function<void()>& work);
void replay(void* graph);
// On the device.
void copy(uintptr_t to, uintptr_t from, size_t bytes);
// What the device takes for it.
double seconds(const std::function<void()>& work);

void launch(const std::string& kernel, Size grid, unsigned threads, size_t shared_bytes, const void* arguments);

template <class T> class Buffer {
   public:
    explicit Buffer(const std::vector<T>& numbers) : Buffer(numbers.size()) {
        upload(memory, numbers.data(), sizeof(T) * count);
    }
    // Not a number in every place.
    explicit Buffer(size_t count) : count(count), memory(allocate(sizeof(T) * count + (count == 0))) {
        std::vector<unsigned char> poison(sizeof(T) * count, 0xff);
        upload(memory, poison.data(), poison.size());
    }
    Buffer(const Buffer&) = delete;
    ~Buffer() { release(memory); }
    T* at(size_t place = 0) const { return reinterpret_cast<T*>(memory) + place; }
    std::vector<T> read() const {
        std::vector<T> numbers(count);
        download(numbers.data(), memory, sizeof(T) * count);
        return numbers;
    }

   private:
    size_t count;
    uintptr_t memory;
};

}  // namespace gpu

// Numbers as they lie in memory.
struct Bf16 {
    uint16_t bits;
    static constexpr const char* NAME = "bf16";
};
struct F16 {
    uint16_t bits;
    static constexpr const char* NAME = "f16";
};

inline float widen(float x) { return x; }
inline float widen(Bf16 x) {
    uint32_t bits = uint32_t(x.bits) << 16;
    float out;
    std::memcpy(&out, &bits, 4);
    return out;
}
inline float widen(F16 x) {
    _Float16 half;
    std::memcpy(&half, &x.bits, 2);
    return float(half);
}
template <class T> T narrow(float x);
template <> inline float narrow<float>(float x) { return x; }
template <> inline Bf16 narrow<Bf16>(float x) {
    if (std::isnan(x)) return {0x7fff};
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    return {uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
template <> inline F16 narrow<F16>(float x) {
    _Float16 half = _Float16(x);
    F16 out;
    std::memcpy(&out.bits, &half, 2);
    return out;
}
template <class T> float rounded(float x) { return widen(narrow<T>(x)); }
template <class T> std::string name_of() { return T::NAME; }
template <> inline std::string name_of<float>() { return "f32"; }

// One step of the type at 1.
template <class T> constexpr float STEP = 1.2e-7f;
template <> constexpr float STEP<Bf16> = 7.9e-3f;
template <> constexpr float STEP<F16> = 9.8e-4f;

struct Random {
    std::mt19937 engine;
    explicit Random(unsigned seed) : engine(seed) {}
    unsigned below(unsigned end) { return engine() % end; }
    float normal() { return std::normal_distribution<float>()(engine); }
    template <class T> std::vector<T> numbers(size_t count, float scale = 1.0f, float middle = 0.0f) {
        std::vector<T> out(count);
        for (T& number : out) number = narrow<T>(middle + scale * normal());
        return out;
    }
};

// A test: its name and what it does; a failed check is counted and the test goes on.
struct Test {
    Test(const char* name, std::function<void()> run);
};
void fails(const std::string& what);
inline void check(bool holds, const std::string& what) {
    if (!holds) fails(what);
}

// |seen − expected| <= absolute + relative · |expected|; what is no number must be none in both.
template <class T>
void check_close(const std::vector<T>& seen, const std::vector<float>& expected, float absolute, float relative, const std::string& what) {
    check(seen.size() == expected.size(), what + ": another count");
    for (size_t at = 0; at < expected.size() && at < seen.size(); ++at) {
        float number = widen(seen[at]);
        bool is_close = std::fabs(number - expected[at]) <= absolute + relative * std::fabs(expected[at]) || number == expected[at];
        if (is_close || (std::isnan(number) && std::isnan(expected[at]))) continue;
        return fails(what + ": number " + std::to_string(at) + " is " + std::to_string(number) + ", not " + std::to_string(expected[at]));
    }
}

// At least `share` of them are the expected ones to the last bit: roundings are where they should be.
template <class T> void check_mostly(const std::vector<T>& seen, const std::vector<float>& expected, float share, const std::string& what) {
    size_t same = 0;
    for (size_t at = 0; at < expected.size() && at < seen.size(); ++at) same += widen(seen[at]) == expected[at];
    check(float(same) >= share * float(expected.size()), what + ": only " + std::to_string(same) + " of " + std::to_string(expected.size()) + " are the same");
}

template <class T> void check_same(const std::vector<T>& seen, const std::vector<T>& expected, const std::string& what) {
    check(seen.size() == expected.size(), what + ": another count");
    for (size_t at = 0; at < expected.size() && at < seen.size(); ++at)
        if (std::memcmp(&seen[at], &expected[at], sizeof(T)) != 0) return fails(what + ": number " + std::to_string(at) + " is another");
}
