// SPDX-License-Identifier: Apache-2.0
// One file of sparse teacher logits: whole windows of a text, little-endian. Every part is followed
// by its SHA-256 (64 hexadecimal digits).
//
//   offset  bytes
//        0      8  "ESPLOGIT"
//        8      4  u32 version, 1
//       12      4  u32 V, the vocabulary
//       16      4  u32 T, tokens of a window
//       20      4  u32 k, tokens kept of each distribution
//       24      4  u32 v, bytes of a log-probability: 2 (F16) or 4 (F32)
//       28      4  u32 threads that computed it
//       32      8  f64 temperature
//       40      8  u64 n, windows in this file
//       48     64  identity of the run: SHA-256 of its inputs and options
//      112    8 n  u64 for each window: the token of the text at which it starts
//    + 8 n     64  SHA-256 of all of the above
//   then n times, each 64 bytes longer than its arrays:
//          i T k   ids of the kept tokens, ascending for each token of the window
//                  i = 2 (u16) for V <= 65536, else 4 (u32)
//          v T k   their log-probabilities, natural logarithm of softmax(logits / temperature)
//            4 T   f32 mass of all other tokens
//             64   SHA-256 of the three arrays
//
// Files are untrusted. Every count is bounded by the size of the file before anything is allocated.
// Every value is checked when it is read.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/file.h"
#include "hash/sha256.h"
#include "objective/sparse_logits.h"

namespace espalier::distill {

struct LogitHeader {
  std::int64_t vocab = 0, sequence = 0, k = 0;
  int value_bytes = 2, threads = 1;
  double temperature = 1;
  std::string run;                   // 64 hexadecimal digits
  std::vector<std::int64_t> starts;  // starts of the windows

  std::uint64_t id_bytes() const { return vocab <= 65536 ? 2 : 4; }
  std::uint64_t window_bytes() const;  // including its hash
  std::uint64_t file_bytes() const;
};

// Writes one file. It appears whole, by rename, with commit(). Until then no file of that name
// exists.
class LogitFileWriter {
 public:
  LogitFileWriter(const std::string& path, const LogitHeader& header);
  void add(
      const objective::SparseLogits& windows);  // the next whole windows: [windows * sequence, k]
  // Returns the SHA-256 of the file; Error(internal) when windows are missing.
  std::string commit();

 private:
  void write(const std::string& bytes);
  LogitHeader header_;
  core::AtomicFile file_;
  hash::Sha256 sha256_;
  std::uint64_t windows_ = 0;
};

// Reads one file. Thread-safe.
class LogitFile {
 public:
  // Reads and checks the header. Error(input) with the place.
  explicit LogitFile(const std::string& path);
  const LogitHeader& header() const { return header_; }
  // One window. Each row is scaled to a sum of 1, because F16 rounds each probability by up to
  // about a thousandth of itself.
  objective::SparseLogits window(std::int64_t index) const;

 private:
  core::FileReader file_;
  LogitHeader header_;
};

}  // namespace espalier::distill
