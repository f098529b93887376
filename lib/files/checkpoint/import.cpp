// SPDX-License-Identifier: Apache-2.0
// `espalier import`: any supported checkpoint, and perhaps an adapter that is merged into it -> a
// Hugging Face directory, tensor by tensor in windows of rows.
#include <filesystem>

#include "checkpoint/adapter.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/row_windows.h"
#include "core/error.h"
#include "core/file.h"

namespace espalier::checkpoint {

void import_checkpoint(const Checkpoint& source, const std::string& directory,
                       const WriteOptions& options, const core::Progress& progress,
                       const Adapter* adapter) {
  ESP_CHECK(!core::same_file(source.path(), directory), usage, directory,
            ": the output is the source itself; choose another directory");
  const arch::ModelDims& dims = adapter != nullptr ? adapter->dims() : source.dims();
  CheckpointWriter writer(directory, source.arch(), dims, options,
                          {source.hf_config(), carried_tokenizer(source),
                           source.hf_generation_config(), source.description()});
  const std::vector<arch::TensorRef> tensors = arch::tensors(source.arch(), dims);
  std::vector<float> rows;
  constexpr std::int64_t kWindow = std::int64_t{16} << 20;  // values: 64 MB as float
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const arch::TensorRef& t = tensors[i];
    each_row_window(t, dims, kWindow, [&](std::int64_t row, std::int64_t n) {
      rows.resize(static_cast<std::size_t>(n * t.cols));
      if (adapter == nullptr || !adapter->replaces(t.spec->role, t.layer))
        source.read_rows(t.spec->role, t.layer, row, n, rows.data());
      if (adapter != nullptr) adapter->merge(t.spec->role, t.layer, row, rows);
      writer.write_rows(t.spec->role, t.layer, rows);
    });
    if (progress)
      progress({"import", static_cast<std::int64_t>(i) + 1,
                static_cast<std::int64_t>(tensors.size()), "tensors", ""});
  }
  writer.finish();
}

}  // namespace espalier::checkpoint
