// Layer normalization of R rows of C numbers, and its gradient. A block takes a row; of each row it keeps two numbers
// for the way back, mean and inverse = 1 / sqrt(var + eps). What belongs to columns, the gradients of gamma and beta,
// is summed first over chunks of the rows, then over the chunks, in an order that is always the same.

#define THREADS 256

// y = gamma * normal + beta, normal = (x - mean) * inverse; kept[row,:] = mean, inverse.
extern "C" __global__ void layer_norm(const T* __restrict__ x, const T* __restrict__ gamma, const T* __restrict__ beta,
                                      T* __restrict__ y, A* __restrict__ kept, double eps, long long c_) {
  const Index c = c_, row = blockIdx.x;
  const T* const line = x + row * c;
  const A from = load(line);  // the mean is measured from the first number: far from 0 it keeps its digits
  A sum = 0, squares = 0;
  for (Index j = threadIdx.x; j < c; j += (Index)blockDim.x) sum += load(line + j) - from;
  const A mean = from + block_sum(sum) / (A)c;
  for (Index j = threadIdx.x; j < c; j += (Index)blockDim.x) {
    const A centred = load(line + j) - mean;
    squares += centred * centred;
  }
  const A inverse = 1 / sqrt(block_sum(squares) / (A)c + (A)eps);
  for (Index j = threadIdx.x; j < c; j += (Index)blockDim.x)
    store(y + row * c + j, (load(line + j) - mean) * inverse * load(gamma + j) + load(beta + j));
  if (threadIdx.x > 0) return;
  kept[row * 2] = mean;
  kept[row * 2 + 1] = inverse;
}

// dx = inverse * (g - mean of g - normal * mean of g * normal), g = dy * gamma, means over the row.
extern "C" __global__ void layer_norm_back(const T* __restrict__ x, const T* __restrict__ dy,
                                           const T* __restrict__ gamma, const A* __restrict__ kept,
                                           T* __restrict__ dx, long long c_) {
  const Index c = c_, row = blockIdx.x;
  const A mean = kept[row * 2], inverse = kept[row * 2 + 1];
  const T *const line = x + row * c, *const slope = dy + row * c;
  A plain = 0, along = 0;
  for (Index j = threadIdx.x; j < c; j += (Index)blockDim.x) {
    const A g = load(slope + j) * load(gamma + j);
    plain += g;
    along += g * (load(line + j) - mean);
  }
  plain = block_sum(plain) / (A)c;
  along = block_sum(along) / (A)c * inverse * inverse;
  for (Index j = threadIdx.x; j < c; j += (Index)blockDim.x)
    store(dx + row * c + j,
          inverse * (load(slope + j) * load(gamma + j) - plain - along * (load(line + j) - mean)));
}

// parts[chunk,0,c] = sum of dy over a chunk's rows, parts[chunk,1,c] = sum of dy * normal. A block has THREADS threads
// for `lanes` columns, a power of two, and one chunk.
extern "C" __global__ void layer_norm_sums(const T* __restrict__ x, const T* __restrict__ dy,
                                           const A* __restrict__ kept, A* __restrict__ parts, long long rows_,
                                           long long c_, long long lanes_, long long chunks_) {
  __shared__ A plain[THREADS], along[THREADS];
  const Index rows = rows_, c = c_, groups = (c + (Index)lanes_ - 1) / (Index)lanes_, step = THREADS / (Index)lanes_;
  const Index column = (Index)blockIdx.x % groups * (Index)lanes_ + (Index)threadIdx.x % (Index)lanes_;
  const Index chunk = (Index)blockIdx.x / groups, length = (rows + (Index)chunks_ - 1) / (Index)chunks_;
  const Index first = chunk * length, stop = first + length < rows ? first + length : rows;
  A sum = 0, product = 0;
  for (Index start = first + (Index)threadIdx.x / (Index)lanes_; start < stop && column < c; start += 64 * step) {
    const Index end = start + 64 * step < stop ? start + 64 * step : stop;
    A some = 0, others = 0;  // sums of few terms, and then of few sums: errors stay small
    for (Index row = start; row < end; row += step) {
      const A slope = load(dy + row * c + column);
      some += slope;
      others += slope * (load(x + row * c + column) - kept[row * 2]) * kept[row * 2 + 1];
    }
    sum += some;
    product += others;
  }
  plain[threadIdx.x] = sum;
  along[threadIdx.x] = product;
  for (int half = THREADS / 2; half >= (int)lanes_; half /= 2) {
    __syncthreads();
    if ((int)threadIdx.x >= half) continue;
    plain[threadIdx.x] += plain[threadIdx.x + half];
    along[threadIdx.x] += along[threadIdx.x + half];
  }
  if ((Index)threadIdx.x >= lanes_ || column >= c) return;
  parts[chunk * 2 * c + column] = plain[threadIdx.x];
  parts[(chunk * 2 + 1) * c + column] = along[threadIdx.x];
}

// The second stage, a thread a column: dbeta and dgamma.
extern "C" __global__ void layer_norm_sums_of_chunks(const A* __restrict__ parts, T* __restrict__ dgamma,
                                                     T* __restrict__ dbeta, long long c_, long long chunks) {
  const Index c = c_;
  FOR_EACH(column, c) {
    A plain = 0, along = 0;
    for (Index chunk = 0; chunk < chunks; ++chunk) {
      plain += parts[chunk * 2 * c + column];
      along += parts[(chunk * 2 + 1) * c + column];
    }
    store(dbeta + column, plain);
    store(dgamma + column, along);
  }
}
