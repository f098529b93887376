// SPDX-License-Identifier: Apache-2.0
// The hidden states of all windows advance through one layer at a time. So memory holds the
// accumulators of one layer only.
#include "calibrate/calibrate.h"

#include <optional>
#include <string_view>

#include "calibrate/windows.h"
#include "core/error.h"
#include "model/gram.h"
#include "model/transformer.h"

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
    if (want_gram_) gram_ += model::gram(x);
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

// Maps a tap point to the matrices that read its value.
struct Point {
  std::string_view name;
  std::vector<Role> readers;
};
std::vector<Point> tap_points(const arch::Arch& arch) {
  return {{"attn_in", arch::attention_inputs(arch)},
          {"attn_mix", {Role::attn_output}},
          {"ffn_in", arch::ffn_inputs(arch)},
          {"ffn_act", {Role::ffn_down}}};
}

}  // namespace

quant::Imatrix collect_imatrix(const checkpoint::Checkpoint& source, const data::Corpus& corpus,
                               const CalibrateOptions& options, const core::Progress& progress) {
  const torch::InferenceMode inference;
  const Tensor windows = draw_windows(corpus, options, source.dims().vocab);
  model::Transformer model = model::Transformer::open(source);
  quant::Imatrix out;
  out.tokens = windows.numel();
  out.sequence = options.sequence;
  out.text_sha256 = corpus.sha256;
  out.dataset = corpus.path;

  std::vector<Tensor> streams;
  for (const Tensor& batch : split_batches(windows)) streams.push_back(model.embed(batch));
  const auto n_layers = static_cast<int>(model.dims().n_layers());
  const std::vector<Point> points = tap_points(source.arch());
  for (int l = 0; l < n_layers; ++l) {
    std::vector<std::optional<InputSums>> sums(points.size());
    model.set_tap([&](const char* point, int, const Tensor& value) {
      for (std::size_t i = 0; i < points.size(); ++i) {
        if (points[i].name != point) continue;
        if (!sums[i]) sums[i].emplace(options.gram);
        sums[i]->add(value);
      }
    });
    model.load_layer(l);
    for (Tensor& x : streams) x = model.layer(l, x);
    model.unload_layer(l);
    for (std::size_t i = 0; i < sums.size(); ++i) {
      if (!sums[i]) continue;  // the layer lacks the block
      const quant::TensorStatistics statistics =
          sums[i]->result("layer " + std::to_string(l) + ", " + std::string(points[i].name));
      for (const Role role : points[i].readers) out.tensors.emplace(std::pair(role, l), statistics);
    }
    if (progress)
      progress(
          {.stage = "calibrate", .done = l + 1, .total = n_layers, .unit = "layers", .detail = ""});
  }
  model.set_tap({});
  InputSums final_sums(options.gram);
  for (const Tensor& x : streams) final_sums.add(model.norm(Role::output_norm, -1, x));
  out.tensors.emplace(std::pair(model.dims().tied ? Role::token_embd : Role::output, -1),
                      final_sums.result("output_norm"));
  return out;
}

}  // namespace espalier::calibrate
