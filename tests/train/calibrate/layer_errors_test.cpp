// SPDX-License-Identifier: Apache-2.0
// What rounding one matrix does to a model: against whole models with that matrix replaced, and
// where nothing reads it.
#include "calibrate/layer_errors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/rng.h"
#include "model/transformer.h"
#include "quant/rounding.h"
#include "support/edit_tensors.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::calibrate {
namespace {

using arch::Role;
using torch::Tensor;

constexpr std::int64_t kSequence = 64;

data::Corpus random_corpus(std::int64_t n_tokens, std::int64_t vocab) {
  data::Corpus corpus{.path = "some.txt", .sha256 = "0123", .tokens = {}};
  core::Rng rng(9);
  for (std::int64_t i = 0; i < n_tokens; ++i)
    corpus.tokens.push_back(
        static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(vocab))));
  return corpus;
}

class Measured : public testing::Test {
 protected:
  std::string write(bool tied) {
    sizes.tied = tied;
    return support::write_tiny_llama(dir.file(tied ? "tied" : "untied"), sizes);
  }
  LayerErrors measure(const checkpoint::Checkpoint& source) const {
    return measure_layer_errors(source, corpus, options, {}, 2, {});
  }
  // The windows that are read: the first of the sampler.
  Tensor windows() const {
    const data::WindowSampler sampler(static_cast<std::int64_t>(corpus.tokens.size()), kSequence,
                                      options.seed);
    std::vector<std::int64_t> ids;
    for (std::int64_t i = 0; i < 512 / kSequence; ++i)
      for (std::int64_t k = 0; k < kSequence; ++k)
        ids.push_back(corpus.tokens[static_cast<std::size_t>(sampler.start(i) + k)]);
    return torch::tensor(ids).view({-1, kSequence});
  }
  // One matrix rounded to nearest.
  static Tensor rounded(const checkpoint::Checkpoint& source, const LayerErrors::Key& key,
                        format::FormatId format) {
    core::ThreadPool pool(2);
    const arch::TensorRef t = arch::tensor_ref(source.arch(), source.dims(), key.first, key.second);
    std::vector<float> values = quant::decode_matrix(
        quant::round_matrix(source.read(key.first, key.second), t.rows, t.cols, format, {}, pool),
        t.rows, t.cols, format);
    return torch::from_blob(values.data(), {t.rows, t.cols}).clone();
  }
  // The divergence of the model with that matrix.
  double divergence(const checkpoint::Checkpoint& source, const LayerErrors::Key& key,
                    format::FormatId format = format::FormatId::q4_0) const {
    const torch::InferenceMode inference;
    model::Transformer exact = model::Transformer::load(source, {}), other = exact;
    other.set_weight(key.first, key.second, rounded(source, key, format));
    const auto log_probabilities = [&](const model::Transformer& m) {
      return torch::log_softmax(m.forward(windows()).to(torch::kFloat64), -1);
    };
    const Tensor p = log_probabilities(exact), q = log_probabilities(other);
    return (p.exp() * (p - q)).sum(-1).mean().item<double>();
  }

  support::TempDir dir;
  support::TinyOptions sizes{
      .hidden = 64, .layers = 3, .kv_groups = 1, .q_per_kv = 2, .head_dim = 32, .ffn = 96};
  data::Corpus corpus = random_corpus(4000, sizes.vocab);
  text::CalibrationOptions options{.tokens = 2048, .sequence = kSequence, .seed = 3};
};

TEST_F(Measured, DivergencesAreThoseOfWholeModels) {
  for (const bool tied : {true, false}) {
    const auto source = checkpoint::Checkpoint::open(write(tied));
    const LayerErrors errors = measure(source);
    // Fewer matrices than may be followed, so all are.
    const std::size_t n = 3 * 7 + (tied ? 1 : 2);
    ASSERT_EQ(errors.followed.size(), n);
    ASSERT_EQ(errors.nats.size(), n);
    ASSERT_EQ(errors.added.size(), std::size_t{3 * 7});
    for (const auto& [key, nats] : errors.followed) {
      const double expected = divergence(source, key);
      EXPECT_NEAR(nats, expected, 0.02 * expected + 1e-6) << arch::gguf_name(key.first, key.second);
      EXPECT_EQ(errors.nats.at(key).format, format::FormatId::q4_0);
      if (key.second < 0) {
        EXPECT_DOUBLE_EQ(errors.nats.at(key).error, nats);
      } else {
        // What a line through 21 points leaves.
        EXPECT_LT(std::fabs(std::log(errors.nats.at(key).error / nats)), std::log(8.0));
      }
    }
    EXPECT_GT(errors.rank_correlation, 0.5);
    EXPECT_LE(errors.rank_correlation, 1.0);
  }
}

