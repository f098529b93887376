// SPDX-License-Identifier: Apache-2.0
// Surgery on weights: what is kept is kept to the bit, in every tensor; where pruning is exact, the
// arithmetic of what is left is the same; two plans in a row equal the combined plan.
#include "surgery/surgery.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/rng.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::surgery {
namespace {

using arch::Role;
using checkpoint::Checkpoint;
using Indices = std::vector<std::int64_t>;
using Values = std::vector<float>;
using support::TempDir;
using support::TinyOptions;

void expect_same(const Checkpoint& a, const Checkpoint& b) {
  ASSERT_EQ(a.dims(), b.dims());
  for (const arch::TensorRef& t : arch::tensors(a.arch(), a.dims()))
    EXPECT_EQ(a.read(t.spec->role, t.layer), b.read(t.spec->role, t.layer))
        << arch::gguf_name(t.spec->role, t.layer);
}

Values pick(const Values& values, std::int64_t cols, const Indices& rows,
            const Indices& kept_cols) {
  Values out;
  for (const std::int64_t r : rows)
    for (const std::int64_t c : kept_cols)
      out.push_back(values[static_cast<std::size_t>(r * cols + c)]);
  return out;
}
Indices iota(std::int64_t n) {
  Indices out;
  for (std::int64_t i = 0; i < n; ++i) out.push_back(i);
  return out;
}
Indices heads(const Indices& which, std::int64_t head_dim) {
  Indices out;
  for (const std::int64_t h : which)
    for (std::int64_t i = 0; i < head_dim; ++i) out.push_back(h * head_dim + i);
  return out;
}

TEST(Surgery, KeepAllIsIdenticalToTheBit) {
  const TempDir dir;
  for (const std::string& path : {support::write_tiny_llama(dir.file("hf")),
                                  support::write_tiny_llama_gguf(dir.file("tiny.gguf"))}) {
    const Checkpoint source = Checkpoint::open(path);
    EXPECT_EQ(prune_checkpoint(source, plan::keep_all(source.dims()), dir.file("out"), {}, {}, {}),
              arch::parameters(source.arch(), source.dims()));
    expect_same(source, Checkpoint::open(dir.file("out")));
    EXPECT_EQ(core::read_text_file(dir.file("out") + "/model.safetensors"),
              core::read_text_file(dir.file("hf") + "/model.safetensors"));
  }
}

TEST(Surgery, EveryAxisCutsTheTensorsThatHaveIt) {
  const TempDir dir;
  const TinyOptions options{
      .layers = 3, .kv_groups = 3, .q_per_kv = 2, .head_dim = 16, .tied = false};
  for (const std::string& path : {support::write_tiny_llama(dir.file("hf"), options),
                                  support::write_tiny_llama_gguf(dir.file("tiny.gguf"), options)}) {
    const Checkpoint source = Checkpoint::open(path);
    const Indices hidden = {0, 3, 4, 5, 31, 63}, ffn = {1, 2, 90}, groups = {0, 2}, queries = {1};
    const plan::LayerSelection kept{
        {arch::Axis::kv_groups, groups}, {arch::Axis::q_per_kv, queries}, {arch::Axis::ffn, ffn}};
    plan::PrunePlan plan{.keep_layers = {0, 2},
                         .layers = {kept, kept},
                         .hidden = hidden,
                         .source_sha256 = source.sha256()};
    const std::int64_t written = prune_checkpoint(source, plan, dir.file("out"), {}, {}, {});
    const Checkpoint out = Checkpoint::open(dir.file("out"));
    EXPECT_EQ(out.dims(), plan::dims_after(plan, source.dims()));
    EXPECT_EQ(written, arch::parameters(out.arch(), out.dims()));

    // Query head = group * q_per_kv + query.
    const Indices q_rows = heads({1, 5}, 16), k_rows = heads(groups, 16), one = {0},
                  vocab = iota(options.vocab);
    const std::map<Role, std::pair<Indices, Indices>> expected = {
        {Role::token_embd, {vocab, hidden}}, {Role::output_norm, {hidden, one}},
        {Role::output, {vocab, hidden}},     {Role::attn_norm, {hidden, one}},
        {Role::attn_q, {q_rows, hidden}},    {Role::attn_k, {k_rows, hidden}},
        {Role::attn_v, {k_rows, hidden}},    {Role::attn_output, {hidden, q_rows}},
        {Role::ffn_norm, {hidden, one}},     {Role::ffn_gate, {ffn, hidden}},
        {Role::ffn_up, {ffn, hidden}},       {Role::ffn_down, {hidden, ffn}}};
    std::set<Role> roles;
    for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims()))
      roles.insert(t.spec->role);
    ASSERT_EQ(expected.size(), roles.size());
    for (const auto& [role, positions] : expected)
      for (int l = 0; l < (arch::is_layer_spec(*arch::find_spec(source.arch(), role)) ? 2 : 1);
           ++l) {
        const int source_layer = static_cast<int>(plan.keep_layers[static_cast<std::size_t>(l)]);
        const Values whole = source.read(role, source_layer);
        const std::int64_t cols =
            arch::tensor_ref(source.arch(), source.dims(), role, source_layer).cols;
        const Values want = pick(whole, cols, positions.first, positions.second);
        EXPECT_EQ(out.read(role, l), want) << arch::role_name(role) << " " << l;
        EXPECT_EQ(cut_tensor(source, plan, role, source_layer), want);
      }
    EXPECT_EQ(plan::prune_plan_from_json(core::read_text_file(dir.file("out") + "/plan.json"),
                                         source.dims(), "plan.json")
                  .hidden,
              plan.hidden);
  }
}

