// SPDX-License-Identifier: Apache-2.0
// Files of a wanted size: every tensor in a format that its rows can hold, the budget used and
// never exceeded.
#include "export/budget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "core/error.h"
#include "support/edit_tensors.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::exporter {
namespace {

using arch::Role;
using checkpoint::Checkpoint;
using format::FormatId;

// Rows of 192 and 512, as SmolLM2's 576 and 1536: whole blocks of 64 everywhere, of 256 in ffn_down
// alone.
const support::TinyOptions kSizes{.hidden = 192, .kv_groups = 3, .q_per_kv = 4, .ffn = 512};

class Budget : public testing::Test {
 protected:
  std::int64_t data_bytes(const plan::QuantPlan& plan) const {
    std::int64_t n = 0;
    for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims()))
      n += (plan::tensor_bytes(t, plan.format_of(t.spec->role, t.layer)) + 31) / 32 * 32;
    return n;
  }
  plan::QuantPlan plan_data(std::int64_t bytes, BudgetOptions options = {},
                            quant::Rounding rounding = {}) const {
    options.target_bytes = bytes;
    options.whole_file = false;
    options.threads = 2;
    ExportOptions file;
    file.rounding = rounding;
    return plan_for_budget(source, options, file, {});
  }
  quant::MeasuredErrors measured(double error) const {
    quant::MeasuredErrors out;
    for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims()))
      if (!t.is_vector) out[{t.spec->role, t.layer}] = {FormatId::q4_0, error};
    return out;
  }
  void expect_too_small(const std::function<void()>& f, const std::string& words) const {
    try {
      f();
      ADD_FAILURE() << "not refused";
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), core::ErrorKind::unsupported);
      EXPECT_NE(std::string(e.what()).find(words), std::string::npos) << e.what();
    }
  }

  support::TempDir dir;
  const Checkpoint source = Checkpoint::open(support::write_tiny_llama(dir.file("m"), kSizes));
  const std::int64_t parameters = arch::parameters(source.arch(), source.dims());
};

TEST_F(Budget, IsUsedAndNeverExceeded) {
  int plans = 0;
  for (const double bits : {2.5, 3.0, 3.7, 4.4, 5.2, 6.5, 8.0}) {
    const auto bytes = static_cast<std::int64_t>(bits / 8 * static_cast<double>(parameters));
    const plan::QuantPlan plan = plan_data(bytes);
    EXPECT_LE(data_bytes(plan), bytes) << bits;
    EXPECT_GT(data_bytes(plan), bytes * 97 / 100) << bits;
    for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims())) {
      const FormatId format = plan.format_of(t.spec->role, t.layer);
      EXPECT_EQ(format == FormatId::f32, t.is_vector);
      EXPECT_EQ(t.row_length() % format::info(format).block, 0)
          << arch::gguf_name(t.spec->role, t.layer);
    }
    ++plans;
  }
  EXPECT_EQ(plans, 7);
}

TEST_F(Budget, BelowFourBitsMixesQ2_0WithLargerFormats) {
  const plan::QuantPlan plan = plan_data(parameters * 37 / 80);
  std::int64_t two = 0, more = 0;
  for (const plan::TensorFormat& t : plan.tensors) {
    two += t.format == FormatId::q2_0;
    more += t.format != FormatId::q2_0 && t.format != FormatId::f32;
  }
  EXPECT_GT(two, 0);
  EXPECT_GT(more, 0);
}

TEST_F(Budget, FormatsThatMustBeNamedAreChosenOnlyThen) {
  const std::vector<FormatId> by_name = {FormatId::q2_k, FormatId::q3_k, FormatId::iq4_nl,
                                         FormatId::iq4_xs, FormatId::mxfp4};
  const auto among = [&](FormatId f) {
    return std::find(by_name.begin(), by_name.end(), f) != by_name.end();
  };
  for (const double bits : {2.6, 3.4, 4.3, 4.6})
    for (const plan::TensorFormat& t :
         plan_data(static_cast<std::int64_t>(bits / 8 * static_cast<double>(parameters))).tensors)
      EXPECT_FALSE(among(t.format)) << bits;
  BudgetOptions options;
  options.candidates = {FormatId::q2_0, FormatId::iq4_nl};
  std::int64_t named = 0;
  for (const plan::TensorFormat& t : plan_data(parameters * 37 / 80, options).tensors)
    named += t.format == FormatId::iq4_nl;
  EXPECT_GT(named, 0);
}

// Rows of 256 and more in every matrix, so that all formats fit.
const support::TinyOptions kWhole{
    .hidden = 256, .layers = 6, .kv_groups = 4, .q_per_kv = 4, .ffn = 512};

std::int64_t bytes_of(const Checkpoint& source, const plan::QuantPlan& plan) {
  std::int64_t n = 0;
  for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims()))
    n += (plan::tensor_bytes(t, plan.format_of(t.spec->role, t.layer)) + 31) / 32 * 32;
  return n;
}

