// The runtime of the emulated device: copies, streams, events, captures and graphs.
#include "entries.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "device.h"

using namespace host;

static bool capturing(Stream* stream) {
  if (!stream || !stream->capture) return false;
  stream->capture->broken = true;
  return true;
}

namespace host {
bool allocation_refused() {
  bool found = false;
  for (Stream* each : streams)
    if (each->capture && !each->capture->relaxed) found = capturing(each);
  return found;
}
}  // namespace host

static bool is_device(const void* pointer) {
  const Allocation* found = allocation_of(pointer);
  return found && found->device >= 0;
}

static bool is_pinned(const void* pointer) {
  const Allocation* found = allocation_of(pointer);
  return found && found->device < 0;
}

static double now() {
  using namespace std::chrono;
  return duration<double, std::milli>(steady_clock::now().time_since_epoch()).count();
}

// A stream that waits for an event of a capture takes part in it.
static int join_capture(Stream* stream, Event* event) {
  if (!event->capture->open) return refuse(captured_event, "an event of a capture that ended");
  if (stream->capture && stream->capture != event->capture) {
    stream->capture->broken = event->capture->broken = true;
    return capture_merge;
  }
  stream->capture = event->capture;
  for (auto& [other, many] : event->before) {
    size_t& own = stream->before[other];
    own = std::max(own, many);
  }
  return success;
}

