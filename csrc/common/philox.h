// Philox 4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"
// (SC 2011).
#pragma once

#include "arith.h"
#include "portable.h"

namespace anatpaste {

struct Philox4 {
  uint32_t x, y, z, w;
};

// Each use of random numbers has its own domain, so no two uses ever share a draw. These values are part of
// every recorded result: never renumber them.
enum RandomDomain : uint32_t {
  kDomainImageJitter = 1,
  kDomainAnatPaste = 2,
  kDomainCutPaste = 3,
  kDomainCutPasteScar = 4,
  kDomainCutPasteUnion = 5,
};

ANATPASTE_HD uint32_t mulhi32(uint32_t a, uint32_t b) {
  return static_cast<uint32_t>((static_cast<uint64_t>(a) * b) >> 32);
}

ANATPASTE_HD Philox4 philox4x32_10(Philox4 counter, uint32_t key_low, uint32_t key_high) {
  for (int round = 0; round < 10; ++round) {
    const uint32_t high0 = mulhi32(0xD2511F53u, counter.x), low0 = 0xD2511F53u * counter.x;
    const uint32_t high1 = mulhi32(0xCD9E8D57u, counter.z), low1 = 0xCD9E8D57u * counter.z;
    counter = {high1 ^ counter.y ^ key_low, low1, high0 ^ counter.w ^ key_high, low0};
    key_low += 0x9E3779B9u;
    key_high += 0xBB67AE85u;
  }
  return counter;
}

// The four random words of one block: a function of seed, sample, step, domain and block number alone.
ANATPASTE_HD Philox4 random_block(int64_t seed, int64_t sample, uint32_t step, RandomDomain domain,
                                  uint32_t block) {
  const uint64_t key = static_cast<uint64_t>(seed), number = static_cast<uint64_t>(sample);
  const Philox4 counter = {static_cast<uint32_t>(number), static_cast<uint32_t>(number >> 32), step,
                           static_cast<uint32_t>(domain) << 16 | block};
  return philox4x32_10(counter, static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32));
}

// A multiple of 2^-24 in [0, 1).
ANATPASTE_HD float unit_real(uint32_t word) { return static_cast<float>(word >> 8) * 5.9604644775390625e-8f; }

// Uniform in [low, high].
ANATPASTE_HD float real_between(uint32_t word, float low, float high) {
  return fma_rn(unit_real(word), high - low, low);
}

// An integer in [0, count).
ANATPASTE_HD int32_t integer_below(uint32_t word, int32_t count) {
  return static_cast<int32_t>(mulhi32(word, static_cast<uint32_t>(count)));
}

}  // namespace anatpaste
