// Kernels that check the emulator: what threads do together, done right and done wrong.

// The lane's number moved between the 32 lanes of each warp, and within 8 lanes; and which lanes are multiples of 3.
extern "C" __global__ void warps(long long* down, long long* cross, long long* eighth, long long* ballot) {
  const int me = (int)threadIdx.x;
  down[me] = __shfl_down_sync(0xffffffffu, me, 5);
  cross[me] = __shfl_xor_sync(0xffffffffu, me, 9);
  eighth[me] = __shfl_down_sync(0xffffffffu, me, 3, 8);
  ballot[me] = __ballot_sync(0xffffffffu, me % 32 % 3 == 0);
}

extern "C" __global__ void sums(const T* x, T* y) {
  const Index at = (Index)blockIdx.x * (Index)blockDim.x + (Index)threadIdx.x;
  const A first = block_sum(load(x + at)), second = block_sum(first);
  store(y + at, first + second * (A)0);
}

// Each thread takes its left neighbour's number, without the barrier that this needs.
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

// A barrier that some threads reach, while others wait for them in a shuffle.
extern "C" __global__ void waits_for_ever(T* y) {
  if (threadIdx.x % 2) __syncthreads();
  const int value = __shfl_xor_sync(0xffffffffu, 1, 1);
  store(y + threadIdx.x, (A)value);
}

// A thread leaves before a shuffle of its warp.
extern "C" __global__ void leaves_early(T* y) {
  if (threadIdx.x == 31) return;
  store(y + threadIdx.x, __shfl_down_sync(0xffffffffu, (A)threadIdx.x, 1));
}

extern "C" __global__ void half_a_warp(T* y) {
  store(y + threadIdx.x, (A)__shfl_xor_sync(0x0000ffffu, (int)threadIdx.x, 1));
}

extern "C" __global__ void goes_outside(T* y) { store(y + threadIdx.x + 1, (A)1); }

// Adds to shared memory that nothing has set to 0.
extern "C" __global__ void forgets_to_begin(T* y) {
  __shared__ A sum[32];
  sum[threadIdx.x] += (A)1;
  store(y + threadIdx.x, sum[threadIdx.x]);
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
