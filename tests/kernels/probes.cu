// Kernels that try the emulator: what threads do together, done right and done wrong.

// y[t] = the lane's number, moved between the 32 lanes of each warp in four ways, and within 8 lanes.
extern "C" __global__ void shuffles(long long* down, long long* up, long long* cross, long long* third, long long* eighth) {
  const int me = (int)threadIdx.x;
  down[me] = __shfl_down_sync(0xffffffffu, me, 5);
  up[me] = __shfl_up_sync(0xffffffffu, me, 5);
  cross[me] = __shfl_xor_sync(0xffffffffu, me, 9);
  third[me] = __shfl_sync(0xffffffffu, me, 3);
  eighth[me] = __shfl_down_sync(0xffffffffu, me, 3, 8);
}

extern "C" __global__ void votes(const long long* x, long long* ballot, long long* any, long long* all) {
  const int me = (int)threadIdx.x;
  ballot[me] = __ballot_sync(0xffffffffu, x[me] > 0);
  any[me] = __any_sync(0xffffffffu, x[me] > 0);
  all[me] = __all_sync(0xffffffffu, x[me] > 0);
}

extern "C" __global__ void sums(const T* x, T* y) {
  const Index at = (Index)blockIdx.x * (Index)blockDim.x + (Index)threadIdx.x;
  const A first = block_sum(load(x + at)), second = block_sum(first);
  store(y + at, first + second * (A)0);
}

extern "C" __global__ void converts(const T* x, T* y, long long n) {
  FOR_EACH(i, (Index)n) store(y + i, load(x + i));
}

// Each thread takes its left neighbour's number, after a barrier and without one.
extern "C" __global__ void neighbours(const T* x, T* y) {
  __shared__ A part[1024];
  part[threadIdx.x] = load(x + threadIdx.x);
  __syncthreads();
  store(y + threadIdx.x, part[(threadIdx.x + blockDim.x - 1) % blockDim.x]);
}

extern "C" __global__ void neighbours_in_haste(const T* x, T* y) {
  __shared__ A part[1024];
  part[threadIdx.x] = load(x + threadIdx.x);
  if (x == y) __syncthreads();
  store(y + threadIdx.x, part[(threadIdx.x + blockDim.x - 1) % blockDim.x]);
}

// The second half of a block waits at another barrier than the first.
extern "C" __global__ void parts_ways(T* y) {
  if (threadIdx.x < blockDim.x / 2) {
    store(y + threadIdx.x, (A)1);
    __syncthreads();
  } else {
    __syncthreads();
  }
}

// A barrier that warp 0 reaches, while warp 1 waits for a thread that is at the barrier.
extern "C" __global__ void waits_for_ever(T* y) {
  if (threadIdx.x % 2) __syncthreads();
  const int value = __shfl_xor_sync(0xffffffffu, 1, 1);
  store(y + threadIdx.x, (A)value);
}

// Threads that have nothing to do leave before a shuffle of their warp.
extern "C" __global__ void leaves_early(const T* x, T* y, long long n) {
  if (threadIdx.x >= n) return;
  A value = load(x + threadIdx.x);
  for (int away = 16; away > 0; away /= 2) value += __shfl_down_sync(0xffffffffu, value, away);
  store(y + threadIdx.x, value);
}

// Threads that have ended count as having come to a barrier.
extern "C" __global__ void leaves_before_a_barrier(T* y) {
  if (threadIdx.x >= 40) return;
  __syncthreads();
  store(y + threadIdx.x, (A)threadIdx.x);
}

extern "C" __global__ void half_a_warp(T* y) {
  store(y + threadIdx.x, (A)__shfl_xor_sync(0x0000ffffu, (int)threadIdx.x, 1));
}

// Adds to shared memory that nobody has set to 0.
extern "C" __global__ void forgets_to_begin(const T* x, T* y) {
  __shared__ A sum[32];
  sum[threadIdx.x] += load(x + threadIdx.x);
  store(y + blockIdx.x * blockDim.x + threadIdx.x, sum[threadIdx.x]);
}

// A barrier within a function and a macro, which the kernel only names.
template <int AWAY>
__device__ __forceinline__ A exchanged(A value) {
  __shared__ A part[64];
  part[threadIdx.x] = value;
  __syncthreads();
  value = part[(threadIdx.x + AWAY) % blockDim.x];
  __syncthreads();
  return value;
}
#define TWICE(value) exchanged<1>(exchanged<2>(value))

extern "C" __global__ void by_a_function(const T* x, T* y) {
  store(y + threadIdx.x, TWICE(load(x + threadIdx.x)));
}

struct Pair {
  float* at;
  long long n;
  float by;
};

extern "C" __global__ void by_value(Pair pair) {
  FOR_EACH(i, (Index)pair.n) pair.at[i] *= pair.by;
}

// 16 bytes at once, and CUDA's functions of bits.
extern "C" __global__ void wide_moves(const float* x, float* y, long long n) {
  FOR_EACH(i, (Index)n / 4) {
    float4 four = __ldg((const float4*)x + i);
    four.x = max(four.x, 1);
    four.w = __int_as_float(__float_as_int(four.w) ^ 0x80000000);
    ((float4*)y)[i] = four;
  }
}
