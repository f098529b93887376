// SPDX-License-Identifier: Apache-2.0
// A command of another engine, such as torchrun: hashed, cached, resumed and timed like any stage.
// Its inputs and its result are declared, and the result is opened and checked.
#include <algorithm>
#include <filesystem>

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/file.h"
#include "core/units.h"
#include "stages/child_process.h"
#include "stages/stage.h"

namespace espalier::stages {
namespace {

namespace fs = std::filesystem;

const std::vector<std::pair<std::string, Artifact>>& results() {
  static const std::vector<std::pair<std::string, Artifact>> all{
      {"model", Artifact::model},     {"gguf", Artifact::gguf},
      {"text", Artifact::text},       {"scores", Artifact::scores},
      {"imatrix", Artifact::imatrix}, {"prune_plan", Artifact::prune_plan}};
  return all;
}

class External : public Stage {
 public:
  options::List options() override {
    options::List list;
    list.add("command", &command_,
             "program and its words; {NAME} stands for an input, {out} for the result, {work} for "
             "a folder that an unfinished run keeps, {threads} and {seed} for those of the run");
    list.add("inputs", &inputs_, "names of inputs, each a stage, a text of the recipe, or a file");
    list.add("environment", &environment_, "variables of the command, beside those of the run");
    list.add_choice("makes", makes_, results(), "what the result is");
    list.add("like", &like_, "input whose sizes the model that is made has")
        .otherwise("`student`, or the only input that is a model");
    return list;
  }
  // The words of the command that are files are inputs too: an edited script runs again.
  std::vector<Input> inputs() const override;
  std::vector<Output> outputs() const override { return {{makes_, file_name()}}; }
  bool deliverable() const override { return makes_ != Artifact::model; }
  bool uses_seed() const override {
    return std::any_of(command_.begin(), command_.end(), [](const std::string& word) {
      return word.find("{seed}") != std::string::npos;
    });
  }
  void check(const options::Given& given, const std::set<std::string>& inputs) override;
  void predict(Forecast& forecast) const override;
  Result run(const Context& context) override;

 private:
  std::string file_name() const {
    switch (makes_) {
      case Artifact::model:
        return "model";
      case Artifact::gguf:
        return "model.gguf";
      case Artifact::text:
        return "text.txt";
      case Artifact::scores:
        return "scores.safetensors";
      case Artifact::imatrix:
        return "imatrix.gguf";
      default:
        return "plan.json";
    }
  }
  static std::string key_of(const std::string& name) { return "inputs." + name; }
  std::string value_of(const std::string& name, const Context& context) const;
  std::string filled(const std::string& word, const Context& context) const;
  void check_result(const Context& context) const;

