// SPDX-License-Identifier: Apache-2.0
// Rounds to the two largest units of time, and the rest to two or three digits.
#include "core/duration.h"

#include <cmath>
#include <cstdint>
#include <cstdio>

#include "core/units.h"

namespace espalier::core {
namespace {

// 2h05m: the larger part, and what is left of it in two digits.
std::string two_parts(std::int64_t whole, std::int64_t part, const char* large, const char* small) {
  char out[48];
  std::snprintf(out, sizeof out, "%lld%s%02lld%s", static_cast<long long>(whole / part), large,
                static_cast<long long>(whole % part), small);
  return out;
}

std::string count_of(double value) {
  if (value >= 99.5) return human_count(std::llround(value));
  char out[32];
  std::snprintf(out, sizeof out, value >= 9.95 ? "%.0f" : "%.1f", value);
  return out;
}

}  // namespace

std::string human_duration(double seconds) {
  constexpr double kMost = 1e12;
  if (!(seconds >= 0 && seconds < kMost)) return "-";
  char out[32];
  if (seconds < 59.5) {
    const int digits = seconds < 0.995 && seconds > 0 ? 2 : seconds < 9.95 && seconds > 0 ? 1 : 0;
    std::snprintf(out, sizeof out, "%.*fs", digits, seconds);
    return out;
  }
  const std::int64_t s = std::llround(seconds), m = std::llround(seconds / 60),
                     h = std::llround(seconds / 3600);
  if (s < 3600) return two_parts(s, 60, "m", "s");
  if (m < 24 * 60) return two_parts(m, 60, "h", "m");
  return two_parts(h, 24, "d", "h");
}

std::string human_rate(double per_second, std::string_view unit) {
  constexpr double kMost = 1e18;
  if (!(per_second >= 0 && per_second < kMost)) return "-";
  const std::string of(unit);
  // Just below one a second is shown as one.
  if (per_second >= 0.95 || per_second == 0) return count_of(per_second) + " " + of + "/s";
  if (per_second * 60 >= 0.95) return count_of(per_second * 60) + " " + of + "/min";
  return count_of(per_second * 3600) + " " + of + "/h";
}

std::string human_value(std::string_view key, double value) {
  constexpr double kMost = 9e18;
  const auto says = [&](std::string_view word) { return key.find(word) != key.npos; };
  const bool whole = value >= 0 && value < kMost && value == std::floor(value);
  if (says("per_second") || says("ratio")) return number(value);
  if (says("bytes") && value >= 0 && value < kMost) return human_bytes(std::llround(value));
  if (says("seconds")) return human_duration(value);
  if ((says("parameters") || says("tokens")) && whole) return human_count(std::llround(value));
  return number(value);
}

HumanPair human_values(std::string_view key, double value, double limit) {
  HumanPair out{human_value(key, value), human_value(key, limit)};
  if (out.value != out.limit || value == limit) return out;
  const auto exact = [](double v) {
    char text[40];
    std::snprintf(text, sizeof text, "%.15g", v);
    return std::string(text);
  };
  return {exact(value), exact(limit)};
}

}  // namespace espalier::core
