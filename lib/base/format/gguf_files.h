// SPDX-License-Identifier: Apache-2.0
// The files of a model in GGUF: one, or the parts of a split model (core/parts.h), of which the
// first is opened by name and the others lie beside it.
//
//   split.no            u16  index of the part, from 0
//   split.count         u16  number of parts
//   split.tensors.count i32  tensors in all parts together
//
// The first part has the metadata of the model, the others only these keys. Every part is a GGUF
// of its own with some of the tensors.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/file.h"
#include "format/gguf.h"

namespace espalier::format {

class GgufFiles {
 public:
  // Error(input) that says what to do for a part that is not the first, is missing or belongs to
  // another model.
  explicit GgufFiles(const std::string& path);

  // The metadata of the model and the tensors of all parts. GgufTensor::part is an index of
  // files().
  const GgufHeader& header() const { return header_; }
  const std::vector<core::FileReader>& files() const { return files_; }
  std::uint64_t bytes() const;
  // What the object holds, for those who need no more than one of them.
  GgufHeader take_header() && { return std::move(header_); }
  std::vector<core::FileReader> take_files() && { return std::move(files_); }

 private:
  std::vector<core::FileReader> files_;
  GgufHeader header_;
};

// The header of a model, for those who read no tensors.
inline GgufHeader read_gguf_header(const std::string& path) {
  return GgufFiles(path).take_header();
}

}  // namespace espalier::format
