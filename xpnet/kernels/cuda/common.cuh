// What every family of kernels starts with: the numbers' type, the counters' type, and the way through the elements.
//
//   T       an element in memory: float, double, or half (XPNET_FLOAT, XPNET_DOUBLE or XPNET_HALF is defined)
//   A       what is computed with: double for double, else float
//   Index   a counter: int, or long long where an array has 2^30 elements or more (XPNET_WIDE)
//
// Kernels are extern "C"; their parameters are pointers, long long, double and structs by value, so that every caller packs
// them alike.
// This text is put before each family, by NVRTC on a device and by a host compiler in the tests.

#ifdef __CUDACC_RTC__
#define INFINITY __int_as_float(0x7f800000)
#endif

#ifdef XPNET_WIDE
typedef long long Index;
#else
typedef int Index;
#endif

#ifdef XPNET_HOST
typedef _Float16 Half;
#else
struct Half {
  unsigned short bits;
};
#endif

__device__ __forceinline__ float load(const float* at) { return *at; }
__device__ __forceinline__ double load(const double* at) { return *at; }
__device__ __forceinline__ void store(float* at, float value) { *at = value; }
__device__ __forceinline__ void store(double* at, double value) { *at = value; }

#ifdef XPNET_HOST
inline float load(const Half* at) { return (float)*at; }
inline void store(Half* at, float value) { *at = (Half)value; }
#else
__device__ __forceinline__ float load(const Half* at) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(at->bits));
  return value;
}
__device__ __forceinline__ void store(Half* at, float value) {
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(at->bits) : "f"(value));
}
#endif

#if defined(XPNET_DOUBLE)
typedef double T;
typedef double A;
#elif defined(XPNET_HALF)
typedef Half T;
typedef float A;
#else
typedef float T;
typedef float A;
#endif

// PACK elements lie in 16 bytes, which one instruction moves from or to an address that is a multiple of 16.
constexpr int PACK = 16 / sizeof(T);
struct alignas(16) Pack {
  T at[PACK];
};
__device__ __forceinline__ bool aligned(const void* at) { return (unsigned long long)at % 16 == 0; }

// The 16 bytes at an address as a pack. A device refuses another address; a host would not, so that the tests do it.
__device__ __forceinline__ Pack& pack_at(const T* at) {
#ifdef XPNET_HOST
  if (!aligned(at)) host::fail("a pack lies at an address that 16 does not divide");
#endif
  return *(Pack*)at;
}

// V numbers that lie side by side, from memory or to it: by one instruction where packed, for which V must be PACK.
template <int V>
__device__ __forceinline__ void fetch(const T* from, bool packed, A (&to)[V]) {
  if (V == PACK && packed) {
    const Pack some = pack_at(from);
#pragma unroll
    for (int v = 0; v < V; ++v) to[v] = load(some.at + v);
  } else {
#pragma unroll
    for (int v = 0; v < V; ++v) to[v] = load(from + v);
  }
}
template <int V>
__device__ __forceinline__ void put(T* to, bool packed, const A (&from)[V]) {
  if (V == PACK && packed) {
    Pack some;
#pragma unroll
    for (int v = 0; v < V; ++v) store(some.at + v, from[v]);
    pack_at(to) = some;
  } else {
#pragma unroll
    for (int v = 0; v < V; ++v) store(to + v, from[v]);
  }
}

// Each thread takes elements i = its own number, then as many further on as there are threads in the grid.
#define FOR_EACH(i, n)                                                                                                 \
  for (Index i = (Index)blockIdx.x * (Index)blockDim.x + (Index)threadIdx.x, step_ = (Index)gridDim.x * (Index)blockDim.x; \
       i < (n); i += step_)

// The sum of one number a thread over a block of at most 1024 threads, a multiple of 32; every thread gets it. The order of
// the sum is fixed. All threads of the block must call it.
__device__ __forceinline__ A block_sum(A value) {
  __shared__ A part[33];
  for (int away = 16; away > 0; away /= 2) value += __shfl_down_sync(0xffffffffu, value, away);
  const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, warps = (int)blockDim.x / 32;
  if (lane == 0) part[warp] = value;
  __syncthreads();
  if (warp == 0) {
    value = lane < warps ? part[lane] : (A)0;
    for (int away = 16; away > 0; away /= 2) value += __shfl_down_sync(0xffffffffu, value, away);
    if (lane == 0) part[32] = value;
  }
  __syncthreads();  // the next sum meets its own first barrier before part[32] is written again
  return part[32];
}
