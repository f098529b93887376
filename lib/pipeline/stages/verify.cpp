// SPDX-License-Identifier: Apache-2.0
// The device card of a GGUF: parity, quality, size, memory and speed, with gates.
#include "verify/verify.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <filesystem>

#include "checkpoint/manifest.h"
#include "core/duration.h"
#include "core/output.h"
#include "core/units.h"
#include "stages/stage.h"
#include "stages/tasks.h"
#include "stages/window.h"
#include "stages/work.h"
#include "verify/measure_tasks.h"
#include "verify/memory.h"

namespace espalier::stages {
namespace {

using Json = nlohmann::ordered_json;

class Verify : public Stage {
 public:
  options::List options() override {
    options::List list;
    list.begin_group("what is measured");
    list.add("context", &context_, "tokens of a window").between(4, 1 << 20);
    list.add("windows", &windows_, "windows to read at most, spread evenly over the text; 0: all")
        .at_least(0);
    list.begin_group("gates");
    list.add("gates", &gates_, "limits of the card's values: the stage fails beyond them")
        .one_of(gates())
        .flagged("gate");
    return list;
  }
  std::vector<Input> inputs() const override {
    return {{"of", "file", "GGUF to judge", {Artifact::gguf}, "", true},
            {"teacher",
             "--against",
             "teacher, which quality is compared with",
             {Artifact::model, Artifact::gguf},
             "teacher",
             true},
            {"student",
             "--student",
             "the float model from which the file was made",
             {Artifact::model, Artifact::gguf}},
            {"compare",
             "--compare",
             "further models, measured on the same windows and shown as baselines",
             {Artifact::gguf, Artifact::model},
             "",
             false,
             true},
            {"text", "--text", "held-out text", {Artifact::text}, "text.held_out", true},
            tasks_input()};
  }
  std::vector<Output> outputs() const override { return {{Artifact::card, "device-card.json"}}; }
  bool deliverable() const override { return true; }
  bool uses_seed() const override { return false; }
  bool runs_device_program() const override { return true; }
  std::string delivers() const override { return "device-card.json"; }
  void predict(Forecast& forecast) const override;
  Json surroundings(const Context& context) const override {
    return {{"threads", context.threads},  // a card states speeds
            {"file", context.file_name}};
  }
  Result run(const Context& context) override;

