// SPDX-License-Identifier: Apache-2.0
// The importance matrix as a visitor of the walk: memory holds the sums of one layer only.
#include "calibrate/calibrate.h"

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "layerwise/gram.h"
#include "layerwise/walk.h"
#include "layerwise/windows.h"
#include "plan/memory.h"

namespace espalier::calibrate {
namespace {

using arch::Role;
using torch::Tensor;

// `gram` is undefined when it is not collected.
quant::TensorStatistics statistics(const Tensor& squares, const Tensor& gram, std::int64_t tokens) {
  quant::TensorStatistics out;
  out.tokens = static_cast<double>(tokens);
  out.sum_squares = layerwise::vector_of<double>(squares);
  if (gram.defined())
    out.gram = std::make_shared<const std::vector<float>>(
        layerwise::vector_of<float>(gram.to(torch::kFloat32)));
  return out;
}

// Sums over the inputs at one tap point: sum x^2 per channel, and sum x x^T. Products are in
// float32 per batch, sums in float64.
class InputSums {
 public:
  InputSums(bool gram, torch::ScalarType dtype) : want_gram_(gram), dtype_(dtype) {}

  void add(const Tensor& x_BTW) {
    const Tensor x = x_BTW.reshape({-1, x_BTW.size(-1)});
    const std::int64_t n = x.size(1);
    if (!squares_.defined()) {
      squares_ = torch::zeros({n}, torch::kFloat64);
      if (want_gram_) gram_ = torch::zeros({n, n}, torch::kFloat64);
    }
    squares_ += x.square().sum(0, false, torch::kFloat64);
    tokens_ += x.size(0);
    if (want_gram_) gram_ += layerwise::gram(x, dtype_);
  }

  // `where` is used in the message when a sum is not finite.
  quant::TensorStatistics result(const std::string& where) const {
    ESP_CHECK(torch::isfinite(squares_).all().item<bool>() &&
                  (!want_gram_ || torch::isfinite(gram_).all().item<bool>()),
              input, "calibration: ", where,
              ": the squares of activations of this text exceed the range of float32, so that "
              "there are no statistics");
    return statistics(squares_, gram_, tokens_);
  }

 private:
  bool want_gram_;
  torch::ScalarType dtype_;  // of what the products of `gram_` read
  Tensor squares_, gram_;
  std::int64_t tokens_ = 0;
};

class Collector : public layerwise::Visitor {
 public:
  Collector(quant::Imatrix& out, const arch::Arch& arch, Moments moments, torch::ScalarType dtype)
      : out_(out), gram_(moments != Moments::squares), dtype_(dtype) {
    if (moments == Moments::output) return;
    for (const arch::Block& block : arch.blocks) {
      const model::BlockTaps taps = model::taps(block.kind);
      readers_[taps.input].assign(block.readers.begin(), block.readers.end());
      readers_[taps.inner] = {block.consumer};
    }
  }

  void see(model::Tap point, int, std::int64_t, const Tensor& value) override {
    if (readers_.contains(point)) sums_.try_emplace(point, gram_, dtype_).first->second.add(value);
  }
  void layer_end(model::Transformer&, int layer, const layerwise::Stream&) override {
    for (const auto& [point, sums] : sums_)
      put(point, layer,
          sums.result("layer " + std::to_string(layer) + ", input of " + name_of(point)));
    sums_.clear();
  }
  // The output matrix or the tied embedding reads the final normed stream.
  void finish(const model::Transformer& model, const layerwise::Stream& stream) {
    InputSums sums(gram_, dtype_);
    for (std::int64_t b = 0; b < stream.batches(); ++b) sums.add(model.final_norm(stream.at(b)));
    out_.tensors.emplace(std::pair(model.dims().tied ? Role::token_embd : Role::output, -1),
                         sums.result("output_norm"));
  }

