// CUDA's language on a host: enough of it to run the kernels' own text, block by block, one thread at a time.
//
// The threads of a block are fibers. A fiber runs until it ends or meets a barrier or a warp shuffle, then the next one
// runs; a barrier opens when all living threads of the block (of the warp, for a shuffle) stand before the same line.
// Threads run in ascending or descending order: a kernel that lacks a barrier gives different answers.
#pragma once
#include <ucontext.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __noinline__
#define __shared__ static
#define __launch_bounds__(...)

struct Place {
  unsigned x, y, z;
};
static Place threadIdx, blockIdx, blockDim, gridDim;

namespace host {

constexpr size_t STACK = 64 << 10;
enum State { READY, AT_BLOCK, AT_WARP, DONE };

struct Fiber {
  ucontext_t context;
  State state;
  int line;
};

static std::vector<Fiber> fibers;
static std::vector<char> stacks;
static ucontext_t scheduler;
static int running = -1;
static std::function<void()> body;
static unsigned char slots[1024][16];

inline void fail(const char* what) {
  std::fprintf(stderr, "emulator: %s, in block %u\n", what, blockIdx.x);
  std::abort();
}

inline void wait(State state, int line) {
  if (running < 0) fail("a barrier in a kernel that was said to have none");
  fibers[running].state = state;
  fibers[running].line = line;
  swapcontext(&fibers[running].context, &scheduler);
}

inline void enter() {
  body();
  fibers[running].state = DONE;
  swapcontext(&fibers[running].context, &scheduler);
}

// Open the barriers, of one kind, at which all living threads of fibers[first .. stop) stand.
inline bool open(State kind, int first, int stop) {
  int line = -1;
  for (int t = first; t < stop; ++t) {
    if (fibers[t].state == DONE) continue;
    if (fibers[t].state != kind) return false;
    if (line >= 0 && fibers[t].line != line) fail("threads stand before different barriers");
    line = fibers[t].line;
  }
  if (line < 0) return false;
  for (int t = first; t < stop; ++t)
    if (fibers[t].state != DONE) fibers[t].state = READY;
  return true;
}

inline void run_block(int threads, bool descending) {
  if ((int)fibers.size() < threads) fibers.resize(threads);
  if (stacks.size() < STACK * threads) stacks.resize(STACK * threads);
  for (int t = 0; t < threads; ++t) {
    Fiber& f = fibers[t];
    f.state = READY;
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = stacks.data() + STACK * t;
    f.context.uc_stack.ss_size = STACK;
    f.context.uc_link = nullptr;
    makecontext(&f.context, enter, 0);
  }
  for (;;) {
    bool ran = false;
    for (int k = 0; k < threads; ++k) {
      const int t = descending ? threads - 1 - k : k;
      if (fibers[t].state != READY) continue;
      running = t;
      threadIdx = {(unsigned)t, 0, 0};
      swapcontext(&scheduler, &fibers[t].context);
      ran = true;
    }
    running = -1;
    bool opened = false, alive = false;
    for (int w = 0; w < threads; w += 32) opened |= open(AT_WARP, w, w + 32 < threads ? w + 32 : threads);
    opened |= open(AT_BLOCK, 0, threads);
    for (int t = 0; t < threads; ++t) alive |= fibers[t].state != DONE;
    if (!alive) return;
    if (!opened && !ran) fail("threads wait for each other for ever");
  }
}

template <class F>
void launch(unsigned blocks, unsigned threads, bool cooperative, bool descending, F kernel) {
  if (threads > 1024) fail("more than 1024 threads in a block");
  blockDim = {threads, 1, 1};
  gridDim = {blocks, 1, 1};
  body = kernel;
  for (unsigned b = 0; b < blocks; ++b) {
    blockIdx = {descending ? blocks - 1 - b : b, 0, 0};
    if (cooperative) {
      run_block((int)threads, descending);
      continue;
    }
    for (unsigned t = 0; t < threads; ++t) {
      threadIdx = {descending ? threads - 1 - t : t, 0, 0};
      kernel();
    }
  }
}

template <class V>
V shuffled(V value, int from_lane, int line) {
  static_assert(sizeof(V) <= 16);
  const int me = running, warp = me / 32 * 32;
  std::memcpy(slots[me], &value, sizeof(V));
  wait(AT_WARP, line);
  const int from = warp + from_lane;
  if (from_lane >= 0 && from_lane < 32 && from < (int)blockDim.x) std::memcpy(&value, slots[from], sizeof(V));
  wait(AT_WARP, -line);
  threadIdx = {(unsigned)me, 0, 0};
  return value;
}

}  // namespace host

#define __syncthreads() (host::wait(host::AT_BLOCK, __LINE__), (void)(threadIdx.x = (unsigned)host::running))
#define __syncwarp() (host::wait(host::AT_WARP, __LINE__), (void)(threadIdx.x = (unsigned)host::running))
#define __shfl_down_sync(mask, value, by) host::shuffled(value, (int)threadIdx.x % 32 + (int)(by), __LINE__)
#define __shfl_up_sync(mask, value, by) host::shuffled(value, (int)threadIdx.x % 32 - (int)(by), __LINE__)
#define __shfl_xor_sync(mask, value, by) host::shuffled(value, (int)threadIdx.x % 32 ^ (int)(by), __LINE__)
#define __shfl_sync(mask, value, lane) host::shuffled(value, (int)(lane), __LINE__)
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float __ldg(const float* at) { return *at; }
