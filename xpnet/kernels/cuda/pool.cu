// Pooling of images (N, H, W, C), both ways. Windows of KH x KW pixels start at i*SH - PH, j*SW - PW. Each thread makes
// V neighbouring channels of one pixel: of the output on the way forward, of the input's gradient on the way back, so
// that nothing is added to by two. V is PACK where C is a multiple of it: where a pixel lies is then worked out once
// for a whole pack.

struct Windows {
  long long n, h, w, c, oh, ow, kh, kw, sh, sw, ph, pw, with_padding;
};

template <int V>
struct alignas(V * sizeof(T)) Cell {  // in memory: a number, or a pack
  T at[V];
};

template <int V>
struct Values {  // in registers
  A at[V];
};

template <int V>
__device__ __forceinline__ Values<V> load_values(const T* from) {
  const Cell<V> cell = *(const Cell<V>*)from;
  Values<V> values;
#pragma unroll
  for (int v = 0; v < V; ++v) values.at[v] = load(cell.at + v);
  return values;
}

template <int V>
__device__ __forceinline__ void store_values(T* to, const Values<V>& values) {
  Cell<V> cell;
#pragma unroll
  for (int v = 0; v < V; ++v) store(cell.at + v, values.at[v]);
  *(Cell<V>*)to = cell;
}

// The windows along one axis that touch pixel h: first .. last, both counted; none where last < first.
#define TOUCHING(first, last, h, k, s, p, out)                                  \
  const Index first = (h) + (p) < (k) ? 0 : ((h) + (p) - (k)) / (s) + 1;        \
  const Index last = ((h) + (p)) / (s) < (out) ? ((h) + (p)) / (s) : (out) - 1

// y[n,i,j,c] = max over p,q of x[n, i*SH - PH + p, j*SW - PW + q, c], -infinity outside; NaN wins.
template <int V>
__device__ __forceinline__ void max_pool_by(const T* __restrict__ x, T* __restrict__ y, const Windows& s) {
  const Index h = s.h, w = s.w, c = s.c, oh = s.oh, ow = s.ow, kh = s.kh, kw = s.kw;
  FOR_EACH(at, (Index)s.n * oh * ow * (c / V)) {
    const Index pixel = at / (c / V), channel = (at - pixel * (c / V)) * V, line = pixel / ow, image = line / oh;
    const Index top = (line - image * oh) * (Index)s.sh - (Index)s.ph;
    const Index left = (pixel - line * ow) * (Index)s.sw - (Index)s.pw;
    Values<V> best;
#pragma unroll
    for (int v = 0; v < V; ++v) best.at[v] = -(A)INFINITY;
    for (Index p = top < 0 ? -top : 0; p < kh && top + p < h; ++p)
      for (Index q = left < 0 ? -left : 0; q < kw && left + q < w; ++q) {
        const Values<V> value = load_values<V>(x + ((image * h + top + p) * w + left + q) * c + channel);
#pragma unroll
        for (int v = 0; v < V; ++v)
          if (value.at[v] > best.at[v] || value.at[v] != value.at[v]) best.at[v] = value.at[v];
      }
    store_values(y + at * V, best);
  }
}

extern "C" __global__ void max_pool(const T* __restrict__ x, T* __restrict__ y, Windows s) { max_pool_by<1>(x, y, s); }
extern "C" __global__ void max_pool_packed(const T* __restrict__ x, T* __restrict__ y, Windows s) {
  max_pool_by<PACK>(x, y, s);
}

