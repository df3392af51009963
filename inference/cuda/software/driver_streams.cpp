// libcuda of software: streams, events, and graphs that are captured and replayed.
#include <cstdio>
#include <memory>

#include "block.h"
#include "driver.h"
#include "stream.h"

using namespace software;

namespace {

using SharedGraph = std::shared_ptr<Graph>;

constexpr int CAPTURE_ACTIVE = 1;

Event& event_of(Handle event) { return *static_cast<Event*>(event); }

}  // namespace

EXPORTED CUresult cuStreamCreate(Handle* stream, unsigned) {
    *stream = create_stream();
    return SUCCESS;
}
EXPORTED CUresult cuStreamCreateWithPriority(Handle* stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }
EXPORTED CUresult cuStreamDestroy_v2(Handle stream) {
    destroy_stream(&stream_of(stream));
    return SUCCESS;
}
EXPORTED CUresult cuStreamSynchronize(Handle handle) {
    Stream& stream = stream_of(handle);
    if (stream.graph != nullptr) return CAPTURE_UNSUPPORTED;
    finish(stream);
    return SUCCESS;
}
EXPORTED CUresult cuStreamQuery(Handle handle) { return stream_of(handle).late.empty() ? SUCCESS : NOT_READY; }

EXPORTED CUresult cuStreamWaitEvent(Handle handle, Handle event, unsigned) {
    Stream* other = event_of(event).pending;
    if (other != nullptr && other != &stream_of(handle)) {
        if (other->graph != nullptr) fail("cuStreamWaitEvent: a capture that spans several streams");
        finish(*other);
    }
    return SUCCESS;
}

EXPORTED CUresult cuLaunchHostFunc(Handle stream, void (*function)(void*), void* data) {
    enqueue(stream_of(stream), [=] { function(data); });
    return SUCCESS;
}

EXPORTED CUresult cuEventCreate(Handle* event, unsigned) {
    *event = new Event;
    return SUCCESS;
}
EXPORTED CUresult cuEventDestroy_v2(Handle event) {
    if (event_of(event).pending != nullptr) finish(*event_of(event).pending);
    delete &event_of(event);
    return SUCCESS;
}
EXPORTED CUresult cuEventRecord(Handle event, Handle handle) {
    Stream& stream = stream_of(handle);
    Event* it = &event_of(event);
    // In a graph it says nothing before the first replay.
    if (stream.graph == nullptr) it->pending = &stream;
    enqueue(stream, [it] {
        it->pending = nullptr;
        it->milliseconds = milliseconds_now();
    });
    return SUCCESS;
}
EXPORTED CUresult cuEventQuery(Handle event) { return event_of(event).pending == nullptr ? SUCCESS : NOT_READY; }
EXPORTED CUresult cuEventSynchronize(Handle event) {
    if (event_of(event).pending != nullptr) finish(*event_of(event).pending);
    return SUCCESS;
}
EXPORTED CUresult cuEventElapsedTime_v2(float* milliseconds, Handle from, Handle to) {
    if (event_of(from).pending != nullptr || event_of(to).pending != nullptr) return NOT_READY;
    *milliseconds = static_cast<float>(event_of(to).milliseconds - event_of(from).milliseconds);
    return SUCCESS;
}
EXPORTED CUresult cuEventElapsedTime(float* milliseconds, Handle from, Handle to) {
    return cuEventElapsedTime_v2(milliseconds, from, to);
}

EXPORTED CUresult cuStreamBeginCapture_v2(Handle handle, int) {
    Stream& stream = stream_of(handle);
    // The legacy default stream cannot be captured.
    if (handle == nullptr || stream.graph != nullptr) return CAPTURE_UNSUPPORTED;
    stream.graph = std::make_shared<Graph>();
    return SUCCESS;
}
EXPORTED CUresult cuStreamEndCapture(Handle handle, Handle* graph) {
    Stream& stream = stream_of(handle);
    if (stream.graph == nullptr) return INVALID_VALUE;
    *graph = new SharedGraph(std::move(stream.graph));
    stream.graph = nullptr;
    return SUCCESS;
}
EXPORTED CUresult cuStreamIsCapturing(Handle handle, int* status) {
    *status = stream_of(handle).graph == nullptr ? 0 : CAPTURE_ACTIVE;
    return SUCCESS;
}
EXPORTED CUresult cuGraphInstantiateWithFlags(Handle* instance, Handle graph, unsigned long long) {
    *instance = new SharedGraph(*static_cast<SharedGraph*>(graph));
    return SUCCESS;
}
EXPORTED CUresult cuGraphUpload(Handle, Handle) { return SUCCESS; }
EXPORTED CUresult cuGraphLaunch(Handle instance, Handle stream) {
    SharedGraph graph = *static_cast<SharedGraph*>(instance);
    for (const Operation& operation : graph->operations) enqueue(stream_of(stream), [graph, &operation] { operation(); });
    return SUCCESS;
}
EXPORTED CUresult cuGraphExecDestroy(Handle instance) {
    finish_all();
    delete static_cast<SharedGraph*>(instance);
    return SUCCESS;
}
EXPORTED CUresult cuGraphDestroy(Handle graph) {
    delete static_cast<SharedGraph*>(graph);
    return SUCCESS;
}
EXPORTED CUresult cuGraphGetNodes(Handle graph, Handle*, size_t* count) {
    *count = (*static_cast<SharedGraph*>(graph))->operations.size();
    return SUCCESS;
}
