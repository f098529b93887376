// SPDX-License-Identifier: Apache-2.0
// simde_list.inc (generated): ESP_SIMDE_ISA(name) for each isa/<name>.cpp that was compiled with
// ESP_SIMDE.
#include "kernels/kernel_tables.h"

#define ESP_SIMDE_ISA(name)                   \
  namespace espalier::kernels::simde_##name { \
    void fill(KernelTable& table);            \
  }
#include "simde_list.inc"
#undef ESP_SIMDE_ISA

namespace espalier::kernels {
namespace {

struct Software {
  std::vector<KernelTable> tables;
  Software() {
#define ESP_SIMDE_ISA(name)                  \
  tables.push_back(select_isa("reference")); \
  tables.back().isa = "simde_" #name;        \
  simde_##name::fill(tables.back());
#include "simde_list.inc"
#undef ESP_SIMDE_ISA
  }
};

const Software& software() {
  static const Software all;
  return all;
}

}  // namespace

std::vector<NamedTable> tables_under_test() {
  std::vector<NamedTable> out;
  for (std::string_view name : isa_names())
    if (name != "reference" && isa_runnable(name))
      out.push_back({std::string(name), &select_isa(name)});
  for (const KernelTable& table : software().tables) out.push_back({table.isa, &table});
  return out;
}

std::size_t compiled_against_simde() { return software().tables.size(); }

}  // namespace espalier::kernels
