// SPDX-License-Identifier: Apache-2.0
// The runtime against the plain forward pass of plain_model.h, on every instruction set this
// machine runs and in every weight format, with controls that the comparison must not let through.
#include <gtest/gtest.h>

#include <algorithm>

#include "arch/gguf_dims.h"
#include "kernels/kernel_table.h"
#include "kernels/linear.h"
#include "runtime/plain_model.h"
#include "runtime/session.h"
#include "support/temp_dir.h"

namespace espalier::runtime {
namespace {

using support::PlainModel;
using support::PlainSizes;

constexpr std::int64_t kTokens = 40;

std::vector<double> session_logits(const std::string& path, const std::vector<std::int32_t>& tokens,
                                   const std::string& isa) {
  Session session(path, {.threads = 2, .isa = isa, .kv = SessionOptions::KvType::f32});
  std::vector<double> out;
  session.prefill_scored(tokens, 0, [&](std::int64_t, std::span<const float> logits) {
    out.insert(out.end(), logits.begin(), logits.end());
  });
  return out;
}

std::vector<std::string> runnable() {
  std::vector<std::string> out;
  for (const std::string_view name : kernels::isa_names())
    if (kernels::isa_runnable(name)) out.emplace_back(name);
  return out;
}

// F32 weights: only the order of additions differs. A product of c terms is off by about sqrt(c) *
// 2^-24, through 2 * layers blocks.
constexpr double kFloatTolerance = 2e-6;

struct Shape {
  const char* name;
  PlainSizes sizes;
};
const Shape kShapes[] = {
    {"grouped", {}},
    {"one_query_a_group", {.vocab = 67, .hidden = 40, .head_dim = 10, .layers = {{5, 1, 36}}}},
    {"one_group",
     {.hidden = 64, .head_dim = 16, .layers = {{1, 7, 52}, {1, 7, 52}}, .tied = false}},
    {"layers_differ", {.layers = {{3, 2, 100}, {1, 4, 52}, {2, 3, 17}}}},
    {"blocks_absent", {.layers = {{3, 2, 100}, {0, 0, 60}, {2, 2, 0}}}},
    {"many_queries_a_group", {.hidden = 96, .head_dim = 8, .layers = {{1, 20, 64}}}},
    {"other_rope_base", {.rope_theta = 500000}},
};

TEST(Parity, EveryShapeOnEveryIsa) {
  const std::vector<std::string> isas = runnable();
  ASSERT_GE(isas.size(), 1u);
  ASSERT_EQ(std::size(kShapes), 7u);
  support::TempDir dir;
  for (const Shape& shape : kShapes) {
    PlainModel model = support::random_model(shape.sizes, 11);
    support::write_gguf(model, dir.file("m.gguf"));
    const auto tokens = support::random_tokens(kTokens, shape.sizes.vocab, 5);
    const auto expected = support::plain_logits(model, tokens);
    EXPECT_GE(support::standard_deviation(expected), 0.8) << shape.name;
    for (const std::string& isa : isas)
      EXPECT_LT(
          support::relative_difference(session_logits(dir.file("m.gguf"), tokens, isa), expected),
          kFloatTolerance)
          << shape.name << " " << isa;
  }
}

// The reference multiplies decoded weights with float activations: as exact as F32. Other
// instruction sets round activations to 8 bits for the quantized formats: rounding to max / 127 is
// off by 0.7 % of the norm when the largest of a block is three times the root mean square; the
// softmax of sharp attention and the four blocks of two layers carry that to a few per cent. Some
// round activations to bfloat16 for BF16 weights, which is a quarter of that off. The controls are
// above 20 %.
TEST(Parity, EveryFormat) {
  support::TempDir dir;
  const PlainSizes sizes{.vocab = 300,
                         .hidden = 256,
                         .head_dim = 32,
                         .layers = {{4, 2, 512}, {4, 2, 256}}};  // rows of whole blocks
  const PlainModel exact = support::random_model(sizes, 3);
  const auto tokens = support::random_tokens(12, sizes.vocab, 6);
  std::size_t formats = 0;
  for (const format::QuantFormat& f : format::all_formats()) {
    PlainModel model = exact;
    support::write_gguf(model, dir.file("m.gguf"), f.id);
    const auto expected = support::plain_logits(model, tokens);
    EXPECT_GE(support::standard_deviation(expected), 0.8) << f.name;
    for (const std::string& isa : runnable()) {
      const kernels::ActivationForm form =
          kernels::select_isa(isa).linear[static_cast<std::size_t>(f.id)].form;
      const double tolerance = form == kernels::ActivationForm::f32    ? kFloatTolerance
                               : form == kernels::ActivationForm::bf16 ? 0.016
                                                                       : 0.06;
      EXPECT_LT(
          support::relative_difference(session_logits(dir.file("m.gguf"), tokens, isa), expected),
          tolerance)
          << f.name << " " << isa;
    }
    ++formats;
  }
  EXPECT_EQ(formats, 17u);
}

// Each control is one mistake a runtime could make; the comparison must see it by far more than the
// widest tolerance above.
TEST(Parity, ControlsFail) {
  support::TempDir dir;
  const PlainSizes sizes;
  PlainModel model = support::random_model(sizes, 11);
  support::write_gguf(model, dir.file("m.gguf"));
  const auto tokens = support::random_tokens(kTokens, sizes.vocab, 5);
  const auto got = session_logits(dir.file("m.gguf"), tokens, "");
  ASSERT_LT(support::relative_difference(got, support::plain_logits(model, tokens)),
            kFloatTolerance);

  PlainModel wrong_base = model;
  wrong_base.dims.rope_theta = 100;
  EXPECT_GT(support::relative_difference(got, support::plain_logits(wrong_base, tokens)), 0.2);

  PlainModel shuffled = model;
  std::vector<float>& q = shuffled.tensor(arch::Role::attn_q, 0);
  std::rotate(q.begin(), q.begin() + sizes.hidden,
              q.begin() + sizes.head_dim * sizes.hidden);  // rows of the first head, by one
  EXPECT_GT(support::relative_difference(got, support::plain_logits(shuffled, tokens)), 0.2);

  PlainModel zeroed = model;
  for (float& v : zeroed.tensor(arch::Role::ffn_down, 1)) v = 0;
  EXPECT_GT(support::relative_difference(got, support::plain_logits(zeroed, tokens)), 0.2);

  PlainModel other_eps = model;
  other_eps.dims.norm_eps = 0.1;
  EXPECT_GT(support::relative_difference(got, support::plain_logits(other_eps, tokens)), 1e-3);
}

}  // namespace
}  // namespace espalier::runtime
