// SPDX-License-Identifier: Apache-2.0
// Counter-based random numbers. Value i of stream s under a seed is a pure function of (seed, s,
// i). So results depend neither on the order of calls nor on the number of threads.
//
// Method: SplitMix64's finalizer (Steele, Lea, Flood 2014) over a Weyl sequence.
#pragma once
#include <cmath>
#include <cstdint>

namespace espalier::core {

class Rng {
 public:
  explicit Rng(std::uint64_t seed, std::uint64_t stream = 0)
      : key_(mix(seed + 0x9E3779B97F4A7C15u * (stream + 1))) {}
  std::uint64_t at(std::uint64_t index) const {
    return mix(key_ + 0x9E3779B97F4A7C15u * (index + 1));
  }
  std::uint64_t next() { return at(index_++); }
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }  // [0, 1)
  std::uint64_t below(std::uint64_t n) {
    return static_cast<std::uint64_t>(uniform() * static_cast<double>(n));
  }
  double normal() {  // Box-Muller, one value per call
    const double u = 1.0 - uniform(), v = uniform();
    return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v);
  }
  std::uint64_t position() const { return index_; }
  void seek(std::uint64_t index) { index_ = index; }

 private:
  static std::uint64_t mix(std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
  }
  std::uint64_t key_;
  std::uint64_t index_ = 0;
};

}  // namespace espalier::core
