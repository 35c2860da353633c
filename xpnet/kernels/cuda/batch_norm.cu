// Batch normalization of R rows of C channels: moments, the normalization itself, its gradient; running averages.
//
// A block has THREADS threads for some neighbouring channels, `lanes` of them, a power of two up to 32, and for one
// chunk of the rows: each thread stays with a channel and goes down the rows, so that it works out once what it needs
// to know of the channel. Rows are cut into as many chunks as keep the device busy. A sum over rows is first of a chunk,
// then of all chunks, in an order that is always the same.

#define THREADS 256
#define AHEAD 8  // rows that a thread reads before it computes with them

struct Strip {  // the rows of one thread: first, first + step, ... under stop, of one channel
  Index channel, chunk, first, stop, step;
};

__device__ __forceinline__ Strip strip(Index rows, Index c, Index lanes, Index chunks) {
  const Index groups = (c + lanes - 1) / lanes, step = THREADS / lanes, length = (rows + chunks - 1) / chunks;
  const Index channel = (Index)blockIdx.x % groups * lanes + (Index)threadIdx.x % lanes;
  const Index chunk = (Index)blockIdx.x / groups, start = chunk * length;
  const Index stop = start + length < rows ? start + length : rows;
  return {channel, chunk, start + (Index)threadIdx.x / lanes, channel < c ? stop : 0, step};
}

struct Moments {  // of `count` numbers; squares is the sum of (number - mean)^2
  A count, mean, squares;
};

// Of two sets of numbers together: nothing is cancelled, however far the mean lies from 0.
__device__ __forceinline__ Moments both(Moments a, Moments b) {
  if (a.count == 0) return b;
  if (b.count == 0) return a;
  const A count = a.count + b.count, share = b.count / count, apart = b.mean - a.mean;
  return {count, a.mean + apart * share, a.squares + b.squares + apart * apart * a.count * share};
}

// What moments are measured from: the channel's first number. A mean far from 0 then takes no digits of the variance.
__device__ __forceinline__ A origin(const T* x, Index channel, Index rows, Index c) {
  return channel < c && rows > 0 ? load(x + channel) : (A)0;
}

__device__ __forceinline__ void finish(Moments m, A from, A* mean, A* var) {
  *var = m.squares / m.count;  // of no numbers: NaN, and so is the mean
  *mean = m.count > 0 ? from + m.mean : *var;
}

// mean[c], var[c] of x, or, of several chunks, parts[c,chunk,:]: the mean, from the origin, and the sum of squares.
extern "C" __global__ void moments(const T* __restrict__ x, A* __restrict__ mean, A* __restrict__ var,
                                   A* __restrict__ parts, long long rows, long long c, long long lanes,
                                   long long chunks) {
  const Strip s = strip(rows, c, lanes, chunks);
  __shared__ Moments found[THREADS];
  const A from = origin(x, s.channel, rows, c);
  Moments m = {0, 0, 0};
  Index row = s.first;
  for (; row + (AHEAD - 1) * s.step < s.stop; row += AHEAD * s.step) {
    A value[AHEAD], sum = 0, squares = 0;
#pragma unroll
    for (int k = 0; k < AHEAD; ++k) value[k] = load(x + (row + k * s.step) * (Index)c + s.channel) - from;
#pragma unroll
    for (int k = 0; k < AHEAD; ++k) sum += value[k];
    sum /= AHEAD;
#pragma unroll
    for (int k = 0; k < AHEAD; ++k) squares += (value[k] - sum) * (value[k] - sum);
    m = both(m, {(A)AHEAD, sum, squares});
  }
  for (; row < s.stop; row += s.step) m = both(m, {(A)1, load(x + row * (Index)c + s.channel) - from, (A)0});

  found[threadIdx.x] = m;
  for (int half = THREADS / 2; half >= (int)lanes; half /= 2) {
    __syncthreads();
    if ((int)threadIdx.x < half) found[threadIdx.x] = both(found[threadIdx.x], found[threadIdx.x + half]);
  }
  if ((Index)threadIdx.x >= lanes || s.channel >= c) return;
  m = found[threadIdx.x];
  if (chunks == 1) return finish(m, from, mean + s.channel, var + s.channel);
  A* const part = parts + (s.channel * (Index)chunks + s.chunk) * 2;
  part[0] = m.mean;
  part[1] = m.squares;
}

