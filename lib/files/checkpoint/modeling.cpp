// SPDX-License-Identifier: Apache-2.0
// The text of modeling_espalier.py as a string of this program.
#include "checkpoint/modeling.h"

namespace espalier::checkpoint {
namespace {

constexpr unsigned char kBytes[] = {
#include "checkpoint/modeling_espalier.inc"
};

}  // namespace

std::string_view modeling_file() { return {reinterpret_cast<const char*>(kBytes), sizeof kBytes}; }

}  // namespace espalier::checkpoint
