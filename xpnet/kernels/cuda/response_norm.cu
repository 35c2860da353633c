// Local response normalization of images (N, H, W, C): y = x / d^beta, d = k + rate * (sum of x^2 over the neighbours),
// and back:
//
//   dx = dy / d^beta - 2 * rate * beta * x * (sum of dy * x / d^(beta + 1) over all whose neighbour x is)
//
// What is summed is called spread. Sums of squares are made anew on the way back: memory is what costs.

#define THREADS 256
#define EACH 4               // numbers that a thread makes
#define TILE (THREADS * EACH)
#define REACH 16             // the farthest neighbour before and after

__device__ __forceinline__ A power(A d, A beta) {  // d^-beta
  if (beta != (A)0.75) return pow(d, -beta);
  const A root = sqrt(d);
  return 1 / (root * sqrt(root));  // AlexNet's
}

// d of a number of channel `channel` that lies, between its neighbours, at `here`.
__device__ __forceinline__ A strength(const A* here, int channel, int c, int before, int after, A rate, A k) {
  A sum = 0;
  for (int i = channel < before ? -channel : -before; i <= after && channel + i < c; ++i) sum += here[i] * here[i];
  return k + rate * sum;
}

// Across channels: a block takes TILE numbers in memory's order, of whichever pixels, and those before and after.
extern "C" __global__ void __launch_bounds__(THREADS) lrn_across(const T* __restrict__ x, T* __restrict__ y,
                                                                 long long n_, long long c_, long long before_,
                                                                 long long after_, double rate, double beta, double k) {
  __shared__ A values[TILE + 2 * REACH];
  const Index n = n_, start = (Index)blockIdx.x * TILE;
  const int c = c_, before = before_, after = after_;
  for (int i = threadIdx.x; i < TILE + before + after; i += THREADS) {
    const Index at = start - before + i;
    values[i] = 0 <= at && at < n ? load(x + at) : (A)0;
  }
  __syncthreads();
  int channel = (start + (Index)threadIdx.x) % c;
#pragma unroll
  for (int place = threadIdx.x; place < TILE; place += THREADS) {
    if (start + place < n) {
      const A* const here = values + before + place;
      store(y + start + place, *here * power(strength(here, channel, c, before, after, rate, k), beta));
    }
    channel = (channel + THREADS) % c;
  }
}

extern "C" __global__ void __launch_bounds__(THREADS) lrn_across_back(const T* __restrict__ x, const T* __restrict__ dy,
                                                                      T* __restrict__ dx, long long n_, long long c_,
                                                                      long long before_, long long after_, double rate,
                                                                      double beta, double k) {
  __shared__ A values[TILE + 4 * REACH], spread[TILE + 2 * REACH];
  const Index n = n_, start = (Index)blockIdx.x * TILE;
  const int c = c_, before = before_, after = after_, both = before + after;
  for (int i = threadIdx.x; i < TILE + 2 * both; i += THREADS) {
    const Index at = start - both + i;
    values[i] = 0 <= at && at < n ? load(x + at) : (A)0;
  }
  __syncthreads();
  // spread[after + place] belongs to number start + place; of the numbers around the tile the first threads take care
  const int first = (start + (Index)threadIdx.x) % c;
  A direct[EACH];
  int channel = first;
#pragma unroll
  for (int r = 0; r < EACH; ++r) {
    const int place = (int)threadIdx.x + r * THREADS;
    direct[r] = 0;
    if (start + place < n) {
      const A* const here = values + both + place;
      const A d = strength(here, channel, c, before, after, rate, k);
      direct[r] = load(dy + start + place) * power(d, beta);
      spread[after + place] = direct[r] * *here / d;
    }
    channel = (channel + THREADS) % c;
  }
  if ((int)threadIdx.x < both) {
    const int place = (int)threadIdx.x < after ? (int)threadIdx.x - after : (int)threadIdx.x - after + TILE;
    const Index at = start + place;
    if (0 <= at && at < n) {
      const A* const here = values + both + place;
      const A d = strength(here, at % c, c, before, after, rate, k);
      spread[after + place] = load(dy + at) * power(d, beta) * *here / d;
    }
  }
  __syncthreads();
  channel = first;
#pragma unroll
  for (int r = 0; r < EACH; ++r) {
    const int place = (int)threadIdx.x + r * THREADS;
    if (start + place < n) {
      A sum = 0;
      const A* const here = spread + after + place;
      for (int i = channel < after ? -channel : -after; i <= before && channel + i < c; ++i) sum += here[i];
      store(dx + start + place, direct[r] - 2 * (A)rate * (A)beta * values[both + place] * sum);
    }
    channel = (channel + THREADS) % c;
  }
}

// Within a channel: a thread a number, whose neighbours are its channel's in the pixels around.
struct Square {  // the pixels about pixel (row, col), from `before` before to `after` after it
  Index top, bottom, left, right, image;
};

__device__ __forceinline__ Square square(Index at, Index h, Index w, Index c, Index before, Index after) {
  const Index pixel = at / c, col = pixel % w, row = pixel / w % h;
  return {row < before ? 0 : row - before, row + after < h ? row + after : h - 1, col < before ? 0 : col - before,
          col + after < w ? col + after : w - 1, at - (row * w + col) * c};
}

#define OVER(s, other)                                                                                           \
  for (Index i_ = s.top; i_ <= s.bottom; ++i_)                                                                   \
    for (Index other = s.image + (i_ * w + s.left) * c, last_ = other + (s.right - s.left) * c; other <= last_;  \
         other += c)

extern "C" __global__ void lrn_within(const T* __restrict__ x, T* __restrict__ y, long long n, long long h_,
                                      long long w_, long long c_, long long before, long long after, double rate,
                                      double beta, double k) {
  const Index h = h_, w = w_, c = c_;
  FOR_EACH(at, (Index)n * h * w * c) {
    const Square s = square(at, h, w, c, before, after);
    A sum = 0;
    OVER(s, other) sum += load(x + other) * load(x + other);
    store(y + at, load(x + at) * power((A)k + (A)rate * sum, beta));
  }
}

// The first half of the way back: direct = dy / d^beta, spread = direct * x / d.
extern "C" __global__ void lrn_within_spread(const T* __restrict__ x, const T* __restrict__ dy, A* __restrict__ direct,
                                             A* __restrict__ spread, long long n, long long h_, long long w_,
                                             long long c_, long long before, long long after, double rate, double beta,
                                             double k) {
  const Index h = h_, w = w_, c = c_;
  FOR_EACH(at, (Index)n * h * w * c) {
    const Square s = square(at, h, w, c, before, after);
    A sum = 0;
    OVER(s, other) sum += load(x + other) * load(x + other);
    const A d = (A)k + (A)rate * sum, straight = load(dy + at) * power(d, beta);
    direct[at] = straight;
    spread[at] = straight * load(x + at) / d;
  }
}

extern "C" __global__ void lrn_within_back(const T* __restrict__ x, const A* __restrict__ direct,
                                           const A* __restrict__ spread, T* __restrict__ dx, long long n, long long h_,
                                           long long w_, long long c_, long long before, long long after, double rate,
                                           double beta) {
  const Index h = h_, w = w_, c = c_;
  FOR_EACH(at, (Index)n * h * w * c) {
    const Square s = square(at, h, w, c, after, before);  // those whose neighbour this number is
    A sum = 0;
    OVER(s, other) sum += spread[other];
    store(dx + at, direct[at] - 2 * (A)rate * (A)beta * load(x + at) * sum);
  }
}
