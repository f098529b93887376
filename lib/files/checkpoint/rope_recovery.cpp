// SPDX-License-Identifier: Apache-2.0
// Tries the known parameters of a scaling, and those that follow from the factors of a file.
#include "checkpoint/rope_recovery.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numbers>
#include <vector>

namespace espalier::checkpoint {

bool regenerates(const arch::ModelDims& dims, const arch::RopeScaling& scaling,
                 std::span<const float> factors) {
  constexpr double kTolerance = 1e-6;
  arch::ModelDims scaled = dims;
  scaled.rope_scaling = scaling;
  std::vector<float> ours = arch::rope_frequency_factors(scaled);
  if (ours.empty()) ours.assign(factors.size(), 1.0f);  // factor 1: no scaling
  if (ours.size() != factors.size()) return false;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    const double a = static_cast<double>(ours[i]), b = static_cast<double>(factors[i]);
    if (!(std::fabs(a - b) <= kTolerance * a)) return false;  // also refuses NaN
  }
  return true;
}

namespace {

// 1 / wavelength of each frequency, falling.
std::vector<double> inverse_wavelengths(const arch::ModelDims& dims) {
  arch::ModelDims unscaled = dims;
  unscaled.rope_scaling = {};
  std::vector<double> out = arch::rope_inverse_frequencies(unscaled);
  for (double& x : out) x /= 2 * std::numbers::pi;
  return out;
}

struct Line {
  double low_x, high_x;  // where s is 0 and 1
};

// The line through two points.
Line through(double x0, double s0, double x1, double s1) {
  const double slope = (s1 - s0) / (x1 - x0);
  return {x0 - s0 / slope, x0 + (1 - s0) / slope};
}

// Frequencies [first, end) are in between; those before have s >= 1, those behind s <= 0.
std::optional<Line> line_of(const std::vector<double>& x, const std::vector<double>& s) {
  std::size_t first = 0, end = s.size();
  while (first < s.size() && s[first] > 1 - 1e-7) ++first;
  while (end > first && s[end - 1] < 1e-7) --end;
  const double before = first > 0 ? x[first - 1] : 2 * x.front();
  const double behind = end < x.size() ? x[end] : x.back() / 2;
  if (first == end) {  // a step between two frequencies
    const double third = std::cbrt(before / behind);
    return Line{behind * third, before / third};
  }
  if (end - first > 1) return through(x[first], s[first], x[end - 1], s[end - 1]);
  // One frequency: the flattest line that leaves its neighbours at 0 and 1, and a little steeper.
  const double slope =
      1.01 * std::max((1 - s[first]) / (before - x[first]), s[first] / (x[first] - behind));
  return Line{x[first] - s[first] / slope, x[first] + (1 - s[first]) / slope};
}

// As people write it where that is near enough.
double rounded(double value, int digits) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*g", digits, value);
  return std::strtod(text, nullptr);
}

}  // namespace

std::optional<arch::RopeScaling> recover_rope_scaling(const arch::ModelDims& dims,
                                                      std::span<const float> factors) {
  if (factors.empty()) return std::nullopt;
  // The lowest frequency is divided by the full factor.
  const double factor = static_cast<double>(*std::max_element(factors.begin(), factors.end()));
  if (!std::isfinite(factor) || factor < 1) return std::nullopt;
  const arch::RopeScaling llama3{factor, 1, 4, 8192};
  if (regenerates(dims, llama3, factors)) return llama3;
  const std::vector<double> x = inverse_wavelengths(dims);
  if (factor == 1 || x.size() != factors.size()) return std::nullopt;
  std::vector<double> s;
  for (const float f : factors)
    s.push_back((1 / static_cast<double>(f) - 1 / factor) / (1 - 1 / factor));
  const std::optional<Line> line = line_of(x, s);
  if (!line || !(line->low_x > 0) || !(line->high_x > line->low_x)) return std::nullopt;
  // With a low factor of 1, as a rule. The original context then is a power of two or another round
  // number.
  const double guess = std::clamp(1 / line->low_x, 1.0, 0x1p30);
  for (const double positions : {std::exp2(std::round(std::log2(guess))), rounded(guess, 2),
                                 rounded(guess, 3), std::round(guess)})
    for (const int digits : {1, 2, 3, 4, 6, 9, 17}) {
      const arch::RopeScaling found{factor, rounded(positions * line->low_x, digits),
                                    rounded(positions * line->high_x, digits),
                                    std::llround(positions)};
      if (found.low_freq_factor > 0 && found.high_freq_factor > found.low_freq_factor &&
          regenerates(dims, found, factors))
        return found;
    }
  return std::nullopt;
}

std::optional<double> recover_linear_scaling(std::span<const float> factors) {
  for (const float f : factors)
    if (f != factors.front()) return std::nullopt;
  const double factor = static_cast<double>(factors.front());
  return factor > 0 && factor < 1e6 ? std::optional(factor) : std::nullopt;
}

}  // namespace espalier::checkpoint