// Three formats have coarse steps.
TEST(BudgetOfNamedFormats, EachIsTakenAndTheBudgetUsed) {
  support::TempDir dir;
  const Checkpoint source = Checkpoint::open(support::write_tiny_llama(dir.file("m"), kWhole));
  int plans = 0;
  for (const FormatId named :
       {FormatId::q2_k, FormatId::q3_k, FormatId::iq4_nl, FormatId::iq4_xs, FormatId::mxfp4}) {
    BudgetOptions options;
    options.whole_file = false;
    options.threads = 2;
    options.candidates = {named, FormatId::q5_0, FormatId::q8_0};
    const std::int64_t smallest = smallest_data_bytes(source.arch(), source.dims(), options),
                       largest = largest_data_bytes(source.arch(), source.dims(), options);
    for (const double part : {0.2, 0.8}) {
      options.target_bytes =
          smallest + static_cast<std::int64_t>(part * static_cast<double>(largest - smallest));
      const plan::QuantPlan plan = plan_for_budget(source, options, {}, {});
      const std::int64_t bytes = bytes_of(source, plan);
      EXPECT_LE(bytes, options.target_bytes);
      EXPECT_GT(static_cast<double>(bytes), 0.995 * static_cast<double>(options.target_bytes))
          << format::info(named).name << " " << part;
      ++plans;
      if (part > 0.2) continue;
      std::int64_t n = 0;
      for (const plan::TensorFormat& t : plan.tensors) n += t.format == named;
      EXPECT_GT(n, 0) << format::info(named).name;
      const ExportResult result = export_gguf(source, plan, dir.file("x.gguf"), {}, {});
      EXPECT_EQ(result.formats.at(std::string(format::info(named).name)).tensors, n);
    }
  }
  EXPECT_EQ(plans, 10);
}

TEST(BudgetOfNamedFormats, AllTogetherReachAnySize) {
  support::TempDir dir;
  const Checkpoint source = Checkpoint::open(support::write_tiny_llama(dir.file("m"), kWhole));
  BudgetOptions options;
  options.whole_file = false;
  options.threads = 2;
  for (const format::QuantFormat& f : format::all_formats())
    if (!f.is_float()) options.candidates.push_back(f.id);
  const double parameters = static_cast<double>(arch::parameters(source.arch(), source.dims()));
  for (const double bits : {2.5, 3.6, 4.8}) {
    options.target_bytes = static_cast<std::int64_t>(bits / 8 * parameters);
    const std::int64_t bytes = bytes_of(source, plan_for_budget(source, options, {}, {}));
    EXPECT_LE(bytes, options.target_bytes);
    EXPECT_GT(static_cast<double>(bytes), 0.997 * static_cast<double>(options.target_bytes))
        << bits;
  }
}

// What was measured outweighs what the matrices' own errors say.
TEST_F(Budget, MeasuredErrorsDecide) {
  quant::MeasuredErrors errors = measured(1e-4);
  errors.at({Role::attn_k, 1}).error = 1;
  errors.at({Role::ffn_up, 0}).error = 0;
  BudgetOptions options;
  options.measured = &errors;
  const plan::QuantPlan plan = plan_data(parameters * 45 / 80, options);
  EXPECT_EQ(plan.format_of(Role::attn_k, 1), FormatId::q8_0);
  EXPECT_EQ(plan.format_of(Role::ffn_up, 0), FormatId::q2_0);
  EXPECT_NE(plan_data(parameters * 45 / 80).format_of(Role::attn_k, 1), FormatId::q8_0);
}

// Inputs that go together: gptq makes up for most of the rounding there, other roundings do not.
TEST_F(Budget, WhatGptqLeavesOfMeasuredErrorsCounts) {
  quant::Imatrix imatrix;
  for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims())) {
    if (t.is_vector) continue;
    const bool together = t.spec->role == Role::ffn_up && t.layer == 0;
    std::vector<float> gram(static_cast<std::size_t>(t.cols * t.cols), together ? 1.0f : 0.0f);
    for (std::int64_t i = 0; i < t.cols; ++i)
      gram[static_cast<std::size_t>(i * (t.cols + 1))] = together ? 1.02f : 1.0f;
    imatrix.tensors[{t.spec->role, t.layer}] = {
        .sum_squares = std::vector<double>(static_cast<std::size_t>(t.cols), 1.0),
        .gram = std::make_shared<const std::vector<float>>(std::move(gram)),
        .tokens = 1};
  }
  const quant::MeasuredErrors errors = measured(1e-4);
  BudgetOptions options;
  options.measured = &errors;
  options.imatrix = &imatrix;
  const auto bits = [&](quant::Rounding rounding) {
    const plan::QuantPlan plan = plan_data(parameters * 45 / 80, options, rounding);
    return format::info(plan.format_of(Role::ffn_up, 0)).bits_per_weight();
  };
  EXPECT_LT(bits(quant::Rounding::gptq), bits(quant::Rounding::imatrix));
}

