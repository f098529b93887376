// SPDX-License-Identifier: Apache-2.0
// One row per line of rows.inc, filled on first use.
#include "model/ops/operations.h"

#include <array>
#include <cstdlib>
#include <string>

#include "core/error.h"
#include "model/ops/reference.h"

// clang-format off
#define ESP_OPERATIONS(name, device) namespace espalier::model::name { void fill(Operations& row); }
#include "model/ops/rows.inc"
#undef ESP_OPERATIONS
// clang-format on

namespace espalier::model {
namespace {

#define ESP_OPERATIONS(name, device) +1
constexpr std::size_t kRows = 1
#include "model/ops/rows.inc"
    ;
#undef ESP_OPERATIONS

std::array<Operations, kRows> filled() {
  std::array<Operations, kRows> rows{};
  reference::fill(rows[0]);
  std::size_t i = 0;
#define ESP_OPERATIONS(row, of)           \
  ++i;                                    \
  rows[i] = rows[0];                      \
  rows[i].name = #row;                    \
  rows[i].device = torch::DeviceType::of; \
  row::fill(rows[i]);
#include "model/ops/rows.inc"
#undef ESP_OPERATIONS
  return rows;
}

const Operations* row_named(std::string_view name, const char* origin) {
  std::string known;
  for (const Operations& row : operation_rows()) {
    if (row.name == name) return &row;
    known += (known.empty() ? "" : ", ") + std::string(row.name);
  }
  core::fail(core::ErrorKind::usage, origin, name,
             ": no such row of operations; there are: ", known);
}

// The row that was asked for; null: that of the device.
const Operations*& forced() {
  static const Operations* row = [] {
    const char* name = std::getenv("ESPALIER_OPS");
    return name == nullptr || *name == '\0' ? nullptr : row_named(name, "ESPALIER_OPS=");
  }();
  return row;
}

}  // namespace

std::span<const Operations> operation_rows() {
  static const std::array<Operations, kRows> rows = filled();
  return rows;
}

const Operations& operations(torch::Device device) {
  if (const Operations* row = forced()) {
    ESP_CHECK(!row->device || *row->device == device.type(), usage, "the operations '", row->name,
              "' were asked for, but the tensors are on ", device.str(),
              "; leave ESPALIER_OPS out, or set it to reference");
    return *row;
  }
  for (const Operations& row : operation_rows())
    if (row.device == device.type()) return row;
  return operation_rows().front();
}

ForcedOperations::ForcedOperations(std::string_view name) : before_(forced()) {
  forced() = row_named(name, "operations ");
}
ForcedOperations::~ForcedOperations() { forced() = before_; }

}  // namespace espalier::model
