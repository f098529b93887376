// SPDX-License-Identifier: Apache-2.0
// The importance matrix as a visitor of the walk: memory holds the sums of one layer only.
#include "calibrate/calibrate.h"

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "calibrate/windows.h"
#include "core/error.h"
#include "layerwise/gram.h"
#include "layerwise/walk.h"

namespace espalier::calibrate {
namespace {

using arch::Role;
using torch::Tensor;

// Sums over the inputs at one tap point: sum x^2 per channel, and sum x x^T. Products are in
// float32 per batch, sums in float64.
class InputSums {
 public:
  explicit InputSums(bool gram) : want_gram_(gram) {}

  void add(const Tensor& x_BTW) {
    const Tensor x = x_BTW.reshape({-1, x_BTW.size(-1)});
    const std::int64_t n = x.size(1);
    if (!squares_.defined()) {
      squares_ = torch::zeros({n}, torch::kFloat64);
      if (want_gram_) gram_ = torch::zeros({n, n}, torch::kFloat64);
    }
    squares_ += x.square().sum(0, false, torch::kFloat64);
    tokens_ += x.size(0);
    if (want_gram_) gram_ += layerwise::gram(x);
  }

  // `where` is used in the message when a sum is not finite.
  quant::TensorStatistics result(const std::string& where) const {
    ESP_CHECK(torch::isfinite(squares_).all().item<bool>() &&
                  (!want_gram_ || torch::isfinite(gram_).all().item<bool>()),
              input, "calibration: ", where,
              ": the squares of activations of this text exceed the range of float32, so that "
              "there are no statistics");
    quant::TensorStatistics out;
    out.tokens = static_cast<double>(tokens_);
    out.sum_squares.assign(squares_.data_ptr<double>(),
                           squares_.data_ptr<double>() + squares_.numel());
    if (want_gram_) {
      const Tensor full = gram_.to(torch::kFloat32).contiguous();
      out.gram = std::make_shared<const std::vector<float>>(full.data_ptr<float>(),
                                                            full.data_ptr<float>() + full.numel());
    }
    return out;
  }

 private:
  bool want_gram_;
  Tensor squares_, gram_;
  std::int64_t tokens_ = 0;
};

class Collector : public layerwise::Visitor {
 public:
  Collector(quant::Imatrix& out, bool gram) : out_(out), gram_(gram) {}

  void see(model::Tap point, int, std::int64_t, const Tensor& value) override {
    for (const model::Block& block : model::all_blocks())
      if (point == block.input || point == block.inner) {
        auto& sums = sums_[point];
        if (!sums) sums.emplace(gram_);
        sums->add(value);
      }
  }
  void layer_end(model::Transformer& model, int layer, const layerwise::Stream&) override {
    for (const model::Block& block : model::all_blocks()) {
      take(block.input, block.readers(model.arch()), layer);
      take(block.inner, {block.consumer}, layer);
    }
  }
  // The output matrix or the tied embedding reads the final normed stream.
  void finish(const model::Transformer& model, const layerwise::Stream& stream) {
    InputSums sums(gram_);
    for (std::int64_t b = 0; b < stream.batches(); ++b)
      sums.add(model.norm(Role::output_norm, -1, stream.at(b)));
    out_.tensors.emplace(std::pair(model.dims().tied ? Role::token_embd : Role::output, -1),
                         sums.result("output_norm"));
  }

 private:
  void take(model::Tap point, const std::vector<Role>& readers, int layer) {
    std::optional<InputSums> sums = std::exchange(sums_[point], std::nullopt);
    if (!sums) return;  // the layer has no such block
    const quant::TensorStatistics statistics =
        sums->result("layer " + std::to_string(layer) + ", input of " +
                     std::string(arch::role_name(readers[0])));
    for (const Role role : readers) out_.tensors.emplace(std::pair(role, layer), statistics);
  }
  quant::Imatrix& out_;
  bool gram_;
  std::map<model::Tap, std::optional<InputSums>> sums_;
};

}  // namespace

quant::Imatrix collect_imatrix(const checkpoint::Checkpoint& source, const data::Corpus& corpus,
                               const CalibrateOptions& options, const core::Progress& progress) {
  const torch::InferenceMode inference;
  const Tensor windows = draw_windows(corpus, options, source.dims().vocab);
  quant::Imatrix out;
  out.tokens = windows.numel();
  out.sequence = options.sequence;
  out.text_sha256 = corpus.sha256;
  out.dataset = corpus.path;
  Collector collector(out, options.gram);
  layerwise::Walk walk(model::Transformer::open(source), windows, {&collector},
                       {.stage = "calibrate", .progress = progress});
  walk.run();
  collector.finish(walk.model(), walk.stream());
  return out;
}

}  // namespace espalier::calibrate
