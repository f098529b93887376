// SPDX-License-Identifier: Apache-2.0
// Predicts parameters, bytes, peak memory and disk of every stage from headers alone. Refuses what
// cannot work.
#include <algorithm>
#include <filesystem>

#include "arch/gguf_dims.h"
#include "arch/positions.h"
#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "core/units.h"
#include "export/budget.h"
#include "hash/sha256.h"
#include "plan/memory.h"
#include "recipe/recipe.h"
#include "recipe/stage.h"
#include "verify/memory.h"

namespace espalier::recipe {
namespace {

using Json = nlohmann::ordered_json;

struct Shape {
  const arch::Arch* arch;
  arch::ModelDims dims;
  std::int64_t parameters() const { return arch::parameters(*arch, dims); }
  bool computed() const { return arch::is_computed(*arch, dims); }
};

// The parameters of a stage's model. Those that a token uses are stated where it does not use all.
void set_parameters(Json& out, const Shape& shape) {
  out["parameters"] = shape.parameters();
  const std::int64_t active = arch::active_parameters(*shape.arch, shape.dims);
  if (active != shape.parameters()) out["active_parameters"] = active;
}
// The peak memory of a stage, which is known only of what is computed.
template <typename Predicted>
void set_memory(Json& out, const Shape& shape, Predicted&& predicted) {
  out["peak_memory_bytes"] = shape.computed() ? Json(predicted()) : Json(nullptr);
}

class Planner {
 public:
  explicit Planner(const Recipe& recipe)
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
  // Files that `run` will need and that are missing. Not empty only when the plan is made from the
  // teacher's shape alone.
  const std::vector<std::string>& missing() const { return missing_; }
  // Why `run` refuses a teacher whose sizes can be predicted. Empty: it does not.
  std::string refusal() const {
    try {
      arch::require_computed(teacher_.arch(), teacher_.dims(), teacher_.path());
      return "";
    } catch (const core::Error& e) {
      return e.what();
    }
  }
  Json stage(const Stage& s) {
    Json out{{"name", s.name}, {"kind", s.kind()}};
    std::visit([&](const auto& what) { predict(s, what, out); }, s.what);
    return out;
  }

