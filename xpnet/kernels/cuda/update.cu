// The optimizers' updates: the parameters of a group, slices of one flat array, in one pass over parameter, gradient and
// state.
//
// Gradients are read where they lie, through a table that is passed by value: T is their type. Parameters and state are
// of type A: float where gradients are float or half, double where they are double. A block works on EACH * blockDim.x
// elements of one row of the table. Numbers that change from step to step may be in device memory: the rate, the number of
// the update, and what prepare_gradients made.

#define ROWS 96
#define EACH 8

struct Row {
  const T* gradient;
  long long start, length;  // in the flat array
  long long first;          // the first block that works on it
};
struct Table {
  Row row[ROWS];
};

// Which row of the table this block works on.
__device__ __forceinline__ int row_of_block(const Table& table, int rows, int block) {
  int low = 0, high = rows - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (table.row[middle].first <= block)
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

// The sum of the squares of a block's gradients, divided by the loss scale, and how many of them are not finite.
extern "C" __global__ void gradient_sums(const Table table, long long rows, long long base, const float* __restrict__ scale,
                                         A* __restrict__ squares, A* __restrict__ bad) {
  const int block = (int)blockIdx.x;
  const Row row = table.row[row_of_block(table, (int)rows, block)];
  const long long length = row.length;
  const A factor = scale ? (A)1 / (A)*scale : (A)1;
  long long i = (long long)(block - row.first) * (EACH * blockDim.x) + threadIdx.x;
  A sum = 0, count = 0;
#pragma unroll
  for (int k = 0; k < EACH; ++k, i += blockDim.x)
    if (i < length) {
      const A g = load(row.gradient + i) * factor;
      sum += g * g;
      if (!(g - g == 0)) count += 1;
    }
  sum = block_sum(sum);
  count = block_sum(count);
  if (threadIdx.x == 0) {
    squares[base + block] = sum;
    bad[base + block] = count;
  }
}

// From n blocks' sums: control[0], what each gradient is multiplied by, and control[1], whether there is an update at all;
// and the loss scale for the next step. One block.
//   limit      of the norm of all gradients; 0: none
//   scale      of the loss, with its count of good updates in a row and of updates left out; null: the loss is not scaled
extern "C" __global__ void prepare_gradients(const A* __restrict__ squares, const A* __restrict__ bad, long long n_,
                                             double limit_, A* __restrict__ control, float* __restrict__ scale,
                                             long long* __restrict__ good, long long* __restrict__ skipped, double least,
                                             double most, long long patience) {
  const long long n = n_;
  A sum = 0, count = 0;
  for (long long i = threadIdx.x; i < n; i += blockDim.x) {
    sum += squares[i];
    count += bad[i];
  }
  sum = block_sum(sum);
  count = block_sum(count);
  if (threadIdx.x != 0) return;
  A factor = 1;
  if (limit_ > 0) {
    const A limit = (A)limit_, norm = (A)sqrt(sum) + (A)1e-6;
    factor = limit / (norm < limit ? limit : norm);  // NaN stays NaN
  }
  control[1] = 1;
  if (scale) {
    const float old = *scale;
    const bool finite = count == 0;
    factor *= (A)1 / (A)old;
    control[1] = finite ? (A)1 : (A)0;
    const long long row = finite ? *good + 1 : 0;
    float next = old * 0.5f < (float)least ? (float)least : old * 0.5f;
    if (finite) next = row % patience == 0 ? (old * 2.0f > (float)most ? (float)most : old * 2.0f) : old;
    *scale = next;
    *good = row;
    if (!finite) *skipped += 1;
  }
  control[0] = factor;
}

// One step of a rule: where parameters and state are, and the numbers. Pointers may be null: first, second where a rule has
// no such state; lr where rate holds it; t where number holds it; skipped where no update is left out.
struct Step {
  A *value, *first, *second;
  const A* lr;
  const long long *t, *skipped;
  double rate, decay, bound;  // bound: of each element of the gradient; 0: none
  double c[5];                // the rule's constants
  long long number, rows, decoupled;
};

// What a thread works with, read once.
struct Place {
  Row row;
  A lr;
  long long t;  // the number of this update, from 1
};

__device__ __forceinline__ Place place(const Table& table, const Step& step) {
  Place at;
  at.row = table.row[row_of_block(table, (int)step.rows, (int)blockIdx.x)];
  at.lr = step.lr ? *step.lr : (A)step.rate;
  at.t = (step.t ? *step.t : step.number) - (step.skipped ? *step.skipped : 0);
  return at;
}

// Update a block's elements. The gradient is prepared here, for all rules: scaled, bounded, decayed. A rule receives an
// element's index and its gradient, and returns what to subtract from the parameter.
template <class Rule>
__device__ __forceinline__ void update_block(const Place& at, const Step& step, const A* __restrict__ control, Rule rule) {
  if (control && control[1] == 0) return;
  A* __restrict__ value = step.value + at.row.start;
  const T* __restrict__ gradient = at.row.gradient;
  const long long length = at.row.length, start = at.row.start;
  const A factor = control ? control[0] : (A)1, bound = (A)step.bound, decay = (A)step.decay;
  const A kept = step.decoupled ? (A)1 - at.lr * decay : (A)1;
  long long i = (long long)((int)blockIdx.x - at.row.first) * (EACH * blockDim.x) + threadIdx.x;
#pragma unroll
  for (int k = 0; k < EACH; ++k, i += blockDim.x)
    if (i < length) {
      A g = load(gradient + i) * factor;
      const A p = value[i];
      if (bound > 0) g = g < -bound ? -bound : g > bound ? bound : g;  // NaN stays
      if (decay > 0 && !step.decoupled) g += decay * p;
      value[i] = p * kept - rule(start + i, g);
    }
}

// v = momentum * v + g;  p -= lr * v, or lr * (g + momentum * v).  c: momentum, nesterov
extern "C" __global__ void sgd(const Table table, const Step step, const A* __restrict__ control) {
  const Place at = place(table, step);
  const A momentum = (A)step.c[0];
  const bool nesterov = step.c[1] != 0;
  A* __restrict__ velocity = step.first;
  update_block(at, step, control, [&](long long i, A g) -> A {
    if (!velocity) return at.lr * g;
    const A v = momentum * velocity[i] + g;
    velocity[i] = v;
    return at.lr * (nesterov ? g + momentum * v : v);
  });
}

// s = rho * s + (1 - rho) * g^2;  u = g / (sqrt(s) + eps);  v = momentum * v + u;  p -= lr * v.  c: rho, eps, momentum
extern "C" __global__ void rmsprop(const Table table, const Step step, const A* __restrict__ control) {
  const Place at = place(table, step);
  const A rho = (A)step.c[0], rest = (A)(1 - step.c[0]), eps = (A)step.c[1], momentum = (A)step.c[2];
  A *__restrict__ mean = step.first, *__restrict__ velocity = step.second;
  update_block(at, step, control, [&](long long i, A g) -> A {
    const A s = rho * mean[i] + rest * g * g;
    mean[i] = s;
    const A u = g / ((A)sqrt(s) + eps);
    if (!velocity) return u * at.lr;
    const A v = momentum * velocity[i] + u;
    velocity[i] = v;
    return at.lr * v;
  });
}

// s = s + g^2;  p -= lr * g / (sqrt(s) + eps).  c: eps
extern "C" __global__ void adagrad(const Table table, const Step step, const A* __restrict__ control) {
  const Place at = place(table, step);
  const A eps = (A)step.c[0];
  A* __restrict__ sum = step.first;
  update_block(at, step, control, [&](long long i, A g) -> A {
    const A s = sum[i] + g * g;
    sum[i] = s;
    return g / ((A)sqrt(s) + eps) * at.lr;
  });
}

// m = beta1 * m + (1 - beta1) * g;  s = beta2 * s + (1 - beta2) * g^2;
// p -= lr * m / (1 - beta1^t) / (sqrt(s / (1 - beta2^t)) + eps).  c: beta1, beta2, eps, and the logarithms of the betas,
// by which 1 - beta^t is exact in single precision too
extern "C" __global__ void adam(const Table table, const Step step, const A* __restrict__ control) {
  const Place at = place(table, step);
  const A beta1 = (A)step.c[0], beta2 = (A)step.c[1], eps = (A)step.c[2];
  const A rest1 = (A)(1 - step.c[0]), rest2 = (A)(1 - step.c[1]);
  const A t = (A)at.t, mean_lacks = -(A)expm1(t * (A)step.c[3]), square_lacks = -(A)expm1(t * (A)step.c[4]);
  const A rate = at.lr / mean_lacks, root_factor = (A)1 / (A)sqrt(square_lacks);
  A *__restrict__ mean = step.first, *__restrict__ square = step.second;
  update_block(at, step, control, [&](long long i, A g) -> A {
    const A m = beta1 * mean[i] + rest1 * g, s = beta2 * square[i] + rest2 * g * g;
    mean[i] = m;
    square[i] = s;
    return m / ((A)sqrt(s) * root_factor + eps) * rate;
  });
}