TEST(Surgery, TwoPlansEqualOneThatKeepsWhatBothKeep) {
  const TempDir dir;
  const TinyOptions options{.layers = 4, .kv_groups = 3};
  const Checkpoint source = Checkpoint::open(support::write_tiny_llama(dir.file("hf"), options));
  const auto kept = [](plan::Selection groups, plan::Selection queries, plan::Selection ffn) {
    return plan::LayerSelection{
        {arch::Axis::kv_groups, groups}, {arch::Axis::q_per_kv, queries}, {arch::Axis::ffn, ffn}};
  };
  const plan::LayerSelection a = kept(Indices{0, 2}, std::nullopt, Indices{1, 2, 5, 70, 80, 95}),
                             b = kept(Indices{1}, Indices{0}, Indices{0, 2, 3});
  const plan::PrunePlan first{
      .keep_layers = {0, 1, 3}, .layers = {a, a, a}, .hidden = Indices{0, 5, 6, 7, 60}};
  const plan::PrunePlan second{.keep_layers = {0, 2}, .layers = {b, b}, .hidden = Indices{1, 4}};
  prune_checkpoint(source, first, dir.file("one"), {}, {}, {});
  prune_checkpoint(Checkpoint::open(dir.file("one")), second, dir.file("two"), {}, {}, {});
  // Places in the first plan's lists, which the second plan names.
  const plan::LayerSelection both = kept(Indices{2}, Indices{0}, Indices{1, 5, 70});
  prune_checkpoint(source,
                   {.keep_layers = {0, 3}, .layers = {both, both}, .hidden = Indices{5, 60}},
                   dir.file("both"), {}, {}, {});
  expect_same(Checkpoint::open(dir.file("two")), Checkpoint::open(dir.file("both")));
}

