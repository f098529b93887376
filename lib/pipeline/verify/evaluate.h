// SPDX-License-Identifier: Apache-2.0
// Perplexity, and the divergence between two models on the same windows. A model is a Hugging Face
// directory or a GGUF. The training side reads either, dequantized, one layer at a time, so that
// models may be larger than memory. The device runtime can also run a GGUF.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/work_folder.h"
#include "core/progress.h"
#include "runtime/perplexity.h"
#include "verify/memory.h"

namespace espalier::verify {

struct EvalOptions {
  std::int64_t context = 512;
  runtime::Protocol protocol = runtime::Protocol::windows;
  std::int64_t max_windows = 0;  // spread evenly over the text; 0: all
  // Engine of the model; `against` always runs on the training side.
  Engine engine = Engine::training;
  int threads = 0;
  MemoryBudget memory = {};
  text::Reading reading = {};
  // Begun and started; null: nothing is kept. A killed run goes on in it with the same bits.
  checkpoint::WorkFolder* work = nullptr;
  // Where the final states of the reference are kept for other evaluations on the same windows: 4
  // bytes for each token and channel. Empty: they are not.
  std::string reference_folder = {};
};
// What one window of the text adds to the sums.
struct WindowLoss {
  std::int64_t tokens = 0, same_top1 = 0;
  double nll = 0, kl = 0;  // nats; KL and same_top1 only where there is a reference
};
struct EvalResult {
  double perplexity = 0, against_perplexity = 0;
  std::int64_t tokens = 0;
  bool has_divergence = false;
  double kl_mean = 0, kl_p99 = 0, same_top1 = 0;  // KL(against || model) in nats per scored token
  std::vector<float> kl_per_token;
  std::vector<WindowLoss> windows;  // in the order of the text
};
// One of several models that are evaluated in one pass. The reference runs once for all of them.
struct EvalModel {
  std::string path;
  Engine engine = Engine::training;
};
// The windows that all of them read: those of the first one. Checks that they can be compared.
std::vector<runtime::PerplexityWindow> read_windows(const std::vector<EvalModel>& models,
                                                    const std::string& against,
                                                    const std::string& text_path,
                                                    const EvalOptions& options,
                                                    const core::Progress& progress);
std::vector<EvalResult> evaluate_all(const std::vector<EvalModel>& models,
                                     const std::string& against,
                                     std::span<const runtime::PerplexityWindow> windows,
                                     const EvalOptions& options, const core::Progress& progress);
EvalResult evaluate(const std::string& model, const std::string& against,
                    const std::string& text_path, const EvalOptions& options,
                    const core::Progress& progress);
// A hash of everything that the results depend on, for the working folder. It reads all files.
std::string evaluation_identity(const std::vector<EvalModel>& models, const std::string& against,
                                const std::string& text_path, const EvalOptions& options);
// Sizes of all models of an evaluation, from headers alone, for its memory (memory.h). `against`
// may be empty.
std::vector<ModelSize> sizes_of(const std::vector<EvalModel>& models, const std::string& against);

}  // namespace espalier::verify