// Larger than the attention's matrices, so by bytes alone it would be the first to go to two bits
// after the FFN's.
TEST_F(Budget, TheOutputMatrixIsSpared) {
  quant::Imatrix imatrix;
  for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims()))
    if (!t.is_vector)
      imatrix.tensors[{t.spec->role, t.layer}] = {
          .sum_squares = std::vector<double>(static_cast<std::size_t>(t.cols), 1.0),
          .gram = nullptr,
          .tokens = 1};
  BudgetOptions options;
  options.imatrix = &imatrix;
  const plan::QuantPlan plan = plan_data(parameters * 275 / 800, options);
  EXPECT_GE(format::info(plan.format_of(Role::token_embd, -1)).bits_per_weight(), 4.0);
  EXPECT_EQ(plan.format_of(Role::ffn_up, 0), FormatId::q2_0);
}

TEST_F(Budget, WholeFileIncludesTheHeader) {
  BudgetOptions options;
  options.target_bytes = parameters * 5 / 8;
  options.threads = 2;
  const plan::QuantPlan plan = plan_for_budget(source, options, {}, {});
  const ExportResult result = export_gguf(source, plan, dir.file("x.gguf"), {}, {});
  EXPECT_LE(result.file_bytes, options.target_bytes);
  EXPECT_GT(result.file_bytes, options.target_bytes * 97 / 100);
  EXPECT_GT(result.file_bytes, data_bytes(plan) + 5000);  // the tokenizer
  options.target_bytes = 4000;
  expect_too_small([&] { plan_for_budget(source, options, {}, {}); }, "header and tokenizer");
}

TEST_F(Budget, TheSmallestIsReachedAndNothingBelowIt) {
  const std::int64_t smallest = smallest_data_bytes(source.arch(), source.dims(), {});
  const plan::QuantPlan plan = plan_data(smallest);
  EXPECT_EQ(data_bytes(plan), smallest);
  for (const plan::TensorFormat& t : plan.tensors)
    EXPECT_TRUE(t.format == FormatId::q2_0 || t.format == FormatId::f32);
  expect_too_small([&] { plan_data(smallest - 1); }, std::to_string(smallest));
}

TEST_F(Budget, CandidatesAndOverridesAreKept) {
  BudgetOptions options;
  options.candidates = {FormatId::q4_0, FormatId::q5_0, FormatId::q4_k};
  options.overrides = {{"token_embd", FormatId::q8_0}, {"ffn_down.1", FormatId::q6_k}};
  const plan::QuantPlan plan = plan_data(parameters * 6 / 8, options);
  for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims())) {
    if (t.is_vector) continue;
    const FormatId format = plan.format_of(t.spec->role, t.layer);
    if (t.spec->role == Role::token_embd)
      EXPECT_EQ(format, FormatId::q8_0);
    else if (t.spec->role == Role::ffn_down && t.layer == 1)
      EXPECT_EQ(format, FormatId::q6_k);
    else
      EXPECT_TRUE(format == FormatId::q4_0 || format == FormatId::q5_0 ||
                  (format == FormatId::q4_k && t.cols % 256 == 0))
          << format::info(format).name;
  }
  EXPECT_GT(smallest_data_bytes(source.arch(), source.dims(), options),
            smallest_data_bytes(source.arch(), source.dims(), {}));
  options.overrides = {{"attn_q", FormatId::q4_k}};
  expect_too_small([&] { smallest_data_bytes(source.arch(), source.dims(), options); },
                   "rows of 192");
}

// Row 5 of 512 is not among the sampled ones.
TEST_F(Budget, AFormatThatCannotHoldATensorIsNoCandidate) {
  const std::string path =
      support::set_value(support::write_tiny_llama(dir.file("large"), kSizes),
                         "model.layers.1.mlp.up_proj.weight", 5 * 192 + 7, 1e6f);
  const Checkpoint large = Checkpoint::open(path);
  BudgetOptions options;
  options.whole_file = false;
  options.threads = 2;
  options.target_bytes = parameters / 2;
  options.candidates = {FormatId::q2_0, FormatId::q4_0, FormatId::q5_0};
  const plan::QuantPlan plan = plan_for_budget(large, options, {}, {});
  EXPECT_EQ(plan.format_of(Role::ffn_up, 1), FormatId::q5_0);
  EXPECT_NE(plan.format_of(Role::ffn_up, 0), FormatId::q5_0);
  export_gguf(large, plan, dir.file("x.gguf"), {}, {});
  options.candidates = {FormatId::q2_0, FormatId::q4_0};
  try {
    plan_for_budget(large, options, {}, {});
    ADD_FAILURE() << "not refused";
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), core::ErrorKind::input);
    EXPECT_NE(
        std::string(e.what()).find("blk.1.ffn_up.weight: no candidate format holds it: weight "
                                   "[5, 7] is 1e+06"),
        std::string::npos)
        << e.what();
  }
}

}  // namespace
}  // namespace espalier::exporter
