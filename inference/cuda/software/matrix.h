// What tensor cores, `ldmatrix` and `cp.async` do, on the processor: a warp's lanes meet and exchange.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include "block.h"

namespace software {

// sums += a · b of 16 x 16 and 16 x 8 numbers, the sums in order of k.
struct MatrixProduct {
    float (&sums)[4];
    const uint32_t (&a)[4];
    uint32_t b[2];
    float (*widen)(uint16_t bits);

    static void run(MatrixProduct* const* lanes, unsigned mask) {
        if (mask != ~0u) fail("a matrix product without all lanes");
        float a[16][16], b[16][8];
        for (unsigned lane = 0; lane < WARP; ++lane) {
            MatrixProduct& it = *lanes[lane];
            for (unsigned half = 0; half < 2; ++half) {
                unsigned row = lane / 4, pair = lane % 4 * 2 + half;
                auto number = [&](uint32_t both) { return it.widen(static_cast<uint16_t>(both >> 16 * half)); };
                for (unsigned part = 0; part < 4; ++part) a[row + part % 2 * 8][pair + part / 2 * 8] = number(it.a[part]);
                for (unsigned part = 0; part < 2; ++part) b[pair + part * 8][row] = number(it.b[part]);
            }
        }
        for (unsigned lane = 0; lane < WARP; ++lane)
            for (unsigned place = 0; place < 4; ++place) {
                unsigned row = lane / 4 + place / 2 * 8, column = lane % 4 * 2 + place % 2;
                float& sum = lanes[lane]->sums[place];
                for (unsigned k = 0; k < 16; ++k) sum += a[row][k] * b[k][column];
            }
    }
};

// Four matrices of 8 x 8 numbers of 16 bits.
struct MatrixLoad {
    uint32_t (&out)[4];
    const void* row;
    bool transposed;

    static void run(MatrixLoad* const* lanes, unsigned mask) {
        if (mask != ~0u) fail("a load of matrices without all lanes");
        for (unsigned lane = 0; lane < WARP; ++lane)
            if (reinterpret_cast<uintptr_t>(lanes[lane]->row) % 16 != 0) fail("a row of a matrix at %p", lanes[lane]->row);
        for (unsigned lane = 0; lane < WARP; ++lane)
            for (unsigned matrix = 0; matrix < 4; ++matrix) {
                uint16_t pair[2];
                for (unsigned half = 0; half < 2; ++half) {
                    unsigned row = lane / 4, column = lane % 4 * 2 + half;
                    if (lanes[lane]->transposed) std::swap(row, column);
                    std::memcpy(&pair[half], static_cast<const uint16_t*>(lanes[matrix * 8 + row]->row) + column, 2);
                }
                std::memcpy(&lanes[lane]->out[matrix], pair, 4);
            }
    }
};

// What is copied comes when it is waited for; until then the place is poisoned.
inline void copy_begin(void* to, const void* from, size_t bytes, size_t bytes_all) {
    if ((reinterpret_cast<uintptr_t>(to) | (bytes == 0 ? 0 : reinterpret_cast<uintptr_t>(from))) % 16 != 0)
        fail("a copy of 16 bytes from %p to %p", from, to);
    std::memset(to, 0xff, bytes_all);
    running.thread->copies.push_back({to, from, bytes, bytes_all - bytes});
}

inline void copy_group() {
    running.thread->copy_groups.push_back(std::move(running.thread->copies));
    running.thread->copies.clear();
}

inline void copy_wait(size_t latest) {
    auto& groups = running.thread->copy_groups;
    while (groups.size() > latest) {
        for (const Copy& copy : groups.front()) {
            std::memcpy(copy.to, copy.from, copy.bytes);
            std::memset(static_cast<unsigned char*>(copy.to) + copy.bytes, 0, copy.bytes_zero);
        }
        groups.erase(groups.begin());
    }
}

}  // namespace software
