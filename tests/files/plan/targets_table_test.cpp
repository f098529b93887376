// SPDX-License-Identifier: Apache-2.0
// The table in docs/families.md of who still reads a model that was cut: by family, cut and reader.
// ESPALIER_UPDATE=1 in the environment writes it anew.
#include <gtest/gtest.h>

#include <sstream>

#include "arch/gguf_dims.h"
#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "support/computed.h"
#include "support/cuts.h"
#include "support/generated_table.h"

namespace espalier::plan {
namespace {

using arch::Arch;
using arch::ModelDims;
using support::Cut;
using support::cuts;
using support::whole;

std::string outcome(const Arch& a, const std::function<const Arch&()>& target,
                    std::string_view native, std::string_view Arch::* name) {
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
  out << "| cut |";
  const std::vector<const Arch*> archs = support::computed_archs();
  for (const Arch* a : archs) out << " " << a->name << " |";
  out << "\n|---|";
  for (std::size_t i = 0; i < archs.size(); ++i) out << "---|";
  out << "\n";
  for (const Cut& cut : cuts()) {
    out << "| " << cut.name << " |";
    for (const Arch* a : archs) {
      ModelDims d = whole(*a);
      cut.apply(d);
      out << " "
          << outcome(
                 *a, [&]() -> const Arch& { return arch::gguf_family_for(*a, d); }, a->gguf,
                 &Arch::gguf)
          << " / "
          << outcome(
                 *a, [&]() -> const Arch& { return checkpoint::hf_family_for(*a, d); },
                 a->hf_model_type, &Arch::hf_model_type)
          << " |";
    }
    out << "\n";
  }
  return out.str();
}

TEST(TargetsTable, IsTrue) {
  support::expect_table_in("docs/families.md", "targets", "tests/files/plan/targets_table_test.cpp",
                           matrix());
}

TEST(TargetsTable, EveryFamilyLeavesWholeAndWithNarrowerFfns) {
  for (const Arch* a : support::computed_archs())
    for (const char* name : {"nothing", "ffn", "vocab"}) {
      ModelDims d = whole(*a);
      for (const Cut& cut : cuts())
        if (std::string_view(cut.name) == name) cut.apply(d);
      EXPECT_NO_THROW(static_cast<void>(arch::gguf_family_for(*a, d))) << a->name << " " << name;
      EXPECT_NO_THROW(static_cast<void>(checkpoint::hf_family_for(*a, d)))
          << a->name << " " << name;
    }
}

}  // namespace
}  // namespace espalier::plan
