// A CUDA device that is this process: memory is memory of the host, a stream is a queue of
// operations, and a kernel is a function that is called for each of its threads.
//
// No header of CUDA is needed: what CuPy passes is numbers and pointers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "include/cuda_on_host.h"

namespace host {

// Statuses of the CUDA runtime; those of the driver have the same numbers.
enum Status {
  success = 0,
  invalid_value = 1,
  out_of_memory = 2,
  invalid_configuration = 9,
  no_device = 100,
  invalid_device = 101,
  invalid_image = 200,
  peer_access_enabled = 704,
  invalid_handle = 400,
  not_found = 500,
  not_ready = 600,
  illegal_address = 700,
  too_many_resources = 701,
  launch_failure = 719,
  cooperative_too_large = 720,
  not_supported = 801,
  capture_unsupported = 900,
  capture_invalidated = 901,
  capture_merge = 902,
  capture_unmatched = 903,
  capture_unjoined = 904,
  capture_isolation = 905,
  capture_implicit = 906,
  captured_event = 907,
  invalid_cluster_size = 912,
};

constexpr int multiprocessors = 132;           // of an H100
constexpr size_t shared_per_block = 48 << 10;  // without asking
constexpr size_t shared_per_block_optin = 227 << 10;
constexpr size_t shared_per_multiprocessor = 228 << 10;
constexpr size_t total_memory = 16ull << 30;

using Ticket = uint64_t;

struct Operation {
  Ticket ticket;
  std::function<void()> run;
};

struct Stream;
// How many nodes of each stream of a capture come before something.
using Before = std::map<const Stream*, size_t>;

struct Graph {
  std::vector<std::function<void()>> nodes;
  Stream* origin = nullptr;
  bool relaxed = true;  // memory may be allocated while it is captured
  bool open = true, broken = false;
};

struct Stream {
  int device = 0;
  bool legacy = false;    // the null stream
  bool blocking = false;  // ordered with the null stream
  bool destroyed = false;
  unsigned flags = 0;
  std::deque<Operation> pending;
  Ticket last = 0;  // of what was enqueued
  std::shared_ptr<Graph> capture;
  Before before;  // its last node of the capture
};

struct Event {
  Stream* stream = nullptr;
  Ticket ticket = 0;
  bool timed = true;
  std::shared_ptr<double> time;  // when it ran; negative before
  std::shared_ptr<Graph> capture;
  Before before;
};

struct Allocation {
  size_t size;
  int device;  // -1: pinned memory of the host
};

// Settings, and what happened.
extern int device_count, current_device;
extern bool peers, lazy, dry;
extern std::mt19937_64 randomness;
typedef void (*Hook)(const char* kind, const char* name, long size, void* stream, int device);
extern Hook hook;
void report(const char* kind, const char* name = "", long size = 0, Stream* stream = nullptr);

// The first failure of an operation that ran; it is returned where the caller waits, and stays.
extern int failure;
extern char failure_text[512];
int fail(int status, const char* why, ...);
// Note why a call is refused; nothing else is wrong.
int refuse(int status, const char* why, ...);

// Memory.
extern size_t in_use, peak;
extern std::set<std::pair<int, int>> enabled_peers;  // a device, and one that it can reach
int check_memory();
int allocate(void** out, size_t size, int device);
int release(void* pointer);
int check_range(const void* pointer, size_t size);
const Allocation* allocation_of(const void* pointer);
bool reachable(const void* pointer, int device);
bool allocation_refused();  // since something is captured

// Streams.
extern std::vector<Stream*> streams;  // in the order in which they were made
Stream* stream_of(void* handle);
int enqueue(Stream* stream, std::function<void()> run);
void finish(Stream* stream, Ticket until = ~Ticket(0));
void finish_device(int device);
void forget_destroyed();
bool finished(const Stream* stream, Ticket ticket);

// Kernels.
int run_grid(const cuda_on_host::Kernel& kernel, const void* arguments, cuda_on_host::Dim grid,
             cuda_on_host::Dim block, size_t dynamic_shared, bool together);

}  // namespace host
