// The clock of a recorded step: one thread writes down the loss and moves on, so that the next replay is the next step.

// losses[step] = loss; step and since go one further; rate = rates[step], of the step that comes now.
// loss, rate, step, since: one number each; losses: n, one a step of the epoch; rates: n + 1.
extern "C" __global__ void tick(const T* __restrict__ loss, T* __restrict__ losses, const T* __restrict__ rates,
                                T* __restrict__ rate, long long* __restrict__ step, long long* __restrict__ since,
                                long long n) {
  if (blockIdx.x != 0 || threadIdx.x != 0) return;
  const long long now = *step;
  if (now >= 0 && now < n) {
    losses[now] = *loss;
    *rate = rates[now + 1];
  }
  *step = now + 1;
  *since += 1;
}
