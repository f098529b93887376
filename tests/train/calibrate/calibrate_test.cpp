// SPDX-License-Identifier: Apache-2.0
// The statistics of a calibration run against sums made by hand in double from a forward pass of
// one window at a time.
#include "calibrate/calibrate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <tuple>

#include "core/error.h"
#include "core/rng.h"
#include "model/transformer.h"
#include "support/edit_tensors.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::calibrate {
namespace {

using arch::Role;
using Key = std::pair<Role, int>;

// 64 windows of 64 tokens are one forward of lib/train/calibrate, so 70 are two; an ffn of 388 is
// two panels of its Gram matrix.
constexpr std::int64_t kSequence = 64, kWindows = 70, kFfn = 388;

// Products of float32 over at most 4096 tokens, and a forward pass whose batches have another size:
// a few hundred eps of |x_i| |x_j|.
constexpr double kTolerance = 3e-5;

data::Corpus random_corpus(std::int64_t n_tokens, std::int64_t vocab) {
  data::Corpus corpus{.path = "some.txt", .sha256 = "0123", .tokens = {}};
  core::Rng rng(9);
  const auto size = static_cast<std::uint64_t>(vocab);
  for (std::int64_t i = 0; i < n_tokens; ++i)
    corpus.tokens.push_back(static_cast<std::int32_t>(rng.below(size)));
  return corpus;
}

class Calibrate : public testing::Test {
 protected:
  checkpoint::Checkpoint open(bool tied = true) {
    options_.tied = tied;
    return checkpoint::Checkpoint::open(
        support::write_tiny_llama(dir_.file(tied ? "tied" : "untied"), options_));
  }
  support::TempDir dir_;
  support::TinyOptions options_{
      .hidden = 32, .layers = 2, .kv_groups = 1, .q_per_kv = 2, .head_dim = 8, .ffn = kFfn};
  data::Corpus corpus_ = random_corpus(kWindows * kSequence + 17, options_.vocab);
};

// The inputs of each matrix, all tokens of the first windows: [tokens, width] in double.
std::map<Key, torch::Tensor> inputs_by_hand(const checkpoint::Checkpoint& source,
                                            const data::Corpus& corpus, std::uint64_t seed,
                                            std::int64_t n_windows = kWindows) {
  const torch::InferenceMode inference;
  model::Transformer model = model::Transformer::load(source, {});
  std::map<Key, std::vector<torch::Tensor>> seen;
  model.set_tap([&](model::Tap point, int layer, const torch::Tensor& value) {
    const torch::Tensor rows = value.flatten(0, 1).to(torch::kFloat64);
    std::vector<Role> readers;
    if (point == model::Tap::attn_in) readers = {Role::attn_q, Role::attn_k, Role::attn_v};
    if (point == model::Tap::attn_mix) readers = {Role::attn_output};
    if (point == model::Tap::ffn_in) readers = {Role::ffn_gate, Role::ffn_up};
    if (point == model::Tap::ffn_act) readers = {Role::ffn_down};
    for (const Role r : readers) seen[{r, layer}].push_back(rows);
  });
  const data::WindowSampler sampler(static_cast<std::int64_t>(corpus.tokens.size()), kSequence,
                                    seed);
  for (std::int64_t i = 0; i < n_windows; ++i) {
    const auto first = corpus.tokens.begin() + sampler.start(i);
    const torch::Tensor ids =
        torch::tensor(std::vector<std::int64_t>(first, first + kSequence)).view({1, kSequence});
    const torch::Tensor hidden = model.hidden(ids);
    seen[{source.dims().tied ? Role::token_embd : Role::output, -1}].push_back(
        hidden.flatten(0, 1).to(torch::kFloat64));
  }
  std::map<Key, torch::Tensor> out;
  for (const auto& [key, rows] : seen) out[key] = torch::cat(rows);
  return out;
}

// Largest |found - expected| over sqrt(expected_ii expected_jj).
double gram_error(const std::vector<float>& found, const torch::Tensor& expected) {
  const torch::Tensor norm = expected.diagonal().sqrt();
  const torch::Tensor mine =
      torch::tensor(std::vector<double>(found.begin(), found.end())).view(expected.sizes());
  return ((mine - expected).abs() / norm.outer(norm)).max().item<double>();
}
double squares_error(const std::vector<double>& found, const torch::Tensor& expected) {
  return ((torch::tensor(found) - expected).abs() / expected).max().item<double>();
}

TEST_F(Calibrate, SumsEqualThoseMadeByHand) {
  const checkpoint::Checkpoint source = open();
  const text::CalibrationOptions options{
      .tokens = kWindows * kSequence, .sequence = kSequence, .seed = 3, .precision = "float32"};
  const quant::Imatrix found = collect_imatrix(source, corpus_, options, Moments::gram, {});
  const auto inputs = inputs_by_hand(source, corpus_, 3);
  ASSERT_EQ(inputs.size(), 15u);  // 7 matrices in 2 layers, and the output
  ASSERT_EQ(found.tensors.size(), inputs.size());
  for (const auto& [key, x] : inputs) {
    const std::string name = arch::gguf_name(key.first, key.second);
    const quant::TensorStatistics* t = found.find(key.first, key.second);
    ASSERT_NE(t, nullptr) << name;
    EXPECT_EQ(t->tokens, kWindows * kSequence) << name;
    ASSERT_EQ(static_cast<std::int64_t>(t->sum_squares.size()), x.size(1)) << name;
    ASSERT_NE(t->gram, nullptr) << name;
    ASSERT_EQ(static_cast<std::int64_t>(t->gram->size()), x.size(1) * x.size(1)) << name;
    const torch::Tensor squares = x.square().sum(0), gram = x.t().matmul(x);
    EXPECT_LT(squares_error(t->sum_squares, squares), kTolerance) << name;
    EXPECT_LT(gram_error(*t->gram, gram), kTolerance) << name;
    // The same comparisons see one token that is missing.
    EXPECT_GT(squares_error(t->sum_squares, squares - x[0].square()), kTolerance) << name;
    EXPECT_GT(gram_error(*t->gram, gram - x[0].outer(x[0])), kTolerance) << name;
  }
}

// Whether the processor multiplies it or not.
TEST_F(Calibrate, SumsInBfloat16AreCloseToThem) {
  const checkpoint::Checkpoint source = open();
  text::CalibrationOptions options{
      .tokens = kWindows * kSequence, .sequence = kSequence, .seed = 3};
  options.precision = "bfloat16";
  const quant::Imatrix found = collect_imatrix(source, corpus_, options, Moments::gram, {});
  for (const auto& [key, x] : inputs_by_hand(source, corpus_, 3)) {
    const quant::TensorStatistics* t = found.find(key.first, key.second);
    ASSERT_NE(t, nullptr);
    const double error = gram_error(*t->gram, x.t().matmul(x));
    EXPECT_GT(error, 1e-6) << arch::gguf_name(key.first, key.second);
    EXPECT_LT(error, 1e-2) << arch::gguf_name(key.first, key.second);
    EXPECT_LT(squares_error(t->sum_squares, x.square().sum(0)), 1e-2);
  }
}

TEST_F(Calibrate, TheOutputReadsTheNormedHidden) {
  for (const bool tied : {true, false}) {
    const checkpoint::Checkpoint source = open(tied);
    const quant::Imatrix found = collect_imatrix(
        source, corpus_,
        {.tokens = kSequence, .sequence = kSequence, .seed = 3, .precision = "float32"},
        Moments::squares, {});
    const auto inputs = inputs_by_hand(source, corpus_, 3, 1);
    const Role reader = tied ? Role::token_embd : Role::output;
    ASSERT_NE(found.find(reader, -1), nullptr);
    EXPECT_LT(
        squares_error(found.find(reader, -1)->sum_squares, inputs.at({reader, -1}).square().sum(0)),
        kTolerance);
    EXPECT_EQ(found.find(tied ? Role::output : Role::token_embd, -1), nullptr);
  }
}

TEST_F(Calibrate, OtherWindowsGiveOtherSums) {
  const checkpoint::Checkpoint source = open();
  const text::CalibrationOptions options{.tokens = 8 * kSequence, .sequence = kSequence, .seed = 3};
  text::CalibrationOptions other = options;
  other.seed = 4;
  const auto squares = [&](const text::CalibrationOptions& o) {
    return collect_imatrix(source, corpus_, o, Moments::squares, {})
        .find(Role::ffn_down, 1)
        ->sum_squares;
  };
  EXPECT_EQ(squares(options), squares(options));
  EXPECT_NE(squares(options), squares(other));
}

TEST_F(Calibrate, MatricesWithTheSameInputShareOneGram) {
  const quant::Imatrix found = collect_imatrix(
      open(), corpus_, {.tokens = 4 * kSequence, .sequence = kSequence}, Moments::gram, {});
  const auto gram = [&](Role role, int layer) { return found.find(role, layer)->gram.get(); };
  EXPECT_EQ(gram(Role::attn_q, 0), gram(Role::attn_k, 0));
  EXPECT_EQ(gram(Role::attn_q, 0), gram(Role::attn_v, 0));
  EXPECT_EQ(gram(Role::ffn_gate, 1), gram(Role::ffn_up, 1));
  EXPECT_NE(gram(Role::attn_q, 0), gram(Role::attn_q, 1));
  EXPECT_NE(gram(Role::attn_q, 0), gram(Role::ffn_up, 0));
  const quant::Imatrix without = collect_imatrix(
      open(), corpus_, {.tokens = 4 * kSequence, .sequence = kSequence}, Moments::squares, {});
  for (const auto& [key, t] : without.tensors) {
    EXPECT_EQ(t.gram, nullptr);
    EXPECT_EQ(t.sum_squares, found.tensors.at(key).sum_squares);
  }
}

// There is no padding: what does not fill a window is left out, and nothing else is counted.
TEST_F(Calibrate, CountsWholeWindowsOnly) {
  const checkpoint::Checkpoint source = open();
  const auto counted = [&](std::int64_t tokens, const data::Corpus& corpus) {
    const quant::Imatrix found = collect_imatrix(
        source, corpus, {.tokens = tokens, .sequence = kSequence}, Moments::squares, {});
    for (const auto& [key, t] : found.tensors)
      EXPECT_EQ(t.tokens, found.tokens) << arch::gguf_name(key.first, key.second);
    EXPECT_EQ(found.sequence, kSequence);
    return found.tokens;
  };
  EXPECT_EQ(counted(3 * kSequence, corpus_), 3 * kSequence);
  EXPECT_EQ(counted(4 * kSequence - 1, corpus_), 3 * kSequence);
  EXPECT_EQ(counted(1000 * kSequence, random_corpus(2 * kSequence + 5, options_.vocab)),
            2 * kSequence);
}

TEST_F(Calibrate, TheFileHoldsWhatWasCollected) {
  const checkpoint::Checkpoint source = open();
  const quant::Imatrix written = collect_imatrix(
      source, corpus_, {.tokens = 5 * kSequence, .sequence = kSequence}, Moments::gram, {});
  EXPECT_EQ(written.text_sha256, corpus_.sha256);
  EXPECT_EQ(written.dataset, corpus_.path);
  quant::write_imatrix(written, dir_.file("imatrix.gguf"), true);
  const quant::Imatrix read =
      quant::read_imatrix(dir_.file("imatrix.gguf"), source.arch(), source.dims());
  EXPECT_EQ(read.tokens, written.tokens);
  EXPECT_EQ(read.sequence, kSequence);
  EXPECT_EQ(read.text_sha256, corpus_.sha256);
  EXPECT_EQ(read.dataset, corpus_.path);
  ASSERT_EQ(read.tensors.size(), written.tensors.size());
  for (const auto& [key, t] : written.tensors) {
    const quant::TensorStatistics& back = read.tensors.at(key);
    EXPECT_EQ(back.tokens, t.tokens);
    EXPECT_EQ(*back.gram, *t.gram);
    ASSERT_EQ(back.sum_squares.size(), t.sum_squares.size());
    for (std::size_t i = 0; i < t.sum_squares.size(); ++i)
      ASSERT_EQ(back.sum_squares[i], static_cast<float>(t.sum_squares[i]));
  }
}

TEST_F(Calibrate, ReportsEachLayer) {
  std::vector<std::int64_t> done;
  collect_imatrix(open(), corpus_, {.tokens = kSequence, .sequence = kSequence}, Moments::squares,
                  [&](const core::ProgressEvent& event) {
                    EXPECT_EQ(event.total, 2);
                    done.push_back(event.done);
                  });
  EXPECT_EQ(done, (std::vector<std::int64_t>{1, 2}));
}

// Activations of 1e24 are finite; their squares are not.
TEST_F(Calibrate, SumsThatAreNotFiniteAreNoStatistics) {
  const checkpoint::Checkpoint before = open();
  for (const bool gram : {false, true})
    for (const auto& [tensor, factor, words] :
         {std::tuple("model.layers.1.mlp.up_proj.weight", 1e24f, "layer 1, input of ffn_down"),
          std::tuple("model.layers.1.mlp.down_proj.weight", 3e38f, "layer 1: what the FFN"),
          std::tuple("model.norm.weight", 1e24f, "output_norm")}) {
      const std::string path = support::write_tiny_llama(dir_.file("large"), options_);
      support::edit_tensors(path, [&](support::RawTensors& all) {
        support::RawTensor& t = all.at(tensor);
        for (std::size_t i = 0; i < t.bytes.size() / 4; ++i)
          t.set(static_cast<std::int64_t>(i), i % 3 == 0 ? factor : -factor / 2);
      });
      try {
        collect_imatrix(checkpoint::Checkpoint::open(path), corpus_,
                        {.tokens = 512, .sequence = kSequence},
                        gram ? Moments::gram : Moments::squares, {});
        ADD_FAILURE() << tensor << ": statistics";
      } catch (const core::Error& e) {
        EXPECT_EQ(e.kind(), core::ErrorKind::input);
        const bool moments = std::string(e.what()).find("second moments") != std::string::npos;
        EXPECT_TRUE((gram && moments) || std::string(e.what()).find(words) != std::string::npos)
            << e.what();
      }
    }
}

TEST_F(Calibrate, Refusals) {
  const checkpoint::Checkpoint source = open();
  const auto refusal = [&](const data::Corpus& corpus, const text::CalibrationOptions& options,
                           core::ErrorKind kind) -> std::string {
    try {
      collect_imatrix(source, corpus, options, Moments::squares, {});
    } catch (const core::Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      return error.what();
    }
    return "accepted";
  };
  const text::CalibrationOptions right{.tokens = 4 * kSequence, .sequence = kSequence};
  EXPECT_EQ(refusal(corpus_, right, core::ErrorKind::input), "accepted");
  const text::CalibrationOptions few{.tokens = kSequence - 1, .sequence = kSequence};
  EXPECT_NE(refusal(random_corpus(kSequence - 1, 320), right, core::ErrorKind::input)
                .find("some.txt: calibration needs at least one window of 64"),
            std::string::npos);
  EXPECT_NE(refusal(corpus_, few, core::ErrorKind::input).find("at least one window"),
            std::string::npos);
  const text::CalibrationOptions wrong[] = {{.tokens = 0},
                                            {.tokens = -1},
                                            {.tokens = kSequence, .sequence = 0},
                                            {.tokens = kSequence, .sequence = -5}};
  for (const text::CalibrationOptions& options : wrong)
    EXPECT_NE(refusal(corpus_, options, core::ErrorKind::usage).find("must be positive"),
              std::string::npos);
  for (const std::int32_t id : {-1, 320}) {
    data::Corpus foreign = corpus_;
    for (std::size_t i = 0; i < foreign.tokens.size(); i += kSequence / 2) foreign.tokens[i] = id;
    EXPECT_NE(refusal(foreign, right, core::ErrorKind::input)
                  .find("some.txt: token id " + std::to_string(id)),
              std::string::npos);
  }
}

}  // namespace
}  // namespace espalier::calibrate