 private:
  timing::Work work(const Forecast& forecast, std::int64_t context) const;
  static std::vector<std::string> gates() {
    std::vector<std::string> out = verify::gate_names();
    const std::vector<std::string>& of_tasks = verify::task_gate_patterns();
    out.insert(out.end(), of_tasks.begin(), of_tasks.end());
    return out;
  }
  void require_tasks_of_gates(const std::vector<tasks::TaskFile>& files) const {
    std::vector<std::string> names;
    for (const tasks::TaskFile& file : files) names.push_back(file.name);
    verify::require_tasks_of_gates(gates_, names);
  }
  std::int64_t context_ = 512, windows_ = 0;
  std::map<std::string, double> gates_;
};

void Verify::predict(Forecast& forecast) const {
  const std::int64_t context =
      window_within(*this, "context", context_, forecast, {"teacher", "of", "student", "compare"});
  forecast.window = context;
  const std::vector<tasks::TaskFile> files = task_files(forecast);
  require_tasks_of_gates(files);
  std::vector<verify::ModelSize> models;
  for (const char* key : {"of", "teacher", "student", "compare"})
    if (forecast.has(key))
      for (const ForecastInput& input : forecast.inputs.at(key)) {
        const Shape& shape = *input.shape;
        models.push_back(
            {.arch = shape.arch,
             .dims = shape.dims,
             .engine = shape.file_bytes ? verify::Engine::device : verify::Engine::training,
             .file_bytes = shape.file_bytes.value_or(0)});
      }
  const Shape& judged = forecast.model("of");
  forecast.judged = judged;
  forecast.bytes = judged.file_bytes;
  forecast.set_memory(judged, [&] {
    const std::int64_t at_once = files.empty() ? context : std::max(context, verify::kForestTokens);
    return verify::peak_memory(models, at_once, files.empty() ? windows_ : 0,
                               std::min(context, verify::kParityTokens), {});
  });
  forecast.disk = 0;
  forecast.work = work(forecast, context);
}

// The number of windows is guessed from the bytes of the text, four to a token.
timing::Work Verify::work(const Forecast& forecast, std::int64_t context) const {
  timing::VerifyWork out;
  out.file = stored(forecast.model("of"));
  out.teacher = stored(forecast.model("teacher"));
  for (const char* key : {"student", "compare"})
    if (forecast.has(key))
      for (const ForecastInput& input : forecast.inputs.at(key))
        (input.shape->file_bytes ? out.others : out.trained).push_back(stored(*input.shape));
  std::error_code unreadable;
  const std::uintmax_t bytes = std::filesystem::file_size(forecast.at("text").path, unreadable);
  if (unreadable) return {};
  const auto windows = static_cast<std::int64_t>(bytes) / 4 / context;
  out.windows = windows_ > 0 ? std::min(windows_, windows) : windows;
  out.context = context;
  out.parity_tokens = std::min(context, verify::kParityTokens);
  return timing::work_of(out, forecast.machine);
}

// One line for everything in a card that did not pass.
Json failed_lines(const Json& card) {
  Json out = Json::array();
  if (const Json& parity = card.at("parity"); !parity.at("passed").get<bool>())
    for (const char* leg : {"a", "b"}) {
      const std::string key = std::string("leg_") + leg;
      const double error = parity.at(key + "_relative_error").get<double>();
      const double tolerance = parity.at(key + "_tolerance").get<double>();
      if (!(error <= tolerance))
        out.push_back(std::string("parity, leg ") + static_cast<char>(std::toupper(*leg)) +
                      ": relative error " + core::number(error) + ", tolerance " +
                      core::number(tolerance));
    }
  for (const Json& gate : card.at("gates")) {
    if (gate.at("passed").get<bool>()) continue;
    const std::string name = gate.at("gate").get<std::string>();
    const double limit = gate.at("limit").get<double>();
    core::HumanPair texts{"the card has no such value", core::human_value(name, limit)};
    if (gate.at("value").is_number())
      texts = core::human_values(name, gate["value"].get<double>(), limit);
    if (gate["value"].is_number() && std::isnan(gate["value"].get<double>()))
      texts.value = "not a number";
    out.push_back("gate " + name + " " + texts.limit + ": " + texts.value);
  }
  return out;
}

Result Verify::run(const Context& context) {
  require_device_program(context.device_program);
  verify::VerifyOptions options;
  options.teacher = context.path("teacher");
  options.student = context.path("student");
  options.text_path = context.path("text");
  options.reading = context.reading;
  options.max_windows = windows_;
  options.max_ram = context.max_ram;
  options.bench_program = context.device_program;
  options.threads = context.threads;
  if (const auto it = context.inputs.find("compare"); it != context.inputs.end())
    for (const Source& source : it->second) options.compare.push_back({source.name, source.path});
  std::vector<std::string> models{options.teacher, context.path("of"), options.student};
  for (const verify::Compared& other : options.compare) models.push_back(other.path);
  options.context = window_within(*this, "context", context_, models);
  options.tasks = task_files(context);
  require_tasks_of_gates(options.tasks);
  options.lineage = context.lineage;
  options.gates = nlohmann::json::object();
  for (const auto& [name, limit] : gates_) {
    if (limit == std::floor(limit) && std::abs(limit) < 1e15)
      options.gates[name] = static_cast<std::int64_t>(limit);
    else
      options.gates[name] = limit;
  }
  options.work = context.part("");
  verify::VerifyResult result = verify::verify(context.path("of"), options, context.progress);
  if (!context.file_name.empty()) result.card["file"] = context.file_name;
  if (!context.out.empty()) core::write_text_file(context.out, result.card.dump(2) + "\n");
  Result out;
  out.metrics = {{"gates", verify::gates_name(result.gates)},
                 {"parity", result.parity ? "passed" : "failed"},
                 {"passed", result.passed()},
                 {"failures", result.failures()},
                 {"failed", failed_lines(result.card)}};
  out.printed = result.card;
  out.told = verify::readable_card(result.card);
  out.failures = result.failures();
  return out;
}

}  // namespace

extern const Kind k_verify;
const Kind k_verify{"verify", "parity, quality, size, memory and speed of a GGUF",
                    "espalier verify student.gguf --against teacher.gguf --text heldout.txt",
                    make_stage<Verify>, checkpoint::algorithm_version("verify")};

}  // namespace espalier::stages
