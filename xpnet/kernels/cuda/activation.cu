// Activations, with the bias before them, and their gradients, with the bias's. PACK numbers are moved at a time where
// addresses and row lengths allow. Sums are made in a fixed order: within a thread, within a block, then over the blocks.

enum Kind { NONE, RELU, LEAKY_RELU, SIGMOID, TANH, GELU };

// e / (1 + e), e = exp(x), keeps the digits of what is near 0; from 80 on it is 1.
__device__ __forceinline__ A sigmoid(A x) {
  const A e = exp(x > 80 ? (A)80 : x);
  return e / ((A)1 + e);
}

__device__ __forceinline__ A gelu_gate(A x) { return sigmoid((A)1.5957691216057308 * (x + (A)0.044715 * (x * x * x))); }

// y = act(x); NaN stays NaN.
__device__ __forceinline__ A activated(int kind, A x, A slope) {
  switch (kind) {
    case RELU: return x > 0 || x != x ? x : (A)0;
    case LEAKY_RELU: return x > 0 ? x : slope * x;
    case SIGMOID: return sigmoid(x);
    case TANH: return tanh(x);
    case GELU: return (x < -30 ? (A)-30 : x) * gelu_gate(x);  // 0 of minus infinity
  }
  return x;
}

// dx for dy, where kept is y, but x of GELU, and either of LEAKY_RELU.
__device__ __forceinline__ A passed_back(int kind, A dy, A kept, A slope) {
  switch (kind) {
    case RELU: return kept > 0 ? dy : (A)0;
    case LEAKY_RELU: return kept > 0 ? dy : slope * dy;
    case SIGMOID: return dy * (kept * ((A)1 - kept));
    case TANH: return dy * ((A)1 - kept * kept);
    case GELU: {
      const A x = kept < -30 ? (A)-30 : kept > 30 ? (A)30 : kept, gate = gelu_gate(x);  // beyond, the slope is 0 or 1
      const A rise = (A)1.5957691216057308 * ((A)1 + (A)(3 * 0.044715) * (x * x));
      return dy * (gate + x * gate * ((A)1 - gate) * rise);
    }
  }
  return dy;
}

template <int V>
__device__ __forceinline__ void activate_some(const T* x, const T* b, T* y, int kind, A slope) {
  A some[V], bias[V] = {};
  fetch(x, true, some);
  if (b) fetch(b, true, bias);
#pragma unroll
  for (int v = 0; v < V; ++v) some[v] = activated(kind, b ? some[v] + bias[v] : some[v], slope);
  put(y, true, some);
}

template <int V>
__device__ __forceinline__ void pass_some_back(const T* dy, const T* kept, T* dx, int kind, A slope) {
  A some[V], state[V];
  fetch(dy, true, some);
  fetch(kept, true, state);
#pragma unroll
  for (int v = 0; v < V; ++v) some[v] = passed_back(kind, some[v], state[v], slope);
  put(dx, true, some);
}

// The sum of V numbers a thread over the threads of a block with the same lane of `width`, in the first `width` threads.
template <int V>
__device__ __forceinline__ void sum_over_lanes(A (&sum)[V], int width) {
  __shared__ A part[V][256];
  const int me = (int)threadIdx.x;
#pragma unroll
  for (int v = 0; v < V; ++v) part[v][me] = sum[v];
  for (int half = 128; half >= width; half /= 2) {
    __syncthreads();
    if (me < half)
#pragma unroll
      for (int v = 0; v < V; ++v) part[v][me] += part[v][me + half];
  }
#pragma unroll
  for (int v = 0; v < V; ++v) sum[v] = part[v][me];
}

