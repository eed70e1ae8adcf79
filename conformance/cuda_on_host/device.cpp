// Memory and streams; see device.h.
#include "device.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

namespace host {

int device_count = 1, current_device = 0;
bool peers = false, lazy = false, dry = false;
std::mt19937_64 randomness(0);
Hook hook = nullptr;
int failure = 0;
char failure_text[512];

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
// Quiet NaN, of which arithmetic raises no flag: a product of NumPy may read beyond its arrays.
constexpr unsigned char guard_byte = 0xff, unwritten = 0xff;
constexpr size_t most_kept = 64 << 20;

static std::map<const char*, Allocation> allocations;
static std::deque<std::pair<char*, size_t>> freed;  // kept, to notice who writes to it
static size_t kept = 0;
size_t in_use = 0, peak = 0;

static bool all(const char* from, size_t size, unsigned char byte) {
  return !size || ((unsigned char)from[0] == byte && !memcmp(from, from + 1, size - 1));
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
int check_memory() {
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

std::set<std::pair<int, int>> enabled_peers;

bool reachable(const void* pointer, int device) {
  const Allocation* found = allocation_of(pointer);
  if (!found || found->device < 0 || found->device == device) return true;
  return peers && enabled_peers.count({device, found->device});
}

// ------------------------------------------------------------------------------------ streams

static Ticket tickets = 0;
std::vector<Stream*> streams;
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
