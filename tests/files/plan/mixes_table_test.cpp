// SPDX-License-Identifier: Apache-2.0
// The K mixes give every matrix the type that llama-quantize gives it. scripts/golden/mixes.py asks
// the tool about 16 models; tests/golden/mixes.json has its answers, a digit for a tensor.
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "core/file.h"
#include "plan/quant_plan.h"
#include "support/layer_sizes.h"

namespace espalier::plan {
namespace {

using Json = nlohmann::json;

arch::ModelDims dims_of(const Json& golden, const Json& shape) {
  arch::ModelDims d;
  d.vocab = golden["vocab"];
  d.hidden = golden["hidden"];
  d.head_dim = d.hidden / (shape["kv_groups"].get<int>() * shape["q_per_kv"].get<int>());
  d.positions = 512;
  d.tied = shape["tied"];
  d.layers.assign(shape["layers"].get<std::size_t>(),
                  support::layer_sizes(shape["kv_groups"], shape["q_per_kv"], golden["ffn"]));
  for (const std::size_t layer : shape["without_attention"])
    d.layers[layer] = support::layer_sizes(0, 0, golden["ffn"]);
  return d;
}

// "blk.3.attn_v.weight" is attn_v.
std::string role_of(const arch::TensorRef& t) {
  std::string name = arch::gguf_name(t.spec->role, t.layer);
  name = name.substr(0, name.rfind('.'));
  return t.layer < 0 ? name : name.substr(name.find('.', 4) + 1);
}

std::map<std::string, std::string> types(const arch::Arch& arch, const arch::ModelDims& dims,
                                         const std::string& mix) {
  const QuantPlan plan = quant_plan(arch, dims, mix);
  std::map<std::string, std::string> out;
  for (const arch::TensorRef& t : arch::tensors(arch, dims)) {
    if (t.is_vector || t.elements() == 0 || stays_f32(t.spec->role)) continue;
    const std::string name(format::info(plan.format_of(t.spec->role, t.layer)).name);  // "q4_k"
    out[role_of(t)] += name.ends_with("_k") ? name.substr(1, 1) : name;
  }
  return out;
}

TEST(Mixes, TypesAreThoseOfLlamaQuantize) {
  const Json golden = Json::parse(
      core::read_text_file(std::string(ESPALIER_SOURCE_DIR) + "/tests/golden/mixes.json"));
  ASSERT_EQ(golden["cases"].size(), 16u);
  int compared = 0, large = 0;
  for (const Json& shape : golden["cases"]) {
    const std::string family = shape["family"];
    const arch::Arch* arch = arch::arch_by_gguf_name(family);
    ASSERT_NE(arch, nullptr) << family;
    const arch::ModelDims dims = dims_of(golden, shape);
    large += dims.n_layers() == 80;
    ASSERT_EQ(shape["mixes"].size(), 5u);
    for (const auto& [mix, expected] : shape["mixes"].items()) {
      const auto found = types(*arch, dims, mix);
      EXPECT_EQ(found, (expected.get<std::map<std::string, std::string>>()))
          << family << " of " << dims.n_layers() << " layers, " << mix;
      for (const auto& [role, kinds] : found) compared += static_cast<int>(kinds.size());
    }
  }
  EXPECT_EQ(large, 8);
  EXPECT_GT(compared, 20000);
}

}  // namespace
}  // namespace espalier::plan
