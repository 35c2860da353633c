// CUDA's language on a host: enough of it to run the kernels' own text, block by block, one thread at a time.
//
// The threads of a block are fibers. A fiber runs until it ends or meets a barrier or a warp shuffle, then the next one
// runs; a barrier opens when all living threads of the block (of the warp, for a shuffle) stand before the same line.
// Threads run in ascending or descending order: a kernel that lacks a barrier gives different answers. Shared memory holds
// NaN when a block begins.
#pragma once
#include <math.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>  // no larger header of the standard library: each of 60 compilations would read it
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __noinline__
#define __shared__ static __attribute__((section("xpnet_shared")))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

extern char __start_xpnet_shared[] __attribute__((weak, visibility("hidden")));  // the linker knows where it lies
extern char __stop_xpnet_shared[] __attribute__((weak, visibility("hidden")));

struct Place {
  unsigned x, y, z;
};
static Place threadIdx, blockIdx, blockDim, gridDim;
constexpr int warpSize = 32;

namespace host {

constexpr size_t STACK = 64 << 10;
enum State { READY, AT_BLOCK, AT_WARP, AT_SHUFFLE, DONE };

struct Failure {
  const char* what;
};

inline void fail(const char* what) { throw Failure{what}; }

#if defined(__x86_64__)
// Leave one stack for another. A call must keep six registers; ucontext would ask the system for a signal mask besides.
typedef void* Context;
extern "C" __attribute__((visibility("hidden"))) void host_switch(Context* from, Context to);
asm(R"(
.text
.hidden host_switch
.globl host_switch
host_switch:
  push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp
  ret
)");
inline void change(Context& from, Context& to) { host_switch(&from, to); }
inline void prepare(Context& context, char* stack, void (*enter)()) {
  char* top = (char*)((size_t)(stack + STACK) & ~(size_t)15) - 64;
  std::memcpy(top + 48, &enter, sizeof enter);
  context = top;
}
#else
typedef ucontext_t Context;
inline void change(Context& from, Context& to) { swapcontext(&from, &to); }
inline void prepare(Context& context, char* stack, void (*enter)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = STACK;
  context.uc_link = nullptr;
  makecontext(&context, enter, 0);
}
#endif

struct Fiber {
  Context context;
  State state;
  int line;
};

constexpr int MOST = 1024;  // threads of a block
static Fiber fibers[MOST];
static char* const stacks = (char*)std::malloc(STACK * MOST);  // pages that no fiber touches take no memory
static Context scheduler;
static int running = -1;
static const char* failure;  // of a fiber: an exception does not cross from one stack to another
static void (*body)(const void*);
static const void* captured;  // by the body
static unsigned char slots[MOST][16];

inline void pause() {
  change(fibers[running].context, scheduler);
  threadIdx = {(unsigned)running, 0, 0};
}

inline void wait(State state, int line) {
  if (running < 0) fail("a barrier in a kernel that was said to have none");
  fibers[running].state = state;
  fibers[running].line = line;
  pause();
}

inline void enter() {
  try {
    body(captured);
  } catch (const Failure& f) {
    failure = f.what;
  }
  fibers[running].state = DONE;
  pause();
}

// Open the barriers, of one kind, at which all living threads of fibers[first .. stop) stand.
inline bool open(State kind, int first, int stop) {
  int line = 0, ended = 0;
  bool found = false;
  for (int t = first; t < stop; ++t) {
    if (fibers[t].state == DONE) {
      ++ended;
      continue;
    }
    if (fibers[t].state != kind) return false;
    if (found && fibers[t].line != line) fail("threads stand before different barriers");
    line = fibers[t].line;
    found = true;
  }
  if (!found) return false;
  if (kind == AT_SHUFFLE && ended) fail("a thread has ended before a shuffle of its warp");
  for (int t = first; t < stop; ++t)
    if (fibers[t].state != DONE) fibers[t].state = READY;
  return true;
}

inline void run_block(int threads, bool descending) {
  for (int t = 0; t < threads; ++t) {
    fibers[t].state = READY;
    prepare(fibers[t].context, stacks + STACK * t, enter);
  }
  failure = nullptr;
  for (;;) {
    for (int k = 0; k < threads; ++k) {
      const int t = descending ? threads - 1 - k : k;
      if (fibers[t].state != READY) continue;
      running = t;
      threadIdx = {(unsigned)t, 0, 0};
      change(scheduler, fibers[t].context);
      running = -1;
      if (failure) fail(failure);
    }
    bool opened = false, alive = false;
    for (int w = 0; w < threads; w += 32) opened |= open(AT_WARP, w, w + 32) || open(AT_SHUFFLE, w, w + 32);
    opened |= open(AT_BLOCK, 0, threads);
    for (int t = 0; t < threads; ++t) alive |= fibers[t].state != DONE;
    if (!alive) return;
    if (!opened) fail("threads wait for each other for ever");
  }
}

// Run a grid; what went wrong, or null.
template <class F>
const char* launch(unsigned blocks, unsigned threads, bool cooperative, bool descending, const F& kernel) {
  static char said[200];
  blockDim = {threads, 1, 1};
  gridDim = {blocks, 1, 1};
  body = [](const void* of) { (*(const F*)of)(); };
  captured = &kernel;
  running = -1;
  try {
    for (unsigned b = 0; b < blocks; ++b) {
      blockIdx = {descending ? blocks - 1 - b : b, 0, 0};
      if (__start_xpnet_shared) std::memset(__start_xpnet_shared, 0xff, __stop_xpnet_shared - __start_xpnet_shared);
      if (cooperative) run_block((int)threads, descending);
      for (unsigned t = 0; t < threads && !cooperative; ++t) {
        threadIdx = {descending ? threads - 1 - t : t, 0, 0};
        kernel();
      }
    }
  } catch (const Failure& f) {
    running = -1;
    std::snprintf(said, sizeof said, "%s, in block %u of %u threads", f.what, blockIdx.x, threads);
    return said;
  }
  return nullptr;
}

enum How { DOWN, UP, XOR, LANE };

// What another lane of the warp holds; one's own where there is no such lane among `width` of them.
template <class V>
V shuffled(unsigned mask, V value, How how, int line, int by, int width = 32) {
  static_assert(sizeof(V) <= 16);
  if (mask != 0xffffffffu) fail("a shuffle is of the whole warp");
  if (running < 0) fail("a barrier in a kernel that was said to have none");
  const int me = running, start = me / width * width, lane = me - start;
  std::memcpy(slots[me], &value, sizeof(V));
  wait(AT_SHUFFLE, line);
  const int from = how == DOWN ? lane + by : how == UP ? lane - by : how == XOR ? lane ^ by : by & (width - 1);
  if (from >= 0 && from < width) std::memcpy(&value, slots[start + from], sizeof(V));
  wait(AT_SHUFFLE, -line);
  return value;
}

inline unsigned ballot(unsigned mask, bool vote, int line) {
  unsigned all = 0;
  for (int lane = 0, mine = vote; lane < 32; ++lane) all |= (unsigned)shuffled(mask, mine, LANE, line, lane) << lane;
  return all;
}

template <class To, class From>
To bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

}  // namespace host

#define __syncthreads() host::wait(host::AT_BLOCK, __LINE__)
#define __syncwarp(...) host::wait(host::AT_WARP, __LINE__)
#define __shfl_down_sync(mask, value, ...) host::shuffled(mask, value, host::DOWN, __LINE__, __VA_ARGS__)
#define __shfl_up_sync(mask, value, ...) host::shuffled(mask, value, host::UP, __LINE__, __VA_ARGS__)
#define __shfl_xor_sync(mask, value, ...) host::shuffled(mask, value, host::XOR, __LINE__, __VA_ARGS__)
#define __shfl_sync(mask, value, ...) host::shuffled(mask, value, host::LANE, __LINE__, __VA_ARGS__)
#define __ballot_sync(mask, vote) host::ballot(mask, vote, __LINE__)
#define __any_sync(mask, vote) (host::ballot(mask, vote, __LINE__) != 0u)
#define __all_sync(mask, vote) (host::ballot(mask, vote, __LINE__) == 0xffffffffu)
#include "device_functions.h"
