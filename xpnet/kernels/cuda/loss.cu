// Softmax and cross-entropy of logits (N, K) and labels (N,), and their gradient.
//
// Of each row two numbers are kept for the way back, top and 1 / total: softmax = exp(z - top) / total, top the largest
// score of the row and total the sum of exp(z - top). A label that is no class makes them, and the loss, NaN.

// The largest of one number a thread over a block, as block_sum sums. NaN is passed over: it makes the total NaN.
__device__ __forceinline__ A larger(A a, A b) { return b > a ? b : a; }

__device__ __forceinline__ A block_max(A value) {
  __shared__ A part[33];
  for (int away = 16; away > 0; away /= 2) value = larger(value, __shfl_down_sync(0xffffffffu, value, away));
  const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, warps = (int)blockDim.x / 32;
  if (lane == 0) part[warp] = value;
  __syncthreads();
  if (warp == 0) {
    value = part[lane < warps ? lane : 0];
    for (int away = 16; away > 0; away /= 2) value = larger(value, __shfl_down_sync(0xffffffffu, value, away));
    if (lane == 0) part[32] = value;
  }
  __syncthreads();
  value = part[32];
  __syncthreads();  // part may be written again at once
  return value;
}

// The loss of a row; notes what its gradient needs.
__device__ __forceinline__ A loss_of(const T* z, long long label, Index k, A top, A total, A* kept) {
  if (label < 0 || label >= k) top = (A)INFINITY - (A)INFINITY;
  kept[0] = top;
  kept[1] = 1 / total;
  return top != top ? top : log(total) - (load(z + label) - top);
}

// A thread a row, for few classes. One block writes the mean itself, several write their sums.
extern "C" __global__ void cross_entropy_narrow(const T* __restrict__ logits, const long long* __restrict__ labels,
                                                A* __restrict__ kept, A* __restrict__ parts, T* __restrict__ loss,
                                                long long n, long long k_) {
  const Index k = k_;
  A sum = 0;
  FOR_EACH(row, n) {
    const T* const z = logits + row * k;
    A top = -(A)INFINITY, total = 0;
    for (Index j = 0; j < k; ++j) top = larger(top, load(z + j));
    for (Index j = 0; j < k; ++j) total += exp(load(z + j) - top);
    sum += loss_of(z, labels[row], k, top, total, kept + row * 2);
  }
  sum = block_sum(sum);
  if (threadIdx.x > 0) return;
  if (gridDim.x == 1)
    store(loss, sum / (A)n);
  else
    parts[blockIdx.x] = sum;
}

// A block a row, for many classes.
extern "C" __global__ void cross_entropy_wide(const T* __restrict__ logits, const long long* __restrict__ labels,
                                              A* __restrict__ kept, A* __restrict__ parts, long long k_) {
  const Index k = k_, row = blockIdx.x;
  const T* const z = logits + row * k;
  A top = -(A)INFINITY, total = 0;
  for (Index j = threadIdx.x; j < k; j += (Index)blockDim.x) top = larger(top, load(z + j));
  top = block_max(top);
  for (Index j = threadIdx.x; j < k; j += (Index)blockDim.x) total += exp(load(z + j) - top);
  total = block_sum(total);
  if (threadIdx.x == 0) parts[row] = loss_of(z, labels[row], k, top, total, kept + row * 2);
}

// loss = the sum of parts over n, by one block.
extern "C" __global__ void cross_entropy_mean(const A* __restrict__ parts, T* __restrict__ loss, long long count,
                                              long long n) {
  A sum = 0;
  for (Index i = threadIdx.x; i < count; i += (Index)blockDim.x) sum += parts[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) store(loss, sum / (A)n);
}

// dlogits = (softmax - one-hot) * dy / N; dy is read where it lies.
extern "C" __global__ void cross_entropy_back(const T* __restrict__ logits, const long long* __restrict__ labels,
                                              const A* __restrict__ kept, const T* __restrict__ dy,
                                              T* __restrict__ dlogits, long long n_, long long k_) {
  const Index n = n_, k = k_;
  const A each = load(dy) / (A)n;
  FOR_EACH(at, n * k) {
    const Index row = at / k;
    const A share = exp(load(logits + at) - kept[row * 2]) * kept[row * 2 + 1];
    store(dlogits + at, (share - (A)(labels[row] == at - row * k)) * each);
  }
}
