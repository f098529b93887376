// SPDX-License-Identifier: Apache-2.0
// Predicts parameters, bytes, peak memory and disk of every stage from headers alone. Refuses what
// cannot work.
#include <filesystem>

#include "core/error.h"
#include "core/file.h"
#include "hash/sha256.h"
#include "recipe/planner.h"
#include "recipe/recipe.h"

namespace espalier::recipe {
namespace {

using Json = nlohmann::ordered_json;

bool exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

std::string required(const std::string& teacher, const std::string& place) {
  ESP_CHECK(exists(teacher), input, place, ": teacher: ", teacher, " does not exist");
  return teacher;
}

// A copy of the training text under another name is no held-out text either.
void require_other_text(const Recipe& recipe) {
  const std::string &train = recipe.train_text, &held_out = recipe.held_out_text;
  std::error_code unreadable;
  if (train.empty() || held_out.empty() || !exists(train) || !exists(held_out)) return;
  const std::uintmax_t bytes = std::filesystem::file_size(train, unreadable);
  if (unreadable || bytes != std::filesystem::file_size(held_out, unreadable)) return;
  ESP_CHECK(hash::sha256_file(train) != hash::sha256_file(held_out), input, recipe.held_out_place,
            ": held_out: ", held_out, " has the contents of the training text ", train,
            "; name another text, or leave it out");
}

template <typename T>
Json optional(const std::optional<T>& v) {
  return v ? Json(*v) : Json(nullptr);
}

Json json_of(const Step& step, const stages::Forecast& forecast) {
  Json out{{"name", step.name}, {"kind", step.kind->name}, {"parameters", nullptr}};
  if (const auto& shape = forecast.made ? forecast.made : forecast.judged) {
    out["parameters"] = shape->parameters();
    const std::int64_t active = arch::active_parameters(*shape->arch, shape->dims);
    if (active != shape->parameters()) out["active_parameters"] = active;
  }
  out["bytes"] = optional(forecast.bytes);
  out["peak_memory_bytes"] = optional(forecast.memory);
  out["disk_bytes"] = optional(forecast.disk);
  return out;
}

}  // namespace

Planner::Planner(const Recipe& recipe)
    : from_shape_(!recipe.teacher_shape.empty() && !exists(recipe.teacher)),
      teacher_(checkpoint::Checkpoint::survey(
          from_shape_ ? recipe.teacher_shape : required(recipe.teacher, recipe.teacher_place),
          /*need_tensors=*/!from_shape_)) {
  shapes_["teacher"] = {&teacher_.arch(), teacher_.dims()};
  if (from_shape_) missing_.push_back(recipe.teacher);
  require_text(recipe.train_text, recipe.train_place, "train");
  require_text(recipe.held_out_text, recipe.held_out_place, "held_out");
  require_other_text(recipe);
}

std::string Planner::refusal() const {
  try {
    arch::require_computed(teacher_.arch(), teacher_.dims(), teacher_.path());
    return "";
  } catch (const core::Error& e) {
    return e.what();
  }
}

void Planner::require_text(const std::string& path, const std::string& place, const char* key) {
  std::error_code unreadable;
  if (path.empty() || std::filesystem::is_regular_file(path, unreadable)) return;
  const bool there = exists(path);
  ESP_CHECK(from_shape_ && !there, input, place, ": ", key, ": ", path,
            there ? " is not a regular file" : " does not exist");
  missing_.push_back(path);
}

stages::Forecast Planner::predict(const Step& step) {
  stages::Forecast forecast;
  forecast.place = step.place + ": stage '" + step.name + "'";
  forecast.teacher = from_shape_ ? nullptr : &teacher_;
  for (const Link& link : step.links) {
    const std::string& name = link.stage.empty() ? link.name : link.stage;
    stages::ForecastInput input{name, link.path};
    if (const auto it = shapes_.find(name); it != shapes_.end()) input.shape = it->second;
    forecast.inputs[link.key].push_back(std::move(input));
  }
  try {
    step.stage->predict(forecast);
  } catch (const core::Error& e) {
    throw core::Error(e.kind(), forecast.place + ": " + e.what());
  }
  if (forecast.made) shapes_[step.name] = *forecast.made;
  return forecast;
}

Json plan_recipe(const std::string& path) {
  const Recipe recipe = parse_recipe(path);
  Planner planner(recipe);
  Json stages = Json::array();
  for (const Step& step : recipe.stages) stages.push_back(json_of(step, planner.predict(step)));
  Json out{{"recipe", recipe.name}, {"missing", planner.missing()}, {"stages", stages}};
  if (const std::string refusal = planner.refusal(); !refusal.empty())
    out["refused_by_run"] = refusal;
  return out;
}

}  // namespace espalier::recipe
