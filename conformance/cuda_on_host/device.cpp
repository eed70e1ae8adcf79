// Memory, streams and events; see device.h.
#include "device.h"

#include <algorithm>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>

namespace host {

int device_count = 1, current_device = 0;
bool peers = false, lazy = false, dry = false;
std::mt19937_64 randomness(0);
Hook hook = nullptr;
int failure = 0;
static char failure_text[512];

void report(const char* kind, const char* name, long size, Stream* stream) {
  if (hook) hook(kind, name, size, stream && stream->legacy ? nullptr : stream,
                 stream ? stream->device : current_device);
}

int refuse(int status, const char* why, ...) {
  if (!failure) {
    va_list arguments;
    va_start(arguments, why);
    vsnprintf(failure_text, sizeof failure_text, why, arguments);
    va_end(arguments);
  }
  return status;
}

int fail(int status, const char* why, ...) {
  if (!failure) {
    va_list arguments;
    va_start(arguments, why);
    vsnprintf(failure_text, sizeof failure_text, why, arguments);
    va_end(arguments);
    failure = status;
  }
  return status;
}

// ------------------------------------------------------------------------------------- memory

constexpr size_t guard = 512;  // bytes before and behind an allocation that nobody may write
// What is read there is 3e38 and the like; 0xff..ff is a NaN.
constexpr unsigned char guard_byte = 0x7f, unwritten = 0xff;
constexpr size_t most_kept = 64 << 20;

static std::map<const char*, Allocation> allocations;
static std::deque<std::pair<char*, size_t>> freed;  // kept, to notice who writes to it
static size_t kept = 0, in_use = 0, peak = 0;

static bool all(const char* from, size_t size, unsigned char byte) {
  for (size_t i = 0; i < size; i++)
    if ((unsigned char)from[i] != byte) return false;
  return true;
}

static size_t rounded(size_t size) { return size ? (size + 511) / 512 * 512 : 512; }

static void set_guards(const char* pointer, size_t size) {
  memset((char*)pointer - guard, guard_byte, guard);
  memset((char*)pointer + size, guard_byte, rounded(size) - size + guard);
}

int allocate(void** out, size_t size, int device) {
  if (device >= 0 && in_use + rounded(size) > total_memory) return out_of_memory;
  size_t whole = rounded(size);
  char* base = (char*)aligned_alloc(512, whole + 2 * guard);
  if (!base) return out_of_memory;
  set_guards(base + guard, size);
  memset(base + guard, unwritten, size);
  allocations[base + guard] = {size, device};
  in_use += whole;
  if (in_use > peak) peak = in_use;
  *out = base + guard;
  return success;
}

static int check_guards(const char* pointer, const Allocation& found) {
  size_t behind = rounded(found.size) - found.size + guard;
  if (!all(pointer - guard, guard, guard_byte))
    return fail(illegal_address, "something wrote before an allocation of %zu bytes", found.size);
  if (!all(pointer + found.size, behind, guard_byte))
    return fail(illegal_address, "something wrote behind an allocation of %zu bytes", found.size);
  return success;
}

int release(void* pointer) {
  if (!pointer) return success;
  auto found = allocations.find((const char*)pointer);
  if (found == allocations.end()) return refuse(invalid_value, "what is freed is not allocated");
  int status = check_guards(found->first, found->second);
  size_t whole = rounded(found->second.size);
  in_use -= whole;
  memset(pointer, unwritten, whole);
  freed.push_back({(char*)pointer, whole});
  kept += whole;
  while (kept > most_kept) {
    auto [oldest, size] = freed.front();
    freed.pop_front();
    kept -= size;
    if (!all(oldest, size, unwritten))
      status = fail(illegal_address, "something wrote to %zu bytes that were freed", size);
    free(oldest - guard);
  }
  allocations.erase(found);
  return status;
}

// What is found wrong is put right, so that it is told once.
static int check_memory() {
  int status = success;
  for (auto& [pointer, found] : allocations)
    if (check_guards(pointer, found)) status = illegal_address, set_guards(pointer, found.size);
  for (auto& [pointer, size] : freed)
    if (!all(pointer, size, unwritten)) {
      status = fail(illegal_address, "something wrote to %zu bytes that were freed", size);
      memset(pointer, unwritten, size);
    }
  return status;
}

const Allocation* allocation_of(const void* pointer) {
  auto next = allocations.upper_bound((const char*)pointer);
  if (next == allocations.begin()) return nullptr;
  --next;
  return (const char*)pointer < next->first + rounded(next->second.size) ? &next->second : nullptr;
}

// What a copy or a fill touches lies in one allocation, if it begins in one.
int check_range(const void* pointer, size_t size) {
  const Allocation* found = allocation_of(pointer);
  if (!found || !size) return success;
  auto first = std::prev(allocations.upper_bound((const char*)pointer))->first;
  if ((const char*)pointer + size <= first + found->size) return success;
  return refuse(invalid_value, "%zu bytes from byte %zu of an allocation of %zu", size,
                size_t((const char*)pointer - first), found->size);
}

static std::set<std::pair<int, int>> enabled_peers;

bool reachable(const void* pointer, int device) {
  const Allocation* found = allocation_of(pointer);
  if (!found || found->device < 0 || found->device == device) return true;
  return peers && enabled_peers.count({device, found->device});
}

// ------------------------------------------------------------------------------------ streams

static Ticket tickets = 0;
static std::vector<Stream*> streams;  // in the order in which they were made
static std::map<int, Stream> null_streams, thread_streams;

static Stream* special(std::map<int, Stream>& of, bool legacy) {
  auto [found, made] = of.try_emplace(current_device);
  if (made) {
    found->second.device = current_device;
    found->second.legacy = legacy;
    found->second.blocking = !legacy;
    streams.push_back(&found->second);
  }
  return &found->second;
}

Stream* stream_of(void* handle) {
  if (handle == nullptr || handle == (void*)1) return special(null_streams, true);
  if (handle == (void*)2) return special(thread_streams, false);
  for (Stream* each : streams)
    if (each == handle && !each->destroyed) return each;
  return nullptr;
}

bool finished(const Stream* stream, Ticket ticket) {
  return stream->pending.empty() || stream->pending.front().ticket > ticket;
}

void finish(Stream* stream, Ticket until) {
  while (!stream->pending.empty() && stream->pending.front().ticket <= until) {
    std::function<void()> run = std::move(stream->pending.front().run);
    stream->pending.pop_front();
    run();
  }
}

void forget_destroyed() {
  auto gone = [](Stream* each) { return each->destroyed && each->pending.empty(); };
  streams.erase(std::remove_if(streams.begin(), streams.end(), gone), streams.end());
}

void finish_device(int device) {
  for (size_t i = 0; i < streams.size(); i++)
    if (streams[i]->device == device) finish(streams[i]);
  forget_destroyed();
}

static void push(Stream* stream, std::function<void()> run) {
  stream->last = ++tickets;
  stream->pending.push_back({stream->last, std::move(run)});
}

static void wait_for(Stream* stream, Stream* other) {
  if (other != stream && !finished(other, other->last))
    push(stream, [other, ticket = other->last] { finish(other, ticket); });
}

// Lazily, an operation runs when somebody waits for it, or at any time before: at random.
static void some_progress(Stream* stream) {
  if (stream->pending.size() > 4096) finish(stream, stream->pending[2048].ticket);
  if (randomness() % 64 == 0 && !streams.empty()) {
    Stream* any = streams[randomness() % streams.size()];
    if (!any->pending.empty()) {
      size_t many = randomness() % any->pending.size();
      finish(any, any->pending[many].ticket);
    }
  }
}

int enqueue(Stream* stream, std::function<void()> run) {
  if (!stream) return invalid_handle;
  if (stream->capture) {
    stream->capture->nodes.push_back(std::move(run));
    stream->before[stream] = stream->capture->nodes.size();
    return success;
  }
  if (stream->legacy) {
    for (Stream* each : streams)
      if (each->blocking && each->device == stream->device) {
        if (each->capture) {
          each->capture->broken = true;
          return refuse(capture_implicit, "the null stream is used while a stream that is ordered "
                        "with it is captured");
        }
        wait_for(stream, each);
      }
  } else if (stream->blocking) {
    auto null = null_streams.find(stream->device);
    if (null != null_streams.end()) wait_for(stream, &null->second);
  }
  int earlier = failure;  // what fails now is told to who waits
  push(stream, std::move(run));
  if (!lazy) finish(stream);
  else some_progress(stream);
  return earlier;
}

}  // namespace host

// --------------------------------------------------------------------- what the runtime calls

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
