// SPDX-License-Identifier: Apache-2.0
// Walks a checkpoint and multiplies by its output matrix.
#include "verify/walked_model.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "checkpoint/manifest.h"
#include "checkpoint/vocabulary_match.h"
#include "core/error.h"
#include "core/notes.h"
#include "core/output.h"
#include "layerwise/saved.h"

namespace espalier::verify {
namespace {

// Reading a row checks that its values are finite. The walk reads all layers, and logits() the
// output matrix, but of an embedding only the rows that the text uses.
void check_embedding(const model::Transformer& model) {
  if (model.dims().tied) return;
  constexpr std::int64_t kRows = 4096;
  for (std::int64_t first = 0; first < model.dims().vocab; first += kRows)
    static_cast<void>(
        model.rows(arch::Role::token_embd, -1, first, std::min(kRows, model.dims().vocab - first)));
}

// Leaves in `kept` the ids of the vocabulary that stay.
checkpoint::Checkpoint open_part(const std::string& path, const std::string& vocabulary_of,
                                 std::vector<std::int64_t>& kept) {
  auto source = checkpoint::Checkpoint::open(path);
  if (vocabulary_of.empty()) return source;
  const auto part = checkpoint::Checkpoint::open(vocabulary_of);
  checkpoint::VocabularyMatch match = checkpoint::match_vocabularies(source, part);
  checkpoint::keep_part(source, part, match);
  kept = std::move(match.keep);
  return source;
}

constexpr const char* kStates = "states";

}  // namespace

WalkedModel::WalkedModel(const std::string& path, bool keep_output,
                         const std::string& vocabulary_of)
    : path_(path),
      source_(open_part(path, vocabulary_of, part_)),
      model_(model::Transformer::open(source_)) {
  check_embedding(model_);
  if (keep_output) model_.load_output();
}

void WalkedModel::read(const torch::Tensor& ids, layerwise::WalkOptions options) {
  states_ = torch::Tensor();
  options.batch_tokens = ids.size(1);
  layerwise::Walk walk(model_, ids, {}, std::move(options));
  walk.run();
  const layerwise::Stream& stream = walk.stream();
  for (std::int64_t b = 0; b < stream.batches(); ++b) {
    const torch::Tensor x = stream.at(b);
    x.copy_(model_.final_norm(x));
  }
  states_ = stream.states;
}

void WalkedModel::read_kept(const torch::Tensor& ids, layerwise::WalkOptions options,
                            const std::string& folder) {
  const std::string identity =
      layerwise::identity_of({{"algorithm", checkpoint::algorithm_version("verify")},
                              {"model", source_.sha256()},
                              {"part", part_},
                              {"threads", at::get_num_threads()},
                              {"window", ids.size(1)}},
                             ids);
  const std::string file = folder + "/" + identity + ".safetensors";
  std::error_code unreadable;
  if (std::filesystem::exists(file, unreadable)) {
    try {
      states_ = layerwise::read_saved(file).tensors.at(kStates);
      return;
    } catch (const std::exception& error) {
      core::note(file + ": broken (" + error.what() + "), so it is made again");
    }
  }
  read(ids, std::move(options));
  try {
    core::make_directory(folder);
    layerwise::write_saved(file, {.about = {}, .tensors = {{kStates, states_}}});
  } catch (const core::Error& error) {
    core::note(std::string(error.what()) + "; so other runs compute the states of " + path_ +
               " again");
  }
}

torch::Tensor WalkedModel::logits(std::int64_t window, std::int64_t row, std::int64_t n) const {
  torch::Tensor out = model_.logits(states_.select(0, window).narrow(0, row, n));
  ESP_CHECK(torch::isfinite(out).all().item<bool>(), input, path_,
            ": the logits are not finite, although the weights are: activations of this text "
            "exceed the range of float32, so that there is no result");
  return out;
}

}  // namespace espalier::verify
