// SPDX-License-Identifier: Apache-2.0
// The tables under test: every compiled ISA that this processor runs, and on x86-64 every ISA
// compiled once more against SIMDe, which runs anywhere.
#pragma once
#include <string>
#include <vector>

#include "kernels/kernel_table.h"
#include "kernels/linear.h"

namespace espalier::kernels {

struct NamedTable {
  std::string name;
  const KernelTable* table;
};
std::vector<NamedTable> tables_under_test();  // the reference is not among them
std::size_t compiled_against_simde();         // how many of them

}  // namespace espalier::kernels
