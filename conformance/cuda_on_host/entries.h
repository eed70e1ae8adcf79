// What CuPy's module `runtime` is made of: the runtime of the emulated device, by functions of C.
#pragma once

#include <cstddef>

extern "C" {
const char* host_failure();
void host_forget_failure();
int host_get_device(int*);
int host_set_device(int);
int host_device_synchronize();
int host_malloc(void**, size_t);
int host_free(void*);
int host_alloc_pinned(void**, size_t);
int host_free_pinned(void*);
int host_memory_info(size_t*, size_t*);
int host_pointer(const void*, int*, int*);
int host_memcpy(void*, const void*, size_t, int);
int host_memcpy_async(void*, const void*, size_t, int, void*);
int host_memcpy_peer_async(void*, int, const void*, int, size_t, void*);
int host_memset_async(void*, int, size_t, void*);
int host_stream_create(void**, unsigned);
int host_stream_destroy(void*);
int host_stream_flags(void*, unsigned*);
int host_stream_synchronize(void*);
int host_stream_query(void*);
int host_stream_wait_event(void*, void*);
int host_event_create(void**, unsigned);
int host_free_async(void*, void*);
int host_event_destroy(void*);
int host_event_record(void*, void*);
int host_event_query(void*);
int host_event_synchronize(void*);
int host_event_elapsed(float*, void*, void*);
int host_can_access_peer(int*, int, int);
int host_enable_peer(int);
int host_is_capturing(void*, int*);
int host_begin_capture(void*, int);
int host_end_capture(void*, void**);
int host_graph_instantiate(void**, void*);
int host_graph_destroy(void*);
int host_graph_launch(void*, void*);
}
