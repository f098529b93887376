// SPDX-License-Identifier: Apache-2.0
// docs/targets.md, the matrix (family, what is cut, reader), says what the tool does. With
// ESPALIER_UPDATE=1 in the environment it is written anew.
#include <gtest/gtest.h>

#include <cstdlib>
#include <sstream>

#include "arch/gguf_dims.h"
#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/file.h"
#include "support/cuts.h"

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
  out << "# What a model is still read as when it is cut\n\n"
         "Each cell: stock llama.cpp reading the GGUF / transformers reading the directory. `yes`: "
         "as the family it was. `as X`: leaves as architecture X, which\n"
         "computes the same. `refused`: the tool says why before anything is computed. "
         "`tests/files/plan/targets_test.cpp` writes this table and fails when it is not true.\n\n"
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

TEST(Targets, TheMatrixInTheDocumentsIsTrue) {
  const std::string path = std::string(ESPALIER_SOURCE_DIR) + "/docs/targets.md", now = matrix();
  if (std::getenv("ESPALIER_UPDATE") != nullptr) core::write_text_file(path, now);
  EXPECT_EQ(core::read_text_file(path), now)
      << "run this test with ESPALIER_UPDATE=1 and look at what changed";
}

TEST(Targets, EveryFamilyLeavesWholeAndWithNarrowerFfns) {
  for (const Arch* a : arch::all_archs())
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
