// SPDX-License-Identifier: Apache-2.0
// Every term of the list against PyTorch in float64 (tests/golden/term_*, by
// scripts/golden/terms.py): its sum and its gradients over 20 steps of descent, each of which
// starts from what the gradients before it left.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "objective/chunked_loss.h"
#include "objective/pair_loss.h"
#include "objective/term.h"

namespace espalier::objective {
namespace {

using Json = nlohmann::json;
using torch::Tensor;
constexpr double kClose = 1e-9;

Tensor tensor_of(const Json& values, std::int64_t columns) {
  return torch::tensor(values.get<std::vector<double>>(), torch::kFloat64).view({-1, columns});
}
double distance(const Tensor& a, const Json& b) {
  return (a.flatten() - torch::tensor(b.get<std::vector<double>>(), torch::kFloat64))
      .abs()
      .max()
      .item<double>();
}
Json golden_of(const Term& term) {
  return Json::parse(core::read_text_file(std::string(ESPALIER_SOURCE_DIR "/tests/golden/term_") +
                                          std::string(term.name) + ".json"));
}
Tensor targets_of(const Json& golden) {
  return torch::tensor(golden.at("targets").get<std::vector<std::int64_t>>(), torch::kInt64);
}

struct Descent {
  double sum;  // without the weight
  std::vector<Tensor> gradients;
};
// Follows the golden steps. `step` returns the sum and the gradients by `parameters`.
template <typename Step>
void expect_steps(const Json& golden, const Json& steps, std::vector<Tensor> parameters,
                  Step&& step) {
  ASSERT_EQ(steps.size(), 20u);
  double largest = 0;
  for (const Json& expected : steps) {
    const Descent found = step(parameters);
    const double sum = expected.at("sum").get<double>();
    ASSERT_NEAR(found.sum, sum, kClose);
    ASSERT_EQ(found.gradients.size(), expected.at("gradients").size());
    for (std::size_t i = 0; i < found.gradients.size(); ++i) {
      ASSERT_LT(distance(found.gradients[i], expected["gradients"][i]), kClose) << i;
      largest = std::max(largest, found.gradients[i].abs().max().item<double>());
      parameters[i].sub_(found.gradients[i], golden.at("rate").get<double>());
    }
  }
  EXPECT_GT(largest, 0.1) << "gradients this small prove nothing";
  EXPECT_LT(steps.back()["sum"].get<double>(), 0.7 * steps.front()["sum"].get<double>());
}

void expect_logits_steps(const Term& term, const Json& golden) {
  ASSERT_EQ(golden.at("cases").size(), 1u);
  const Json &one = golden["cases"][0], &start = one.at("start");
  const Tensor targets = targets_of(golden),
               teacher_hidden = tensor_of(start.at("teacher_hidden"), 5),
               teacher_output = tensor_of(start.at("teacher_output"), 5);
  expect_steps(golden, one.at("steps"),
               {tensor_of(start.at("student_hidden"), 4), tensor_of(start.at("student_output"), 4)},
               [&](const std::vector<Tensor>& parameters) -> Descent {
                 ChunkedLossInput in;
                 in.student_hidden = parameters[0];
                 in.student_output = parameters[1].clone().requires_grad_(true);
                 in.teacher_hidden = teacher_hidden;
                 in.teacher_output = teacher_output;
                 in.targets = targets;
                 in.terms = {{&term, golden.at("weight").get<double>()}};
                 in.term_options = default_options();
                 in.temperature = golden.at("temperature").get<double>();
                 in.token_chunk = 4;
                 in.matmul_dtype = torch::kFloat64;
                 const ChunkedLoss out = chunked_loss(in);
                 return {out.sums[0], {out.hidden_gradient, in.student_output.grad()}};
               });
}

void expect_states_steps(const Term& term, const Json& golden) {
  ASSERT_EQ(golden.at("cases").size(), 2u);
  for (const Json& one : golden["cases"]) {
    const Json& start = one.at("start");
    const Widths widths{start.at("width"), start.at("teacher_width")};
    const Tensor teacher = tensor_of(start.at("teacher"), widths.teacher);
    std::vector<Tensor> parameters{tensor_of(start.at("student"), widths.student)};
    if (term.states.extras != nullptr)
      for (const Extra& extra : term.states.extras(widths))
        parameters.push_back(extra.start(widths).to(torch::kFloat64));
    expect_steps(golden, one.at("steps"), parameters,
                 [&](const std::vector<Tensor>& at) -> Descent {
                   const PairLoss out = pair_loss(term, {at[0],
                                                         teacher,
                                                         targets_of(golden),
                                                         {at.begin() + 1, at.end()},
                                                         golden.at("weight").get<double>()});
                   std::vector<Tensor> gradients{out.gradient};
                   gradients.insert(gradients.end(), out.extras.begin(), out.extras.end());
                   return {out.sum, gradients};
                 });
  }
}

class EveryTerm : public testing::TestWithParam<std::string> {
 protected:
  const Term& term() const { return term_by_name(GetParam()); }
};

TEST_P(EveryTerm, FollowsPyTorchInFloat64) {
  const Json golden = golden_of(term());
  if (term().reads == Reads::states) {
    expect_states_steps(term(), golden);
  } else {
    expect_logits_steps(term(), golden);
  }
}

// Of a term of logits, EveryDivergence looks (chunked_loss_test.cpp).
TEST_P(EveryTerm, OfStatesIsZeroAtTheTeacherAndRespectsTheMask) {
  if (term().reads != Reads::states) return;
  torch::manual_seed(3);
  const Tensor states = torch::randn({5, 7}, torch::kFloat64),
               targets = torch::tensor({1, -1, 2, 0, -1}, torch::kInt64);
  const PairLoss same = pair_loss(term(), {states, states, targets, {}, 0.7});
  EXPECT_NEAR(same.sum, 0, 1e-12);
  EXPECT_LT(same.gradient.abs().max().item<double>(), 1e-12);

  const Tensor other = torch::randn({5, 7}, torch::kFloat64);
  Tensor changed = other.clone();
  changed[1].mul_(-9);
  const PairLoss a = pair_loss(term(), {other, states, targets, {}, 0.7}),
                 b = pair_loss(term(), {changed, states, targets, {}, 0.7});
  EXPECT_GT(a.sum, 0.1);
  EXPECT_DOUBLE_EQ(a.sum, b.sum);
  EXPECT_EQ(b.gradient[1].abs().max().item<double>(), 0);
  EXPECT_EQ(b.gradient[4].abs().max().item<double>(), 0);
  EXPECT_GT(a.gradient[0].abs().max().item<double>(), 1e-3);
}

TEST_P(EveryTerm, HasTheFunctionForWhatItReads) {
  const bool states = term().reads == Reads::states;
  EXPECT_EQ(term().of_tokens != nullptr, !states);
  EXPECT_EQ(term().states.of_pair != nullptr, states);
  EXPECT_FALSE(states && (term().cacheable || term().fused));
  TermOptions values;
  options::List list;
  if (term().describe != nullptr) term().describe(values, list);
  EXPECT_EQ(list.find(term().states.layers) != nullptr, states);
  // Of options that terms share, the first description counts.
  TermOptions all;
  const options::List described = describe(all);
  for (const options::Option& option : list) {
    EXPECT_EQ(options::value_text(option), options::value_text(described.at(option.name)));
    EXPECT_EQ(option.help, described.at(option.name).help);
    EXPECT_EQ(options::range_text(option), options::range_text(described.at(option.name)));
  }
}

INSTANTIATE_TEST_SUITE_P(Terms, EveryTerm, testing::ValuesIn(term_names()),
                         [](const auto& param) { return param.param; });

TEST(Terms, TheListHasThem) {
  EXPECT_EQ(all_terms().size(), 7u);
  std::set<std::string_view> names{"step",          "tokens",    "loss",
                                   "learning_rate", "grad_norm", "tokens_per_second"};
  for (const Term* term : all_terms())
    EXPECT_TRUE(names.insert(term->name).second) << term->name << " is another key of metrics";
  EXPECT_EQ(term_by_name("jsd").name, "jsd");
  try {
    term_by_name("forwrd_kl");
    FAIL() << "an unknown term was accepted";
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), core::ErrorKind::usage);
    EXPECT_NE(std::string(error.what()).find("forward_kl"), std::string::npos);
  }
}

