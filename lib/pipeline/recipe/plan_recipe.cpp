// SPDX-License-Identifier: Apache-2.0
// Predicts parameters, bytes, peak memory and disk of every stage from headers alone. Refuses what
// cannot work.
#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "hash/folder.h"
#include "hash/sha256.h"
#include "recipe/key_names.h"
#include "recipe/planner.h"
#include "recipe/recipe.h"
#include "text/windows.h"
#include "timing/other_programs.h"
#include "timing/stopwatch.h"

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

// In which most weights are stored.
format::FormatId format_of(const checkpoint::Checkpoint& model, bool from_shape) {
  if (from_shape) return format::FormatId::bf16;
  for (const arch::TensorRef& t : arch::tensors(model.arch(), model.dims()))
    if (t.layer == 0 && !t.is_vector) return model.stored_format(t.spec->role, 0);
  return format::FormatId::f32;
}

// Of a model that another tool wrote.
stages::Shape shape_of_file(const std::string& path) {
  const auto model = checkpoint::Checkpoint::open(path);
  stages::Shape out{&model.arch(), model.dims(), {}, format_of(model, false)};
  if (model.is_gguf()) out.file_bytes = static_cast<std::int64_t>(model.file_bytes());
  return out;
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
  if (forecast.device_memory) out["device_memory_bytes"] = forecast.device_memory();
  return out;
}

}  // namespace

Planner::Planner(const Recipe& recipe, const timing::Place& machine)
    : machine_(machine),
      from_shape_(!recipe.teacher_shape.empty() && !exists(recipe.teacher)),
      teacher_(checkpoint::Checkpoint::survey(
          from_shape_ ? recipe.teacher_shape : required(recipe.teacher, recipe.teacher_place),
          /*need_tensors=*/!from_shape_)) {
  reading_ = recipe.reading;
  shapes_["teacher"] = {&teacher_.arch(), teacher_.dims(), {}, format_of(teacher_, from_shape_)};
  if (from_shape_) missing_.push_back(recipe.teacher);
  require_text(recipe.train_text, recipe.train_place, "train", recipe.train_sha256);
  require_text(recipe.held_out_text, recipe.held_out_place, "held_out", recipe.held_out_sha256);
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

void Planner::require_text(const std::string& path, const std::string& place, const char* key,
                           const std::optional<std::string>& sha256) {
  std::error_code unreadable;
  if (path.empty()) return;
  const bool there = exists(path);
  if (std::filesystem::is_regular_file(path, unreadable) ||
      std::filesystem::is_directory(path, unreadable)) {
    ESP_CHECK(!text::read_documents(path).empty(), input, place, ": ", key, ": ", path,
              ": the text is empty");
    if (!sha256) return;
    const bool folder = std::filesystem::is_directory(path, unreadable);
    const std::string actual = folder ? hash::sha256_folder(path) : hash::sha256_file(path);
    ESP_CHECK(*sha256 == actual, input, place, ": ", key, ": ", path, ": SHA-256 is ", actual,
              ", the recipe expects ", *sha256, "; another version of Python ships another text");
    return;
  }
  ESP_CHECK(from_shape_ && !there, input, place, ": ", key, ": ", path,
            there ? " is not a regular file: stages read a text more than once; copy it into one"
                  : " does not exist");
  missing_.push_back(path);
}

// Refuses a text that is shorter than a window of a stage.
void Planner::require_window(const Step& step, std::int64_t window) {
  constexpr std::uintmax_t kLongToken = 256;  // bytes; few tokens are longer
  for (const Link& link : step.links) {
    std::error_code unreadable;
    if (link.key != "text" || link.path.empty() || from_shape_ || !teacher_.has_tokenizer())
      continue;
    const std::uintmax_t bytes = std::filesystem::file_size(link.path, unreadable);
    if (unreadable || bytes > kLongToken * static_cast<std::uintmax_t>(window)) continue;
    const text::TokenStream stream = text::token_stream(text::Tokenizer(teacher_.tokenizer()),
                                                        text::read_documents(link.path), reading_);
    const auto tokens = static_cast<std::int64_t>(stream.tokens.size());
    ESP_CHECK(tokens + stream.bos.has_value() >= window, input, link.path, ": the text has ",
              tokens, " tokens, fewer than one window of ", window,
              "; give more text or shorter windows");
  }
}

stages::Forecast Planner::predict(const Step& step) {
  stages::Forecast forecast;
  forecast.place = step.place + ": stage '" + step.name + "'";
  forecast.teacher = from_shape_ ? nullptr : &teacher_;
  forecast.reading = reading_;
  forecast.machine = machine_;
  for (const Link& link : step.links) {
    const std::string& name = link.stage.empty() ? link.name : link.stage;
    stages::ForecastInput input{name, link.path, link.weight};
    if (const auto it = shapes_.find(name); it != shapes_.end()) input.shape = it->second;
    if (const auto it = made_.find(name); it != made_.end()) input.made = it->second;
    if (link.is_model && link.stage.empty() && !input.shape) input.shape = shape_of_file(link.path);
    forecast.inputs[link.key].push_back(std::move(input));
  }
  speaking_of_keys(step, forecast.place + ": ", [&] {
    step.stage->predict(forecast);
    if (forecast.window > 0) require_window(step, forecast.window);
  });
  if (forecast.made) shapes_[step.name] = *forecast.made;
  made_[step.name] = forecast.beside;
  return forecast;
}

Plan forecast_recipe(const Recipe& recipe, const timing::Place& machine) {
  Planner planner(recipe, machine);
  Plan out;
  for (const Step& step : recipe.stages) out.stages.push_back(planner.predict(step));
  out.missing = planner.missing();
  out.refusal = planner.refusal();
  return out;
}

void time_stages(Plan& plan, double limit) {
  std::vector<timing::Work> works;
  timing::Stopwatch watch;
  double guessed = 0;
  for (const stages::Forecast& stage : plan.stages) {
    works.push_back(stage.work);
    guessed += watch.seconds(stage.work);
  }
  const timing::OtherPrograms others;
  // No longer than a twentieth of what is timed.
  watch.measure(works, std::clamp(guessed / 20, 0.2, limit));
  constexpr double kQuiet = 0.1;
  if (others.share() > kQuiet)
    core::note("other programs used " + std::to_string(std::lround(100 * others.share())) +
               " % of this machine while its speed was measured: expected times are too long for a "
               "quiet one, and not reliable");
  for (std::size_t i = 0; i < works.size(); ++i)
    plan.seconds.push_back(works[i].empty() ? std::nullopt
                                            : std::optional<double>(watch.seconds(works[i])));
}

Json plan_recipe(const std::string& path, const PlanOptions& options) {
  const Recipe recipe = parse_recipe(path);
  Plan plan = forecast_recipe(recipe, {options.threads, "."});
  if (options.seconds > 0 && plan.refusal.empty()) time_stages(plan, options.seconds);
  Json stages = Json::array();
  double total = 0;
  for (std::size_t i = 0; i < recipe.stages.size(); ++i) {
    Json stage = json_of(recipe.stages[i], plan.stages[i]);
    if (!plan.seconds.empty()) {
      stage["seconds"] = optional(plan.seconds[i]);
      total += plan.seconds[i].value_or(0);
    }
    stages.push_back(std::move(stage));
  }
  Json out{{"recipe", recipe.name}, {"missing", plan.missing}, {"stages", stages}};
  if (!plan.seconds.empty()) out["seconds"] = total;
  if (!plan.refusal.empty()) out["refused_by_run"] = plan.refusal;
  return out;
}

}  // namespace espalier::recipe