  std::vector<std::string> command_;
  std::map<std::string, std::string> inputs_, environment_;
  Artifact makes_ = Artifact::model;
  std::string like_;
};

std::vector<Input> External::inputs() const {
  const std::vector<Artifact> anything{
      Artifact::model,   Artifact::gguf,       Artifact::text,   Artifact::scores,
      Artifact::imatrix, Artifact::prune_plan, Artifact::logits, Artifact::quant_plan,
      Artifact::card,    Artifact::importance};
  std::vector<Input> out;
  for (const auto& [name, value] : inputs_) {
    Input input{key_of(name), "", "", anything};
    input.value = value;
    out.push_back(std::move(input));
  }
  for (const std::string& word : command_) {
    std::error_code unreadable;
    if (!fs::is_regular_file(word, unreadable)) continue;
    Input input{"command " + word, "", "", {Artifact::text}};
    input.value = word;
    out.push_back(std::move(input));
  }
  return out;
}

// Calls `use` with the name in every {NAME} of a word. "{{" is a brace.
template <typename Use>
void for_each_name(const std::string& word, Use&& use) {
  for (std::size_t at = word.find('{'); at != std::string::npos; at = word.find('{', at)) {
    const auto end = word.find('}', at);
    if (word.compare(at, 2, "{{") == 0 || end == std::string::npos) {
      at += 2;
      continue;
    }
    use(word.substr(at + 1, end - at - 1));
    at = end;
  }
}

void External::check(const options::Given& given, const std::set<std::string>&) {
  if (command_.empty()) given.refuse("command", "is missing: a list of words, the program first");
  std::vector<std::string> known{"out", "work", "threads", "seed"};
  for (const auto& [name, value] : inputs_) known.push_back(name);
  bool says_out = false;
  for (const std::string& word : command_)
    for_each_name(word, [&](const std::string& name) {
      says_out = says_out || name == "out";
      if (std::find(known.begin(), known.end(), name) != known.end()) return;
      const std::string nearest = core::nearest_name(name, known.data(), known.size());
      given.refuse("command", "{" + name + "} is no input" +
                                  (nearest.empty() ? "" : "; did you mean {" + nearest + "}?"));
    });
  if (!says_out) given.refuse("command", "never says {out}, the path of the result");
  if (!like_.empty() && !inputs_.contains(like_))
    given.refuse("like", "'" + like_ + "' is no input");
}

void External::predict(Forecast& forecast) const {
  if (makes_ != Artifact::model && makes_ != Artifact::gguf) return;
  std::vector<const Shape*> models;
  for (const auto& [key, list] : forecast.inputs)
    for (const ForecastInput& input : list)
      if (input.shape) models.push_back(&*input.shape);
  const std::string like = !like_.empty() ? like_ : inputs_.contains("student") ? "student" : "";
  const Shape* shape =
      !like.empty() && forecast.has(key_of(like)) && forecast.at(key_of(like)).shape
          ? &forecast.model(key_of(like))
      : like.empty() && models.size() == 1 ? models.front()
                                           : nullptr;
  ESP_CHECK(shape != nullptr, usage,
            "the sizes of what the command makes are not known; name an input that is a model: "
            "like: NAME");
  forecast.made = *shape;
  forecast.bytes = shape->parameters() * 4;
  forecast.disk = forecast.bytes;
}

std::string External::value_of(const std::string& name, const Context& context) const {
  if (name == "out") return context.out;
  if (name == "work") return context.work;
  if (name == "threads") return std::to_string(context.threads);
  if (name == "seed") return std::to_string(context.seed);
  return context.path(key_of(name));
}

std::string External::filled(const std::string& word, const Context& context) const {
  if (const std::string file = context.path("command " + word); !file.empty()) return file;
  std::string out;
  for (std::size_t at = 0; at < word.size(); ++at) {
    const auto end = word[at] == '{' ? word.find('}', at) : std::string::npos;
    if (word.compare(at, 2, "{{") == 0 || word.compare(at, 2, "}}") == 0) {
      out += word[at++];
    } else if (end != std::string::npos) {
      out += value_of(word.substr(at + 1, end - at - 1), context);
      at = end;
    } else {
      out += word[at];
    }
  }
  return out;
}

void External::check_result(const Context& context) const {
  std::error_code unreadable;
  ESP_CHECK(fs::exists(context.out, unreadable), input, context.out,
            ": the command ended well but did not make it; its output is in ", context.folder,
            "/log.txt");
  if (makes_ == Artifact::model || makes_ == Artifact::gguf)
    static_cast<void>(checkpoint::Checkpoint::open(context.out));
  else
    ESP_CHECK(fs::is_regular_file(context.out, unreadable) && fs::file_size(context.out) > 0, input,
              context.out, ": expected a file that is not empty");
}

Result External::run(const Context& context) {
  fs::create_directories(context.work);
  ChildProcess child;
  for (const std::string& word : command_) child.words.push_back(filled(word, context));
  for (const auto& [name, value] : environment_) child.environment[name] = filled(value, context);
  child.log = context.folder + "/log.txt";
  child.run(context.progress);
  check_result(context);
  fs::remove_all(context.work);
  return {{{"command", child.words}, {"log", child.log}}, context.out + "\n"};
}

}  // namespace

extern const Kind k_external;
const Kind k_external{"external", "run a command of another engine", "", make_stage<External>, 1};

}  // namespace espalier::stages
