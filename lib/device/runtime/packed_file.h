// SPDX-License-Identifier: Apache-2.0
// A model's matrices in a file beside the model, packed for one kind of processor. The name is
// FILE.gguf.packed16 where kernels interleave 16 rows (AVX-512 and AMX), .packed8 for 8 rows (AVX2)
// and .packed4 for 4 rows (NEON).
//
// The file is mapped, not read. So a program starts without packing, programs share its pages, and
// the system may drop them when memory is short. The bytes are those of kernels/layout.h. The
// container is GGUF with tensors "<name>@<first row>" and these keys:
//
//   general.architecture        "espalier-packed", which no other program takes for a model
//   espalier.packed.layout      u32  version of the bytes of a group
//   espalier.packed.rows        u32  rows of a group
//   espalier.packed.source_*    the file it was made from: u64 bytes, u64 modified (ns since 1970),
//                               strings sample and xxh64 (hashes, hexadecimal)
//
// A packed file belongs to a model file of the same size and sample. A split model has one, beside
// its first part; then sizes are sums, and hashes go over all parts. The sample is a hash of all
// that lies in front of the tensors and of four places in each tensor. If the modification time
// differs, the whole model must have the same hash, which is then computed at each start. The time
// alone says nothing: container images and some stores give all files the same time.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/thread_pool.h"
#include "format/gguf.h"
#include "kernels/linear.h"

namespace espalier::runtime {

struct MatrixBytes;  // weights.h

struct FilePart {
  std::uint64_t offset = 0, bytes = 0;
  std::size_t file = 0;  // of a split model: which of its files
};
// Of a model: where the metadata of each file end, and the tensors in their order.
struct ModelParts {
  std::vector<std::uint64_t> data_offsets;
  std::vector<FilePart> tensors;
};
ModelParts parts_of(const format::GgufHeader& header);

class PackedFile {
 public:
  // The name of the packed file of a model. Empty when this table's kernels read GGUF directly.
  static std::string path_of(const std::string& gguf_path, const kernels::KernelTable& table);
  // Empty when there is no such file. A file that is broken or belongs to another model is not
  // usable().
  static std::optional<PackedFile> open_beside(std::span<const core::FileReader> model,
                                               const ModelParts& parts,
                                               const kernels::KernelTable& table);

  const std::string& path() const { return path_; }
  bool usable() const { return refusal_.empty(); }
  // Why it is not usable, and what to do; for people.
  const std::string& refusal() const { return refusal_; }
  // The packed bytes of a matrix. Error(input) when the file does not hold it in that size.
  std::span<const std::byte> bytes(const MatrixBytes& matrix) const;
  // Whether the file has been written to since it was mapped; false for one that is not usable().
  bool written_since() const { return file_ && core::written_since(path_, file_->stamp()); }

 private:
  std::string path_, refusal_;
  std::optional<core::MappedFile> file_;
  std::map<std::string, FilePart> places_;
};

struct PackResult {
  std::string path;
  std::int64_t matrices = 0, rows = 0;
  std::uint64_t bytes = 0;
};
// Writes the packed file of a model, matrix by matrix. Checks every weight of the model, so that
// programs which map the file need not. Error(input) for a weight that is not finite.
// Error(unsupported) when no matrix of the model is packed.
PackResult pack_file(const std::string& gguf_path, const kernels::KernelTable& table,
                     core::ThreadPool& pool,
                     const std::function<void(std::int64_t done, std::int64_t total)>& progress);

}  // namespace espalier::runtime