// A projection begins where pruning took the channels from.
TEST(HiddenMse, IsZeroForChannelsThatPruningKept) {
  const Term& term = term_by_name("hidden_mse");
  const std::vector<std::int64_t> kept{0, 2, 5};
  const Widths widths{3, 6, kept};
  torch::manual_seed(4);
  Tensor teacher = torch::zeros({4, 6});
  const Tensor student = torch::randn({4, 3}), targets = torch::zeros({4}, torch::kInt64);
  for (std::size_t i = 0; i < kept.size(); ++i)
    teacher.select(1, kept[i]).copy_(student.select(1, static_cast<std::int64_t>(i)));
  const std::vector<Extra> extras = term.states.extras(widths);
  ASSERT_EQ(extras.size(), 1u);
  EXPECT_NEAR(pair_loss(term, {student, teacher, targets, {extras[0].start(widths)}, 1}).sum, 0,
              1e-12);
  EXPECT_GT(pair_loss(term, {student, teacher, targets, {extras[0].start({3, 6, {}})}, 1}).sum,
            0.1);
  EXPECT_TRUE(term.states.extras({6, 6, {}}).empty());
}

TEST(Terms, AnOptionThatNoTermDescribesIsOurBug) {
  EXPECT_THROW(default_options().number("none"), core::Error);
  EXPECT_THROW(default_options().list("none"), core::Error);
}

}  // namespace
}  // namespace espalier::objective
