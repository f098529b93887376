// SPDX-License-Identifier: Apache-2.0
// A stage: one kind of work, from files to files. A recipe runs stages on what earlier stages made;
// a verb of the program is the same stage on given files. A kind is one file and one line in
// stages.inc. Everything that differs between kinds is in that file: options, inputs, outputs,
// checks, prediction, and the work itself.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/work_folder.h"
#include "core/progress.h"
#include "options/given.h"
#include "options/option.h"
#include "stages/forecast.h"
#include "text/documents.h"

namespace espalier::stages {

// What files hold. A recipe joins an output to an input of the same type.
enum class Artifact : std::uint8_t {
  model,       // Hugging Face directory
  gguf,        // a model for devices
  prune_plan,  // plan.json
  quant_plan,  // quant-plan.json
  imatrix,     // activation statistics
  scores,      // importance of every index
  logits,      // directory of a teacher's sparse logits
  text,
  folder,      // of any files
  curve,       // metrics.jsonl
  importance,  // importance.json
  card,        // device card
  page,        // report
  record,      // what earlier stages left, for a report
};
std::string_view artifact_name(Artifact artifact);

struct Input {
  std::string key;   // of a recipe, such as "from"
  std::string flag;  // of the verb: "--student", or a word such as "model" that stands by itself
  std::string help;
  std::vector<Artifact> takes;
  // What a recipe takes where the key is absent: "teacher", "text.train", "text.held_out", or
  // nothing.
  std::string otherwise = {};
  bool required = false;
  bool many = false;     // a list
  bool or_none = false;  // a recipe may say "none"
  // Where an option has named it already: a stage, a text of the recipe, or a file.
  std::optional<std::string> value = {};
  bool weighted = false;  // a list, each item with a weight: "PATH:2" (stages/weight.h)
};

// In the folder of the stage. The first is the result: `--out` of the verb.
struct Output {
  Artifact artifact;
  std::string file;
};

struct Source {
  std::string name;  // as manifests call it: a stage, "teacher", "text.train", or the key
  std::string path;
  double weight = 1;  // among the texts of an input
};

// What a run gives to a stage.
struct Context {
  std::map<std::string, std::vector<Source>> inputs;  // by key
  std::string out;                                    // where the result goes
  std::string folder;  // for the other outputs; empty: only the result is wanted
  // Paths of other outputs by their file, where a verb names them one by one.
  std::map<std::string, std::string> beside;
  std::string work;  // for what an unfinished run keeps
  bool resume = false;
  bool or_start_over = false;  // where an unfinished run cannot go on (checkpoint/work_folder.h)
  int threads = 0;
  std::uint64_t seed = 0;
  std::int64_t max_ram = 0;                    // bytes; 0: no limit
  std::string device_program;                  // espalier-run
  std::map<std::string, std::string> lineage;  // name -> SHA-256 of what the result is made from
  nlohmann::ordered_json record;               // of earlier stages
  std::string file_name;                       // as a recipe delivers what is judged; may be empty
  text::Reading reading;                       // of texts
  std::string reference_folder;                // for what evaluations share (verify::EvalOptions)
  core::Progress progress;

  // The path of an input; empty: there is none.
  std::string path(const std::string& key) const;
  // Where an output goes that is not the result; empty: it is not wanted.
  std::string path_beside(const std::string& file) const {
    if (const auto it = beside.find(file); it != beside.end()) return it->second;
    return folder.empty() ? "" : folder + "/" + file;
  }
  checkpoint::WorkOptions part(const std::string& name) const {
    return {.folder = work.empty() ? "" : work + (name.empty() ? "" : "/" + name),
            .resume = resume,
            .or_start_over = or_start_over,
            .threads = threads};
  }
};

struct Result {
  nlohmann::ordered_json metrics;       // what a manifest records, and what --json prints
  std::string told;                     // for people, whole lines
  nlohmann::ordered_json printed = {};  // what --json prints instead; null: the metrics
  std::vector<std::string> notes = {};
  std::string failures = {};  // checks that failed, in one line; empty: none
};

class Stage {
 public:
  Stage() = default;
  virtual ~Stage() = default;
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  // Points into this object.
  virtual options::List options() = 0;
  virtual std::vector<Input> inputs() const = 0;
  virtual std::vector<Output> outputs() const = 0;
  // The name under which a recipe delivers the result where none is given. Empty: nowhere.
  virtual std::string delivers() const { return ""; }
  // Whether a recipe may deliver the result, which is one file then.
  virtual bool deliverable() const { return false; }
  // Puts the finished result under the name by which a recipe delivers it: as a link, or else as a
  // copy. Done at every run.
  virtual void deliver(const std::string& result, const std::string& target) const;
  // Whether deliver() may make several files of it, named as the parts of a split model.
  virtual bool delivers_parts() const { return false; }
  // What one option makes of another, before any file is opened. `has_input`: by key, also what a
  // recipe gives by itself.
  virtual void check(const options::Given& given, const std::set<std::string>& inputs) {
    static_cast<void>(given);
    static_cast<void>(inputs);
  }
  // Whether an input matters with these options. What is not read is no part of the identity. Asked
  // after check().
  virtual bool reads(const std::string& key) const {
    static_cast<void>(key);
    return true;
  }
  // Predicts sizes from headers alone, and refuses what cannot work.
  virtual void predict(Forecast& forecast) const = 0;
  // Further options that decide the result: what surrounds this run.
  virtual nlohmann::ordered_json surroundings(const Context&) const {
    return nlohmann::ordered_json::object();
  }
  // What decides the result on this machine. A finished result of another machine stands, but an
  // unfinished one cannot go on here where this differs.
  virtual nlohmann::ordered_json machine() const { return nlohmann::ordered_json::object(); }
  // Whether the seed draws something.
  virtual bool uses_seed() const { return true; }
  // Whether it can compute on another device than the CPU.
  virtual bool knows_devices() const { return false; }
  // Whether espalier-run measures.
  virtual bool runs_device_program() const { return false; }
  // A report shows what all earlier stages left.
  virtual bool reads_records() const { return false; }
  virtual Result run(const Context& context) = 0;

  // Keys of options and inputs that the user gave. The reader fills it in.
  std::set<std::string> given_names;
};

struct Kind {
  std::string_view name;
  std::string_view purpose;  // one phrase, for --help and the reference
  std::string_view example;  // a command line
  std::unique_ptr<Stage> (*make)();
  // Part of a result's identity (checkpoint/manifest.h): it rises with a change of Espalier that
  // alters what this kind writes.
  int algorithm = 1;
  // Keys of the metrics, and what they are. Empty for a card, which has a page of its own.
  std::vector<std::pair<std::string, std::string>> results = {};
};
// Error(input) when the program is not there or cannot be run.
void require_device_program(const std::string& path);

std::span<const Kind* const> all_kinds();
const Kind* find_kind(std::string_view name);

template <typename T>
std::unique_ptr<Stage> make_stage() {
  return std::make_unique<T>();
}

}  // namespace espalier::stages
