// docs/targets.md, the matrix (family, what is cut, reader), says what the tool does. With ESPALIER_UPDATE=1 in the environment it is written anew.
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <sstream>

#include "arch/gguf_dims.h"
#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/file.h"

namespace espalier::plan {
namespace {

using arch::Arch;
using arch::ModelDims;

// Heads x head_dim is hidden; everything that a family has by itself is there.
ModelDims whole(const Arch& a) {
  ModelDims d;
  d.vocab = 512;
  d.hidden = 256;
  d.head_dim = 64;
  d.positions = 512;
  const bool no_groups = a.keys.groups.empty();
  d.layers.assign(8, {.kv_groups = no_groups ? 4 : 2, .q_per_kv = no_groups ? 1 : 2, .ffn = 512});
  for (std::size_t l = 0; l < d.layers.size(); ++l) {
    const auto index = static_cast<std::int64_t>(l);
    d.layers[l].rope = arch::rope_by_default(a, index);
    d.layers[l].local = a.window_period > arch::kOnlyListed && a.window_period != arch::kEveryLayer && arch::local_by_default(a, index);
    if (d.layers[l].local) d.window = 64;
  }
  d.tied = a.defaults.tied;
  d.local_rope_theta = a.defaults.local_rope_theta;
  d.attention_softcap = a.defaults.attention_softcap;
  d.logit_softcap = a.defaults.logit_softcap;
  return d;
}

struct Cut {
  const char* name;
  std::function<void(ModelDims&)> apply;
};
void groups(ModelDims& d, std::int64_t divisor) {
  for (arch::LayerDims& l : d.layers) l.kv_groups /= divisor;
}
const std::vector<Cut>& cuts() {
  static const std::vector<Cut> all{
      {"nothing", [](ModelDims&) {}},
      {"vocab", [](ModelDims& d) { d.vocab = 400; }},
      {"ffn", [](ModelDims& d) { for (arch::LayerDims& l : d.layers) l.ffn = 256; }},
      {"hidden", [](ModelDims& d) { d.hidden = 192; }},
      {"hidden, no multiple of the heads", [](ModelDims& d) { d.hidden = 202; }},
      {"kv_groups", [](ModelDims& d) { groups(d, 2); }},
      {"q_per_kv", [](ModelDims& d) { for (arch::LayerDims& l : d.layers) l.q_per_kv = 1; }},
      {"hidden and kv_groups in proportion", [](ModelDims& d) { groups(d, 2); d.hidden = 128; }},
      {"layers, the last one", [](ModelDims& d) { d.layers.pop_back(); }},
      {"layers, the third", [](ModelDims& d) { d.layers.erase(d.layers.begin() + 2); }},
      {"ffn of one layer", [](ModelDims& d) { d.layers[1].ffn = 256; }},
      {"one whole FFN", [](ModelDims& d) { d.layers[1].ffn = 0; }},
      {"one whole attention", [](ModelDims& d) { d.layers[1].kv_groups = d.layers[1].q_per_kv = 0; }},
  };
  return all;
}

std::string outcome(const Arch& a, const std::function<const Arch&()>& target, std::string_view native, std::string_view Arch::* name) {
  static_cast<void>(a);
  try {
    const std::string_view found = target().*name;
    return found == native ? "yes" : "as " + std::string(found);
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), core::ErrorKind::unsupported) << e.what();
    return "refused";
  }
}

std::string matrix() {
  std::ostringstream out;
  out << "# What a model is still read as when it is cut\n\n"
         "Each cell: stock llama.cpp reading the GGUF / transformers reading the directory. `yes`: as the family it was. `as X`: leaves as architecture X, which\n"
         "computes the same. `refused`: the tool says why before anything is computed. `tests/plan/targets_test.cpp` writes this table and fails when it is not true.\n\n"
         "| cut |";
  for (const Arch* a : arch::all_archs()) out << " " << a->name << " |";
  out << "\n|---|";
  for (std::size_t i = 0; i < arch::all_archs().size(); ++i) out << "---|";
  out << "\n";
  for (const Cut& cut : cuts()) {
    out << "| " << cut.name << " |";
    for (const Arch* a : arch::all_archs()) {
      ModelDims d = whole(*a);
      cut.apply(d);
      out << " " << outcome(*a, [&]() -> const Arch& { return arch::gguf_target(*a, d); }, a->gguf, &Arch::gguf) << " / "
          << outcome(*a, [&]() -> const Arch& { return checkpoint::hf_target(*a, d); }, a->hf_model_type, &Arch::hf_model_type) << " |";
    }
    out << "\n";
  }
  return out.str();
}

TEST(Targets, TheMatrixInTheDocumentsIsTrue) {
  const std::string path = std::string(ESPALIER_SOURCE_DIR) + "/docs/targets.md", now = matrix();
  if (std::getenv("ESPALIER_UPDATE") != nullptr) core::write_text_file(path, now);
  EXPECT_EQ(core::read_text_file(path), now) << "run this test with ESPALIER_UPDATE=1 and look at what changed";
}

TEST(Targets, EveryFamilyLeavesWholeAndWithNarrowerFfns) {
  for (const Arch* a : arch::all_archs())
    for (const char* name : {"nothing", "ffn", "vocab"}) {
      ModelDims d = whole(*a);
      for (const Cut& cut : cuts())
        if (std::string_view(cut.name) == name) cut.apply(d);
      EXPECT_NO_THROW(static_cast<void>(arch::gguf_target(*a, d))) << a->name << " " << name;
      EXPECT_NO_THROW(static_cast<void>(checkpoint::hf_target(*a, d))) << a->name << " " << name;
    }
}

}  // namespace
}  // namespace espalier::plan