// gate and up of a layer whose down is zero have errors of their own, and add none to the layer.
TEST_F(Measured, WhatNothingReadsAddsNothing) {
  const std::string path = write(true);
  support::edit_tensors(path, [](support::RawTensors& tensors) {
    std::vector<std::byte>& bytes = tensors.at("model.layers.1.mlp.down_proj.weight").bytes;
    std::fill(bytes.begin(), bytes.end(), std::byte{0});
  });
  const LayerErrors errors = measure(checkpoint::Checkpoint::open(path));
  for (const Role role : {Role::ffn_gate, Role::ffn_up}) {
    EXPECT_EQ(errors.nats.at({role, 1}).error, 0.0);
    EXPECT_GT(errors.own_outputs.at({role, 1}), 1e-3);
    EXPECT_GT(errors.nats.at({role, 0}).error, 0.0);
  }
}

// What lets a budget scale the error of one format to others.
TEST_F(Measured, OtherFormatsAreInProportion) {
  sizes.ffn = 128;  // whole blocks of 64, for q2_0
  const auto source = checkpoint::Checkpoint::open(write(true));
  const auto own = [&](const LayerErrors::Key& key, format::FormatId format) {
    const Tensor exact = model::Transformer::load(source, {}).weight(key.first, key.second);
    return (rounded(source, key, format) - exact).square().sum().item<double>();
  };
  const std::vector<LayerErrors::Key> keys = {
      {Role::attn_v, 0}, {Role::attn_q, 1}, {Role::ffn_up, 1}, {Role::ffn_down, 2}};
  for (const LayerErrors::Key& key : keys)
    for (const auto format :
         {format::FormatId::q5_0, format::FormatId::q4_1, format::FormatId::q2_0}) {
      const double expected = own(key, format) / own(key, format::FormatId::q4_0),
                   found = divergence(source, key, format) / divergence(source, key);
      // Divergence is quadratic in small errors. Those of two bits are not small.
      const double factor = format == format::FormatId::q2_0 ? 2.0 : 1.6;
      EXPECT_LT(std::fabs(std::log(found / expected)), std::log(factor))
          << arch::gguf_name(key.first, key.second) << " " << format::info(format).name << " "
          << found << " " << expected;
    }
}

// A row of 1e6 is beyond the scales of Q4_0.
TEST_F(Measured, AMatrixThatTheFormatCannotHoldTakesAnother) {
  const std::string path =
      support::set_value(write(true), "model.layers.1.mlp.up_proj.weight", 5 * 64 + 7, 1e6f);
  const LayerErrors errors = measure(checkpoint::Checkpoint::open(path));
  EXPECT_EQ(errors.nats.at({Role::ffn_up, 1}).format, format::FormatId::mxfp4);
  EXPECT_EQ(errors.nats.at({Role::ffn_up, 0}).format, format::FormatId::q4_0);
}

// A model that was rounded before.
TEST_F(Measured, AMatrixThatTheFormatHoldsExactlyTakesAnother) {
  const std::string path = write(true);
  const Tensor on_grid =
      rounded(checkpoint::Checkpoint::open(path), {Role::ffn_up, 1}, format::FormatId::q4_0);
  support::edit_tensors(path, [&](support::RawTensors& tensors) {
    support::RawTensor& up = tensors.at("model.layers.1.mlp.up_proj.weight");
    up = up.as(format::FormatId::f32);
    for (std::int64_t i = 0; i < on_grid.numel(); ++i)
      up.set(i, on_grid.const_data_ptr<float>()[i]);
  });
  const LayerErrors errors = measure(checkpoint::Checkpoint::open(path));
  EXPECT_EQ(errors.nats.at({Role::ffn_up, 1}).format, format::FormatId::mxfp4);
  EXPECT_GT(errors.nats.at({Role::ffn_up, 1}).error, 0);
}

TEST(RankCorrelation, IsThatOfRanks) {
  EXPECT_DOUBLE_EQ(rank_correlation({1, 2, 30, 4}, {10, 20, 1000, 30}), 1);
  EXPECT_DOUBLE_EQ(rank_correlation({1, 2, 3}, {5, 4, 0}), -1);
  // Ranks 0, 1.5, 1.5, 4, 3 and 1, 0, 2.5, 2.5, 4: 5.75 / 9.5.
  EXPECT_NEAR(rank_correlation({1, 2, 2, 5, 3}, {2, 1, 4, 4, 9}), 5.75 / 9.5, 1e-12);
  EXPECT_EQ(rank_correlation({1, 1, 1}, {1, 2, 3}), 0);
}

}  // namespace
}  // namespace espalier::calibrate
