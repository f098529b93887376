// Everything a run needs before its first step, opened and checked: models, text, and the identity by which a checkpoint knows its run.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "checkpoint/checkpoint.h"
#include "checkpoint/manifest.h"
#include "data/corpus.h"
#include "distill/trainer.h"
#include "model/transformer.h"

namespace espalier::distill {

struct Setup {
  checkpoint::Checkpoint student_source;
  std::optional<checkpoint::Checkpoint> teacher_source;
  data::Corpus corpus;
  torch::ScalarType matmul_dtype;
  std::int64_t steps, tokens_per_step;
  checkpoint::Manifest manifest;  // stage, inputs and options filled in
  std::string run;                // sha256 of inputs and options
};

// Refuses (Error): options out of range, unknown loss, teacher and student of different vocabularies, text shorter than a window, text
// that holds held-out text, an output that is one of the inputs.
Setup prepare(const TrainInput& input, const TrainOptions& options);

}  // namespace espalier::distill
