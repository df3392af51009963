// Streams, events and graphs of the software device. An operation is a closure: a stream runs it at once, or, with
// `SOFTWARE_DEVICE_STREAMS=late`, when somebody waits for it, which is what shows a host that reads too early; a stream that is
// captured keeps it for the graph instead.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <vector>

namespace software __attribute__((visibility("default"))) {

using Operation = std::function<void()>;

struct Graph {
    std::vector<Operation> operations;
    // Device memory that was allocated while it was captured, which it keeps.
    std::set<void*> memory;
    ~Graph();
};

struct Stream {
    std::deque<Operation> late;
    // What is captured; null where nothing is.
    std::shared_ptr<Graph> graph;
};

struct Event {
    // The stream it was recorded on, until that has come to it.
    Stream* pending = nullptr;
    double milliseconds = 0.0;
};

// The stream of a handle; the default streams have small numbers.
Stream& stream_of(void* handle);

Stream* create_stream();
void destroy_stream(Stream* stream);

// Does the operation in the stream's order.
void enqueue(Stream& stream, Operation operation);

// Comes back when everything in the stream, or in all streams, is done.
void finish(Stream& stream);
void finish_all();

// Whether any stream is captured.
bool is_capturing();

double milliseconds_now();

}  // namespace software
