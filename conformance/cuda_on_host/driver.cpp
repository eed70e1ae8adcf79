// The functions of the CUDA driver that CuPy calls: modules and launches.
//
// The image of a module is a shared object, as nvrtc.cpp makes it.
#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "device.h"
#include "entries.h"

using namespace host;
using cuda_on_host::Dim;
using cuda_on_host::Kernel;

namespace {

struct Module {
  void* library;
  int device;
};

struct Function {
  const Kernel* kernel;
  int device;
  size_t most_dynamic_shared;
  bool large_clusters = false;
};

Dim dim(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }

size_t static_shared(const Function* f) { return f->kernel->shared_end - f->kernel->shared_begin; }

int resident_blocks(const Function* f, int threads, size_t dynamic_shared) {
  size_t shared = static_shared(f) + dynamic_shared + 1024;  // which the system takes
  int warps = std::max(threads + 31, 32) / 32;
  int found = std::min(32, 64 / warps);
  return std::min<size_t>(found, shared_per_multiprocessor / shared);
}

int launch(Function* f, Dim grid, Dim block, size_t dynamic_shared, void* handle, void** given,
           bool cooperative) {
  const Kernel& kernel = *f->kernel;
  Stream* stream = stream_of(handle);
  if (!stream) return invalid_handle;
  if (f->device != current_device || stream->device != current_device)
    return refuse(invalid_handle, "kernel %s: device %d is current, the function is of %d and the "
                "stream of %d", kernel.name, current_device, f->device, stream->device);
  size_t threads = size_t(block.x) * block.y * block.z, blocks = size_t(grid.x) * grid.y * grid.z;
  if (!threads || !blocks || threads > 1024 || block.z > 64 || grid.y > 65535 || grid.z > 65535)
    return invalid_value;
  if (kernel.max_threads && threads > size_t(kernel.max_threads)) return too_many_resources;
  if (dynamic_shared > f->most_dynamic_shared)
    return refuse(invalid_value, "kernel %s: %zu bytes of dynamic shared memory, %zu are allowed",
                  kernel.name, dynamic_shared, f->most_dynamic_shared);
  if (kernel.cluster > (f->large_clusters ? 16 : 8)) return invalid_cluster_size;
  if (grid.x % kernel.cluster) return invalid_configuration;
  if (cooperative &&
      blocks > size_t(multiprocessors) * resident_blocks(f, threads, dynamic_shared))
    return refuse(cooperative_too_large, "kernel %s: %zu blocks are not there at once",
                  kernel.name, blocks);
  report(cooperative ? "cooperative launch" : "launch", kernel.name, threads * blocks, stream);

  // A pointer to memory of a device that this one cannot reach would stop the kernel.
  auto packed = std::shared_ptr<char>(new char[kernel.arguments + 16](), [](char* p) { delete[] p; });
  kernel.copy(given, packed.get());
  for (size_t i = 0; i < kernel.many_words; i++) {
    void* word = nullptr;
    if (kernel.words[i] != ~size_t(0))
      memcpy(&word, packed.get() + kernel.words[i], sizeof word);
    if (!reachable(word, current_device))
      return fail(illegal_address, "kernel %s: an argument is on a device that cannot be reached",
                  kernel.name);
  }
  return enqueue(stream, [=, &kernel] {
    if (!dry && !failure) run_grid(kernel, packed.get(), grid, block, dynamic_shared, cooperative);
  });
}

}  // namespace

