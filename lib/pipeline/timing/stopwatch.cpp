// SPDX-License-Identifier: Apache-2.0
// Shares the time among the items by their guessed part of it.
#include "timing/stopwatch.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "timing/sample.h"

namespace espalier::timing {
namespace {

constexpr double kLeastShare = 1.0 / 500;           // of all work
constexpr double kShortest = 0.05, kLongest = 1.5;  // seconds of a sample

}  // namespace

void Stopwatch::measure(std::span<const Work> works, double seconds) {
  struct Part {
    const Item* item;
    double guess;
  };
  std::map<std::string, Part> parts;
  double all = 0;
  for (const Work& work : works)
    for (const Item& item : work) {
      ESP_CHECK(item.usual > 0 && std::isfinite(item.amount) && item.amount >= 0, internal,
                "timing: ", item.key, ": amount ", item.amount, ", usual speed ", item.usual);
      const double guess = item.amount / speed_of(item);
      all += guess;
      parts.try_emplace(item.key, Part{&item, 0}).first->second.guess += guess;
    }
  std::vector<Part> order;
  for (const auto& [key, part] : parts)
    if (!timed_.contains(key) && part.item->measure && part.guess >= kLeastShare * all)
      order.push_back(part);
  std::sort(order.begin(), order.end(),
            [](const Part& a, const Part& b) { return a.guess > b.guess; });
  const double begin = seconds_now(), end = begin + seconds;
  double waiting = 0;
  for (const Part& part : order) waiting += std::sqrt(part.guess);
  for (const Part& part : order) {
    const double left = end - seconds_now();
    if (left < kShortest) break;
    // Large parts get more, but a part that is a hundred times as large only ten times as much.
    const double share = std::sqrt(part.guess) / waiting;
    waiting -= std::sqrt(part.guess);
    const double per_second =
        part.item->measure(std::clamp(left * share, kShortest, std::min(left, kLongest)));
    ESP_CHECK(std::isfinite(per_second) && per_second > 0, internal, "timing: ", part.item->key,
              ": ", per_second, " per second");
    timed_[part.item->key] = {part.item->kind, per_second, part.item->usual};
  }
  spent_ += seconds_now() - begin;
}

double Stopwatch::speed_of(const Item& item) const {
  const auto found = timed_.find(item.key);
  if (found != timed_.end()) return found->second.per_second;
  double of_kind = 0, of_all = 0;  // sums of logarithms
  int n_kind = 0, n_all = 0;
  for (const auto& [key, timed] : timed_) {
    const double faster = std::log(timed.per_second / timed.usual);
    of_all += faster;
    ++n_all;
    if (timed.kind != item.kind) continue;
    of_kind += faster;
    ++n_kind;
  }
  if (n_kind > 0) return item.usual * std::exp(of_kind / n_kind);
  return n_all > 0 ? item.usual * std::exp(of_all / n_all) : item.usual;
}

double Stopwatch::seconds(const Work& work) const {
  double out = 0;
  for (const Item& item : work) out += item.amount / speed_of(item);
  return out;
}

std::vector<Stopwatch::Speed> Stopwatch::speeds() const {
  std::vector<Speed> out;
  for (const auto& [key, timed] : timed_) out.push_back({timed.kind, key, timed.per_second});
  return out;
}

}  // namespace espalier::timing
