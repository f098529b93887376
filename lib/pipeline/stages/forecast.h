// SPDX-License-Identifier: Apache-2.0
// What is known before anything runs: the sizes of every model, as earlier stages will leave them,
// and what a stage is expected to need.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "arch/arch.h"
#include "checkpoint/checkpoint.h"
#include "text/documents.h"
#include "timing/work.h"

namespace espalier::stages {

// A model that is there, or that a stage will make.
struct Shape {
  const arch::Arch* arch = nullptr;
  arch::ModelDims dims;
  std::optional<std::int64_t> file_bytes = {};      // of a GGUF
  format::FormatId format = format::FormatId::f32;  // of most of its matrices

  std::int64_t parameters() const { return arch::parameters(*arch, dims); }
  bool computed() const { return arch::is_computed(*arch, dims); }
};

// What is known of a file that a stage will make, beside its model.
struct Made {
  std::optional<Shape> about = {};     // the model that scores or statistics are of
  std::optional<bool> has_grams = {};  // statistics with second moments
  std::string criterion = {};          // of scores
  std::optional<std::int64_t> sequence = {}, top_k = {};  // of cached logits
  double temperature = 1;
};

struct ForecastInput {
  std::string name, path;           // path: empty while an earlier stage has yet to make it
  double weight = 1;                // of a text, among those of the input
  std::optional<Shape> shape = {};  // of a model, or of the model that was made beside it
  Made made = {};
};

// Error(input) for scores or statistics of a model of other sizes. `what`: they; `name`: of the
// stage that makes them.
void require_same_sizes(const Made& made, const Shape& model, const char* what,
                        const std::string& name);

class Forecast {
 public:
  // By key of the stage's inputs.
  std::map<std::string, std::vector<ForecastInput>> inputs;
  std::string place;  // of the stage: file:line:column and its name
  // The teacher of the recipe; null while only its shape is known.
  const checkpoint::Checkpoint* teacher = nullptr;
  text::Reading reading = {};  // of texts

  bool has(const std::string& key) const;
  const ForecastInput& at(const std::string& key) const;
  const Shape& model(const std::string& key) const { return *at(key).shape; }

  // Set by the stage.
  std::optional<Shape> made;           // the model that it makes
  std::optional<Shape> judged;         // the model that it is about, where it makes none
  Made beside;                         // what it makes beside
  std::int64_t window = 0;             // tokens that its text needs at least
  std::optional<std::int64_t> bytes;   // of its result
  std::optional<std::int64_t> memory;  // at its peak
  std::optional<std::int64_t> disk;
  // Bytes of a device that a step of training asks for. Empty: it trains nothing.
  std::function<std::int64_t()> device_memory = {};
  timing::Work work;      // empty: how long it takes is not known
  timing::Place machine;  // where the work will be done

  // The peak memory of a stage is known only of what is computed.
  void set_memory(const Shape& shape, const std::function<std::int64_t()>& predicted) {
    if (shape.computed()) memory = predicted();
  }
  // A window may not be longer than the context of any model that reads it.
  void require_window(const std::string& key, std::int64_t length,
                      const std::vector<std::string>& models) const;
};

}  // namespace espalier::stages