extern "C" {

int cuInit(unsigned) { return success; }
int cuDriverGetVersion(int* out) { *out = 13000; return success; }
int cuGetErrorName(int status, const char** out) {
  static std::map<int, std::string> names;
  *out = (names[status] = "CUDA_ERROR_" + std::to_string(status)).c_str();
  return success;
}
int cuGetErrorString(int status, const char** out) {
  static std::map<int, std::string> texts;
  std::string why = host_failure();
  texts[status] = why.empty() ? "emulated, status " + std::to_string(status) : "emulated: " + why;
  if (!failure) host_forget_failure();  // a refusal is told once
  *out = texts[status].c_str();
  return success;
}

int cuCtxGetCurrent(void** out) { *out = (void*)(intptr_t)(current_device + 1); return success; }
int cuCtxSetCurrent(void* context) {
  return context ? (current_device = int((intptr_t)context - 1), success) : success;
}
int cuCtxGetDevice(int* out) { *out = current_device; return success; }
int cuStreamGetCtx(void* handle, void** out) {
  Stream* stream = stream_of(handle);
  if (!stream) return invalid_handle;
  *out = (void*)(intptr_t)(stream->device + 1);
  return success;
}
int cuDevicePrimaryCtxRelease(int) { return success; }

// An image does not say how long it is; the compiler puts its length before it.
int cuModuleLoadData(void** out, const void* image) {
  const char* bytes = (const char*)image;
  uint64_t size;
  if (memcmp(bytes, "CUDAHOST", 8)) {
    refuse(invalid_image, "a module was not compiled for the host");
    return invalid_image;
  }
  memcpy(&size, bytes + 8, 8);
  // A file of its own: what was loaded from a path is not loaded from it again.
  const char* folder = getenv("TMPDIR");
  std::string path = std::string(folder ? folder : "/tmp") + "/cuda_on_host-XXXXXX";
  int file = mkstemp(path.data());
  if (file < 0) return invalid_image;
  bool written = write(file, bytes + 16, size) == ssize_t(size);
  close(file);
  void* library = written ? dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) : nullptr;
  if (!library) refuse(invalid_image, "a module cannot be loaded: %s", dlerror());
  unlink(path.c_str());
  if (!library) return invalid_image;
  *out = new Module{library, current_device};
  return success;
}
int cuModuleLoad(void** out, const char* path) {
  FILE* file = fopen(path, "rb");
  if (!file) return 301;
  std::string bytes;
  char buffer[65536];
  for (size_t many; (many = fread(buffer, 1, sizeof buffer, file));) bytes.append(buffer, many);
  fclose(file);
  return cuModuleLoadData(out, bytes.data());
}
int cuModuleUnload(void*) { return success; }  // operations may still wait to run
int cuModuleGetFunction(void** out, void* handle, const char* name) {
  auto* module = (Module*)handle;
  std::string symbol = std::string("cuda_on_host_kernel_") + name;
  auto* kernel = (const Kernel*)dlsym(module->library, symbol.c_str());
  if (!kernel) return not_found;
  size_t fixed = kernel->shared_end - kernel->shared_begin;
  *out = new Function{kernel, module->device, shared_per_block - std::min(shared_per_block, fixed)};
  return success;
}
int cuModuleGetGlobal(void**, size_t*, void*, const char*) {
  return refuse(not_found, "variables of a module are not emulated");
}

// Attributes: 0 threads of a block, 1 static shared memory, 4 registers, 5 and 6 versions,
// 8 dynamic shared memory.
int cuFuncGetAttribute(int* out, int attribute, void* handle) {
  auto* f = (Function*)handle;
  switch (attribute) {
    case 0: *out = f->kernel->max_threads ? f->kernel->max_threads : 1024; break;
    case 1: *out = static_shared(f); break;
    case 4: *out = 32; break;
    case 5: case 6: *out = 90; break;
    case 8: *out = f->most_dynamic_shared; break;
    default: *out = 0;
  }
  return success;
}
int cuFuncSetAttribute(void* handle, int attribute, int value) {
  auto* f = (Function*)handle;
  if (attribute == 14) f->large_clusters = value;
  if (attribute == 8) {
    if (size_t(value) + static_shared(f) > shared_per_block_optin) return invalid_value;
    f->most_dynamic_shared = value;
  }
  return success;
}
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* out, void* f, int threads, size_t shared) {
  *out = resident_blocks((Function*)f, threads, shared);
  return success;
}
int cuOccupancyMaxPotentialBlockSize(int* grid, int* block, void* f, size_t (*)(int), size_t,
                                     int limit) {
  int most = ((Function*)f)->kernel->max_threads ? ((Function*)f)->kernel->max_threads : 1024;
  *block = limit ? std::min(limit, most) : most;
  *grid = multiprocessors * resident_blocks((Function*)f, *block, 0);
  return success;
}

int cuLaunchKernel(void* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void* stream, void** given, void**) {
  return launch((Function*)f, dim(gx, gy, gz), dim(bx, by, bz), shared, stream, given, false);
}
int cuLaunchCooperativeKernel(void* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                              unsigned by, unsigned bz, unsigned shared, void* stream,
                              void** given) {
  return launch((Function*)f, dim(gx, gy, gz), dim(bx, by, bz), shared, stream, given, true);
}

}  // extern "C"
