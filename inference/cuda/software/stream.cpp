// See `stream.h`.
#include "stream.h"

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "block.h"
#include "memory.h"

namespace software {
namespace {

struct Streams {
    std::recursive_mutex lock;
    std::map<uintptr_t, Stream> defaults;
    std::set<Stream*> created;
};

Streams& streams() {
    static auto* all = new Streams;
    return *all;
}

bool is_late() {
    const char* asked = std::getenv("SOFTWARE_DEVICE_STREAMS");
    return asked != nullptr && std::strcmp(asked, "late") == 0;
}

}  // namespace

Graph::~Graph() {
    for (void* memory : memory) release(memory);
}

Stream& stream_of(void* handle) {
    Streams& all = streams();
    std::lock_guard held(all.lock);
    auto number = reinterpret_cast<uintptr_t>(handle);
    if (number <= 2) return all.defaults[number];
    auto* stream = static_cast<Stream*>(handle);
    if (!all.created.contains(stream)) fail("%p is not a stream", handle);
    return *stream;
}

Stream* create_stream() {
    Streams& all = streams();
    std::lock_guard held(all.lock);
    return *all.created.insert(new Stream).first;
}

void destroy_stream(Stream* stream) {
    Streams& all = streams();
    std::lock_guard held(all.lock);
    finish(*stream);
    all.created.erase(stream);
    delete stream;
}

void enqueue(Stream& stream, Operation operation) {
    Streams& all = streams();
    std::lock_guard held(all.lock);
    if (stream.graph != nullptr) return stream.graph->operations.push_back(std::move(operation));
    if (is_late()) return stream.late.push_back(std::move(operation));
    operation();
}

void finish(Stream& stream) {
    Streams& all = streams();
    std::lock_guard held(all.lock);
    while (!stream.late.empty()) {
        Operation operation = std::move(stream.late.front());
        stream.late.pop_front();
        operation();
    }
}

void finish_all() {
    Streams& all = streams();
    std::lock_guard held(all.lock);
    for (auto& [number, stream] : all.defaults) finish(stream);
    for (Stream* stream : all.created) finish(*stream);
}

bool is_capturing() {
    Streams& all = streams();
    std::lock_guard held(all.lock);
    for (auto& [number, stream] : all.defaults)
        if (stream.graph != nullptr) return true;
    for (Stream* stream : all.created)
        if (stream->graph != nullptr) return true;
    return false;
}

double milliseconds_now() {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace software
