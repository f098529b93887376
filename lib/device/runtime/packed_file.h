// SPDX-License-Identifier: Apache-2.0
// A model's matrices, packed for this kind of processor, in a file beside it: FILE.gguf.packed16
// where kernels interleave 16 rows (AVX-512 and AMX), 8 (AVX2), 4 (NEON). It is mapped, not read: a
// program starts without packing anything, programs share its pages, and the system may drop them
// when memory is short. Bytes as kernels/layout.h has them; the container is GGUF with tensors
// "<name>@<first row>" and the keys
//
//   general.architecture        "espalier-packed", which no other program takes for a model
//   espalier.packed.rows        u32  rows of a group
//   espalier.packed.source_*    u64 bytes, u64 modified (ns since 1970), string xxh64 (hexadecimal) of the file it was made from
//
// It belongs to a file of the same size and time of modification; with another time, to one of the
// same hash, which then is computed at each start.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "core/file.h"
#include "core/thread_pool.h"
#include "kernels/linear.h"

namespace espalier::runtime {

struct MatrixBytes;  // weights.h

class PackedFile {
 public:
  // The name of the packed file of a model; empty when this table's kernels read GGUF as it is.
  static std::string path_of(const std::string& gguf_path, const kernels::KernelTable& table);
  // None when there is no such file. One that is of another file, or broken, is not usable().
  static std::optional<PackedFile> open_beside(const std::string& gguf_path,
                                               const kernels::KernelTable& table);

  const std::string& path() const { return path_; }
  bool usable() const { return refusal_.empty(); }
  const std::string& refusal() const { return refusal_; }  // why not, and what to do; for people
  // The packed bytes of a matrix. Error(input) when the file does not have it in that size.
  std::span<const std::byte> bytes(const MatrixBytes& matrix) const;

 private:
  struct Place {
    std::uint64_t offset = 0, bytes = 0;
  };
  std::string path_, refusal_;
  std::optional<core::MappedFile> file_;
  std::map<std::string, Place> places_;
};

struct PackResult {
  std::string path;
  std::int64_t matrices = 0, rows = 0;
  std::uint64_t bytes = 0;
};
// Writes the packed file of a model, matrix by matrix. Error(unsupported) when nothing of it is
// packed.
PackResult pack_file(const std::string& gguf_path, const kernels::KernelTable& table,
                     core::ThreadPool& pool,
                     const std::function<void(std::int64_t done, std::int64_t total)>& progress);

}  // namespace espalier::runtime