extern "C" {

void host_hook(Hook given) { hook = given; }
void host_settings(int devices, int with_peers, int run_lazily, int run_nothing) {
  device_count = devices, peers = with_peers, lazy = run_lazily, dry = run_nothing;
  if (!peers) enabled_peers.clear();
}
void host_seed(uint64_t seed) { randomness.seed(seed); }
long host_in_use() { return in_use; }
long host_peak() { long was = peak; peak = in_use; return was; }
const char* host_failure() { return failure_text; }
void host_forget_failure() { failure = 0, failure_text[0] = 0; }
long host_pending() {
  long many = 0;
  for (Stream* each : streams) many += each->pending.size();
  return many;
}
int host_check_memory() {
  for (int device = 0; device < device_count; device++) finish_device(device);
  return failure ? failure : check_memory();
}

int host_get_device(int* out) { *out = current_device; return success; }
int host_set_device(int device) {
  if (device < 0 || device >= device_count) return invalid_device;
  current_device = device;
  return success;
}
int host_device_synchronize() {
  for (Stream* each : streams)
    if (each->device == current_device && capturing(each)) return capture_unsupported;
  report("sync", "device");
  finish_device(current_device);
  return failure;
}

int host_malloc(void** out, size_t size) {
  report("malloc", "", size);
  if (allocation_refused()) return capture_unsupported;
  return allocate(out, size, current_device);
}
int host_free(void* pointer) {
  report("free");
  if (allocation_refused()) return capture_unsupported;
  if (const Allocation* found = allocation_of(pointer)) finish_device(found->device);
  return release(pointer);
}
// In the order of a stream: what is freed may still be in use by what was enqueued before.
int host_free_async(void* pointer, void* handle) {
  Stream* stream = stream_of(handle);
  report("free", "", 0, stream);
  return enqueue(stream, [=] { release(pointer); });
}
int host_alloc_pinned(void** out, size_t size) {
  report("hostalloc", "", size);
  return allocate(out, size, -1);
}
int host_free_pinned(void* pointer) { return release(pointer); }
int host_memory_info(size_t* free, size_t* total) {
  *total = total_memory, *free = total_memory - in_use;
  return success;
}
// Kind: 0 ordinary memory of the host, 1 pinned, 2 of a device.
int host_pointer(const void* pointer, int* kind, int* device) {
  const Allocation* found = allocation_of(pointer);
  *kind = !found ? 0 : found->device < 0 ? 1 : 2;
  *device = found && found->device >= 0 ? found->device : 0;
  return success;
}

int host_memcpy_async(void* to, const void* from, size_t size, int, void* handle) {
  Stream* stream = stream_of(handle);
  if (!stream) return invalid_handle;
  bool up = !is_device(from), down = !is_device(to);
  for (const void* each : {(const void*)to, from}) {
    // CUDA would take it through the memory of the host, which nobody means.
    if (!peers && !reachable(each, stream->device))
      return refuse(invalid_value, "a copy takes memory of a device that cannot be reached");
    if (int status = check_range(each, size)) return status;
  }
  bool ordinary = (up && !is_pinned(from)) || (down && !is_pinned(to));
  if (ordinary && capturing(stream)) return capture_unsupported;
  report(up && down ? "h2h" : up ? "h2d" : down ? "d2h" : "d2d", "", size, stream);
  if (up && ordinary) {  // it is read before the call returns
    auto copy = std::make_shared<std::vector<char>>((const char*)from, (const char*)from + size);
    int status = enqueue(stream, [=] { memcpy(to, copy->data(), size); });
    if (down) finish(stream);
    return status;
  }
  int status = enqueue(stream, [=] { memmove(to, from, size); });
  if (down && ordinary) finish(stream, stream->last);  // it returns when all is there
  return status ? status : failure;
}
int host_memcpy(void* to, const void* from, size_t size, int kind) {
  for (Stream* each : streams)
    if (each->blocking && capturing(each)) return capture_implicit;
  if (!(is_device(to) && is_device(from))) report("sync", "memcpy");
  int status = host_memcpy_async(to, from, size, kind, nullptr);
  if (!(is_device(to) && is_device(from))) finish(stream_of(nullptr));
  return status ? status : failure;
}
int host_memcpy_peer_async(void* to, int, const void* from, int, size_t size, void* handle) {
  Stream* stream = stream_of(handle);
  for (const void* each : {(const void*)to, from})
    if (int status = check_range(each, size)) return status;
  report("p2p", "", size, stream);
  return enqueue(stream, [=] { memmove(to, from, size); });
}
int host_memset_async(void* to, int value, size_t size, void* handle) {
  Stream* stream = stream_of(handle);
  if (!stream) return invalid_handle;
  report("memset", "", size, stream);
  if (!reachable(to, stream->device))
    return refuse(invalid_value, "memory of another device is set");
  if (int status = check_range(to, size)) return status;
  return enqueue(stream, [=] { if (!dry) memset(to, value, size); });
}

int host_stream_create(void** out, unsigned flags) {
  auto* made = new Stream;
  made->device = current_device, made->flags = flags, made->blocking = !(flags & 1);
  streams.push_back(made);
  report("stream");
  *out = made;
  return success;
}
int host_stream_destroy(void* handle) {
  Stream* stream = stream_of(handle);
  if (!stream || (uintptr_t)handle <= 2) return invalid_handle;
  stream->destroyed = true;  // what is enqueued still runs, and events name it
  forget_destroyed();
  return success;
}
int host_stream_flags(void* handle, unsigned* out) {
  Stream* stream = stream_of(handle);
  if (!stream) return invalid_handle;
  *out = stream->flags;
  return success;
}
int host_stream_synchronize(void* handle) {
  Stream* stream = stream_of(handle);
  if (!stream) return invalid_handle;
  if (capturing(stream)) return capture_unsupported;
  report("sync", "stream", 0, stream);
  if (stream->legacy) enqueue(stream, [] {});
  finish(stream);
  return failure;
}
// What another library does on a stream, at once.
int host_run_now(const char* name, void* handle) {
  Stream* stream = stream_of(handle);
  if (!stream) return invalid_handle;
  report("launch", name, 0, stream);
  if (stream->legacy) enqueue(stream, [] {});
  finish(stream);
  return failure;
}
// What another library captures on a stream: it runs whenever the graph does.
int host_run_captured(const char* name, void* handle, void (*run)()) {
  Stream* stream = stream_of(handle);
  if (!stream || !stream->capture) return invalid_handle;
  report("launch", name, 0, stream);
  return enqueue(stream, [run] { if (!dry) run(); });
}
int host_stream_query(void* handle) {
  Stream* stream = stream_of(handle);
  if (!stream) return invalid_handle;
  if (capturing(stream)) return capture_unsupported;
  report("query", "stream", 0, stream);
  if (!stream->pending.empty()) finish(stream, stream->pending.front().ticket);
  return stream->pending.empty() ? failure : not_ready;
}
int host_stream_wait_event(void* handle, void* event_handle) {
  Stream* stream = stream_of(handle);
  auto* event = (Event*)event_handle;
  if (!stream || !event) return invalid_handle;
  report("wait", "", 0, stream);
  if (event->capture) return join_capture(stream, event);
  if (!event->stream) return success;
  if (stream->capture) {
    stream->capture->broken = true;
    return refuse(capture_isolation, "what is captured waits for what is not");
  }
  Stream* other = event->stream;
  return enqueue(stream, [other, ticket = event->ticket] { finish(other, ticket); });
}

int host_event_create(void** out, unsigned flags) {
  auto* made = new Event;
  made->timed = !(flags & 2);
  *out = made;
  return success;
}
int host_event_destroy(void* event) { delete (Event*)event; return success; }
int host_event_record(void* event_handle, void* handle) {
  auto* event = (Event*)event_handle;
  Stream* stream = stream_of(handle);
  if (!event || !stream) return invalid_handle;
  event->capture = stream->capture;
  event->before = stream->before;
  if (stream->capture) return success;
  event->stream = stream;
  report("record", "", 0, stream);
  // Of this record: one that comes later has a time of its own.
  event->time = std::make_shared<double>(-1);
  int status = enqueue(stream, [time = event->time] { *time = now(); });
  event->ticket = stream->last;
  return status;
}
int host_event_query(void* event_handle) {
  auto* event = (Event*)event_handle;
  if (event->capture) { event->capture->broken = true; return capture_unsupported; }
  if (!event->stream || finished(event->stream, event->ticket)) return failure;
  finish(event->stream, event->stream->pending.front().ticket);
  return finished(event->stream, event->ticket) ? failure : not_ready;
}
int host_event_synchronize(void* event_handle) {
  auto* event = (Event*)event_handle;
  if (event->capture) { event->capture->broken = true; return capture_unsupported; }
  report("sync", "event");
  if (event->stream) finish(event->stream, event->ticket);
  return failure;
}
int host_event_elapsed(float* out, void* from, void* to) {
  for (Event* each : {(Event*)from, (Event*)to}) {
    if (each->capture || !each->time || !each->timed) return invalid_handle;
    if (*each->time < 0) return not_ready;
  }
  *out = float(*((Event*)to)->time - *((Event*)from)->time);
  return success;
}

int host_can_access_peer(int* out, int device, int other) {
  *out = peers && device != other;
  return success;
}
int host_enable_peer(int other) {
  if (!peers || other == current_device) return invalid_device;
  return enabled_peers.insert({current_device, other}).second ? success : peer_access_enabled;
}

int host_is_capturing(void* handle, int* out) {
  Stream* stream = stream_of(handle);
  if (!stream) return invalid_handle;
  *out = !stream->capture ? 0 : stream->capture->broken ? 2 : 1;
  return success;
}
int host_begin_capture(void* handle, int mode) {
  Stream* stream = stream_of(handle);
  if (!stream || stream->legacy) return capture_unsupported;
  if (stream->capture) return invalid_value;
  stream->capture = std::make_shared<Graph>();
  stream->capture->origin = stream;
  stream->capture->relaxed = mode == 2;
  return success;
}
int host_end_capture(void* handle, void** out) {
  Stream* stream = stream_of(handle);
  *out = nullptr;
  if (!stream || !stream->capture) return capture_unmatched;
  auto graph = stream->capture;
  if (graph->origin != stream) return graph->broken = true, capture_unmatched;
  bool joined = true;
  Before before = stream->before;
  for (Stream* each : streams)
    if (each->capture == graph) {
      if (each->before[each] > before[each]) joined = false;
      each->capture.reset();
      each->before.clear();
    }
  graph->open = false;
  if (graph->broken) return capture_invalidated;
  if (!joined) return refuse(capture_unjoined, "the captured stream does not wait for another");
  *out = new Graph(*graph);
  return success;
}
int host_graph_nodes(void* graph) { return ((Graph*)graph)->nodes.size(); }
int host_graph_instantiate(void** out, void* graph) {
  *out = new Graph(*(Graph*)graph);
  return success;
}
int host_graph_destroy(void* graph) { delete (Graph*)graph; return success; }
int host_graph_launch(void* graph_handle, void* handle) {
  auto* graph = (Graph*)graph_handle;
  Stream* stream = stream_of(handle);
  if (!stream) return invalid_handle;
  report("graph", "", graph->nodes.size(), stream);
  return enqueue(stream, [nodes = graph->nodes] { for (auto& node : nodes) node(); });
}

}  // extern "C"
