// SPDX-License-Identifier: Apache-2.0
// An objective of several terms on tiny models: one backward pass from many roots equals plain
// autograd over the whole sum, passes add up, masked tokens count for nothing, and weights move.
#include "objective/objective.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "support/tiny_model.h"

namespace espalier::objective {
namespace {

using model::Tap;
using model::Transformer;
using torch::Tensor;

// Terms of this test: a scaled distance of what attention adds to the stream, and a mapped distance
// behind a layer.
Tensor start_of(const Widths& widths) {
  return torch::full({widths.teacher, widths.student}, 0.05);
}
std::vector<Extra> map_of(const Widths& widths) {
  return {{"map", {widths.teacher, widths.student}, start_of}};
}
Tensor attention_distance(const PairInput& x) {
  return (x.student - x.teacher.narrow(1, 0, x.student.size(1))).square().mean(-1);
}
Tensor mapped_distance(const PairInput& x) {
  return (x.student.mm(x.extras[0].t()) - x.teacher).square().mean(-1);
}
const Term kAttention{.name = "attention_distance",
                      .reads = Reads::states,
                      .states = {.tap = Tap::attn_out, .of_pair = attention_distance}};
const Term kMapped{.name = "mapped_distance",
                   .reads = Reads::states,
                   .states = {.tap = Tap::layer_out, .extras = map_of, .of_pair = mapped_distance}};

Transformer tiny(std::int64_t hidden, std::int64_t layers, bool trainable, std::uint64_t seed) {
  support::TinyOptions o;
  o.hidden = hidden;
  o.layers = layers;
  o.ffn = 32;
  o.vocab = 300;
  return Transformer::random(support::llama(), support::tiny_dims(o), {.trainable = trainable},
                             seed);
}
Batch batch_of(std::int64_t windows, std::uint64_t seed) {
  torch::manual_seed(seed);
  Batch out{torch::randint(300, {windows, 12}, torch::kInt64),
            torch::randint(300, {windows, 12}, torch::kInt64),
            {}};
  out.targets[0][11] = -1;
  out.targets[windows - 1][3] = -1;
  return out;
}
Batch narrow(const Batch& batch, std::int64_t window) {
  return {batch.ids.narrow(0, window, 1), batch.targets.narrow(0, window, 1), {}};
}

std::vector<PlannedTerm> terms() {
  return {{&term_by_name("forward_kl"), {0.7, 0.7}, "forward_kl"},
          {&term_by_name("ce"), {0.4, 0.4}, "ce"},
          {&kAttention, {0.3, 0.3}, "attention", {{0, 2}}},
          {&kMapped, {0.9, 0.9}, "mapped", {{0, 0}, {1, 2}}}};
}

struct Bench {
  Transformer student = tiny(32, 2, true, 5), teacher = tiny(48, 3, false, 6);
  Objective objective{terms(), {}, student.dims(), &teacher.dims()};

