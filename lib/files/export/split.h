// SPDX-License-Identifier: Apache-2.0
// Splits a finished GGUF into parts of a size (core/parts.h).
#pragma once
#include <cstdint>
#include <string>

namespace espalier::exporter {

// Writes the model of the GGUF `from` in parts of at most `part_bytes`, which are named after `to`,
// or as one file where that suffices. The parts are those that export_gguf() writes. Does nothing
// where they are there already and no older than `from`.
void split_gguf(const std::string& from, const std::string& to, std::uint64_t part_bytes);

}  // namespace espalier::exporter
