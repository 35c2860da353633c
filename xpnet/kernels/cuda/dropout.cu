// Dropout by the counter-based generator: nothing is stored, the way back draws the same bits again.

struct alignas(16) Eight {
  T at[8];
};

// y[i] = x[i] * scale where the 32-bit half start + i of the draw is at least the threshold, else 0. A block of the
// generator is four words, eight halves: a thread makes those eight numbers, and reads and writes them 16 bytes at a time
// where they lie so.
extern "C" __global__ void random_dropout(const T* __restrict__ x, T* __restrict__ y, long long n_, long long start,
                                          long long threshold_, double scale_, long long seed, long long purpose,
                                          const long long* __restrict__ step_at, long long step_now,
                                          const long long* __restrict__ epoch_at, long long epoch) {
  const Index n = n_, skip = start % 8;  // the first thread's block begins that many numbers before x
  const unsigned threshold = threshold_;
  const A scale = scale_;
  const Draw draw = draw_of(seed, purpose, step_at, step_now, epoch_at, epoch);
  const bool whole = skip == 0 && ((Word)x | (Word)y) % 16 == 0;
  FOR_EACH(eight, (Index)((skip + n_ + 7) / 8)) {
    const Words words = philox(draw, (Word)start / 8 + eight);
    const Index first = eight * 8 - skip;
    if (whole && n - first >= 8) {
      const Eight in = *(const Eight*)(x + first);
      Eight out;
#pragma unroll
      for (int j = 0; j < 8; ++j)
        store(out.at + j, (unsigned)(words.at[j / 2] >> (j % 2 * 32)) >= threshold ? load(in.at + j) * scale : (A)0);
      *(Eight*)(y + first) = out;
    } else {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const Index i = first + j;
        if (j >= -first && j < n - first)
          store(y + i, (unsigned)(words.at[j / 2] >> (j % 2 * 32)) >= threshold ? load(x + i) * scale : (A)0);
      }
    }
  }
}
