// Pooling of images (N, H, W, C), both ways. Windows of KH x KW pixels start at i*SH - PH, j*SW - PW; each thread makes one
// number: of the output on the way forward, of the input's gradient on the way back, so that nothing is added to by two.

// The windows along one axis that touch pixel h: first .. last, both counted; none where last < first.
#define TOUCHING(first, last, h, k, s, p, out)                                  \
  const Index first = (h) + (p) < (k) ? 0 : ((h) + (p) - (k)) / (s) + 1;        \
  const Index last = ((h) + (p)) / (s) < (out) ? ((h) + (p)) / (s) : (out) - 1

// y[n,i,j,c] = max over p,q of x[n, i*SH - PH + p, j*SW - PW + q, c], -infinity outside; NaN wins.
extern "C" __global__ void max_pool(const T* __restrict__ x, T* __restrict__ y, long long n, long long h_, long long w_,
                                    long long c_, long long oh_, long long ow_, long long kh_, long long kw_, long long sh_,
                                    long long sw_, long long ph_, long long pw_) {
  const Index h = h_, w = w_, c = c_, oh = oh_, ow = ow_, kh = kh_, kw = kw_, sh = sh_, sw = sw_, ph = ph_, pw = pw_;
  FOR_EACH(at, (Index)n * oh * ow * c) {
    const Index channel = at % c, j = at / c % ow, i = at / c / ow % oh, image = at / c / ow / oh;
    const Index top = i * sh - ph, left = j * sw - pw;
    A best = -(A)INFINITY;
    for (Index p = top < 0 ? -top : 0; p < kh && top + p < h; ++p)
      for (Index q = left < 0 ? -left : 0; q < kw && left + q < w; ++q) {
        const A value = load(x + ((image * h + top + p) * w + left + q) * c + channel);
        if (value > best || value != value) best = value;
      }
    store(y + at, best);
  }
}

// dx[n,h,w,c] = sum of dy over the windows in which this pixel is the first, in row-major order, that holds the maximum.
extern "C" __global__ void max_pool_back(const T* __restrict__ x, const T* __restrict__ y, const T* __restrict__ dy,
                                         T* __restrict__ dx, long long n, long long h_, long long w_, long long c_,
                                         long long oh_, long long ow_, long long kh_, long long kw_, long long sh_,
                                         long long sw_, long long ph_, long long pw_) {
  const Index h = h_, w = w_, c = c_, oh = oh_, ow = ow_, kh = kh_, kw = kw_, sh = sh_, sw = sw_, ph = ph_, pw = pw_;
  FOR_EACH(at, (Index)n * h * w * c) {
    const Index channel = at % c, col = at / c % w, row = at / c / w % h, image = at / c / w / h;
    const A mine = load(x + at);
    A sum = 0;
    TOUCHING(i0, i1, row, kh, sh, ph, oh);
    TOUCHING(j0, j1, col, kw, sw, pw, ow);
    for (Index i = i0; i <= i1; ++i)
      for (Index j = j0; j <= j1; ++j) {
        const Index window = ((image * oh + i) * ow + j) * c + channel;
        if (load(y + window) != mine) continue;
        const Index top = i * sh - ph, left = j * sw - pw;
        bool first = true;  // no earlier pixel of the window holds as much
        for (Index r = top < 0 ? 0 : top; first && r <= row; ++r)
          for (Index q = left < 0 ? 0 : left; first && (r < row ? q < left + kw && q < w : q < col); ++q)
            first = load(x + ((image * h + r) * w + q) * c + channel) != mine;
        if (first) sum += load(dy + window);
      }
    store(dx + at, sum);
  }
}