// dx[n,h,w,c] = sum of dy over the windows in which this pixel is the first, in row-major order, to hold the maximum,
// or a NaN.
template <int V>
__device__ __forceinline__ void max_pool_back_by(const T* __restrict__ x, const T* __restrict__ y,
                                                 const T* __restrict__ dy, T* __restrict__ dx, const Windows& s) {
  const Index h = s.h, w = s.w, c = s.c, oh = s.oh, ow = s.ow, kh = s.kh, kw = s.kw;
  FOR_EACH(at, (Index)s.n * h * w * (c / V)) {
    const Index pixel = at / (c / V), channel = (at - pixel * (c / V)) * V, line = pixel / w, image = line / h;
    const Index row = line - image * h, col = pixel - line * w;
    const Values<V> mine = load_values<V>(x + at * V);
    Values<V> sum = {};
    TOUCHING(i0, i1, row, kh, (Index)s.sh, (Index)s.ph, oh);
    TOUCHING(j0, j1, col, kw, (Index)s.sw, (Index)s.pw, ow);
    for (Index i = i0; i <= i1; ++i)
      for (Index j = j0; j <= j1; ++j) {
        const Index window = ((image * oh + i) * ow + j) * c + channel;
        const Values<V> most = load_values<V>(y + window);
        int first = 0;  // a bit a channel: no earlier pixel of the window holds as much
#pragma unroll
        for (int v = 0; v < V; ++v) first |= (int)(most.at[v] == mine.at[v] || mine.at[v] != mine.at[v]) << v;
        const Index top = i * (Index)s.sh - (Index)s.ph, left = j * (Index)s.sw - (Index)s.pw;
        for (Index r = top < 0 ? 0 : top; first && r <= row; ++r)
          for (Index q = left < 0 ? 0 : left; first && (r < row ? q < left + kw && q < w : q < col); ++q) {
            const Values<V> other = load_values<V>(x + ((image * h + r) * w + q) * c + channel);
#pragma unroll
            for (int v = 0; v < V; ++v) first &= ~((int)(other.at[v] == most.at[v] || other.at[v] != other.at[v]) << v);
          }
        if (!first) continue;
        const Values<V> slope = load_values<V>(dy + window);
#pragma unroll
        for (int v = 0; v < V; ++v)
          if (first >> v & 1) sum.at[v] += slope.at[v];
      }
    store_values(dx + at * V, sum);
  }
}

extern "C" __global__ void max_pool_back(const T* __restrict__ x, const T* __restrict__ y, const T* __restrict__ dy,
                                         T* __restrict__ dx, Windows s) {
  max_pool_back_by<1>(x, y, dy, dx, s);
}
extern "C" __global__ void max_pool_back_packed(const T* __restrict__ x, const T* __restrict__ y,
                                                const T* __restrict__ dy, T* __restrict__ dx, Windows s) {
  max_pool_back_by<PACK>(x, y, dy, dx, s);
}

// The pixels that window i along one axis averages: with padding, those within the padded image.
__device__ __forceinline__ Index counted(Index i, Index h, Index k, Index s, Index p, bool with_padding) {
  const Index start = i * s - p, low = with_padding ? -p : 0, high = with_padding ? h + p : h;
  return (start + k < high ? start + k : high) - (start > low ? start : low);
}

// y[n,i,j,c] = the average over p,q of x[n, i*SH - PH + p, j*SW - PW + q, c], 0 outside.
template <int V>
__device__ __forceinline__ void avg_pool_by(const T* __restrict__ x, T* __restrict__ y, const Windows& s) {
  const Index h = s.h, w = s.w, c = s.c, oh = s.oh, ow = s.ow, kh = s.kh, kw = s.kw;
  FOR_EACH(at, (Index)s.n * oh * ow * (c / V)) {
    const Index pixel = at / (c / V), channel = (at - pixel * (c / V)) * V, line = pixel / ow, image = line / oh;
    const Index i = line - image * oh, j = pixel - line * ow;
    const Index top = i * (Index)s.sh - (Index)s.ph, left = j * (Index)s.sw - (Index)s.pw;
    Values<V> sum = {};
    for (Index p = top < 0 ? -top : 0; p < kh && top + p < h; ++p)
      for (Index q = left < 0 ? -left : 0; q < kw && left + q < w; ++q) {
        const Values<V> value = load_values<V>(x + ((image * h + top + p) * w + left + q) * c + channel);
#pragma unroll
        for (int v = 0; v < V; ++v) sum.at[v] += value.at[v];
      }
    const Index down = counted(i, h, kh, s.sh, s.ph, s.with_padding);
    const A each = 1 / (A)(down * counted(j, w, kw, s.sw, s.pw, s.with_padding));
#pragma unroll
    for (int v = 0; v < V; ++v) sum.at[v] *= each;
    store_values(y + at * V, sum);
  }
}

