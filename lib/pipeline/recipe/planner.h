// SPDX-License-Identifier: Apache-2.0
// Predicts stages in the order of a recipe, each from what the ones before will leave. Internal to
// lib/pipeline.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "recipe/step.h"
#include "stages/forecast.h"

namespace espalier::recipe {

class Planner {
 public:
  // Error(input) for a teacher or a text that is missing, or a held-out text that is the training
  // text.
  Planner(const Recipe& recipe, const timing::Place& machine);
  // Files that `run` will need and that are missing. Not empty only when the plan is made from the
  // teacher's shape alone.
  const std::vector<std::string>& missing() const { return missing_; }
  // Why `run` refuses a teacher whose sizes can be predicted. Empty: it does not.
  std::string refusal() const;
  stages::Forecast predict(const Step& step);

 private:
  void require_text(const std::string& path, const std::string& place, const char* key,
                    const std::optional<std::string>& sha256);
  void require_window(const Step& step, std::int64_t window);

  timing::Place machine_;
  bool from_shape_;
  checkpoint::Checkpoint teacher_;
  std::vector<std::string> missing_;
  std::map<std::string, stages::Shape> shapes_;  // by name of the stage
  std::map<std::string, stages::Made> made_;     // by name of the stage
  text::Reading reading_;
};

// All stages of a recipe.
struct Plan {
  std::vector<stages::Forecast> stages;
  std::vector<std::optional<double>> seconds;  // after time_stages(); empty where not known
  std::vector<std::string> missing;
  std::string refusal;  // why `run` refuses the teacher; empty: it does not
};
Plan forecast_recipe(const Recipe& recipe, const timing::Place& machine);
// Measures for at most about `limit` seconds how fast this machine does such work.
void time_stages(Plan& plan, double limit);

}  // namespace espalier::recipe