TEST(Surgery, CuttingTheVocabularyMovesTheTokenizer) {
  const TempDir dir;
  const TinyOptions options{.vocab = 400, .tied = false};
  const Checkpoint source = Checkpoint::open(support::write_tiny_llama(dir.file("hf"), options));
  plan::PrunePlan plan = plan::keep_all(source.dims());
  plan.vocab = iota(380);
  prune_checkpoint(source, plan, dir.file("out"), {}, {}, {});
  const Checkpoint out = Checkpoint::open(dir.file("out"));
  EXPECT_EQ(out.dims().vocab, 380);
  EXPECT_EQ(out.tokenizer().tokens.size(), 380u);
  EXPECT_EQ(out.tokenizer().chat_template, source.tokenizer().chat_template);
  EXPECT_EQ(out.read(Role::token_embd, -1),
            pick(source.read(Role::token_embd, -1), 64, iota(380), iota(64)));
  EXPECT_EQ(out.read(Role::output, -1),
            pick(source.read(Role::output, -1), 64, iota(380), iota(64)));
  // Without a copy, a checkpoint reads the same where it keeps these tokens.
  Indices some = iota(400);
  std::erase_if(some, [](std::int64_t id) { return id == 350 || id == 377 || id == 399; });
  plan.vocab = some;
  prune_checkpoint(source, plan, dir.file("some"), {}, {}, {});
  Checkpoint view = Checkpoint::open(dir.file("hf"));
  view.keep_vocabulary(some);
  expect_same(view, Checkpoint::open(dir.file("some")));
  EXPECT_TRUE(
      text::same_vocabulary(view.tokenizer(), Checkpoint::open(dir.file("some")).tokenizer()));
  std::vector<float> rows(64 * 40);
  view.read_rows(Role::output, -1, 330, 40, rows.data());
  const Values all = view.read(Role::output, -1);
  EXPECT_TRUE(std::equal(rows.begin(), rows.end(), all.begin() + 64 * 330));
  plan.vocab = iota(200);  // bytes are among the others
  EXPECT_THROW(prune_checkpoint(source, plan, dir.file("none"), {}, {}, {}), core::Error);
  EXPECT_FALSE(std::filesystem::exists(dir.file("none")));
}