  Sums run(const Batch& batch, double progress = 0) {
    return objective.accumulate({student, &teacher}, batch, progress);
  }
  std::vector<Tensor> gradients() {
    std::vector<Tensor> out;
    for (const Tensor& p : student.parameters()) out.push_back(p.grad());
    for (const Tensor& extra : objective.extras()) out.push_back(extra.grad());
    return out;
  }
};

// The whole sum as one graph.
double plain(Bench& bench, const Batch& batch) {
  std::map<std::pair<Tap, int>, Tensor> of_student, of_teacher;
  bench.student.set_tap(
      [&](Tap tap, int l, const Tensor& x) { of_student[{tap, l}] = x.flatten(0, 1); });
  bench.teacher.set_tap(
      [&](Tap tap, int l, const Tensor& x) { of_teacher[{tap, l}] = x.flatten(0, 1).detach(); });
  const Tensor logits = bench.student.forward(batch.ids).flatten(0, 1),
               teacher = bench.teacher.forward(batch.ids).flatten(0, 1).detach();
  bench.student.set_tap({});
  bench.teacher.set_tap({});
  const Tensor targets = batch.targets.flatten(), mask = targets.ge(0).to(torch::kFloat32);
  const Tensor s = torch::log_softmax(logits, -1), t = torch::log_softmax(teacher, -1);
  std::vector<Tensor>& maps = bench.objective.extras();
  const auto mapped = [&](int from, int to, const Tensor& map) {
    return mapped_distance(
        {of_student.at({Tap::layer_out, from}), of_teacher.at({Tap::layer_out, to}), {&map, 1}});
  };
  const Tensor each =
      0.7 * (t.exp() * (t - s)).sum(-1) -
      0.4 * s.gather(1, targets.clamp_min(0).unsqueeze(1)).squeeze(1) +
      0.3 * attention_distance(
                {of_student.at({Tap::attn_out, 0}), of_teacher.at({Tap::attn_out, 2}), {}}) +
      0.9 * 0.5 * (mapped(0, 0, maps.at(0)) + mapped(1, 2, maps.at(1)));
  const Tensor loss = (each * mask).sum();
  loss.backward();
  return loss.item<double>();
}

void expect_same_gradients(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    ASSERT_TRUE(a[i].defined() && b[i].defined()) << i;
    const double largest = b[i].abs().max().item<double>();
    EXPECT_GT(largest, 1e-4) << i << ": gradients this small prove nothing";
    // float32, summed in another order.
    EXPECT_LT((a[i] - b[i]).abs().max().item<double>(), 2e-5 * (1 + largest)) << i;
  }
}

TEST(Objective, OneBackwardFromManyRootsIsThatOfTheWholeSum) {
  const Batch batch = batch_of(3, 1);
  Bench ours, whole;
  const Sums sums = ours.run(batch);
  const double loss = plain(whole, batch);
  EXPECT_EQ(sums.tokens, 34);
  EXPECT_NEAR(sums.loss, loss, 2e-5 * loss);
  ASSERT_EQ(sums.terms.size(), 4u);
  EXPECT_NEAR(sums.loss,
              0.7 * sums.terms[0] + 0.4 * sums.terms[1] + 0.3 * sums.terms[2] + 0.9 * sums.terms[3],
              1e-6 * loss);
  for (const double term : sums.terms) EXPECT_GT(term, 1.0);
  ASSERT_EQ(ours.objective.extras().size(), 2u);
  expect_same_gradients(ours.gradients(), whole.gradients());
}

TEST(Objective, PassesAddUp) {
  const Batch batch = batch_of(4, 2);
  Bench whole, parts;
  const Sums all = whole.run(batch);
  Sums sum;
  for (std::int64_t w = 0; w < 4; ++w) sum.add(parts.run(narrow(batch, w)));
  EXPECT_EQ(sum.tokens, all.tokens);
  EXPECT_NEAR(sum.loss, all.loss, 1e-5 * all.loss);
  for (std::size_t i = 0; i < all.terms.size(); ++i)
    EXPECT_NEAR(sum.terms[i], all.terms[i], 1e-5 * all.terms[i]) << i;
  expect_same_gradients(parts.gradients(), whole.gradients());
}

TEST(Objective, MaskedTokensCountForNothing) {
  Batch batch = batch_of(1, 3), changed = batch;
  changed.ids = batch.ids.clone();
  changed.ids[0][11] = (batch.ids[0][11].item<std::int64_t>() + 7) % 300;  // seen by itself alone
  Bench a, b;
  const Sums before = a.run(batch), after = b.run(changed);
  for (std::size_t i = 0; i < before.terms.size(); ++i)
    EXPECT_NEAR(before.terms[i], after.terms[i], 1e-6 * before.terms[i]) << i;
  batch.targets[0][11] = 5;
  changed.targets = batch.targets;
  Bench c, d;
  const Sums scored = c.run(batch), other = d.run(changed);
  for (std::size_t i = 0; i < scored.terms.size(); ++i)
    EXPECT_GT(std::abs(scored.terms[i] - other.terms[i]), 1e-4) << i << ": the token is seen";
}

TEST(Objective, IsZeroAtTheTeacher) {
  Bench bench;
  Transformer twin = bench.student;
  Objective objective({{&term_by_name("forward_kl"), {1, 1}, "forward_kl"},
                       {&kAttention, {1, 1}, "attention", {{0, 0}, {1, 1}}}},
                      {}, bench.student.dims(), &twin.dims());
  const Sums sums = objective.accumulate({bench.student, &twin}, batch_of(2, 4), 0);
  EXPECT_NEAR(sums.loss, 0, 1e-4);
  for (const Tensor& p : bench.student.parameters())
    EXPECT_LT(p.grad().abs().max().item<double>(), 1e-4);
}

TEST(Objective, WeightsMoveWithTheTraining) {
  const Batch batch = batch_of(2, 5);
  Bench bench;
  std::vector<PlannedTerm> planned = terms();
  planned[1].weight = {1, 0.2};
  planned[3].weight = {0, 0.5};
  Objective objective(planned, {}, bench.student.dims(), &bench.teacher.dims());
  double last = 0;
  for (const double progress : {0.0, 0.25, 1.0}) {
    const Sums sums = objective.accumulate({bench.student, &bench.teacher}, batch, progress);
    const double ce = 1 - 0.8 * progress, mapped = 0.5 * progress;
    const double expected =
        0.7 * sums.terms[0] + ce * sums.terms[1] + 0.3 * sums.terms[2] + mapped * sums.terms[3];
    EXPECT_NEAR(sums.loss, expected, 1e-6 * expected);
    EXPECT_NEAR(objective.weight(progress), 0.7 + ce + 0.3 + mapped, 1e-12);
    EXPECT_NE(sums.loss, last);
    last = sums.loss;
  }
}

TEST(Objective, StatesAloneNeedNoLogits) {
  Bench bench;
  Objective objective({{&kMapped, {1, 1}, "mapped", {{0, 1}}}}, {}, bench.student.dims(),
                      &bench.teacher.dims());
  const Sums sums = objective.accumulate({bench.student, &bench.teacher}, batch_of(2, 6), 0);
  EXPECT_EQ(sums.tokens, 22);
  EXPECT_GT(sums.loss, 1);
  EXPECT_TRUE(bench.student.weight(arch::Role::ffn_up, 0).grad().defined());
  EXPECT_FALSE(bench.student.weight(arch::Role::ffn_up, 1).grad().defined());
}

TEST(Objective, StatesBytesCountPairsAndExtras) {
  const PlannedTerm mapped{&kMapped, {1, 1}, "mapped"}, plain{&kAttention, {1, 1}, "attention"},
      logits{&term_by_name("ce"), {1, 1}, "ce"};
  EXPECT_EQ(states_bytes(logits, {32, 48}, 2, 100), 0);
  const std::int64_t without = states_bytes(plain, {32, 48}, 2, 100);
  EXPECT_GE(without, 4 * 100 * 2 * (32 + 48));
  EXPECT_EQ(states_bytes(mapped, {32, 48}, 2, 100) - without, 2 * 16 * 32 * 48);
}

TEST(Objective, ATermOfStatesWithoutATeacherIsOurBug) {
  Bench bench;
  EXPECT_THROW(Objective(terms(), {}, bench.student.dims(), nullptr), core::Error);
}

}  // namespace
}  // namespace espalier::objective
