// SPDX-License-Identifier: Apache-2.0
// config.json of models with experts: both names of a size, layers without experts, and what is
// refused.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/file.h"

namespace espalier::checkpoint {
namespace {

using arch::Axis;
using Json = nlohmann::ordered_json;

Json good() {
  return Json::parse(
      core::read_text_file(std::string(ESPALIER_SOURCE_DIR "/configs/dims/qwen3-30b-a3b.json")));
}
arch::ModelDims parse(const Json& json) { return parse_hf_config(json.dump(), "config.json").dims; }
Json with(std::initializer_list<std::pair<const char*, Json>> changes) {
  Json json = good();
  for (const auto& [key, value] : changes) json[key] = value;
  return json;
}

TEST(ConfigExperts, SizesAreRead) {
  const arch::ModelDims dims = parse(good());
  ASSERT_EQ(dims.n_layers(), 48);
  for (const arch::LayerDims& l : dims.layers) {
    EXPECT_EQ(l[Axis::experts], 128);
    EXPECT_EQ(l[Axis::expert_ffn], 768);
    EXPECT_EQ(l[Axis::experts_per_token], 8);
    EXPECT_EQ(l[Axis::ffn], 0);
    EXPECT_EQ(l.heads(), 32);
  }
}

// transformers 4 and 5 name the number of experts differently.
TEST(ConfigExperts, EitherNameOfTheirNumberIsRead) {
  Json renamed = with({{"num_local_experts", 64}});
  renamed.erase("num_experts");
  EXPECT_EQ(parse(renamed).layers[0][Axis::experts], 64);
  EXPECT_EQ(parse(with({{"num_local_experts", 128}})), parse(good()));
  // Written again there is one name.
  const arch::Arch& qwen3moe = *arch::arch_by_name("qwen3moe");
  const std::string text =
      make_hf_config(qwen3moe, parse(renamed), renamed.dump(), format::FormatId::bf16, nullptr);
  EXPECT_EQ(parse(Json::parse(text)), parse(renamed)) << text;
  EXPECT_FALSE(Json::parse(text).contains("num_local_experts"));
}

TEST(ConfigExperts, AreWrittenWithoutABase) {
  const arch::Arch& qwen3moe = *arch::arch_by_name("qwen3moe");
  const arch::ModelDims dims = parse(good());
  const Json written =
      Json::parse(make_hf_config(qwen3moe, dims, "", format::FormatId::bf16, nullptr));
  EXPECT_EQ(parse(written), dims) << written;
  EXPECT_EQ(written["norm_topk_prob"], true);
  EXPECT_EQ(written["mlp_only_layers"], Json::array());
}

TEST(ConfigExperts, LayersWithoutExpertsHaveAnFfn) {
  const auto dense = [](const arch::ModelDims& dims) {
    std::vector<std::size_t> out;
    for (std::size_t l = 0; l < dims.layers.size(); ++l) {
      EXPECT_NE(dims.layers[l][Axis::experts] == 0, dims.layers[l][Axis::ffn] == 0) << l;
      EXPECT_EQ(dims.layers[l][Axis::experts] == 0, dims.layers[l][Axis::experts_per_token] == 0);
      if (dims.layers[l][Axis::experts] == 0) out.push_back(l);
    }
    return out;
  };
  using Layers = std::vector<std::size_t>;
  EXPECT_EQ(dense(parse(with({{"mlp_only_layers", {0, 47}}}))), (Layers{0, 47}));
  EXPECT_EQ(dense(parse(with({{"num_hidden_layers", 5}, {"decoder_sparse_step", 2}}))),
            (Layers{0, 2, 4}));
  EXPECT_EQ(dense(parse(with(
                {{"num_hidden_layers", 5}, {"decoder_sparse_step", 2}, {"mlp_only_layers", {3}}}))),
            (Layers{0, 2, 3, 4}));
  Json no_width = good();  // which is needed only where a layer has no experts
  no_width.erase("intermediate_size");
  EXPECT_EQ(parse(no_width), parse(good()));
}

TEST(ConfigExperts, WhatIsRefused) {
  const auto message = [](Json json, const char* without = "") -> std::string {
    json.erase(without);
    try {
      parse(json);
      return "";
    } catch (const core::Error& e) {
      return e.what();
    }
  };
  const struct {
    std::string message, part;
  } cases[] = {
      {message(good(), "num_experts"), "key \"num_experts\" is missing"},
      {message(good(), "moe_intermediate_size"), "key \"moe_intermediate_size\" is missing"},
      {message(good(), "norm_topk_prob"), "key \"norm_topk_prob\" is missing; only true"},
      {message(with({{"norm_topk_prob", false}})), "key \"norm_topk_prob\" is false"},
      {message(with({{"num_local_experts", 64}})),
       "keys \"num_experts\" (128) and \"num_local_experts\" (64) differ"},
      {message(with({{"num_experts", 0}})), "key \"num_experts\" is 0"},
      {message(with({{"num_experts_per_tok", 129}})),
       "in layer 0 a token uses 129 of only 128 experts"},
      {message(with({{"num_experts", 1 << 20}, {"moe_intermediate_size", 1 << 20}})),
       "blk.0.ffn_gate_exps.weight would have"},
      {message(with({{"mlp_only_layers", {48}}})), "key \"mlp_only_layers\" has 48"},
      {message(with({{"mlp_only_layers", {-1}}})), "key \"mlp_only_layers\" has -1"},
      {message(with({{"mlp_only_layers", 3}})), "key \"mlp_only_layers\" is 3, expected a list"},
      {message(with({{"mlp_only_layers", {3}}}), "intermediate_size"),
       "key \"intermediate_size\" is missing, and layer 3 has no experts"},
      {message(with({{"decoder_sparse_step", 49}})), "no layer has experts"},
      {message(with({{"decoder_sparse_step", 0}})), "key \"decoder_sparse_step\" is 0"},
      {message(with({{"sliding_window", 4096}, {"use_sliding_window", true}})), "sliding-window"},
      {message(with({{"shared_expert_intermediate_size", 512}})),
       "unknown key \"shared_expert_intermediate_size\""},
  };
  EXPECT_EQ(std::size(cases), 16u);
  for (const auto& [found, part] : cases)
    EXPECT_NE(found.find(part), std::string::npos) << part << ": " << found;
  for (const auto& [found, part] : cases)  // keys that are known are not called unknown
    for (const char* key : {"mlp_only_layers", "decoder_sparse_step"})
      EXPECT_EQ(found.find(std::string("unknown key \"") + key), std::string::npos) << found;
}

}  // namespace
}  // namespace espalier::checkpoint