  void save_layer(int layer, layerwise::Saved& saved) const override {
    for (const auto& [point, readers] : readers_) {
      const quant::TensorStatistics* found = out_.find(readers[0], layer);
      if (found == nullptr) continue;  // the layer has no such block
      saved.tensors["squares." + name_of(point)] = layerwise::view_of(found->sum_squares);
      if (gram_) saved.tensors["gram." + name_of(point)] = layerwise::view_of(*found->gram);
    }
  }
  void load_layer(int layer, const layerwise::Saved& saved) override {
    for (const auto& [point, readers] : readers_) {
      const auto squares = saved.tensors.find("squares." + name_of(point));
      if (squares == saved.tensors.end()) continue;
      const Tensor gram = gram_ ? saved.tensors.at("gram." + name_of(point)) : Tensor();
      put(point, layer, statistics(squares->second, gram, out_.tokens));
    }
  }

 private:
  std::string name_of(model::Tap point) const {
    return std::string(arch::role_name(readers_.at(point)[0]));
  }
  void put(model::Tap point, int layer, const quant::TensorStatistics& statistics) {
    for (const Role role : readers_.at(point))
      out_.tensors.emplace(std::pair(role, layer), statistics);
  }
  quant::Imatrix& out_;
  bool gram_;
  torch::ScalarType dtype_;
  std::map<model::Tap, std::vector<Role>> readers_;  // of what each point sees
  std::map<model::Tap, InputSums> sums_;
};

}  // namespace

std::int64_t imatrix_memory(const arch::Arch& arch, const arch::ModelDims& dims,
                            const text::CalibrationOptions& options, Moments moments) {
  const bool gram = moments == Moments::gram;
  return plan::layer_stage_memory(arch, dims,
                                  {.tokens = options.tokens,
                                   .batch_tokens = options.batch_tokens,
                                   .gram = gram,
                                   .more = gram ? plan::gram_bytes(arch, dims) : 0});
}

std::int64_t rounding_memory(const arch::Arch& arch, const arch::ModelDims& dims,
                             const text::CalibrationOptions& options, Moments moments) {
  const std::int64_t following = plan::layer_stage_memory(
      arch, dims,
      {.tokens = options.tokens,
       .batch_tokens = options.batch_tokens,
       .sums = false,
       .follows = true,
       .more = moments == Moments::gram ? plan::gram_bytes(arch, dims) : 0});
  // The embedding as it is stored, rounded and decoded again, beside both streams.
  const std::int64_t embedding =
      12 * dims.vocab * dims.hidden +
      plan::layer_stage_memory(arch, dims,
                               {.tokens = options.tokens, .batch_tokens = 0, .streams = 1});
  return std::max({following, embedding, imatrix_memory(arch, dims, options, moments)});
}

quant::Imatrix collect_imatrix(const checkpoint::Checkpoint& source, const data::Mixture& texts,
                               const text::CalibrationOptions& options, Moments moments,
                               const core::Progress& progress,
                               const checkpoint::WorkOptions& work) {
  const torch::InferenceMode inference;
  const Tensor windows = layerwise::draw_windows(texts, options, source.dims().vocab);
  quant::Imatrix out;
  out.tokens = windows.numel();
  out.sequence = options.sequence;
  out.text_sha256 = texts.sha256();
  out.dataset = texts.path();
  checkpoint::WorkFolder folder(
      work, layerwise::identity_of({{"verb", "calibrate"},
                                    {"algorithm", checkpoint::algorithm_version("quantize")},
                                    {"source", source.sha256()},
                                    {"text", out.text_sha256},
                                    {"moments", static_cast<int>(moments)}},
                                   windows, options));
  layerwise::begin(folder);
  const model::Transformer model = layerwise::open_for(source, options);
  Collector collector(out, source.arch(), moments, model.options().matmul_dtype);
  layerwise::Walk walk(model, windows, {&collector},
                       {.stage = "calibrate",
                        .progress = progress,
                        .batch_tokens = options.batch_tokens,
                        .work = &folder});
  walk.run();
  collector.finish(walk.model(), walk.stream());
  return out;
}

}  // namespace espalier::calibrate