// y = W x.
Values multiply(const Values& w, const Values& x) {
  Values y(w.size() / x.size());
  for (std::size_t r = 0; r < y.size(); ++r)
    for (std::size_t c = 0; c < x.size(); ++c) y[r] += w[r * x.size() + c] * x[c];
  return y;
}
Values feed_forward(const Checkpoint& model, int layer, const Values& x) {
  const Values gate = multiply(model.read(Role::ffn_gate, layer), x),
               up = multiply(model.read(Role::ffn_up, layer), x);
  Values act(gate.size());
  for (std::size_t i = 0; i < act.size(); ++i) act[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
  return multiply(model.read(Role::ffn_down, layer), act);
}

TEST(Surgery, ChannelsThatNobodyReadsCutWithoutChange) {
  const TempDir dir;
  const Checkpoint source = Checkpoint::open(support::write_tiny_llama(dir.file("hf")));
  const std::int64_t ffn = 96;
  Indices kept;
  for (std::int64_t i = 0; i < ffn; ++i)
    if (i % 3 != 1) kept.push_back(i);
  const Replacement zero_columns = [&](Role role, int layer) -> Values {
    if (role != Role::ffn_down) return {};
    Values w = source.read(role, layer);
    for (std::size_t i = 0; i < w.size(); ++i)
      if (static_cast<std::int64_t>(i) % ffn % 3 == 1) w[i] = 0;
    return w;
  };
  prune_checkpoint(source, plan::keep_all(source.dims()), dir.file("zeroed"), {}, zero_columns, {});
  const Checkpoint zeroed = Checkpoint::open(dir.file("zeroed"));
  plan::PrunePlan plan = plan::keep_all(source.dims());
  for (plan::LayerSelection& layer : plan.layers) layer[arch::Axis::ffn] = kept;
  prune_checkpoint(zeroed, plan, dir.file("cut"), {}, {}, {});
  const Checkpoint cut = Checkpoint::open(dir.file("cut"));
  core::Rng rng(1);
  Values x(64);
  for (float& v : x) v = static_cast<float>(rng.normal());
  for (int layer = 0; layer < 2; ++layer) {
    EXPECT_EQ(
        feed_forward(zeroed, layer, x),
        feed_forward(cut, layer, x));  // sums of the same terms in the same order, zeros left out
    EXPECT_NE(feed_forward(source, layer, x),
              feed_forward(cut, layer, x));  // the control: those channels were read before
  }
}

TEST(Surgery, KeptLayersAreRenumberedAndUnchanged) {
  const TempDir dir;
  const TinyOptions options{.layers = 4};
  const Checkpoint source = Checkpoint::open(support::write_tiny_llama(dir.file("hf"), options));
  plan::PrunePlan plan{.keep_layers = {0, 3}, .layers = {{}, {}}};
  prune_checkpoint(source, plan, dir.file("out"), {}, {}, {});
  const Checkpoint out = Checkpoint::open(dir.file("out"));
  ASSERT_EQ(out.dims().n_layers(), 2);
  for (const arch::TensorRef& t : arch::tensors(source.arch(), out.dims()))
    if (t.layer == 1) {
      EXPECT_EQ(out.read(t.spec->role, 1), source.read(t.spec->role, 3)) << t.spec->hf;
    }
}

TEST(Surgery, ReplacementsAreWrittenAndChecked) {
  const TempDir dir;
  const Checkpoint source = Checkpoint::open(support::write_tiny_llama(dir.file("hf")));
  plan::PrunePlan plan{.keep_layers = {1}, .layers = {{{arch::Axis::ffn, iota(32)}}}};
  const Values down(64 * 32, 0.5f);
  std::vector<int> asked;
  prune_checkpoint(source, plan, dir.file("out"), {},
                   [&](Role role, int layer) {
                     return role == Role::ffn_down ? asked.push_back(layer), down : Values{};
                   },
                   {});
  EXPECT_EQ(asked, std::vector<int>{1});  // the source's layer
  EXPECT_EQ(Checkpoint::open(dir.file("out")).read(Role::ffn_down, 0), down);
  const Replacement wrong = [](Role role, int) {
    return role == Role::ffn_down ? Values(3) : Values{};
  };
  EXPECT_THROW(prune_checkpoint(source, plan, dir.file("out2"), {}, wrong, {}), core::Error);
  EXPECT_FALSE(std::filesystem::exists(dir.file("out2") + "/config.json"));
}

// Layers of other sizes, one without FFN and one without attention: what is kept is the source's,
// and the directory is read back.
TEST(Surgery, LayersMayBecomeUnequal) {
  const TempDir dir;
  const Checkpoint source =
      Checkpoint::open(support::write_tiny_llama(dir.file("hf"), {.layers = 3}));
  plan::PrunePlan plan = plan::keep_all(source.dims());
  plan.layers[0][arch::Axis::ffn] = iota(32);
  plan.layers[1][arch::Axis::ffn] = Indices{};
  plan.layers[2][arch::Axis::kv_groups] = Indices{};
  prune_checkpoint(source, plan, dir.file("out"), {}, {}, {});
  const Checkpoint out = Checkpoint::open(dir.file("out"));
  EXPECT_EQ(out.arch().name, "deci");
  EXPECT_EQ(out.dims(), plan::dims_after(plan, source.dims()));
  EXPECT_EQ(out.dims().layers[1][arch::Axis::ffn], 0);
  EXPECT_EQ(out.dims().layers[2][arch::Axis::q_per_kv], 0);
  const std::vector<arch::TensorRef> tensors = arch::tensors(out.arch(), out.dims());
  EXPECT_EQ(tensors.size(), arch::tensors(source.arch(), source.dims()).size() - 4 - 5);
  for (const arch::TensorRef& t : tensors) {
    const Values before = source.read(t.spec->role, t.layer),
                 after = out.read(t.spec->role, t.layer);
    if (before.size() != after.size()) continue;
    EXPECT_EQ(after, before) << arch::gguf_name(t.spec->role, t.layer);
  }
  Values gate = source.read(Role::ffn_gate, 0);
  gate.resize(static_cast<std::size_t>(32 * source.dims().hidden));
  EXPECT_EQ(out.read(Role::ffn_gate, 0), gate);
}

TEST(Surgery, RefusesPlansOfOtherModels) {
  const TempDir dir;
  const Checkpoint source = Checkpoint::open(support::write_tiny_llama(dir.file("hf")));
  plan::PrunePlan plan = plan::keep_all(source.dims());
  plan.source_sha256 = std::string(64, '0');
  EXPECT_THROW(prune_checkpoint(source, plan, dir.file("out"), {}, {}, {}), core::Error);
  plan.source_sha256.clear();
  plan.layers[0][arch::Axis::ffn] = Indices{96};
  EXPECT_THROW(prune_checkpoint(source, plan, dir.file("out"), {}, {}, {}), core::Error);
  EXPECT_THROW(prune_checkpoint(source, plan::keep_all(source.dims()), dir.file("hf"), {}, {}, {}),
               core::Error);
  EXPECT_FALSE(std::filesystem::exists(dir.file("out")));
}

}  // namespace
}  // namespace espalier::surgery
