// SPDX-License-Identifier: Apache-2.0
// Parsing and printing of sizes, peak memory of the process, and the nearest-name search.
#include "core/units.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <utility>
#include <vector>

#include "core/error.h"

namespace espalier::core {
namespace {

struct Unit {
  std::string_view suffix;
  double factor;
};
constexpr Unit kCounts[] = {{"", 1},    {"k", 1e3}, {"K", 1e3}, {"M", 1e6},
                            {"G", 1e9}, {"B", 1e9}, {"T", 1e12}};
constexpr Unit kBytes[] = {{"", 1},
                           {"B", 1},
                           {"k", 1e3},
                           {"K", 1e3},
                           {"M", 1e6},
                           {"G", 1e9},
                           {"kB", 1e3},
                           {"KB", 1e3},
                           {"MB", 1e6},
                           {"GB", 1e9},
                           {"TB", 1e12},
                           {"KiB", 1024},
                           {"MiB", 1048576.0},
                           {"GiB", 1073741824.0},
                           {"TiB", 1099511627776.0}};

template <std::size_t N>
std::int64_t parse(std::string_view text, std::string_view what, const Unit (&units)[N],
                   const char* examples) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && value >= 0 && std::isfinite(value)) {
    std::string_view suffix(end, static_cast<std::size_t>(text.data() + text.size() - end));
    while (!suffix.empty() && suffix.front() == ' ') suffix.remove_prefix(1);
    for (const Unit& unit : units)
      if (unit.suffix == suffix && value * unit.factor < 9e18) {
        const double whole = std::round(value * unit.factor);
        if (std::abs(value * unit.factor - whole) > 1e-9 * whole)
          fail(ErrorKind::usage, what, what.empty() ? "'" : " '", text,
               "': expected a whole number");
        return std::llround(whole);
      }
  }
  fail(ErrorKind::usage, what, what.empty() ? "'" : " '", text, "': expected a size such as ",
       examples);
}

std::string scaled(double value, const char* const* suffixes, int n) {
  int i = 0;
  while (value >= 999.5 && i + 1 < n) {
    value /= 1000;
    ++i;
  }
  char out[64];
  std::snprintf(out, sizeof out,
                i == 0        ? "%.0f%s"
                : value < 100 ? "%.1f%s"
                              : "%.0f%s",
                value, suffixes[i]);
  return out;
}

}  // namespace

std::int64_t parse_count(std::string_view text, std::string_view what) {
  return parse(text, what, kCounts, "92M, 8.4G or 1200");
}
std::int64_t parse_bytes(std::string_view text, std::string_view what) {
  return parse(text, what, kBytes, "60MB, 1.5GiB or 1200");
}

std::string human_bytes(std::int64_t bytes) {
  static const char* const suffixes[] = {" B", " kB", " MB", " GB", " TB"};
  return scaled(static_cast<double>(bytes), suffixes, 5);
}
std::string human_count(std::int64_t count) {
  static const char* const suffixes[] = {"", "k", "M", "G", "T"};
  return scaled(static_cast<double>(count), suffixes, 5);
}
std::string number(double value) {
  char out[40];
  const double size = std::abs(value);
  std::snprintf(out, sizeof out, size >= 1e4 && size < 1e15 ? "%.0f" : "%.5g", value);
  return out;
}
std::int64_t peak_rss_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("VmHWM:", 0) == 0) return std::strtoll(line.c_str() + 6, nullptr, 10) * 1024;
  return 0;
}
std::string nearest_name(std::string_view name, const std::string* candidates, std::size_t n) {
  std::string best;
  // Two slips in a short name leave too little of it.
  std::size_t best_distance = std::max<std::size_t>(name.size() > 5 ? 2 : 1, name.size() / 3) + 1;
  for (std::size_t c = 0; c < n; ++c) {
    const std::string& other = candidates[c];
    // Edits between the first i characters of `name` and the first j of `other`; two letters that
    // changed places are one edit.
    std::vector<std::size_t> row(other.size() + 1), last, before_last;
    for (std::size_t j = 0; j <= other.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= name.size(); ++i) {
      before_last = std::exchange(last, row);
      row[0] = i;
      for (std::size_t j = 1; j <= other.size(); ++j) {
        row[j] = std::min(
            {last[j] + 1, row[j - 1] + 1, last[j - 1] + (name[i - 1] == other[j - 1] ? 0 : 1)});
        if (i > 1 && j > 1 && name[i - 1] == other[j - 2] && name[i - 2] == other[j - 1])
          row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
    // A name that was cut short is as near as one slip.
    const bool cut = name.size() > 4 && other.starts_with(name);
    const std::size_t distance = cut ? std::min<std::size_t>(row.back(), 1) : row.back();
    if (distance < best_distance) {
      best_distance = distance;
      best = other;
    }
  }
  return best;
}

}  // namespace espalier::core
