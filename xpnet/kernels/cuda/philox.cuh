// The generator of random.py, Philox-4x64-10: the same bits on a device as on the host.
//
// A draw is named by its seed, the hash of its purpose, its step and its epoch. Each of the last two lies in device memory,
// where a captured step moves it on, or, where the pointer is null, is given as it is.

typedef unsigned long long Word;

struct Words {
  Word at[4];
};

struct Draw {
  Word seed, purpose, step, epoch;
};

__device__ __forceinline__ Draw draw_of(long long seed, long long purpose, const long long* step_at, long long step,
                                        const long long* epoch_at, long long epoch) {
  return {(Word)seed, (Word)purpose, (Word)(step_at ? *step_at : step), (Word)(epoch_at ? *epoch_at : epoch)};
}

// Words 4*block .. 4*block + 3 of a draw.
__device__ __forceinline__ Words philox(const Draw& draw, Word block) {
  Word x0 = block, x1 = 0, x2 = draw.step, x3 = draw.epoch, k0 = draw.seed, k1 = draw.purpose;
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const Word high0 = __umul64hi(0xD2E7470EE14C6C93ull, x0), low0 = 0xD2E7470EE14C6C93ull * x0;
    const Word high1 = __umul64hi(0xCA5A826395121157ull, x2), low1 = 0xCA5A826395121157ull * x2;
    x0 = high1 ^ x1 ^ k0, x1 = low1, x2 = high0 ^ x3 ^ k1, x3 = low0;
    k0 += 0x9E3779B97F4A7C15ull, k1 += 0xBB67AE8584CAA73Bull;
  }
  return {{x0, x1, x2, x3}};
}