template <int V, int kind>
__device__ __forceinline__ void back_and_sum(const T* __restrict__ dy, const T* __restrict__ kept, T* __restrict__ dx,
                                             A* __restrict__ partial, T* __restrict__ db, Index rows, Index cols,
                                             Index chunk, unsigned tiles, int width, A slope) {
  const int lane = (int)threadIdx.x % width, step = 256 / width;
  const Index part = blockIdx.x / tiles, col = ((Index)(blockIdx.x % tiles) * width + lane) * V;
  const Index first = part * chunk, stop = first + chunk < rows ? first + chunk : rows;
  const bool packed = aligned(dy) && (kind == NONE || aligned(kept)) && (!dx || aligned(dx));
  A sum[V] = {};
  if (col < cols)
#pragma unroll 2
    for (Index row = first + (int)threadIdx.x / width; row < stop; row += step) {
      const Index at = row * cols + col;
      A some[V], state[V] = {};
      fetch(dy + at, packed, some);
      if (kind != NONE) fetch(kept + at, packed, state);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        some[v] = passed_back(kind, some[v], state[v], slope);
        sum[v] += some[v];
      }
      if (dx) put(dx + at, packed, some);
    }
  sum_over_lanes<V>(sum, width);
  if ((int)threadIdx.x < width && col < cols)
#pragma unroll
    for (int v = 0; v < V; ++v) {
      if (partial) partial[part * cols + col + v] = sum[v];
      else store(db + col + v, sum[v]);
    }
}

#define WITH(kind)                                                                                       \
  case kind:                                                                                             \
    if (pack > 1) back_and_sum<PACK, kind>(dy, kept, dx, partial, db, rows, cols, chunk, tiles, width, slope); \
    else back_and_sum<1, kind>(dy, kept, dx, partial, db, rows, cols, chunk, tiles, width, slope);        \
    break;

// y[i] = act(x[i] + b[i % cols]); b may be null, and y may be x.
extern "C" __global__ void activate(const T* x, const T* __restrict__ b, T* y, long long n_, long long cols_,
                                    long long kind, double slope) {
  const Index n = n_, cols = cols_;
  const bool packed = aligned(x) && aligned(y) && (!b || (aligned(b) && cols % PACK == 0));
  const Index first = packed ? n / PACK * PACK : 0;
  FOR_EACH(i, first / PACK) {
    const Index at = i * PACK;
    activate_some<PACK>(x + at, b ? b + at % cols : b, y + at, kind, slope);
  }
  FOR_EACH(i, n - first) {
    const Index at = first + i;
    activate_some<1>(x + at, b ? b + at % cols : b, y + at, kind, slope);
  }
}

// dx = what passes back of dy; dx may be dy.
extern "C" __global__ void activate_back(const T* dy, const T* __restrict__ kept, T* dx, long long n_, long long kind,
                                         double slope) {
  const Index n = n_, first = aligned(dy) && aligned(kept) && aligned(dx) ? n / PACK * PACK : 0;
  FOR_EACH(i, first / PACK) pass_some_back<PACK>(dy + i * PACK, kept + i * PACK, dx + i * PACK, kind, slope);
  FOR_EACH(i, n - first) pass_some_back<1>(dy + first + i, kept + first + i, dx + first + i, kind, slope);
}

// dx = what passes back of dy (rows, cols), and its sums over the rows: over chunks of them in partial (chunks, cols), or
// where partial is null, over all of them in db (cols,). dx may be null. A block of 256 threads for each chunk of rows and
// each of so many tiles of columns; `width` of its threads, a power of two, lie along a row and take pack numbers each,
// which divides cols and is 1 or PACK.
extern "C" __global__ void __launch_bounds__(256) activate_back_sum(
    const T* __restrict__ dy, const T* __restrict__ kept, T* __restrict__ dx, A* __restrict__ partial, T* __restrict__ db,
    long long rows, long long cols, long long chunk, long long tiles, long long width, long long pack, long long kind,
    double slope) {
  switch (kind) { WITH(NONE) WITH(RELU) WITH(LEAKY_RELU) WITH(SIGMOID) WITH(TANH) }
}

// db[col] = the sum of partial (chunks, cols) over the chunks. A block of 256 threads for 8 columns.
extern "C" __global__ void __launch_bounds__(256) sum_chunks(const A* __restrict__ partial, T* __restrict__ db,
                                                             long long chunks_, long long cols_) {
  const Index chunks = chunks_, cols = cols_, col = (Index)blockIdx.x * 8 + (int)threadIdx.x % 8;
  A sum[1] = {};
  if (col < cols)
#pragma unroll 4
    for (Index part = (int)threadIdx.x / 8; part < chunks; part += 32) sum[0] += partial[part * cols + col];
  sum_over_lanes<1>(sum, 8);
  if ((int)threadIdx.x < 8 && col < cols) store(db + col, sum[0]);
}
