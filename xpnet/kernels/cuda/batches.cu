// A batch out of a set that lies on the device: rows gathered by an order, varied, normalized, converted, in one pass.

// What a batch is made of; batches.py fills it in.
struct Plan {
  long long rows, batch, row;        // of the set; image 0 is at step * batch + row in the order, row of the step's draws
  long long h, w, c, parts;          // of an image; blocks an image
  long long seed, purpose, step, epoch;
  long long varied, shift, crop, flip, normalized;
  double fill, scale, offset;
};

#define PART 4096  // numbers of an image that a block makes

// Each operation is rounded to T by itself, as when arrays of T are multiplied and added.
#if defined(XPNET_HALF)
__device__ __forceinline__ A rounded(A value) {
  Half kept;
  store(&kept, value);
  return load(&kept);
}
__device__ __forceinline__ A affine(A v, A scale, A offset) {
  return rounded(__fadd_rn(rounded(__fmul_rn(v, scale)), offset));
}
#else
__device__ __forceinline__ A rounded(A value) { return value; }
#if defined(XPNET_DOUBLE)
__device__ __forceinline__ A affine(A v, A scale, A offset) { return __dadd_rn(__dmul_rn(v, scale), offset); }
#else
__device__ __forceinline__ A affine(A v, A scale, A offset) { return __fadd_rn(__fmul_rn(v, scale), offset); }
#endif
#endif

// A whole number 0 .. count-1 from a word, even to count / 2^32.
__device__ __forceinline__ Index below(Word word, long long count) { return (Index)((word >> 32) * (Word)count >> 32); }

template <class V, int bytes>
struct alignas(bytes < 16 ? bytes : 16) Four {
  V at[4];
};

// x[k] = row order[step*batch + row + k] of the set, moved by at most shift and by at most crop, mirrored, times scale plus
// offset a channel; y[k] = its label. A block makes PART numbers of one image; its first threads draw how it is varied.
template <class S>
__device__ __forceinline__ void take(const S* __restrict__ set, const long long* __restrict__ labels,
                                     const long long* __restrict__ order, const T* __restrict__ scales,
                                     const T* __restrict__ offsets, T* __restrict__ x, long long* __restrict__ y,
                                     const Plan& p, const long long* step_at, const long long* epoch_at) {
  __shared__ Word words[5];
  const Index image = blockIdx.x / (Index)p.parts, part = blockIdx.x % (Index)p.parts, c = p.c, w = p.w, h = p.h;
  const Index length = h * w * c, first = part * PART, stop = length - first < PART ? length : first + PART;
  const Draw draw = draw_of(p.seed, p.purpose, step_at, p.step, epoch_at, p.epoch);
  if (p.varied) {
    if (threadIdx.x < 5) {
      const Word at = (Word)(p.row + image) * 5 + threadIdx.x;
      const Words four = philox(draw, at / 4);
      words[threadIdx.x] = at % 4 == 0 ? four.at[0] : at % 4 == 1 ? four.at[1] : at % 4 == 2 ? four.at[2] : four.at[3];
    }
    __syncthreads();
  }

  long long place = (long long)draw.step * p.batch + p.row + image;  // kept within the set: no host looks at the step
  place = place < 0 ? 0 : place < p.rows ? place : p.rows - 1;
  const Index row = order ? order[place] : place;
  if (labels && part == 0 && threadIdx.x == 0) y[image] = labels[row];
  const S* from = set + row * length;
  T* to = x + image * length;
  const A scale = p.scale, offset = p.offset;
  auto made = [&](S value, Index channel) {
    const A v = rounded((A)value);
    if (!p.normalized) return v;
    return affine(v, scales ? load(scales + channel) : scale, offsets ? load(offsets + channel) : offset);
  };

  if (!p.varied) {
    typedef Four<S, 4 * sizeof(S)> In;
    typedef Four<T, 4 * sizeof(T)> Out;
    const bool fours = length % 4 == 0 && (Word)from % alignof(In) == 0 && (Word)to % alignof(Out) == 0;
    const Index each = fours ? 4 : 1;
    for (Index e = first + (Index)threadIdx.x * each; e < stop; e += (Index)blockDim.x * each) {
      Index channel = e % c;
      if (!fours) {
        store(to + e, made(from[e], channel));
        continue;
      }
      const In in = *(const In*)(from + e);
      Out out;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        store(out.at + k, made(in.at[k], channel));
        channel = channel + 1 < c ? channel + 1 : 0;
      }
      *(Out*)(to + e) = out;
    }
    return;
  }

  const Index pad = p.shift + p.crop;
  const Index down = below(words[0], 2 * p.shift + 1) + below(words[1], 2 * p.crop + 1) - pad;
  const Index right = below(words[2], 2 * p.shift + 1) + below(words[3], 2 * p.crop + 1) - pad;
  const bool mirrored = p.flip && words[4] >> 63;
  for (Index e = first + (Index)threadIdx.x; e < stop; e += (Index)blockDim.x) {
    const Index channel = e % c, column = e / c % w, i = e / c / w + down;
    const Index j = (mirrored ? w - 1 - column : column) + right;
    const bool inside = 0 <= i && i < h && 0 <= j && j < w;
    store(to + e, made(inside ? from[(i * w + j) * c + channel] : (S)p.fill, channel));
  }
}

extern "C" __global__ void take_bytes(const unsigned char* __restrict__ set, const long long* __restrict__ labels,
                                      const long long* __restrict__ order, const T* __restrict__ scales,
                                      const T* __restrict__ offsets, T* __restrict__ x, long long* __restrict__ y, Plan p,
                                      const long long* __restrict__ step_at, const long long* __restrict__ epoch_at) {
  take(set, labels, order, scales, offsets, x, y, p, step_at, epoch_at);
}

extern "C" __global__ void take_floats(const float* __restrict__ set, const long long* __restrict__ labels,
                                       const long long* __restrict__ order, const T* __restrict__ scales,
                                       const T* __restrict__ offsets, T* __restrict__ x, long long* __restrict__ y, Plan p,
                                       const long long* __restrict__ step_at, const long long* __restrict__ epoch_at) {
  take(set, labels, order, scales, offsets, x, y, p, step_at, epoch_at);
}
