// The device counters of a training step: one thread stores the loss and advances them, so that the next replay is the next step.

// losses[step] = loss; step and t increase by one; rate = rates[step], of the step that comes now.
// loss, step, t: one number each; rate: groups; losses: n, one a step of the epoch; rates: (n + 1, groups).
extern "C" __global__ void advance_counters(const T* __restrict__ loss, T* __restrict__ losses, const T* __restrict__ rates,
                                T* __restrict__ rate, long long* __restrict__ step, long long* __restrict__ t, long long n,
                                long long groups) {
  if (blockIdx.x != 0 || threadIdx.x != 0) return;
  const long long now = *step;
  if (now >= 0 && now < n) {
    losses[now] = *loss;
    for (long long i = 0; i < groups; ++i) rate[i] = rates[(now + 1) * groups + i];
  }
  *step = now + 1;
  *t += 1;
}
