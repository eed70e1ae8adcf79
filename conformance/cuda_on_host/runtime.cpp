// The C interface of CuPy's extension module `runtime`, on the emulated device.
//
// CuPy's other extension modules call these by pointers that they take from the module when they
// are imported. Each entry has the signature that the module gives there.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <map>
#include <string>
#include <vector>

#include "device.h"
#include "entries.h"

using namespace host;

namespace {

typedef intptr_t P;
typedef PyObject* O;

struct Entry {
  const char *name, *signature;
  void* function;
};
std::vector<Entry>& entries() {
  static std::vector<Entry> all;
  return all;
}
struct Register {
  Register(const char* name, const char* signature, void* function) {
    entries().push_back({name, signature, function});
  }
};

O (*check_status)(int, int) = nullptr;  // of the module itself, which raises its error
O pointer_attributes = nullptr, properties = nullptr;

// Raise CuPy's error of a status, with what happened as a note.
O raise(int status) {
  O none = check_status(status, 0);
  Py_XDECREF(none);
  if (!PyErr_Occurred()) PyErr_Format(PyExc_RuntimeError, "status %d", status);
  if (*host_failure()) {
    O type, value, trace;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    O added = PyObject_CallMethod(value, "add_note", "s", host_failure());
    if (added) Py_DECREF(added); else PyErr_Clear();
    PyErr_Restore(type, value, trace);
    if (!failure) host_forget_failure();
  }
  return nullptr;
}
O done(int status) {
  if (status) return raise(status);
  Py_RETURN_NONE;
}
template <class T>
T given(int status, T value, T none = T(-1)) {
  if (!status) return value;
  raise(status);
  return none;
}

int attribute(int which) {
  switch (which) {
    case 1: return 1024;                          // threads of a block
    case 2: case 3: return 1024;                  // in x and y
    case 4: return 64;                            // in z
    case 5: return 2147483647;                    // blocks of a grid in x
    case 6: case 7: return 65535;                 // in y and z
    case 8: return shared_per_block;
    case 10: return 32;                           // threads of a warp
    case 12: case 82: return 65536;               // registers
    case 13: return 1980000;                      // kHz
    case 16: return multiprocessors;
    case 39: return 2048;                         // threads of a multiprocessor
    case 75: return 9;                            // compute capability
    case 76: return 0;
    case 81: return shared_per_multiprocessor;
    case 95: return 1;                            // cooperative launches
    case 97: return shared_per_block_optin;
    case 106: return 32;                          // blocks of a multiprocessor
    case 115: return 1;                           // allocation in the order of a stream
  }
  return 0;
}

}  // namespace

#define ENTRY(result, name, signature, ...)                                   \
  static result entry_##name(__VA_ARGS__);                                    \
  static Register register_##name(#name, signature, (void*)entry_##name);     \
  static result entry_##name(__VA_ARGS__)
#define SKIP "int __pyx_skip_dispatch)"
#define OF_MODULE "_13cupy_backends_4cuda_3api_7runtime_"
#define PYX(name) "struct __pyx_opt_args" OF_MODULE name " *__pyx_optional_args)"

ENTRY(int, driverGetVersion, "int (" SKIP, int) { return 13000; }
ENTRY(int, runtimeGetVersion, "int (" SKIP, int) { return 13000; }
ENTRY(int, _getCUDAMajorVersion, "int (" SKIP, int) { return 13; }
ENTRY(int, getDeviceCount, "int (" SKIP,
      int) {
  return given(device_count ? 0 : no_device, device_count);
}
ENTRY(int, getDevice, "int (" SKIP, int) { return current_device; }
ENTRY(O, setDevice, "PyObject *(int, " SKIP,
      int device, int) {
  return done(host_set_device(device));
}
ENTRY(O, deviceSynchronize, "PyObject *(" SKIP, int) { return done(host_device_synchronize()); }
ENTRY(O, _ensure_context, "PyObject *(void)", void) { Py_RETURN_NONE; }
ENTRY(int, deviceGetAttribute, "int (int, int, " SKIP, int which, int device, int) {
  return given(device < device_count ? 0 : invalid_device, attribute(which));
}
ENTRY(O, getDeviceProperties, "PyObject *(int, " SKIP, int device, int) {
  if (device >= device_count) return raise(invalid_device);
  return PyObject_CallFunction(properties, "i", device);
}
ENTRY(int, deviceCanAccessPeer, "int (int, int, " SKIP, int device, int other, int) {
  int out = 0;
  host_can_access_peer(&out, device, other);
  return out;
}
ENTRY(O, deviceEnablePeerAccess, "PyObject *(int, " SKIP,
      int other, int) {
  return done(host_enable_peer(other));
}
ENTRY(O, _deviceEnsurePeerAccess, "PyObject *(int, " SKIP, int other, int) {
  int status = host_enable_peer(other);
  return done(status == peer_access_enabled ? 0 : status);
}
ENTRY(O, profilerStart, "PyObject *(" SKIP, int) { Py_RETURN_NONE; }
ENTRY(O, profilerStop, "PyObject *(" SKIP, int) { Py_RETURN_NONE; }

