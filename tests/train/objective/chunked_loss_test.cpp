// SPDX-License-Identifier: Apache-2.0
// The chunked loss and its gradients against plain autograd over whole logits, for every term of
// logits. Formulas are not looked at here (terms_test.cpp), but all that is around them.
#include "objective/chunked_loss.h"

#include <gtest/gtest.h>

#include "model/ops/operations.h"
#include "objective/row_loss.h"
#include "objective/term.h"

namespace espalier::objective {
namespace {

using torch::Tensor;

struct Problem {
  Tensor student_hidden, student_output, teacher_hidden, teacher_output, targets;
};
// 23 tokens (odd, and not a multiple of the chunks used), vocabulary 101, two of the tokens masked.
// Logits of standard deviation about 2.
Problem problem(std::uint64_t seed) {
  torch::manual_seed(seed);
  Problem p{torch::randn({23, 12}), torch::randn({101, 12}) * 0.6, torch::randn({23, 20}),
            torch::randn({101, 20}) * 0.45, torch::randint(101, {23}, torch::kInt64)};
  p.targets[4] = -1;
  p.targets[22] = -1;
  return p;
}
std::vector<WeightedTerm> terms_of(std::string_view divergence, double kl, double ce) {
  return {{&term_by_name(divergence), kl}, {&term_by_name("ce"), ce}};
}
ChunkedLossInput input_of(const Problem& p, std::string_view divergence) {
  ChunkedLossInput in;
  in.student_hidden = p.student_hidden;
  in.student_output = p.student_output.detach().clone().requires_grad_(true);
  in.teacher_hidden = p.teacher_hidden;
  in.teacher_output = p.teacher_output;
  in.targets = p.targets;
  in.terms = terms_of(divergence, 0.5, 0.5);
  in.term_options = default_options();
  in.token_chunk = 5;
  return in;
}

struct Plain {
  double loss, kl, ce;
  Tensor hidden_gradient, output_gradient;
};
// In double, over all logits at once.
Plain plain(const ChunkedLossInput& in) {
  torch::AutoGradMode with_grad(true);
  const Tensor hidden = in.student_hidden.detach().to(torch::kFloat64).requires_grad_(true);
  const Tensor output = in.student_output.detach().to(torch::kFloat64).requires_grad_(true);
  const Tensor logits = hidden.mm(output.t()), mask = in.targets.ge(0).to(torch::kFloat64);
  Tensor kl = torch::zeros({}, torch::kFloat64);
  if (in.teacher_hidden.defined()) {
    const Tensor teacher =
        in.teacher_hidden.to(torch::kFloat64).mm(in.teacher_output.to(torch::kFloat64).t());
    const Tensor each = in.terms[0].term->of_tokens(
        {torch::log_softmax(logits / in.temperature, -1),
         torch::log_softmax(teacher / in.temperature, -1), in.targets, in.term_options});
    kl = (each * mask).sum() * in.temperature * in.temperature;
  }
  const Tensor ce =
      -(torch::log_softmax(logits, -1).gather(1, in.targets.clamp_min(0).unsqueeze(1)).squeeze(1) *
        mask)
           .sum();
  const Tensor loss = in.terms[0].weight * kl + in.terms[1].weight * ce;
  loss.backward();
  return {loss.item<double>(), kl.item<double>(), ce.item<double>(), hidden.grad(), output.grad()};
}
// float32 against double: sums of 101 terms; gradients are of order 1.
void expect_equal(const ChunkedLoss& ours, const ChunkedLossInput& in) {
  const Plain p = plain(in);
  EXPECT_NEAR(ours.loss_sum, p.loss, 1e-5 * (1 + std::abs(p.loss)));
  EXPECT_NEAR(ours.sums[0], p.kl, 1e-5 * (1 + std::abs(p.kl)));
  EXPECT_NEAR(ours.sums[1], p.ce, 1e-5 * (1 + std::abs(p.ce)));
  EXPECT_LT((ours.hidden_gradient - p.hidden_gradient).abs().max().item<double>(),
            2e-5 * (1 + p.hidden_gradient.abs().max().item<double>()));
  EXPECT_LT((in.student_output.grad() - p.output_gradient).abs().max().item<double>(),
            2e-5 * (1 + p.output_gradient.abs().max().item<double>()));
}

class EveryDivergence : public testing::TestWithParam<std::string_view> {};

TEST_P(EveryDivergence, EqualsPlainAutograd) {
  for (const double temperature : {1.0, 2.5, 0.7}) {
    ChunkedLossInput in = input_of(problem(1), GetParam());
    in.temperature = temperature;
    in.terms = terms_of(GetParam(), 0.8, 0.3);
    const ChunkedLoss out = chunked_loss(in);
    EXPECT_EQ(out.tokens, 21);
    EXPECT_GT(out.sums[0], 1.0);
    expect_equal(out, in);
  }
}
// As on a device other than the CPU.
TEST_P(EveryDivergence, WithOperationsOfLibTorchEqualsPlainAutograd) {
  const model::ForcedOperations forced("reference");
  ChunkedLossInput in = input_of(problem(1), GetParam());
  in.temperature = 1.5;
  expect_equal(chunked_loss(in), in);
  in = input_of(problem(1), GetParam());
  in.teacher_hidden = in.teacher_output = Tensor();
  const ChunkedLoss alone = chunked_loss(in);
  EXPECT_EQ(alone.sums[0], 0);
  expect_equal(alone, in);
}
TEST_P(EveryDivergence, IsZeroForEqualDistributions) {
  ChunkedLossInput in = input_of(problem(2), GetParam());
  in.teacher_hidden = in.student_hidden;
  in.teacher_output = in.student_output.detach().clone();
  in.terms = terms_of(GetParam(), 0.5, 0);
  in.temperature = 1.7;
  const ChunkedLoss out = chunked_loss(in);
  EXPECT_NEAR(out.sums[0], 0, 1e-5);
  EXPECT_LT(out.hidden_gradient.abs().max().item<double>(), 1e-5);
  EXPECT_LT(in.student_output.grad().abs().max().item<double>(), 1e-5);
}
TEST_P(EveryDivergence, MaskedTokensCountForNothing) {
  const Problem p = problem(3);
  ChunkedLossInput in = input_of(p, GetParam()), changed = input_of(p, GetParam());
  changed.student_hidden = p.student_hidden.clone();
  changed.student_hidden[4].mul_(-3);
  changed.teacher_hidden = p.teacher_hidden.clone();
  changed.teacher_hidden[22].add_(5);
  const ChunkedLoss a = chunked_loss(in), b = chunked_loss(changed);
  EXPECT_DOUBLE_EQ(a.loss_sum, b.loss_sum);
  EXPECT_TRUE(torch::equal(in.student_output.grad(), changed.student_output.grad()));
  EXPECT_EQ(a.hidden_gradient[4].abs().max().item<double>(), 0);
  EXPECT_EQ(a.hidden_gradient[22].abs().max().item<double>(), 0);
  EXPECT_GT(a.hidden_gradient[5].abs().max().item<double>(), 1e-3);
}
TEST_P(EveryDivergence, ChunksDoNotMatter) {
  const Problem p = problem(4);
  ChunkedLossInput small = input_of(p, GetParam()), whole = input_of(p, GetParam());
  small.token_chunk = 1;
  whole.token_chunk = 0;
  const ChunkedLoss a = chunked_loss(small), b = chunked_loss(whole);
  EXPECT_NEAR(a.loss_sum, b.loss_sum, 1e-5 * b.loss_sum);
  EXPECT_LT((a.hidden_gradient - b.hidden_gradient).abs().max().item<double>(), 1e-5);
  EXPECT_LT((small.student_output.grad() - whole.student_output.grad()).abs().max().item<double>(),
            1e-5);
}
TEST_P(EveryDivergence, SumsAndGradientsAdd) {
  const Problem p = problem(5);
  ChunkedLossInput whole = input_of(p, GetParam()), parts = input_of(p, GetParam());
  const ChunkedLoss all = chunked_loss(whole);
  double sum = 0;
  for (std::int64_t r = 0; r < 23; ++r) {
    ChunkedLossInput one = parts;
    one.student_hidden = p.student_hidden.narrow(0, r, 1);
    one.teacher_hidden = p.teacher_hidden.narrow(0, r, 1);
    one.targets = p.targets.narrow(0, r, 1);
    sum += chunked_loss(one).loss_sum;
  }
  EXPECT_NEAR(sum, all.loss_sum, 1e-5 * all.loss_sum);
  EXPECT_LT((parts.student_output.grad() - whole.student_output.grad()).abs().max().item<double>(),
            1e-5);
}

std::vector<std::string_view> names() {
  std::vector<std::string_view> out;
  for (const Term* term : all_terms())
    if (term->reads == Reads::logits) out.push_back(term->name);
  return out;
}
INSTANTIATE_TEST_SUITE_P(Terms, EveryDivergence, testing::ValuesIn(names()),
                         [](const auto& param) { return std::string(param.param); });

// Two divergences share the logits, and each counts with its own weight.
TEST(ChunkedLoss, SeveralTermsAdd) {
  const Problem p = problem(10);
  ChunkedLossInput both = input_of(p, "forward_kl");
  both.temperature = 1.4;
  both.terms = {
      {&term_by_name("forward_kl"), 0.7}, {&term_by_name("jsd"), 1.1}, {&term_by_name("ce"), 0.2}};
  const ChunkedLoss all = chunked_loss(both);
  double sum = 0;
  Tensor gradient = torch::zeros({23, 12}), output = torch::zeros({101, 12});
  for (std::size_t i = 0; i < both.terms.size(); ++i) {
    ChunkedLossInput one = input_of(p, "forward_kl");
    one.temperature = 1.4;
    one.terms = {both.terms[i]};
    const ChunkedLoss part = chunked_loss(one);
    EXPECT_NEAR(part.sums[0], all.sums[i], 1e-5 * part.sums[0]) << i;
    EXPECT_GT(part.sums[0], 0.5) << i;
    sum += part.loss_sum;
    gradient += part.hidden_gradient;
    output += one.student_output.grad();
  }
  EXPECT_NEAR(all.loss_sum, sum, 1e-5 * sum);
  EXPECT_LT((all.hidden_gradient - gradient).abs().max().item<double>(), 2e-5);
  EXPECT_LT((both.student_output.grad() - output).abs().max().item<double>(), 2e-5);
}
// The fast rows of float32 against autograd in the same function.
TEST(ChunkedLoss, Float64TakesThePlainPath) {
  ChunkedLossInput in = input_of(problem(11), "forward_kl"), wide = in;
  wide.matmul_dtype = torch::kFloat64;
  for (Tensor* t : {&wide.student_hidden, &wide.teacher_hidden, &wide.teacher_output})
    *t = t->to(torch::kFloat64);
  wide.student_output = in.student_output.detach().to(torch::kFloat64).requires_grad_(true);
  const ChunkedLoss fast = chunked_loss(in), exact = chunked_loss(wide);
  EXPECT_EQ(exact.hidden_gradient.scalar_type(), torch::kFloat64);
  EXPECT_LT((fast.hidden_gradient - exact.hidden_gradient).abs().max().item<double>(), 2e-5);
  const Plain p = plain(wide);
  EXPECT_LT((exact.hidden_gradient - p.hidden_gradient).abs().max().item<double>(), 1e-12);
  EXPECT_LT((wide.student_output.grad() - p.output_gradient).abs().max().item<double>(), 1e-12);
}

TEST(ChunkedLoss, WithoutATeacherIsCrossEntropy) {
  ChunkedLossInput in = input_of(problem(6), "forward_kl");
  in.teacher_hidden = in.teacher_output = Tensor();
  in.terms = terms_of("forward_kl", 0.5, 1.5);
  const ChunkedLoss out = chunked_loss(in);
  EXPECT_EQ(out.sums[0], 0);
  expect_equal(out, in);
}
TEST(ChunkedLoss, LeavesTheOutputAloneWhenToldTo) {
  ChunkedLossInput in = input_of(problem(7), "forward_kl");
  in.output_gradient = false;
  chunked_loss(in);
  EXPECT_FALSE(in.student_output.grad().defined());
}
TEST(ChunkedLoss, Bfloat16IsNear) {
  ChunkedLossInput in = input_of(problem(8), "forward_kl");
  in.matmul_dtype = torch::kBFloat16;
  const ChunkedLoss out = chunked_loss(in);
  const Plain p = plain(in);
  // Logits of size 2 to 8 rounded to 8 bits: up to 2 % each, averaged over the tokens.
  EXPECT_NEAR(out.loss_sum, p.loss, 0.02 * p.loss);
  EXPECT_LT((out.hidden_gradient - p.hidden_gradient).norm().item<double>(),
            0.03 * p.hidden_gradient.norm().item<double>());
}
TEST(ChunkedLoss, ExtremeLogitsStayFinite) {
  std::vector<float> student(1000, -3000.0f), teacher(1000, 2000.0f);
  student[7] = 9000.0f;
  teacher[3] = 2001.0f;
  const RowLoss loss = row_loss(student.data(), teacher.data(), 1000, 5, {0.5f, 0.5f, 1.0f});
  EXPECT_NEAR(loss.ce, 12000.0, 1e-3);
  EXPECT_TRUE(std::isfinite(loss.kl));
  for (const float g : student) EXPECT_TRUE(std::isfinite(g));
}
// At the size of a real vocabulary, where float sums would drift.
TEST(ChunkedLoss, RowLossOfALargeVocabularyIsExact) {
  torch::manual_seed(9);
  const std::int64_t vocab = 49152;
  for (const float temperature : {1.0f, 2.0f}) {
    const Tensor s = torch::randn({vocab}) * 3, t = torch::randn({vocab}) * 3;
    const Tensor sd = s.to(torch::kFloat64).requires_grad_(true), td = t.to(torch::kFloat64);
    const Tensor log_s = torch::log_softmax(sd / temperature, 0),
                 log_t = torch::log_softmax(td / temperature, 0);
    const Tensor kl = (log_t.exp() * (log_t - log_s)).sum() * temperature * temperature,
                 ce = -torch::log_softmax(sd, 0)[11];
    (0.6 * kl + 0.4 * ce).backward();
    Tensor gradient = s.clone(), scratch = t.clone();
    const RowLoss row = row_loss(gradient.data_ptr<float>(), scratch.data_ptr<float>(), vocab, 11,
                                 {0.6f, 0.4f, temperature});
    EXPECT_NEAR(row.kl, kl.item<double>(), 2e-6 * kl.item<double>());
    EXPECT_NEAR(row.ce, ce.item<double>(), 2e-6 * ce.item<double>());
    EXPECT_LT((gradient - sd.grad()).abs().max().item<double>(), 1e-6);
  }
}

}  // namespace
}  // namespace espalier::objective
