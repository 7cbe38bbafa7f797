// What each instruction set does by instructions of its own: between bytes and bits, 64 pixels at a time, and
// sums of products of 16-bit pairs. ANATPASTE_SIMD is the x86-64 level that the file is compiled for, 0 for
// another processor.
#pragma once

#include <cstring>

#include "common/portable.h"

#if ANATPASTE_SIMD > 0
#include <immintrin.h>
#endif

namespace anatpaste {
namespace cpu {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "pixel x of a group is byte x of a loaded word");

// Integers of a register.
constexpr int32_t kInts = ANATPASTE_SIMD >= 4 ? 16 : ANATPASTE_SIMD == 3 ? 8 : 4;
typedef int32_t Ints __attribute__((vector_size(kInts * sizeof(int32_t))));

ANATPASTE_HD Ints load_ints(const void* from) {
  Ints ints;
  std::memcpy(&ints, from, sizeof ints);
  return ints;
}

// 16-bit integers of a register.
constexpr int32_t kWords = 2 * kInts;
typedef uint16_t Words __attribute__((vector_size(kWords * sizeof(uint16_t))));

#if ANATPASTE_SIMD >= 4

// The upper halves of the products.
ANATPASTE_HD Words multiply_high(Words a, Words b) {
  return reinterpret_cast<Words>(
      _mm512_mulhi_epu16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}

// Of 16-bit integers in pairs, a0 * b0 + a1 * b1 of each.
ANATPASTE_HD Ints dot_pairs(Ints a, Ints b) {
  return reinterpret_cast<Ints>(
      _mm512_madd_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}

// 64 bytes -> 64 bits, set where the byte is not 0.
ANATPASTE_HD uint64_t pack64(const uint8_t* bytes) {
  const __m512i all = _mm512_loadu_si512(bytes);
  return _mm512_test_epi8_mask(all, all);
}

// 64 bits -> 64 bytes of 0 or 1.
ANATPASTE_HD void unpack64(uint64_t bits, uint8_t* bytes) {
  _mm512_storeu_si512(bytes, _mm512_maskz_set1_epi8(bits, 1));
}

#elif ANATPASTE_SIMD == 3

ANATPASTE_HD Words multiply_high(Words a, Words b) {
  return reinterpret_cast<Words>(
      _mm256_mulhi_epu16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}

ANATPASTE_HD Ints dot_pairs(Ints a, Ints b) {
  return reinterpret_cast<Ints>(
      _mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}

ANATPASTE_HD uint32_t pack32(const uint8_t* bytes) {
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
  return ~static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(half, _mm256_setzero_si256())));
}

ANATPASTE_HD uint64_t pack64(const uint8_t* bytes) {
  return pack32(bytes) | static_cast<uint64_t>(pack32(bytes + 32)) << 32;
}

ANATPASTE_HD void unpack32(uint32_t bits, uint8_t* bytes) {
  const __m256i source = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bit = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201u));
  const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int32_t>(bits)), source);
  const __m256i set = _mm256_min_epu8(_mm256_and_si256(spread, bit), _mm256_set1_epi8(1));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(bytes), set);
}

ANATPASTE_HD void unpack64(uint64_t bits, uint8_t* bytes) {
  unpack32(static_cast<uint32_t>(bits), bytes);
  unpack32(static_cast<uint32_t>(bits >> 32), bytes + 32);
}

#else

#if ANATPASTE_SIMD > 0

ANATPASTE_HD Words multiply_high(Words a, Words b) {
  return reinterpret_cast<Words>(_mm_mulhi_epu16(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
}

ANATPASTE_HD Ints dot_pairs(Ints a, Ints b) {
  return reinterpret_cast<Ints>(_mm_madd_epi16(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
}

ANATPASTE_HD uint64_t pack16(const uint8_t* bytes) {
  const __m128i part = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
  return static_cast<uint16_t>(~_mm_movemask_epi8(_mm_cmpeq_epi8(part, _mm_setzero_si128())));
}

#else

ANATPASTE_HD Words multiply_high(Words a, Words b) {
  Words products;
  for (int32_t i = 0; i < kWords; ++i)
    products[i] = static_cast<uint16_t>((uint32_t{a[i]} * uint32_t{b[i]}) >> 16);
  return products;
}

ANATPASTE_HD Ints dot_pairs(Ints a, Ints b) {
  Ints sums;
  for (int32_t i = 0; i < kInts; ++i) {
    sums[i] = static_cast<int16_t>(a[i]) * static_cast<int16_t>(b[i]) + (a[i] >> 16) * (b[i] >> 16);
  }
  return sums;
}

// Every byte becomes 0 or 1; then a product moves each byte's lowest bit to a place of its own at the top.
ANATPASTE_HD uint64_t pack8(const uint8_t* bytes) {
  constexpr uint64_t kLow = 0x7f7f7f7f7f7f7f7fu;
  uint64_t eight;
  std::memcpy(&eight, bytes, sizeof(eight));
  const uint64_t ones = ((((eight & kLow) + kLow) | eight) & ~kLow) >> 7;
  return (ones * 0x0102040810204080u) >> 56;
}

ANATPASTE_HD uint64_t pack16(const uint8_t* bytes) { return pack8(bytes) | pack8(bytes + 8) << 8; }

#endif

ANATPASTE_HD uint64_t pack64(const uint8_t* bytes) {
  return pack16(bytes) | pack16(bytes + 16) << 16 | pack16(bytes + 32) << 32 | pack16(bytes + 48) << 48;
}

// Bit i of a byte to byte i.
ANATPASTE_HD void unpack64(uint64_t bits, uint8_t* bytes) {
  for (int32_t group = 0; group < 8; ++group) {
    const uint64_t eight = bits >> (8 * group) & 0xff;
    const uint64_t spread = ((eight * 0x0101010101010101u) & 0x8040201008040201u) + 0x7f7f7f7f7f7f7f7fu;
    const uint64_t ones = (spread >> 7) & 0x0101010101010101u;
    std::memcpy(bytes + 8 * group, &ones, sizeof(ones));
  }
}

#endif

}  // namespace
}  // namespace cpu
}  // namespace anatpaste
