// SPDX-License-Identifier: Apache-2.0
// Rounding layer by layer against rounding each matrix by itself, judged by the whole model's
// logits on text calibration did not see.
#include "calibrate/sequential_rounding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/rng.h"
#include "model/transformer.h"
#include "quant/rounding.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::calibrate {
namespace {

using arch::Role;

constexpr std::int64_t kSequence = 64;

data::Corpus random_corpus(std::int64_t n_tokens, std::int64_t vocab) {
  data::Corpus corpus{.path = "some.txt", .sha256 = "0123", .tokens = {}};
  core::Rng rng(9);
  for (std::int64_t i = 0; i < n_tokens; ++i)
    corpus.tokens.push_back(
        static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(vocab))));
  return corpus;
}

class Sequential : public testing::Test {
 protected:
  plan::QuantPlan plan_of(const std::string& format) const {
    return plan::quant_plan(source.arch(), source.dims(), format, {});
  }
  // What a reader of the file would compute: every matrix replaced by what `bytes_of` gives for it.
  template <class BytesOf>
  model::Transformer rounded_model(const plan::QuantPlan& plan, const BytesOf& bytes_of) const {
    model::Transformer out = model::Transformer::load(source, {});
    for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims())) {
      if (t.is_vector) continue;
      const std::vector<std::byte> bytes = bytes_of(t);
      std::vector<float> values =
          quant::decode_matrix(bytes, t.rows, t.cols, plan.format_of(t.spec->role, t.layer));
      out.weight(t.spec->role, t.layer).copy_(torch::from_blob(values.data(), {t.rows, t.cols}));
    }
    return out;
  }
  double error(const model::Transformer& model) const {
    const torch::InferenceMode inference;
    const torch::Tensor ids =
        torch::randint(source.dims().vocab, {8, kSequence},
                       torch::make_generator<at::CPUGeneratorImpl>(5), torch::kInt64);
    const torch::Tensor exact = model::Transformer::load(source, {}).forward(ids);
    return ((model.forward(ids) - exact).square().mean() / exact.var()).item<double>();
  }
  support::TempDir dir;
  support::TinyOptions sizes{
      .hidden = 64, .layers = 4, .kv_groups = 1, .q_per_kv = 2, .head_dim = 32, .ffn = 96};
  checkpoint::Checkpoint source =
      checkpoint::Checkpoint::open(support::write_tiny_llama(dir.file("m"), sizes));
  data::Corpus corpus = random_corpus(20000, sizes.vocab);
  text::CalibrationOptions options{.tokens = 16384, .sequence = kSequence, .seed = 3};
  quant::Imatrix imatrix = collect_imatrix(source, corpus, options, Moments::gram, {});
};

TEST_F(Sequential, WithoutRoundingTheWeightsStay) {
  const plan::QuantPlan plan = plan_of("f32");
  for (const auto& [precision, most] : {std::pair("float32", 1e-8), std::pair("bfloat16", 1e-4)}) {
    options.precision = precision;
    SequentialRounding rounding(source, plan, imatrix, corpus, options, {.threads = 2});
    EXPECT_LT(error(rounded_model(plan,
                                  [&](const arch::TensorRef& t) {
                                    return rounding.rounded(t.spec->role, t.layer).value();
                                  })),
              most)
        << precision;
  }
}

TEST_F(Sequential, ModelIsCloserThanWithMatricesRoundedAlone) {
  core::ThreadPool pool(2);
  for (const char* format : {"q4_0", "q4_1", "q5_0"}) {
    const plan::QuantPlan plan = plan_of(format);
    SequentialRounding rounding(source, plan, imatrix, corpus, options, {.threads = 2});
    const double together = error(rounded_model(plan, [&](const arch::TensorRef& t) {
      return rounding.rounded(t.spec->role, t.layer).value();
    }));
    const double alone = error(rounded_model(plan, [&](const arch::TensorRef& t) {
      const std::vector<float> weights = source.read(t.spec->role, t.layer);
      return quant::round_matrix(weights, t.rows, t.cols, plan.format_of(t.spec->role, t.layer),
                                 {quant::Rounding::gptq, imatrix.find(t.spec->role, t.layer)},
                                 pool);
    }));
    EXPECT_LT(together, 0.95 * alone) << format;
    EXPECT_GT(together, 1e-5) << format;
  }
}

