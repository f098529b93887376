// SPDX-License-Identifier: Apache-2.0
// From the events of long work (core/progress.h) to what is new in them: how fast a stage goes, how
// much time is left, and whether it begins or ends. Time comes from the caller, in seconds.
#pragma once
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "core/progress.h"

namespace espalier::tool {

// An event that says something new.
struct StageReport {
  core::ProgressEvent event = {};
  bool counts = false;               // else a notice: only stage and detail matter
  bool first = false, last = false;  // of the stage
  double elapsed = 0;                // since the stage began
  std::optional<double> rate = {};   // units a second: recent ones, at the end those of the stage
  std::optional<double> seconds_left = {};  // smoothed
};

class Stages {
 public:
  explicit Stages(double now) : before_(now) {}
  // Nothing for a notice that was given already, and for the end of a stage that has ended.
  std::optional<StageReport> add(const core::ProgressEvent& event, double now);

 private:
  struct Sample {
    double time;
    std::int64_t done;
  };
  struct Stage {
    double began;
    Sample first, last;
    std::int64_t total;
    std::deque<Sample> recent = {};
    double finish = 0, finish_at = 0;  // expected, and when that was said; 0: not yet
  };
  static bool goes_on(const Stage& stage, const core::ProgressEvent& event);
  static void measure(Stage& stage, double now, StageReport& out);

  double before_;  // when the last event came
  std::map<std::string, Stage> stages_;
  std::set<std::string> notices_;
};

}  // namespace espalier::tool