 private:
  static bool exists(const std::string& path) {
    std::error_code ignored;
    return std::filesystem::exists(path, ignored);
  }
  static std::string required(const std::string& teacher, const std::string& place) {
    ESP_CHECK(exists(teacher), input, place, ": teacher: ", teacher, " does not exist");
    return teacher;
  }
  void require_text(const std::string& path, const std::string& place, const char* key) {
    std::error_code unreadable;
    if (path.empty() || std::filesystem::is_regular_file(path, unreadable)) return;
    const bool there = exists(path);
    ESP_CHECK(from_shape_ && !there, input, place, ": ", key, ": ", path,
              there ? " is not a regular file" : " does not exist");
    missing_.push_back(path);
  }
  // A copy of the training text under another name is no held-out text either.
  static void require_other_text(const Recipe& recipe) {
    const std::string &train = recipe.train_text, &held_out = recipe.held_out_text;
    std::error_code unreadable;
    if (train.empty() || held_out.empty() || !exists(train) || !exists(held_out)) return;
    const std::uintmax_t bytes = std::filesystem::file_size(train, unreadable);
    if (unreadable || bytes != std::filesystem::file_size(held_out, unreadable)) return;
    ESP_CHECK(hash::sha256_file(train) != hash::sha256_file(held_out), input, recipe.held_out_place,
              ": held_out: ", held_out, " has the contents of the training text ", train,
              "; name another text, or leave it out");
  }
  // A window may not be longer than the context of any model that reads it.
  void require_window(const char* key, std::int64_t length,
                      std::initializer_list<std::string> models) const {
    for (const std::string& name : models)
      if (!name.empty() && name != "none")
        arch::require_positions(shapes_.at(name).dims, length, std::string(key) + ":",
                                "'" + name + "'");
  }
  void predict(const Stage& s, const PruneStage& what, Json& out) {
    const Shape& before = shapes_.at(what.from);
    Shape after = before;
    // Refuses what cannot be scored, and what transformers would not load.
    after.dims = prune::check(what.options, *before.arch, before.dims);
    if (!what.options.plan_path.empty() && what.from == "teacher" && !from_shape_) {
      const plan::PrunePlan given = plan::prune_plan_from_json(
          core::read_text_file(what.options.plan_path), before.dims, what.options.plan_path);
      if (!given.source_sha256.empty())  // hashing reads the whole teacher
        plan::require_source(given, teacher_.path(), teacher_.sha256(), what.options.plan_path);
    }
    ESP_CHECK(before.dims.uniform() || !what.options.plan_path.empty() ||
                  after.dims.n_layers() == before.dims.n_layers(),
              unsupported, s.name, ": layers of ", what.from,
              " differ in size and their importance decides which go, so what is left cannot be "
              "predicted; give a plan");
    if (what.options.plan_path.empty() || what.options.compensation != prune::Compensation::none)
      require_window("sequence", what.options.calibration.sequence, {what.from});
    set_parameters(out, after);
    out["bytes"] = after.parameters() * 4;
    set_memory(out, before,
               [&] { return prune::peak_memory(what.options, *before.arch, before.dims); });
    out["disk_bytes"] = out["bytes"];
    shapes_[s.name] = after;
  }
  void predict(const Stage& s, const DistillStage& what, Json& out) {
    const Shape& student = shapes_.at(what.from);
    const std::int64_t p = student.parameters();
    require_window("sequence", what.options.sequence, {what.from, what.teacher});
    set_parameters(out, student);
    out["bytes"] = p * 4;
    set_memory(out, student, [&] {
      return distill::peak_memory(
          *student.arch, student.dims,
          what.teacher == "none" ? 0 : shapes_.at(what.teacher).parameters(), what.options);
    });
    out["disk_bytes"] = p * 4 * 4;  // the model and the checkpoint with both moments
    shapes_[s.name] = student;
  }
  void predict(const Stage& s, const QuantizeStage& what, Json& out) {
    const Shape& shape = shapes_.at(what.from);
    if (!from_shape_) {  // every model of the recipe has the teacher's tokenizer
      exporter::ExportOptions options;
      options.no_tokenizer = what.no_tokenizer;
      exporter::require_tokenizer(teacher_, options);
    }
    set_parameters(out, shape);
    // Refuses what stock readers would compute differently. Counts the filler blocks that are
    // written only for stock readers.
    const arch::ModelDims written =
        arch::gguf_dims_for(arch::gguf_family_for(*shape.arch, shape.dims), shape.dims);
    if (what.format.empty()) {
      const std::int64_t budget =
          what.target_bytes ? *what.target_bytes : bytes_.at(what.no_larger_than);
      exporter::BudgetOptions options;
      options.overrides = what.overrides;
      for (const std::string& name : what.candidates)
        options.candidates.push_back(*format::format_by_name(name));
      const std::int64_t smallest = exporter::smallest_data_bytes(*shape.arch, written, options);
      ESP_CHECK(smallest <= budget, unsupported, "no choice of formats fits in ",
                core::human_bytes(budget), ": the tensors alone need ", core::human_bytes(smallest),
                "; prune further or allow smaller formats");
      const std::int64_t largest = exporter::largest_data_bytes(*shape.arch, written, options);
      if (largest < budget)
        core::note(s.place + ": stage '" + s.name + "': the budget of " +
                   core::human_bytes(budget) + " is above the " + core::human_bytes(largest) +
                   " of the largest formats that may be chosen");
      out["bytes"] = std::min(budget, largest);
    } else {
      const plan::QuantPlan plan =
          plan::quant_plan(*shape.arch, written, what.format, what.overrides);
      out["bytes"] = plan::tensor_data_bytes(*shape.arch, written, plan);
    }
    bytes_[s.name] = out["bytes"].get<std::int64_t>();
    const calibrate::Moments moments = moments_of(what);
    const auto looking = [&](const auto& memory) {
      return memory(*shape.arch, shape.dims, what.calibration, moments);
    };
    set_memory(out, shape, [&] {
      return what.rounding == quant::Rounding::nearest
                 ? plan::file_stage_memory(*shape.arch, shape.dims)
             : what.rounding == quant::Rounding::gptq ? looking(calibrate::rounding_memory)
                                                      : looking(calibrate::imatrix_memory);
    });
    out["disk_bytes"] = out["bytes"];
    shapes_[s.name] = shape;
  }
  void predict(const Stage&, const VerifyStage& what, Json& out) {
    require_window("context", what.context, {"teacher", what.of, what.student});
    for (const std::string& name : what.compare) require_window("context", what.context, {name});
    std::vector<verify::ModelSize> models;
    const auto add = [&](const std::string& name) {
      const Shape& shape = shapes_.at(name);
      const auto file = bytes_.find(name);
      const bool device = file != bytes_.end();
      models.push_back({.arch = shape.arch,
                        .dims = shape.dims,
                        .engine = device ? verify::Engine::device : verify::Engine::training,
                        .file_bytes = device ? file->second : 0});
    };
    add(what.of);
    add("teacher");
    if (!what.student.empty()) add(what.student);
    for (const std::string& name : what.compare) add(name);
    set_parameters(out, shapes_.at(what.of));
    out["bytes"] = bytes_.at(what.of);
    set_memory(out, shapes_.at(what.of), [&] {
      return verify::peak_memory(models, what.context, what.windows,
                                 std::min(what.context, verify::kParityTokens), {});
    });
    out["disk_bytes"] = 0;
  }
  void predict(const Stage&, const ReportStage&, Json& out) {
    out["parameters"] = nullptr;
    out["bytes"] = nullptr;
  }

  bool from_shape_;
  checkpoint::Checkpoint teacher_;
  std::vector<std::string> missing_;
  std::map<std::string, Shape> shapes_;
  std::map<std::string, std::int64_t> bytes_;
};

}  // namespace

Json plan_recipe(const std::string& path) {
  const Recipe recipe = parse_recipe(path);
  Planner planner(recipe);
  Json stages = Json::array();
  for (const Stage& s : recipe.stages) {
    try {
      stages.push_back(planner.stage(s));
    } catch (const core::Error& e) {
      throw core::Error(e.kind(), s.place + ": stage '" + s.name + "': " + e.what());
    }
  }
  Json out{{"recipe", recipe.name}, {"missing", planner.missing()}, {"stages", stages}};
  if (const std::string refusal = planner.refusal(); !refusal.empty())
    out["refused_by_run"] = refusal;
  return out;
}

}  // namespace espalier::recipe