TEST_F(Sequential, OutputMatrixOfItsOwnAndTableWithoutStatistics) {
  sizes.tied = false;
  const auto untied =
      checkpoint::Checkpoint::open(support::write_tiny_llama(dir.file("untied"), sizes));
  const quant::Imatrix all = collect_imatrix(untied, corpus, options, Moments::gram, {}),
                       statistics = collect_imatrix(untied, corpus, options, Moments::output, {});
  ASSERT_EQ(statistics.tensors.size(), 1u);  // of the layers nothing is kept
  EXPECT_EQ(*statistics.find(Role::output, -1)->gram, *all.find(Role::output, -1)->gram);
  const plan::QuantPlan plan = plan::quant_plan(untied.arch(), untied.dims(), "q4_0", {});
  SequentialRounding rounding(untied, plan, statistics, corpus, options, {.threads = 2});
  EXPECT_FALSE(rounding.rounded(Role::token_embd, -1).has_value());
  EXPECT_TRUE(rounding.rounded(Role::attn_q, 0).has_value());
  EXPECT_TRUE(rounding.rounded(Role::ffn_down, 1).has_value());
  EXPECT_THROW(rounding.rounded(Role::ffn_down, 0), core::Error);
  EXPECT_TRUE(rounding.rounded(Role::output, -1).has_value());
}

// Left behind any matrix and begun again: the same bytes, from the very first matrix on.
TEST_F(Sequential, GoesOnWhereItWasKilled) {
  const plan::QuantPlan plan = plan_of("q4_0");
  std::vector<arch::TensorRef> matrices;
  for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims()))
    if (!t.is_vector) matrices.push_back(t);
  const auto take = [&](SequentialRounding& rounding, std::size_t n) {
    std::vector<std::optional<std::vector<std::byte>>> out;
    for (std::size_t i = 0; i < n; ++i)
      out.push_back(rounding.rounded(matrices[i].spec->role, matrices[i].layer));
    return out;
  };
  SequentialRounding undisturbed(source, plan, imatrix, corpus, options, {.threads = 2});
  const auto whole = take(undisturbed, matrices.size());
  for (const double share : {1.0, 1e-9})  // every layer is saved, or the first alone
    for (const std::size_t n : {std::size_t{1}, matrices.size() / 2, matrices.size()}) {
      checkpoint::WorkOptions work{.folder = dir.file("x.work"), .threads = 2, .share = share};
      {
        SequentialRounding killed(source, plan, imatrix, corpus, options, work);
        const auto some = take(killed, n);
        EXPECT_TRUE(std::equal(some.begin(), some.end(), whole.begin()));
      }
      work.resume = true;
      if (n > 1) {
        const plan::QuantPlan other = plan_of("q8_0");
        EXPECT_THROW(SequentialRounding(source, other, imatrix, corpus, options, work),
                     core::Error);
      }
      SequentialRounding resumed(source, plan, imatrix, corpus, options, work);
      EXPECT_EQ(take(resumed, matrices.size()), whole);
    }
}

TEST_F(Sequential, StatisticsGoOnWhereTheyWereKilled) {
  struct Killed {};
  for (const std::int64_t last : {1, 3, 4}) {
    checkpoint::WorkOptions work{.folder = dir.file("y.work"), .share = 1};
    EXPECT_THROW(collect_imatrix(
                     source, corpus, options, Moments::gram,
                     [&](const core::ProgressEvent& e) {
                       if (e.done == last) throw Killed();
                     },
                     work),
                 Killed);
    work.resume = true;
    std::vector<std::int64_t> done;
    const quant::Imatrix resumed = collect_imatrix(
        source, corpus, options, Moments::gram,
        [&](const core::ProgressEvent& e) { done.push_back(e.done); }, work);
    EXPECT_EQ(done.size(), static_cast<std::size_t>(4 - last));
    ASSERT_EQ(resumed.tensors.size(), imatrix.tensors.size());
    for (const auto& [key, expected] : imatrix.tensors) {
      const quant::TensorStatistics& found = resumed.tensors.at(key);
      EXPECT_EQ(found.sum_squares, expected.sum_squares);
      EXPECT_EQ(*found.gram, *expected.gram);
      EXPECT_EQ(found.tokens, expected.tokens);
    }
  }
}

}  // namespace
}  // namespace espalier::calibrate
