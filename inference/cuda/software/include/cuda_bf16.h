// bfloat16 for the software device: the name and the conversions that our kernels use.
#pragma once

#include <cstdint>

#include "device.h"

struct alignas(2) __nv_bfloat16 {
    uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 number) {
    return software_bits<float>(static_cast<uint32_t>(number.bits) << 16);
}

// To the nearest, ties to even.
inline __nv_bfloat16 __float2bfloat16_rn(float number) {
    if (number != number) return {0x7fff};
    uint32_t bits = software_bits<uint32_t>(number);
    return {static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}
