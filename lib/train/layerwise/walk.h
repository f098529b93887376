// SPDX-License-Identifier: Apache-2.0
// A walk reads a model layer by layer, once. The residual stream of all windows goes through one
// layer before the next layer is read, so a model may be larger than memory. Whatever looks at
// activations is a Visitor of the walk. Memory: the weights of one layer, the stream (4 * tokens *
// H bytes), the inner activations of one batch, and what the visitors keep.
//
// In a working folder (checkpoint/work_folder.h) a walk keeps, between layers where all visitors
// are at rest:
//
//   layer-<l>.safetensors  what the visitors' save_layer(l) gave, "<visitor>.<name>"; written once
//   walk.safetensors       the stream, and what save() gave; written last. Its metadata name the
//                          next layer. Without this file there is no state.
//
// Saving takes at most a twentieth of the time. Until then, finished layers wait in memory.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/progress.h"
#include "layerwise/visitor.h"
#include "text/calibration.h"

namespace espalier::layerwise {

struct WalkOptions {
  std::string stage = {};  // what progress messages call the work
  core::Progress progress = {};
  std::int64_t batch_tokens = text::kBatchTokens;  // of one forward: whole windows, at least one
  checkpoint::WorkFolder* work = nullptr;          // begun; null: nothing is kept
};

class Walk {
 public:
  // Embeds `ids` [windows, T], or goes on from the state in the working folder. Error(input) when
  // that is broken. The model shares its weights with the caller's, not its tap.
  Walk(model::Transformer model, torch::Tensor ids, std::vector<Visitor*> visitors,
       WalkOptions options = {});

  int next() const { return next_; }  // the layer that step() will take
  bool done() const { return next_ == static_cast<int>(model_.dims().n_layers()); }
  void step();  // one layer
  void run();   // all layers that are left

  // The layers whose results lie in the working folder, and what a visitor left of one of them.
  int kept() const { return kept_; }
  Saved kept_layer(int layer, std::size_t visitor) const;

  const model::Transformer& model() const { return model_; }
  Stream& stream() { return stream_; }

 private:
  void through(int layer, const arch::Block* block);
  std::string layer_file(int layer) const;
  void save();
  void load();

  model::Transformer model_;
  std::vector<Visitor*> visitors_;
  WalkOptions options_;
  Stream stream_;
  std::int64_t batch_ = 0;  // the batch whose values the tap sees
  int next_ = 0, kept_ = 0;
};

}  // namespace espalier::layerwise
