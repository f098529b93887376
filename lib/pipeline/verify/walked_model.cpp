// SPDX-License-Identifier: Apache-2.0
// Walks a checkpoint and multiplies by its output matrix.
#include "verify/walked_model.h"

#include <algorithm>
#include <utility>

#include "checkpoint/vocabulary_match.h"
#include "core/error.h"

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

checkpoint::Checkpoint open_part(const std::string& path, const std::string& vocabulary_of) {
  auto source = checkpoint::Checkpoint::open(path);
  if (vocabulary_of.empty()) return source;
  const auto part = checkpoint::Checkpoint::open(vocabulary_of);
  checkpoint::keep_part(source, part, checkpoint::match_vocabularies(source, part));
  return source;
}

}  // namespace

WalkedModel::WalkedModel(const std::string& path, bool keep_output,
                         const std::string& vocabulary_of)
    : path_(path),
      source_(open_part(path, vocabulary_of)),
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

torch::Tensor WalkedModel::logits(std::int64_t window, std::int64_t row, std::int64_t n) const {
  torch::Tensor out = model_.logits(states_.select(0, window).narrow(0, row, n));
  ESP_CHECK(torch::isfinite(out).all().item<bool>(), input, path_,
            ": the logits are not finite, although the weights are: activations of this text "
            "exceed the range of float32, so that there is no result");
  return out;
}

}  // namespace espalier::verify