// The second stage: a warp a channel.
extern "C" __global__ void moments_of_chunks(const T* __restrict__ x, const A* __restrict__ parts,
                                             A* __restrict__ mean, A* __restrict__ var, long long rows, long long c,
                                             long long chunks) {
  const Index channel = ((Index)blockIdx.x * (Index)blockDim.x + (Index)threadIdx.x) / 32;
  const Index lane = (Index)threadIdx.x % 32;
  const Index length = ((Index)rows + (Index)chunks - 1) / (Index)chunks;
  Moments m = {0, 0, 0};
  for (Index chunk = lane; chunk < chunks && channel < c; chunk += 32) {
    const Index left = (Index)rows - chunk * length, count = left < length ? left : length;
    const A* const part = parts + (channel * (Index)chunks + chunk) * 2;
    if (count > 0) m = both(m, {(A)count, part[0], part[1]});
  }
  for (int away = 16; away > 0; away /= 2) {
    Moments other;
    other.count = __shfl_down_sync(0xffffffffu, m.count, away);
    other.mean = __shfl_down_sync(0xffffffffu, m.mean, away);
    other.squares = __shfl_down_sync(0xffffffffu, m.squares, away);
    m = both(m, other);
  }
  if (lane == 0 && channel < c) finish(m, origin(x, channel, rows, c), mean + channel, var + channel);
}

// y = gamma * (x - mean) / sqrt(var + eps) + beta
extern "C" __global__ void batch_norm(const T* __restrict__ x, const T* __restrict__ gamma, const T* __restrict__ beta,
                                      const A* __restrict__ mean, const A* __restrict__ var, T* __restrict__ y,
                                      double eps, long long rows, long long c, long long lanes, long long chunks) {
  const Strip s = strip(rows, c, lanes, chunks);
  if (s.first >= s.stop) return;
  const A scale = load(gamma + s.channel) / sqrt(var[s.channel] + (A)eps);
  const A centre = mean[s.channel], shift = load(beta + s.channel);
  Index row = s.first;
  for (; row + (AHEAD - 1) * s.step < s.stop; row += AHEAD * s.step) {
    A value[AHEAD];
#pragma unroll
    for (int k = 0; k < AHEAD; ++k) value[k] = load(x + (row + k * s.step) * (Index)c + s.channel);
#pragma unroll
    for (int k = 0; k < AHEAD; ++k)
      store(y + (row + k * s.step) * (Index)c + s.channel, (value[k] - centre) * scale + shift);
  }
  for (; row < s.stop; row += s.step) {
    const Index at = row * (Index)c + s.channel;
    store(y + at, (load(x + at) - centre) * scale + shift);
  }
}

struct Sums {  // over rows: of dy, and of dy * (x - mean), which normalized is the gradient of gamma
  A plain, along;
};

__device__ __forceinline__ void finish(Sums sums, A inverse, Index channel, Index c, A* total, T* dgamma, T* dbeta) {
  total[channel] = sums.plain;
  total[c + channel] = sums.along * inverse;
  store(dbeta + channel, sums.plain);
  store(dgamma + channel, sums.along * inverse);
}

// total[0,c], dbeta[c] = sum of dy; total[1,c], dgamma[c] = sum of dy * (x - mean) / sqrt(var + eps). Parts as above.
extern "C" __global__ void batch_norm_sums(const T* __restrict__ x, const T* __restrict__ dy,
                                           const A* __restrict__ mean, const A* __restrict__ var,
                                           A* __restrict__ total, T* __restrict__ dgamma, T* __restrict__ dbeta,
                                           A* __restrict__ parts, double eps, long long rows, long long c,
                                           long long lanes, long long chunks) {
  const Strip s = strip(rows, c, lanes, chunks);
  __shared__ Sums found[THREADS];
  const A centre = s.channel < c ? mean[s.channel] : 0;
  Sums sums = {0, 0};
  Index row = s.first;
  for (; row + (AHEAD / 2 - 1) * s.step < s.stop; row += AHEAD / 2 * s.step) {
    A value[AHEAD / 2], slope[AHEAD / 2];
#pragma unroll
    for (int k = 0; k < AHEAD / 2; ++k) {
      value[k] = load(x + (row + k * s.step) * (Index)c + s.channel);
      slope[k] = load(dy + (row + k * s.step) * (Index)c + s.channel);
    }
    Sums part = {0, 0};  // fewer terms are added to the sums, with fewer errors
#pragma unroll
    for (int k = 0; k < AHEAD / 2; ++k) {
      part.plain += slope[k];
      part.along += slope[k] * (value[k] - centre);
    }
    sums.plain += part.plain;
    sums.along += part.along;
  }
  for (; row < s.stop; row += s.step) {
    const A slope = load(dy + row * (Index)c + s.channel);
    sums.plain += slope;
    sums.along += slope * (load(x + row * (Index)c + s.channel) - centre);
  }
  found[threadIdx.x] = sums;
  for (int half = THREADS / 2; half >= (int)lanes; half /= 2) {
    __syncthreads();
    if ((int)threadIdx.x >= half) continue;
    found[threadIdx.x].plain += found[threadIdx.x + half].plain;
    found[threadIdx.x].along += found[threadIdx.x + half].along;
  }
  if ((Index)threadIdx.x >= lanes || s.channel >= c) return;
  sums = found[threadIdx.x];
  if (chunks == 1) return finish(sums, 1 / sqrt(var[s.channel] + (A)eps), s.channel, c, total, dgamma, dbeta);
  A* const part = parts + (s.channel * (Index)chunks + s.chunk) * 2;
  part[0] = sums.plain;
  part[1] = sums.along;
}

