// Half precision for the software device: the name and the conversions that our kernels use.
#pragma once

#include <cstdint>

#include "device.h"

struct alignas(2) __half {
    uint16_t bits;
};

inline float __half2float(__half number) { return static_cast<float>(software_bits<_Float16>(number.bits)); }

// To the nearest, ties to even.
inline __half __float2half_rn(float number) {
    return {software_bits<uint16_t>(static_cast<_Float16>(number))};
}

inline __half __ushort_as_half(unsigned short bits) { return {bits}; }
