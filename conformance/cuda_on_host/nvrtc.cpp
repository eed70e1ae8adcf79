// The runtime compiler: a program is given to a function of Python, which has a compiler make a
// shared object of it.
#include <cstring>
#include <string>
#include <vector>

namespace {

struct Program {
  std::string source, name, image, log;
};

// Returns nonzero if it failed; calls `put` with the image, or with what the compiler said.
typedef void (*Put)(void* program, const char* bytes, size_t size);
typedef int (*Compile)(const char* source, const char* name, int many, const char* const* options,
                       Put put, void* program);
Compile compile = nullptr;
std::string version;  // of what compiles; CuPy keeps kernels by it

void put_image(void* program, const char* bytes, size_t size) {
  ((Program*)program)->image.assign(bytes, size);
}

}  // namespace

extern "C" {

void host_compiler(Compile given, const char* text) { compile = given, version = text; }

int nvrtcVersion(int* major, int* minor) { *major = 13, *minor = 0; return 0; }
const char* nvrtcGetErrorString(int status) {
  return status == 6 ? "NVRTC_ERROR_COMPILATION" : status ? "NVRTC_ERROR" : "NVRTC_SUCCESS";
}
int nvrtcCreateProgram(void** out, const char* source, const char* name, int, const char* const*,
                       const char* const*) {
  *out = new Program{source, name ? name : "", "", ""};
  return 0;
}
int nvrtcDestroyProgram(void** program) {
  delete (Program*)*program;
  *program = nullptr;
  return 0;
}
int nvrtcAddNameExpression(void*, const char*) { return 3; }
int nvrtcGetLoweredName(void*, const char*, const char**) { return 3; }
int nvrtcCompileProgram(void* handle, int many, const char* const* options) {
  auto* program = (Program*)handle;
  int failed = compile(program->source.c_str(), program->name.c_str(), many, options, put_image,
                       program);
  if (!failed) return 0;
  program->log.swap(program->image);
  return 6;
}
static int get(const std::string& from, char* out) {
  memcpy(out, from.data(), from.size());
  return 0;
}
int nvrtcGetCUBINSize(void* p, size_t* out) { *out = ((Program*)p)->image.size(); return 0; }
int nvrtcGetCUBIN(void* p, char* out) { return get(((Program*)p)->image, out); }
// Asked for an empty program only, to learn the version.
int nvrtcGetPTXSize(void*, size_t* out) { *out = version.size() + 1; return 0; }
int nvrtcGetPTX(void*, char* out) { return get(version + std::string(1, 0), out); }
int nvrtcGetProgramLogSize(void* p, size_t* out) { *out = ((Program*)p)->log.size() + 1; return 0; }
int nvrtcGetProgramLog(void* p, char* out) {
  memcpy(out, ((Program*)p)->log.c_str(), ((Program*)p)->log.size() + 1);
  return 0;
}

}  // extern "C"
