// SPDX-License-Identifier: Apache-2.0
// Writes the tensors of a GGUF, one after another. What is rounded by itself or copied is read and
// rounded in pieces of rows by several threads, while earlier pieces are written. GPTQ takes all
// threads for one piece.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "arch/arch.h"
#include "checkpoint/checkpoint.h"
#include "core/ordered_jobs.h"
#include "core/thread_pool.h"
#include "export/export_gguf.h"
#include "format/gguf.h"
#include "quant/range.h"
#include "quant/rounding.h"

namespace espalier::exporter {

// Where stock readers scale attention differently, q compensates: the gain of its norm, or else its
// rows.
class QueryFactor {
 public:
  QueryFactor(const checkpoint::Checkpoint& source, const arch::Arch& target);
  bool is_one() const { return factor_ == 1; }
  bool in_norm() const { return role_ == arch::Role::attn_q_norm; }
  bool changes(arch::Role role) const;
  void fold(arch::Role role, std::vector<float>& values) const;

 private:
  arch::Role role_;
  float factor_;
};

// The statistics with which a matrix is rounded. Null: to nearest.
const quant::TensorStatistics* statistics_for(const arch::TensorRef& t, format::FormatId format,
                                              const ExportOptions& options);

class TensorExporter {
 public:
  TensorExporter(const checkpoint::Checkpoint& source, const ExportOptions& options,
                 format::GgufWriter& writer);
  // In the order of the file. `t` must live until finish(), which writes what is not written yet.
  // Returns whether the tensor is copied.
  bool write(const arch::TensorRef& t, format::FormatId format);
  void finish();

 private:
  using Bytes = core::OrderedJobs::Bytes;
  struct Matrix;
  void write_vector(const arch::TensorRef& t, format::FormatId format);
  bool write_rounded(const arch::TensorRef& t, format::FormatId format, bool permuted);
  void copy(const arch::TensorRef& t, format::FormatId format, bool permuted);
  void round_by_rows(const arch::TensorRef& t, format::FormatId format, bool permuted);
  void round_rows(const Matrix& m, std::int64_t begin, std::int64_t n, quant::RangeCheck& range,
                  Bytes& out) const;
  void round_by_gptq(const arch::TensorRef& t, format::FormatId format, bool permuted);
  void read(const arch::TensorRef& t, std::int64_t begin, std::vector<float>& rows);
  void require_held(const arch::TensorRef& t, const std::string& refusal) const;

  const checkpoint::Checkpoint& source_;
  const arch::Arch& target_;
  const ExportOptions& options_;
  format::GgufWriter& writer_;
  core::ThreadPool pool_;
  QueryFactor query_;
  quant::FactorCache cache_;
  core::OrderedJobs jobs_;  // last: its threads use the members above
};

}  // namespace espalier::exporter
