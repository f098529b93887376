// SPDX-License-Identifier: Apache-2.0
// The table of families in docs/families.md: what the families' tables and refusals say, and how
// many golden checkpoints judge each. ESPALIER_UPDATE=1 in the environment writes it anew.
#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "arch/gguf_dims.h"
#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "support/computed.h"
#include "support/cuts.h"
#include "support/generated_table.h"
#include "support/golden_models.h"

namespace espalier::plan {
namespace {

using arch::Arch;
using arch::ModelDims;

// The GGUF architecture; empty: refused.
std::string_view gguf_of(const Arch& a, const ModelDims& d) {
  try {
    return arch::gguf_family_for(a, d).gguf;
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), core::ErrorKind::unsupported) << e.what();
    return {};
  }
}
bool leaves(const Arch& a, const ModelDims& d) {
  return !gguf_of(a, d).empty() && checkpoint::has_hf_form(a, d);
}
bool leaves(const Arch& a, const char* cut) { return leaves(a, support::cut_by(a, cut)); }

std::string joined(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : ", ") + part;
  return out;
}

std::string family(const Arch& a) {
  return "`" + std::string(a.name) + "`" +
         (a.models.empty() ? "" : " (" + std::string(a.models) + ")");
}

// "in, out" is what the golden checkpoints prove.
std::string hugging_face(const Arch& a) {
  if (!a.written_as.empty()) return "in; out as `" + std::string(a.written_as) + "`";
  return std::string("in, out") +
         (checkpoint::needs_remote_code(a, support::whole(a)) ? ", with `trust_remote_code`" : "");
}

// What models of the family may have, and the GGUF has no place for.
std::vector<std::string> without_gguf(const Arch& a) {
  std::vector<std::string> out;
  const auto probe = [&](const char* name, bool may_have, auto&& set) {
    ModelDims d = support::whole(a);
    set(d);
    if (may_have && gguf_of(a, d).empty()) out.emplace_back(name);
  };
  probe("windows shorter than the context", a.window_period != arch::kNoWindow, [](ModelDims& d) {
    d.window = d.positions / 2;
    for (arch::LayerDims& l : d.layers) l.local = true;
  });
  probe("biases beyond those of q, k, v",
        arch::has_optional(a, arch::Present::output_bias) ||
            arch::has_optional(a, arch::Present::mlp_bias),
        [&](ModelDims& d) {
          d.attention_bias = arch::has_optional(a, arch::Present::attention_bias);
          d.output_bias = arch::has_optional(a, arch::Present::output_bias);
          d.mlp_bias = arch::has_optional(a, arch::Present::mlp_bias);
        });
  probe("tied embeddings", true, [](ModelDims& d) { d.tied = true; });
  probe("an output matrix", true, [](ModelDims& d) { d.tied = false; });
  const bool other_positions =
      arch::learned_positions(a) || a.long_rope || (a.unequal_layers && !a.absent_blocks);
  probe("Llama 3's scaling of positions", !other_positions,
        [](ModelDims& d) { d.rope_scaling.factor = 8; });
  return out;
}

std::string gguf(const Arch& a) {
  const std::string_view native = gguf_of(a, support::whole(a)),
                         thin = gguf_of(a, support::cut_by(a, "hidden"));
  std::string out = (a.name == native ? "`" : "as `") + std::string(native) + "`";
  if (!thin.empty() && thin != native)
    out += ", or `" + std::string(thin) + "` where heads x head_dim is not hidden";
  const std::vector<std::string> no = without_gguf(a);
  return out + (no.empty() ? "" : "; not with " + joined(no));
}

std::string prunes(const Arch& a) {
  std::vector<std::string> axes, more;
  if (leaves(a, "layers, the third")) axes.emplace_back("layers");
  for (const char* axis : {"ffn", "kv_groups", "hidden"})
    if (leaves(a, axis)) axes.emplace_back(axis);
  if (!leaves(a, "layers, the third") && a.no_rope_period > 0) {
    ModelDims d = support::whole(a);
    d.layers.erase(d.layers.begin() + 1, d.layers.begin() + 1 + a.no_rope_period);
    EXPECT_TRUE(leaves(a, d)) << a.name;
    more.push_back("layers in whole periods of " + std::to_string(a.no_rope_period));
  }
  if (!leaves(a, "kv_groups") && !leaves(a, "hidden") &&
      leaves(a, "hidden and kv_groups in proportion"))
    more.emplace_back("kv_groups with hidden in proportion");
  if (leaves(a, "ffn of one layer")) more.emplace_back("each layer its own");
  return joined(axes) + (more.empty() ? "" : "; " + joined(more));
}

std::string table() {
  std::map<std::string_view, int> golden;
  for (const char* name : support::kGoldenModels)
    ++golden[checkpoint::Checkpoint::open(support::golden_model(name).directory + "/config.json",
                                          /*need_tensors=*/false)
                 .arch()
                 .name];
  std::ostringstream out;
  out << "| family | Hugging Face | GGUF | prunes | judged by |\n|---|---|---|---|---|\n";
  for (const Arch* a : arch::all_archs())
    if (support::is_computed(*a))
      out << "| " << family(*a) << " | " << hugging_face(*a) << " | " << gguf(*a) << " | "
          << prunes(*a) << " | " << golden[a->name] << " checkpoints |\n";
    else
      out << "| " << family(*a) << " | to inspect and plan | `" << a->gguf
          << "`, to inspect and plan | not yet | not computed yet |\n";
  return out.str();
}

TEST(FamiliesTable, IsTrue) {
  support::expect_table_in("docs/families.md", "families",
                           "tests/files/plan/families_table_test.cpp", table());
}

}  // namespace
}  // namespace espalier::plan
