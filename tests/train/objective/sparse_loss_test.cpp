// SPDX-License-Identifier: Apache-2.0
// Sparse teacher logits: what is kept of a distribution, and the divergence on it with its
// gradients, against plain autograd in double and against the loss with the whole teacher.
#include <gtest/gtest.h>

#include "objective/chunked_loss.h"
#include "objective/row_loss.h"
#include "objective/sparse_logits.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::objective {
namespace {

using torch::Tensor;
constexpr std::int64_t kTokens = 23, kVocab = 101;

// The k likeliest of a distribution, in double, straight from its definition.
SparseLogits sparse_of(const Tensor& logits, std::int64_t k, double temperature) {
  const Tensor log_p = torch::log_softmax(logits.to(torch::kFloat64) / temperature, -1);
  const Tensor ids = std::get<0>(std::get<1>(log_p.topk(k, -1)).sort(1)),
               kept = log_p.gather(1, ids);
  return {ids.to(torch::kInt32), kept.to(torch::kFloat32),
          log_p.exp().scatter(1, ids, 0.0).sum(-1).to(torch::kFloat32)};
}

struct Problem {
  Tensor student_hidden, student_output, teacher_hidden, teacher_output, targets;
  Tensor teacher() const {
    return teacher_hidden.to(torch::kFloat64).mm(teacher_output.to(torch::kFloat64).t());
  }
};
Problem problem(std::uint64_t seed) {
  torch::manual_seed(seed);
  Problem p{torch::randn({kTokens, 12}), torch::randn({kVocab, 12}) * 0.6,
            torch::randn({kTokens, 20}), torch::randn({kVocab, 20}) * 0.45,
            torch::randint(kVocab, {kTokens}, torch::kInt64)};
  p.targets[4] = -1;
  p.targets[22] = -1;
  return p;
}
ChunkedLossInput input_of(const Problem& p, std::int64_t k, double temperature) {
  ChunkedLossInput in;
  in.student_hidden = p.student_hidden;
  in.student_output = p.student_output.detach().clone().requires_grad_(true);
  in.sparse_teacher = sparse_of(p.teacher(), k, temperature);
  in.targets = p.targets;
  in.temperature = temperature;
  in.terms = {{&term_by_name("forward_kl"), 0.8}, {&term_by_name("ce"), 0.3}};
  in.token_chunk = 5;
  return in;
}

struct Plain {
  double kl, loss;
  Tensor hidden_gradient, output_gradient;
};
// In double over all logits at once: the events are the kept tokens and "all others".
Plain plain(const ChunkedLossInput& in) {
  torch::AutoGradMode with_grad(true);
  const Tensor hidden = in.student_hidden.detach().to(torch::kFloat64).requires_grad_(true),
               output = in.student_output.detach().to(torch::kFloat64).requires_grad_(true);
  const Tensor logits = hidden.mm(output.t()), mask = in.targets.ge(0).to(torch::kFloat64),
               ids = in.sparse_teacher.ids.to(torch::kInt64);
  const Tensor p = in.sparse_teacher.log_probabilities.to(torch::kFloat64).exp(),
               p_rest = in.sparse_teacher.rest.to(torch::kFloat64);
  const Tensor q_all = torch::softmax(logits / in.temperature, -1), q = q_all.gather(1, ids);
  const Tensor q_rest = (q_all * torch::ones_like(q_all).scatter(1, ids, 0.0)).sum(-1);
  Tensor each = (p * (p / q).log()).sum(-1);
  if (ids.size(1) < logits.size(1)) each = each + p_rest * (p_rest / q_rest).log();
  const Tensor kl = (each * mask).sum() * in.temperature * in.temperature;
  const Tensor ce =
      -(torch::log_softmax(logits, -1).gather(1, in.targets.clamp_min(0).unsqueeze(1)).squeeze(1) *
        mask)
           .sum();
  const Tensor loss = in.terms[0].weight * kl + in.terms[1].weight * ce;
  loss.backward();
  return {kl.item<double>(), loss.item<double>(), hidden.grad(), output.grad()};
}

TEST(SparseLoss, EqualsPlainAutograd) {
  for (const std::int64_t k :
       {std::int64_t{1}, std::int64_t{7}, std::int64_t{64}, kVocab - 1, kVocab})
    for (const double temperature : {1.0, 2.5, 0.7}) {
      const ChunkedLossInput in = input_of(problem(1), k, temperature);
      const ChunkedLoss out = chunked_loss(in);
      const Plain expected = plain(in);
      // float32 against double: sums of 101 terms; gradients are of order 1.
      EXPECT_EQ(out.tokens, kTokens - 2);
      EXPECT_GT(out.sums[0], 0.5) << k;
      EXPECT_NEAR(out.sums[0], expected.kl, 1e-5 * (1 + expected.kl)) << k << " " << temperature;
      EXPECT_NEAR(out.loss_sum, expected.loss, 1e-5 * (1 + expected.loss))
          << k << " " << temperature;
      EXPECT_LT((out.hidden_gradient - expected.hidden_gradient).abs().max().item<double>(),
                2e-5 * (1 + expected.hidden_gradient.abs().max().item<double>()))
          << k;
      EXPECT_LT((in.student_output.grad() - expected.output_gradient).abs().max().item<double>(),
                2e-5 * (1 + expected.output_gradient.abs().max().item<double>()))
          << k;
    }
}

// The gradient by every logit against central differences of the loss itself.
TEST(SparseLoss, RowGradientEqualsFiniteDifferences) {
  torch::manual_seed(3);
  const std::int64_t vocab = 40, k = 6;
  const Tensor student = torch::randn({vocab}) * 2;
  const SparseLogits teacher = sparse_of(torch::randn({1, vocab}) * 2, k, 1.5);
  const RowWeights weights{0.7f, 0.2f, 1.5f};
  std::vector<float> scratch(k);
  const SparseRow row{teacher.ids.const_data_ptr<std::int32_t>(),
                      teacher.log_probabilities.const_data_ptr<float>(), k,
                      teacher.rest.item<float>()};
  const auto loss = [&](const Tensor& logits) {
    Tensor copy = logits.clone();
    const RowLoss r =
        sparse_row_loss(copy.mutable_data_ptr<float>(), row, scratch.data(), vocab, 11, weights);
    return 0.7 * r.kl + 0.2 * r.ce;
  };
  Tensor gradient = student.clone();
  sparse_row_loss(gradient.mutable_data_ptr<float>(), row, scratch.data(), vocab, 11, weights);
  for (std::int64_t v = 0; v < vocab; ++v) {
    Tensor up = student.clone(), down = student.clone();
    up[v] += 0.03;
    down[v] -= 0.03;
    // second-order differences: error of the order of 0.03^2 / 6 of third derivatives below 1, and
    // float32 sums of about 1 over 0.06
    EXPECT_NEAR(gradient[v].item<double>(), (loss(up) - loss(down)) / 0.06, 3e-4) << v;
  }
}

TEST(SparseLoss, IsTheWholeDivergenceForTheWholeVocabulary) {
  for (const double temperature : {1.0, 1.7}) {
    const Problem p = problem(5);
    const ChunkedLossInput sparse = input_of(p, kVocab, temperature);
    ChunkedLossInput whole = sparse;
    whole.sparse_teacher = {};
    whole.teacher_hidden = p.teacher_hidden;
    whole.teacher_output = p.teacher_output;
    whole.student_output = p.student_output.detach().clone().requires_grad_(true);
    const ChunkedLoss a = chunked_loss(sparse), b = chunked_loss(whole);
    EXPECT_NEAR(a.sums[0], b.sums[0], 1e-5 * b.sums[0]);
    EXPECT_NEAR(a.sums[1], b.sums[1], 1e-6 * b.sums[1]);
    EXPECT_LT((a.hidden_gradient - b.hidden_gradient).abs().max().item<double>(), 1e-5);
    EXPECT_LT(
        (sparse.student_output.grad() - whole.student_output.grad()).abs().max().item<double>(),
        1e-5);
  }
}

TEST(SparseLoss, NeverAboveTheWholeDivergenceAndRisesWithTheSupport) {
  const Problem p = problem(6);
  double last = 0;
  for (const std::int64_t k : {1, 2, 5, 12, 30, 60, 100, 101}) {
    const double kl = chunked_loss(input_of(p, k, 1.0)).sums[0];
    EXPECT_GE(kl, last - 1e-5) << k << ": a finer partition into events shows more";
    last = kl;
  }
  ChunkedLossInput whole = input_of(p, 1, 1.0);
  whole.sparse_teacher = {};
  whole.teacher_hidden = p.teacher_hidden;
  whole.teacher_output = p.teacher_output;
  EXPECT_NEAR(last, chunked_loss(whole).sums[0], 1e-5 * last);
}

TEST(SparseLoss, IsZeroAtTheTeacher) {
  for (const std::int64_t k : {1, 9, 64, 101}) {
    const Problem p = problem(7);
    ChunkedLossInput in = input_of(p, k, 1.3);
    in.student_hidden = p.teacher_hidden;
    in.student_output = p.teacher_output.detach().clone().requires_grad_(true);
    in.terms[1].weight = 0;
    const ChunkedLoss out = chunked_loss(in);
    EXPECT_NEAR(out.sums[0], 0, 1e-5) << k;
    EXPECT_LT(out.hidden_gradient.abs().max().item<double>(), 1e-5) << k;
    EXPECT_LT(in.student_output.grad().abs().max().item<double>(), 1e-5) << k;
  }
}

TEST(SparseLoss, MaskedTokensCountForNothing) {
  const Problem p = problem(8);
  ChunkedLossInput in = input_of(p, 9, 1.0), changed = input_of(p, 9, 1.0);
  changed.student_hidden = p.student_hidden.clone();
  changed.student_hidden[4].mul_(-3);
  changed.sparse_teacher.rest[22] = 0.9;
  const ChunkedLoss a = chunked_loss(in), b = chunked_loss(changed);
  EXPECT_DOUBLE_EQ(a.loss_sum, b.loss_sum);
  EXPECT_TRUE(torch::equal(in.student_output.grad(), changed.student_output.grad()));
  EXPECT_EQ(a.hidden_gradient[4].abs().max().item<double>(), 0);
  EXPECT_EQ(a.hidden_gradient[22].abs().max().item<double>(), 0);
  EXPECT_GT(a.hidden_gradient[5].abs().max().item<double>(), 1e-3);
}

TEST(SparseLoss, ExtremeLogitsStayFinite) {
  const std::vector<std::int32_t> ids{3, 999};
  const std::vector<float> log_p{-0.5f, -2.0f};
  for (const float temperature : {1.0f, 2.0f}) {
    std::vector<float> student(1000, -3000.0f), scratch(2);
    student[7] = 9000.0f;  // all the student's mass on one token of the rest
    const RowLoss loss = sparse_row_loss(student.data(), {ids.data(), log_p.data(), 2, 0.258f},
                                         scratch.data(), 1000, 5, {0.5f, 0.5f, temperature});
    EXPECT_TRUE(std::isfinite(loss.kl));
    EXPECT_NEAR(loss.ce, 12000.0, 1e-3);
    for (const float g : student) EXPECT_TRUE(std::isfinite(g));
    std::fill(student.begin(), student.end(), -3000.0f);
    student[3] = 9000.0f;  // nothing left for the rest
    const RowLoss inside = sparse_row_loss(student.data(), {ids.data(), log_p.data(), 2, 0.258f},
                                           scratch.data(), 1000, 5, {0.5f, 0.5f, temperature});
    EXPECT_TRUE(std::isfinite(inside.kl));
    for (const float g : student) EXPECT_TRUE(std::isfinite(g));
  }
}

// A vocabulary of several blocks, on a model whose matrix of the vocabulary stays on disk.
TEST(SparseLogits, AreTheLikeliestOfTheModel) {
  const support::TempDir temp;
  support::TinyOptions options;
  options.vocab = 19000;
  options.hidden = 32;
  const auto source =
      checkpoint::Checkpoint::open(support::write_tiny_llama(temp.file("teacher"), options));
  const auto opened = model::Transformer::open(source);
  const auto loaded = model::Transformer::load(source, {});
  torch::manual_seed(4);
  const Tensor hidden = torch::randn({600, options.hidden}) * 2,
               logits = loaded.logits(hidden).detach();
  for (const std::int64_t k : {1, 64, 9000, 19000}) {
    const SparseLogits ours =
        top_logits(opened, hidden.narrow(0, 0, k > 64 ? 20 : 600), k, 1.4, 600);
    const SparseLogits expected = sparse_of(logits.narrow(0, 0, k > 64 ? 20 : 600), k, 1.4);
    if (k <= 64) {
      EXPECT_LT((ours.ids != expected.ids).to(torch::kFloat32).mean().item<double>(), 2e-3)
          << k << ": products may round two neighbours to the other order";
    }
    EXPECT_LT((std::get<0>(ours.log_probabilities.sort(1)) -
               std::get<0>(expected.log_probabilities.sort(1)))
                  .abs()
                  .max()
                  .item<double>(),
              1e-4)
        << k;
    EXPECT_LT((ours.rest - expected.rest).abs().max().item<double>(), 1e-5) << k;
    EXPECT_NEAR((ours.log_probabilities.to(torch::kFloat64).exp().sum(-1) + ours.rest)
                    .sub(1)
                    .abs()
                    .max()
                    .item<double>(),
                0, 1e-5)
        << k;
    EXPECT_TRUE((ours.ids.diff(1, 1) > 0).all().item<bool>()) << k;
    if (k == options.vocab) {
      EXPECT_EQ(ours.rest.abs().max().item<double>(), 0);
    }
  }
}

}  // namespace
}  // namespace espalier::objective
