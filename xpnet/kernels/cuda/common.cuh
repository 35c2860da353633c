// What every family of kernels starts with: the numbers' type, the counters' type, and the way through the elements.
//
//   T       an element in memory: float, double, or half (XPNET_FLOAT, XPNET_DOUBLE or XPNET_HALF is defined)
//   A       what is computed with: double for double, else float
//   Index   a counter: int, or long long where an array has 2^31 elements or more (XPNET_WIDE)
//
// Kernels are extern "C"; their parameters are pointers, long long and double only, so that every caller packs them alike.
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
  __syncthreads();
  value = part[32];
  __syncthreads();  // part may be written again at once
  return value;
}