ENTRY(P, malloc, "intptr_t (size_t, " SKIP, size_t size, int) {
  void* out = nullptr;
  int status = host_malloc(&out, size);
  return given(status, P(out), P(0));
}
ENTRY(O, free, "PyObject *(intptr_t, " SKIP,
      P pointer, int) {
  return done(host_free((void*)pointer));
}
ENTRY(P, hostAlloc, "intptr_t (size_t, unsigned int, " SKIP, size_t size, unsigned, int) {
  void* out = nullptr;
  int status = host_alloc_pinned(&out, size);
  return given(status, P(out), P(0));
}
ENTRY(O, freeHost, "PyObject *(intptr_t, " SKIP,
      P pointer, int) {
  return done(host_free_pinned((void*)pointer));
}
// Managed memory is that of the current device; what the host does with it is not noticed.
ENTRY(P, mallocManaged, "intptr_t (size_t, int __pyx_skip_dispatch, " PYX("mallocManaged"),
      size_t size,
      int, void*) {
  void* out = nullptr;
  int status = host_malloc(&out, size);
  return given(status, P(out), P(0));
}
ENTRY(P, mallocAsync, "intptr_t (size_t, intptr_t, " SKIP, size_t size, P, int) {
  void* out = nullptr;
  int status = host_malloc(&out, size);
  return given(status, P(out), P(0));
}
ENTRY(O, freeAsync, "PyObject *(intptr_t, intptr_t, " SKIP, P pointer, P stream, int) {
  return done(host_free_async((void*)pointer, (void*)stream));
}
ENTRY(O, memGetInfo, "PyObject *(" SKIP, int) {
  size_t free, total;
  host_memory_info(&free, &total);
  return Py_BuildValue("nn", Py_ssize_t(free), Py_ssize_t(total));
}
ENTRY(O, pointerGetAttributes,
      "struct __pyx_obj" OF_MODULE "PointerAttributes *(intptr_t, " SKIP,
      P pointer, int) {
  int kind, device;
  host_pointer((void*)pointer, &kind, &device);
  P on_device = kind ? pointer : 0, on_host = kind == 2 ? 0 : pointer;
  return PyObject_CallFunction(pointer_attributes, "inni", device, Py_ssize_t(on_device),
                               Py_ssize_t(on_host), kind);
}
ENTRY(int, pointerGetMemoryType, "int (intptr_t, " SKIP, P pointer, int) {
  int kind, device;
  host_pointer((void*)pointer, &kind, &device);
  return kind;
}

ENTRY(O, memcpy, "PyObject *(intptr_t, intptr_t, size_t, int, " SKIP,
      P to, P from, size_t size, int kind, int) {
  return done(host_memcpy((void*)to, (void*)from, size, kind));
}
ENTRY(O, memcpyAsync, "PyObject *(intptr_t, intptr_t, size_t, int, intptr_t, " SKIP,
      P to, P from, size_t size, int kind, P stream, int) {
  return done(host_memcpy_async((void*)to, (void*)from, size, kind, (void*)stream));
}
ENTRY(O, memcpyPeer, "PyObject *(intptr_t, int, intptr_t, int, size_t, " SKIP,
      P to, int device, P from, int other, size_t size, int) {
  int status = host_memcpy_peer_async((void*)to, device, (void*)from, other, size, nullptr);
  return done(status);
}
ENTRY(O, memcpyPeerAsync, "PyObject *(intptr_t, int, intptr_t, int, size_t, intptr_t, " SKIP,
      P to, int device, P from, int other, size_t size, P stream, int) {
  return done(host_memcpy_peer_async((void*)to, device, (void*)from, other, size, (void*)stream));
}
ENTRY(O, memset, "PyObject *(intptr_t, int, size_t, " SKIP, P to, int value, size_t size, int) {
  return done(host_memset_async((void*)to, value, size, nullptr));
}
ENTRY(O, memsetAsync, "PyObject *(intptr_t, int, size_t, intptr_t, " SKIP,
      P to, int value, size_t size, P stream, int) {
  return done(host_memset_async((void*)to, value, size, (void*)stream));
}