// The second stage: a warp a channel.
extern "C" __global__ void batch_norm_sums_of_chunks(const A* __restrict__ parts, const A* __restrict__ var,
                                                     A* __restrict__ total, T* __restrict__ dgamma,
                                                     T* __restrict__ dbeta, double eps, long long c,
                                                     long long chunks) {
  const Index channel = ((Index)blockIdx.x * (Index)blockDim.x + (Index)threadIdx.x) / 32;
  const Index lane = (Index)threadIdx.x % 32;
  Sums sums = {0, 0};
  for (Index chunk = lane; chunk < chunks && channel < c; chunk += 32) {
    const A* const part = parts + (channel * (Index)chunks + chunk) * 2;
    sums.plain += part[0];
    sums.along += part[1];
  }
  for (int away = 16; away > 0; away /= 2) {
    sums.plain += __shfl_down_sync(0xffffffffu, sums.plain, away);
    sums.along += __shfl_down_sync(0xffffffffu, sums.along, away);
  }
  if (lane == 0 && channel < c) finish(sums, 1 / sqrt(var[channel] + (A)eps), channel, c, total, dgamma, dbeta);
}

// dx = gamma * inverse * (dy - each * (total[0] + total[1] * (x - mean) * inverse)), inverse = 1 / sqrt(var + eps);
// each is 1 / R where mean and var are x's own, 0 where they do not depend on x.
extern "C" __global__ void batch_norm_back(const T* __restrict__ x, const T* __restrict__ dy,
                                           const T* __restrict__ gamma, const A* __restrict__ mean,
                                           const A* __restrict__ var, const A* __restrict__ total, T* __restrict__ dx,
                                           double eps, double each, long long rows, long long c, long long lanes,
                                           long long chunks) {
  const Strip s = strip(rows, c, lanes, chunks);
  if (s.first >= s.stop) return;
  const A centre = mean[s.channel], inverse = 1 / sqrt(var[s.channel] + (A)eps);
  const A scale = load(gamma + s.channel) * inverse;
  const A plain = total[s.channel] * (A)each, along = total[c + s.channel] * (A)each * inverse;
  Index row = s.first;
  for (; row + (AHEAD / 2 - 1) * s.step < s.stop; row += AHEAD / 2 * s.step) {
    A value[AHEAD / 2], slope[AHEAD / 2];
#pragma unroll
    for (int k = 0; k < AHEAD / 2; ++k) {
      value[k] = load(x + (row + k * s.step) * (Index)c + s.channel);
      slope[k] = load(dy + (row + k * s.step) * (Index)c + s.channel);
    }
#pragma unroll
    for (int k = 0; k < AHEAD / 2; ++k)
      store(dx + (row + k * s.step) * (Index)c + s.channel, scale * (slope[k] - plain - along * (value[k] - centre)));
  }
  for (; row < s.stop; row += s.step) {
    const Index at = row * (Index)c + s.channel;
    store(dx + at, scale * (load(dy + at) - plain - along * (load(x + at) - centre)));
  }
}

// In place: mean <- keep * mean + renew * new_mean; var likewise, of the unbiased variance.
extern "C" __global__ void running_moments(T* __restrict__ mean, T* __restrict__ var, const A* __restrict__ new_mean,
                                           const A* __restrict__ new_var, long long c, double keep, double renew,
                                           double renew_unbiased) {
  FOR_EACH(at, c) {
    store(mean + at, (A)keep * load(mean + at) + (A)renew * new_mean[at]);
    store(var + at, (A)keep * load(var + at) + (A)renew_unbiased * new_var[at]);
  }
}
