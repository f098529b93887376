// SPDX-License-Identifier: Apache-2.0
// A speed is measured over the last half minute, or over the last few events where they are rare.
// The expected end follows the measured one with a delay, so that the time left does not jump.
#include "progress_stage.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace espalier::tool {
namespace {

constexpr double kWindow = 30, kApart = 0.25;  // of samples, in seconds
constexpr std::size_t kFewest = 5;             // samples, however old
constexpr double kShortest = 0.2;              // below that nothing is said of a speed
constexpr double kDelay = 10;                  // of the expected end

}  // namespace

bool Stages::goes_on(const Stage& stage, const core::ProgressEvent& event) {
  return event.total == stage.total && event.done >= stage.last.done;
}

void Stages::measure(Stage& stage, double now, StageReport& out) {
  std::deque<Sample>& recent = stage.recent;
  if (recent.size() >= 2 && now - recent[recent.size() - 2].time < kApart) recent.pop_back();
  recent.push_back(stage.last);
  while (recent.size() > kFewest && now - recent[1].time >= kWindow) recent.pop_front();
  const Sample& from = out.last ? stage.first : recent.front();
  const auto done = static_cast<double>(stage.last.done - from.done);
  if (now - from.time < kShortest || done <= 0) return;
  out.rate = done / (now - from.time);
  if (out.last) return;
  const double finish = now + static_cast<double>(stage.total - stage.last.done) / *out.rate;
  const double share = stage.finish_at == 0 ? 1 : 1 - std::exp((stage.finish_at - now) / kDelay);
  stage.finish += share * (finish - stage.finish);
  stage.finish_at = now;
  out.seconds_left = std::max(0.0, stage.finish - now);
}

std::optional<StageReport> Stages::add(const core::ProgressEvent& event, double now) {
  StageReport out{.event = event};
  const double before = std::exchange(before_, now);
  if (event.total <= 0 || event.unit.empty()) {
    if (event.detail.empty() || !notices_.insert(event.stage + "\n" + event.detail).second)
      return std::nullopt;
    return out;
  }
  out.counts = true;
  out.last = event.done >= event.total;
  const Sample sample{now, event.done};
  auto found = stages_.find(event.stage);
  if (found == stages_.end() || !goes_on(found->second, event)) {
    out.first = true;
    // Some stages report before the first piece of work, others behind it.
    Stage begun{event.done == 0 ? now : before, sample, sample, event.total};
    found = stages_.insert_or_assign(event.stage, std::move(begun)).first;
  } else if (found->second.last.done >= event.total) {
    return std::nullopt;
  }
  found->second.last = sample;
  measure(found->second, now, out);
  out.elapsed = now - found->second.began;
  return out;
}

}  // namespace espalier::tool
