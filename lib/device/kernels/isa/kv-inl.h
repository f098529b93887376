// SPDX-License-Identifier: Apache-2.0
// Keys and values in the cache's formats: writing the row of a head, and reading a vector of its
// values from column d on as float. Blocks are those of GGUF. Q8_0 = d f16, 32 int8. Q4_0 = d f16,
// 16 bytes. The low halves hold values 0 to 15, the high halves values 16 to 31, minus 8.
//
// Included inside an unnamed namespace after V, tails-inl.h, quantize-inl.h.
template <typename Float>
struct KvFloat {
  using Stored = typename Float::Stored;
  static V::F load(const unsigned char* row, std::int64_t d, std::int64_t n) {
    return load_some<Float>(reinterpret_cast<const Stored*>(row) + d, n);
  }
};

inline V::F block_scale(const unsigned char* block) {
  std::uint16_t scale;
  __builtin_memcpy(&scale, block, 2);
  return V::set1_f16(scale);
}

constexpr std::int64_t kKvBlock = 32, kQ8Bytes = 34, kQ4Bytes = 18;

struct KvQ8_0 {
  static V::F load(const unsigned char* row, std::int64_t d, std::int64_t) {
    const unsigned char* block = row + d / kKvBlock * kQ8Bytes;
    return V::mul(block_scale(block), V::to_float(V::load_int8(block + 2 + d % kKvBlock)));
  }
};

struct KvQ4_0 {
  static V::F load(const unsigned char* row, std::int64_t d, std::int64_t) {
    const unsigned char* block = row + d / kKvBlock * kQ4Bytes;
    V::I halves = V::load_int8(block + 2 + d % 16);
    if (d % kKvBlock >= 16) halves = V::right32<4>(halves);
    return V::mul(block_scale(block),
                  V::to_float(V::add32(V::iand(halves, V::iset32(15)), V::iset32(-8))));
  }
};

inline void store_scale(float scale, unsigned char* block) {
  alignas(64) std::uint16_t lanes[V::kLanes];
  V::store_f16(lanes, V::set1(scale));
  __builtin_memcpy(block, lanes, 2);
}

void store_kv_f32(const float* x, std::int64_t n, void* out) {
  __builtin_memcpy(out, x, static_cast<std::size_t>(n) * sizeof(float));
}

void store_kv_f16(const float* x, std::int64_t n, void* out) {
  auto* half = static_cast<std::uint16_t*>(out);
  for (std::int64_t i = 0; i < n; i += V::kLanes) {
    const V::F v = load_some(x + i, n - i);
    if (n - i >= V::kLanes) {
      V::store_f16(half + i, v);
    } else {
      alignas(64) std::uint16_t lanes[V::kLanes];
      V::store_f16(lanes, v);
      for (std::int64_t j = 0; j < n - i; ++j) half[i + j] = lanes[j];
    }
  }
}

void store_kv_q8_0(const float* x, std::int64_t n, void* out) {
  auto* block = static_cast<unsigned char*>(out);
  for (std::int64_t i = 0; i < n; i += kKvBlock, block += kQ8Bytes) {
    std::int8_t levels[kKvBlock];
    store_scale(quantize_group(x + i, kKvBlock, levels), block);
    __builtin_memcpy(block + 2, levels, sizeof levels);
  }
}

void store_kv_q4_0(const float* x, std::int64_t n, void* out) {
  auto* block = static_cast<unsigned char*>(out);
  for (std::int64_t i = 0; i < n; i += kKvBlock, block += kQ4Bytes)
    store_scale(kv_q4_levels(x + i, block + 2), block);
}