static P new_stream(unsigned flags) {
  void* out = nullptr;
  int status = host_stream_create(&out, flags);
  return given(status, P(out), P(0));
}
ENTRY(P, streamCreate, "intptr_t (" SKIP, int) { return new_stream(0); }
ENTRY(P, streamCreateWithFlags, "intptr_t (unsigned int, " SKIP,
      unsigned flags, int) {
  return new_stream(flags);
}
ENTRY(P, streamCreateWithPriority, "intptr_t (unsigned int, int, " SKIP,
      unsigned flags, int, int) {
  return new_stream(flags);
}
ENTRY(unsigned, streamGetFlags, "unsigned int (intptr_t, " SKIP, P stream, int) {
  unsigned out = 0;
  return given(host_stream_flags((void*)stream, &out), out, 0u);
}
ENTRY(int, streamGetPriority, "int (intptr_t, " SKIP, P, int) { return 0; }
ENTRY(O, streamDestroy, "PyObject *(intptr_t, " SKIP,
      P stream, int) {
  return done(host_stream_destroy((void*)stream));
}
ENTRY(O, streamSynchronize, "PyObject *(intptr_t, " SKIP,
      P stream, int) {
  return done(host_stream_synchronize((void*)stream));
}
ENTRY(O, streamQuery, "PyObject *(intptr_t, " SKIP,
      P stream, int) {
  return PyLong_FromLong(host_stream_query((void*)stream));
}
ENTRY(O, streamWaitEvent,
      "PyObject *(intptr_t, intptr_t, int __pyx_skip_dispatch, " PYX("streamWaitEvent"),
      P stream, P event, int, void*) {
  return done(host_stream_wait_event((void*)stream, (void*)event));
}
ENTRY(int, streamIsCapturing, "int (intptr_t, " SKIP, P stream, int) {
  int out = 0;
  int status = host_is_capturing((void*)stream, &out);
  if (!status && out == 2) {
    PyErr_SetString(PyExc_RuntimeError,
                    "the stream was capturing, but an error has invalidated the capture sequence");
    return -1;
  }
  return given(status, out);
}
// Without a mode, CuPy means the relaxed one.
struct Mode {
  int count, mode;
};
ENTRY(O, streamBeginCapture,
      "PyObject *(intptr_t, int __pyx_skip_dispatch, " PYX("streamBeginCapture"),
      P stream, int,
      Mode* given) {
  return done(host_begin_capture((void*)stream, given && given->count ? given->mode : 2));
}
ENTRY(P, streamEndCapture, "intptr_t (intptr_t, " SKIP, P stream, int) {
  void* out = nullptr;
  int status = host_end_capture((void*)stream, &out);
  return given(status, P(out), P(0));
}
ENTRY(P, graphInstantiate, "intptr_t (intptr_t, " SKIP, P graph, int) {
  void* out = nullptr;
  host_graph_instantiate(&out, (void*)graph);
  return P(out);
}
ENTRY(O, graphDestroy, "PyObject *(intptr_t, " SKIP,
      P graph, int) {
  return done(host_graph_destroy((void*)graph));
}
ENTRY(O, graphExecDestroy, "PyObject *(intptr_t, " SKIP,
      P graph, int) {
  return done(host_graph_destroy((void*)graph));
}
ENTRY(O, graphLaunch, "PyObject *(intptr_t, intptr_t, " SKIP, P graph, P stream, int) {
  return done(host_graph_launch((void*)graph, (void*)stream));
}
ENTRY(O, graphUpload, "PyObject *(intptr_t, intptr_t, " SKIP, P, P, int) { Py_RETURN_NONE; }

static P new_event(unsigned flags) {
  void* out = nullptr;
  host_event_create(&out, flags);
  return P(out);
}
ENTRY(P, eventCreate, "intptr_t (" SKIP, int) { return new_event(0); }
ENTRY(P, eventCreateWithFlags, "intptr_t (unsigned int, " SKIP, unsigned flags, int) {
  return new_event(flags);
}
ENTRY(O, eventDestroy, "PyObject *(intptr_t, " SKIP,
      P event, int) {
  return done(host_event_destroy((void*)event));
}
ENTRY(O, eventRecord, "PyObject *(intptr_t, intptr_t, " SKIP, P event, P stream, int) {
  return done(host_event_record((void*)event, (void*)stream));
}
ENTRY(O, eventQuery, "PyObject *(intptr_t, " SKIP,
      P event, int) {
  return PyLong_FromLong(host_event_query((void*)event));
}
ENTRY(O, eventSynchronize, "PyObject *(intptr_t, " SKIP,
      P event, int) {
  return done(host_event_synchronize((void*)event));
}
ENTRY(float, eventElapsedTime, "float (intptr_t, intptr_t, " SKIP, P from, P to, int) {
  float out = 0;
  int status = host_event_elapsed(&out, (void*)from, (void*)to);
  return given(status, out, 0.0f);
}

// What is not emulated says its name. These are made from the names of the module that is there.
static O not_emulated(const char* name) {
  PyErr_Format(PyExc_NotImplementedError, "cuda_on_host: %s is not emulated", name);
  return nullptr;
}
#define MISSING(name, is_object)                                   \
  static P missing_##name() {                                      \
    not_emulated(#name);                                           \
    return is_object ? 0 : -1;                                     \
  }                                                                \
  static Register register_missing_##name(#name, nullptr, (void*)missing_##name);
#include "missing.inc"

extern "C" {
void host_python(void* check, PyObject* attributes, PyObject* give_properties) {
  check_status = (O (*)(int, int))check;
  pointer_attributes = attributes, properties = give_properties;
  Py_INCREF(attributes);
  Py_INCREF(give_properties);
}
int host_entries() { return entries().size(); }
const char* host_entry(int number, const char** signature, void** function) {
  const Entry& found = entries()[number];
  *signature = found.signature, *function = found.function;
  return found.name;
}
}
