// SPDX-License-Identifier: Apache-2.0
// Loads and stores of the first n lanes, for ends that do not fill a vector. Nothing past them is
// read or written. Included inside an unnamed namespace after V.
inline std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

inline V::F load_some(const float* p, std::int64_t n) {  // the other lanes are 0
  if (n >= V::kLanes) return V::load(p);
  alignas(64) float lanes[V::kLanes] = {};
  for (std::int64_t i = 0; i < n; ++i) lanes[i] = p[i];
  return V::load(lanes);
}

inline void store_some(float* p, V::F x, std::int64_t n) {
  if (n >= V::kLanes) {
    V::store(p, x);
    return;
  }
  alignas(64) float lanes[V::kLanes];
  V::store(lanes, x);
  for (std::int64_t i = 0; i < n; ++i) p[i] = lanes[i];
}

// The float formats: where value i lies, and a vector of values as float.
struct FloatF32 {
  using Stored = float;
  static V::F load(const float* p) { return V::load(p); }
};
struct FloatF16 {
  using Stored = std::uint16_t;
  static V::F load(const std::uint16_t* p) { return V::load_f16(p); }
};
struct FloatBf16 {
  using Stored = std::uint16_t;
  static V::F load(const std::uint16_t* p) { return V::load_bf16(p); }
};

template <typename Float>
inline V::F load_some(const typename Float::Stored* p, std::int64_t n) {
  if (n >= V::kLanes) return Float::load(p);
  alignas(64) typename Float::Stored lanes[V::kLanes] = {};
  for (std::int64_t i = 0; i < n; ++i) lanes[i] = p[i];
  return Float::load(lanes);
}