extern "C" __global__ void avg_pool(const T* __restrict__ x, T* __restrict__ y, Windows s) { avg_pool_by<1>(x, y, s); }
extern "C" __global__ void avg_pool_packed(const T* __restrict__ x, T* __restrict__ y, Windows s) {
  avg_pool_by<PACK>(x, y, s);
}

// dx[n,h,w,c] = sum over the windows that touch this pixel of dy, divided by what each averages.
template <int V>
__device__ __forceinline__ void avg_pool_back_by(const T* __restrict__ dy, T* __restrict__ dx, const Windows& s) {
  const Index h = s.h, w = s.w, c = s.c, oh = s.oh, ow = s.ow, kh = s.kh, kw = s.kw;
  FOR_EACH(at, (Index)s.n * h * w * (c / V)) {
    const Index pixel = at / (c / V), channel = (at - pixel * (c / V)) * V, line = pixel / w, image = line / h;
    const Index row = line - image * h, col = pixel - line * w;
    Values<V> sum = {};
    TOUCHING(i0, i1, row, kh, (Index)s.sh, (Index)s.ph, oh);
    TOUCHING(j0, j1, col, kw, (Index)s.sw, (Index)s.pw, ow);
    for (Index i = i0; i <= i1; ++i) {
      const Index down = counted(i, h, kh, s.sh, s.ph, s.with_padding);
      for (Index j = j0; j <= j1; ++j) {
        const A each = 1 / (A)(down * counted(j, w, kw, s.sw, s.pw, s.with_padding));
        const Values<V> slope = load_values<V>(dy + ((image * oh + i) * ow + j) * c + channel);
#pragma unroll
        for (int v = 0; v < V; ++v) sum.at[v] += slope.at[v] * each;
      }
    }
    store_values(dx + at * V, sum);
  }
}

extern "C" __global__ void avg_pool_back(const T* __restrict__ dy, T* __restrict__ dx, Windows s) {
  avg_pool_back_by<1>(dy, dx, s);
}
extern "C" __global__ void avg_pool_back_packed(const T* __restrict__ dy, T* __restrict__ dx, Windows s) {
  avg_pool_back_by<PACK>(dy, dx, s);
}

// y[n,c] = the average of x[n,:,c] over its `pixels`. A block has 256 threads for `lanes` channels of an image.
extern "C" __global__ void global_avg_pool(const T* __restrict__ x, T* __restrict__ y, long long pixels, long long c_,
                                           long long lanes_) {
  __shared__ A found[256];
  const Index c = c_, lanes = lanes_, groups = (c + lanes - 1) / lanes, image = (Index)blockIdx.x / groups;
  const Index channel = (Index)blockIdx.x % groups * lanes + (Index)threadIdx.x % lanes;
  A sum = 0;
  const Index step = 256 / lanes;
  for (Index first = (Index)threadIdx.x / lanes; channel < c && first < pixels; first += 64 * step) {
    const Index stop = first + 64 * step < (Index)pixels ? first + 64 * step : (Index)pixels;
    A part = 0;  // a sum of few terms, and then of few parts: errors stay small
    for (Index pixel = first; pixel < stop; pixel += step)
      part += load(x + (image * (Index)pixels + pixel) * c + channel);
    sum += part;
  }
  found[threadIdx.x] = sum;
  for (int half = 128; half >= (int)lanes; half /= 2) {
    __syncthreads();
    if ((int)threadIdx.x < half) found[threadIdx.x] += found[threadIdx.x + half];
  }
  if ((Index)threadIdx.x < lanes && channel < c) store(y + image * c + channel, found[threadIdx.x] / (A)pixels);
}

// dx[n,i,c] = dy[n,c] / pixels
extern "C" __global__ void global_avg_pool_back(const T* __restrict__ dy, T* __restrict__ dx, long long n,
                                                long long pixels_, long long c_) {
  const Index pixels = pixels_, c = c_;
  FOR_EACH(at, (Index)n * pixels * c) {
    const Index row = at / c;  // (N*H*W, C)
    store(dx + at, load(dy + row / pixels * c + at - row * c) / (A)pixels);
  }
}
