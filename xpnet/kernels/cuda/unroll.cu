// Unrolling: the pixels under each window of images (N, H, W, C) laid side by side (im2col), and the adjoint, which sums them
// back onto the pixels. Work is by the tile: some images, some rows of windows of each, and channels first_channel ..
// first_channel + channels - 1. A window's numbers are a row of the columns, (images*rows*OW, ld): KH*KW*channels of them,
// the taps in row-major order, then zeros up to ld.

struct Windows {
  long long h, w, c, oh, ow, kh, kw, sh, sw, ph, pw, dh, dw, channels, ld;
};

// V numbers are moved at a time. `lanes` threads, a power of two, share a window, so that its place is found once for many.
template <int V>
__device__ __forceinline__ void unroll_windows(const T* __restrict__ x, T* __restrict__ columns, Index first_image,
                                               Index images, Index first_row, Index rows, Index first_channel,
                                               Index lanes, const Windows& s) {
  const Index w = s.w, c = s.c, ow = s.ow, channels = s.channels, ld = s.ld;
  const bool joined = s.dw == 1 && channels == c;  // taps of a row lie side by side in the image
  const Index run = joined ? s.kw * c : channels, across = joined ? 1 : s.kw, taken = s.kh * s.kw * channels;
  FOR_EACH(at, images * rows * ow * lanes) {
    const Index window = at / lanes, lane = at % lanes;
    const Index top = (first_row + window / ow % rows) * s.sh - s.ph, left = window % ow * s.sw - s.pw;
    const T* from = x + (first_image + window / ow / rows) * s.h * w * c + first_channel;
    Index p = 0, q = 0, r = lane * V;  // the tap, and the number in the run that begins at it
    for (Index t = r; t < ld; t += lanes * V, r += lanes * V) {
      for (; r >= run && t < taken; r -= run)
        if (++q == across) q = 0, ++p;
      const Index row = top + p * s.dh, place = (left + q * s.dw) * c + r;
      const bool inside = t < taken && row >= 0 && row < s.h && place >= 0 && place < w * c;
      T* to = columns + window * ld + t;
      if (V > 1) {
        Pack zeros = {};
        pack_at(to) = inside ? pack_at(from + row * w * c + place) : zeros;
      } else {
        T zero = {};
        *to = inside ? from[row * w * c + place] : zero;
      }
    }
  }
}

extern "C" __global__ void unroll(const T* __restrict__ x, T* __restrict__ columns, long long first_image, long long images,
                                  long long first_row, long long rows, long long first_channel, long long lanes, Windows s) {
  const bool packed = s.c % PACK == 0 && s.channels % PACK == 0 && first_channel % PACK == 0 && s.ld % PACK == 0;
  if (packed && aligned(x) && aligned(columns))
    unroll_windows<PACK>(x, columns, first_image, images, first_row, rows, first_channel, lanes, s);
  else
    unroll_windows<1>(x, columns, first_image, images, first_row, rows, first_channel, lanes, s);
}

// A thread a pixel and V of its channels: it sums over the windows that touch the pixel, always in the same order.
template <int V>
__device__ __forceinline__ void fold_pixels(const T* __restrict__ columns, T* __restrict__ dx, Index first_image,
                                            Index images, Index first_row, Index rows, Index first_channel, Index top,
                                            Index height, bool add, const Windows& s) {
  const Index w = s.w, kw = s.kw, channels = s.channels, each = channels / V;
  const Index tall = s.dh * (s.kh - 1) + 1, wide = s.dw * (kw - 1) + 1;
  FOR_EACH(at, images * height * w * each) {
    const Index channel = at % each * V, col = at / each % w, line = at / each / w;
    const Index row = top + line % height, image = line / height;
    const Index down = row + s.ph, right = col + s.pw;
    const Index i0 = down < tall + first_row * s.sh ? first_row : (down - tall) / s.sh + 1;
    const Index i1 = down / s.sh < first_row + rows ? down / s.sh : first_row + rows - 1;
    const Index j0 = right < wide ? 0 : (right - wide) / s.sw + 1;
    const Index j1 = right / s.sw < s.ow ? right / s.sw : s.ow - 1;
    A sum[V] = {};
    for (Index i = i0; i <= i1; ++i) {
      const Index p = (down - i * s.sh) / s.dh;
      if (p * s.dh != down - i * s.sh) continue;
      for (Index j = j0; j <= j1; ++j) {
        const Index q = (right - j * s.sw) / s.dw;
        if (q * s.dw != right - j * s.sw) continue;
        const T* from = columns + ((image * rows + i - first_row) * s.ow + j) * s.ld + (p * kw + q) * channels + channel;
        A some[V];
        fetch(from, true, some);
#pragma unroll
        for (int v = 0; v < V; ++v) sum[v] += some[v];
      }
    }
    T* to = dx + (((first_image + image) * s.h + row) * w + col) * s.c + first_channel + channel;
    if (add) {
      A before[V];
      fetch(to, true, before);
#pragma unroll
      for (int v = 0; v < V; ++v) sum[v] += before[v];
    }
    put(to, true, sum);
  }
}

// Rows top .. top + height - 1 of the images' gradient are written, or added to.
extern "C" __global__ void fold(const T* __restrict__ columns, T* __restrict__ dx, long long first_image, long long images,
                                long long first_row, long long rows, long long first_channel, long long top,
                                long long height, long long add, Windows s) {
  const bool packed = s.c % PACK == 0 && s.channels % PACK == 0 && first_channel % PACK == 0 && s.ld % PACK == 0;
  if (packed && aligned(columns) && aligned(dx))
    fold_pixels<PACK>(columns, dx, first_image, images, first_row, rows, first_channel, top, height, add, s);
  else
    fold_pixels<1>(columns, dx, first_image, images, first_row, rows, first_channel, top, height, add, s);
}

// Filters w (n, taps, channels) as rows of ld numbers, zeros after the last tap; each turned by 180 degrees where flip.
extern "C" __global__ void lay_filters(const T* __restrict__ w, T* __restrict__ bank, long long n_, long long taps_,
                                       long long channels_, long long ld_, long long flip) {
  const Index n = n_, taps = taps_, channels = channels_, ld = ld_;
  const T zero = {};
  FOR_EACH(at, n * ld) {
    const Index tap = at % ld / channels, from = flip ? taps - 1 - tap : tap;
    bank[at] = tap < taps ? w[(at / ld * taps + from) * channels + at % ld % channels] : zero;
  }
}

// The adjoint of lay_filters, out of sums in A.
extern "C" __global__ void take_filters(const A* __restrict__ bank, T* __restrict__ w, long long n_, long long taps_,
                                        long long channels_, long long ld_, long long flip) {
  const Index n = n_, taps = taps_, channels = channels_, ld = ld_;
  FOR_EACH(at, n * taps * channels) {
    const Index tap = at / channels % taps, from = flip ? taps - 1 - tap : tap;
    store(w + at, bank[at / channels / taps * ld + from * channels + at % channels]);
  }
}
