// What a kernel that was compiled for the host and the device that runs it know of each other.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cuda_on_host {

struct Dim {
  unsigned x, y, z;
};

// What one thread of a kernel is given. `wait` returns when all threads of a group have come.
enum Group { block_group, warp_group, cluster_group, nobody };

struct Thread {
  Dim thread, block, block_size, grid_size;
  unsigned lane;
  char* dynamic_shared;
  uint64_t* warp_slots;  // one of 64 bytes for each lane
  void (*wait)(Group group, unsigned mask);
  unsigned (*active)();  // the lanes of this warp that have not returned
  uint64_t (*clock)();
  void (*trap)();
};

// One kernel of a compiled module.
struct Kernel {
  const char* name;
  size_t arguments;                          // bytes of all arguments, copied
  void (*copy)(void** from, void* to);       // copy arguments at the time of a launch
  const size_t* words;                       // where each argument begins, if it may be a pointer
  size_t many_words;
  void (*run)(const void* arguments);        // one thread
  void (*run_block)(const void* arguments, bool backwards);  // all, one after another
  Thread** current;
  bool waits;  // whether threads wait for each other
  int max_threads, cluster;
  char *shared_begin, *shared_end;  // static shared memory
};

}  // namespace cuda_on_host
