// A step that is captured once and replayed reads what the memory holds then: lengths, tables, ids.
#include "../../kernels/arguments.cuh"
#include "gpu.h"

namespace {

void replays() {
    std::vector<float> matrix;
    for (int number = 0; number < 12; ++number) matrix.push_back(float(number));
    gpu::Buffer<float> x(matrix), gathered(6), scaled(6);
    gpu::Buffer<uint32_t> ids(std::vector<uint32_t>{0, 1});
    Gather gather{x.at(), ids.at(), gathered.at(), 4, 3, 2.0f};
    Elementwise scale{gathered.at(), nullptr, scaled.at(), 6, 0, 0, 0.5f, 0.0f};
    gpu::launch("gather_f32", {2}, 256, 0, &gather);
    gpu::launch("scale_f32", {1}, 256, 0, &scale);
    void* graph = gpu::capture([&] {
        gpu::enqueue("gather_f32", {2}, 256, 0, &gather);
        gpu::enqueue("scale_f32", {1}, 256, 0, &scale);
    });
    for (std::vector<uint32_t> chosen : {std::vector<uint32_t>{3, 0}, {1, 2}}) {
        gpu::upload(reinterpret_cast<uintptr_t>(ids.at()), chosen.data(), 8);
        gpu::replay(graph);
        std::vector<float> expected;
        for (uint32_t id : chosen)
            for (uint32_t at = 0; at < 3; ++at) expected.push_back(matrix[id * 3 + at]);
        check_same(scaled.read(), expected, "what a replay read");
    }
}

const Test GRAPH_TESTS[] = {{"a graph reads what its memory holds when it is replayed", replays}};

}  // namespace
