/*
 * What the compiler's instrumentation calls at every block of code and at every memory access, here: one hash over all of
 * them, in order. Linked with powers.c by test_paillier_constant_time.py.
 */

#include <stddef.h>
#include <stdint.h>

static uint64_t trace, events;
static _Alignas(64) char arena[16 << 20];

static void seen(uint64_t kind, uint64_t place)
{
    trace = (trace ^ kind) * 0x100000001b3ULL;
    trace = (trace ^ place) * 0x100000001b3ULL;
    trace ^= trace >> 29;
    events++;
}

void trace_start(void) { trace = 0xcbf29ce484222325ULL, events = 0; }
uint64_t trace_hash(void) { return trace; }
uint64_t trace_events(void) { return events; }

/* One block at a time, always at the same address. */
void *trace_alloc(size_t alignment, size_t size)
{
    seen(1, alignment);
    seen(2, size);
    return size <= sizeof arena ? arena : NULL;
}
void trace_free(void *block) { seen(3, (uint64_t)block); }

void __sanitizer_cov_trace_pc(void) { seen(4, (uint64_t)__builtin_return_address(0)); }

#define ACCESS(name, size)                                                                                             \
    void __tsan_##name##size(void *place) { seen(5 + size, (uint64_t)place); }                                         \
    void __tsan_unaligned_##name##size(void *place) { seen(105 + size, (uint64_t)place); }
#define SIZES(name) ACCESS(name, 1) ACCESS(name, 2) ACCESS(name, 4) ACCESS(name, 8) ACCESS(name, 16)
SIZES(read)
SIZES(write)

void __tsan_read_range(void *place, size_t size) { seen(200 + size, (uint64_t)place); }
void __tsan_write_range(void *place, size_t size) { seen(300 + size, (uint64_t)place); }
void __tsan_init(void) {}
void __tsan_func_entry(void *caller) { (void)caller; }
void __tsan_func_exit(void) {}
