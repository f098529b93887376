// SPDX-License-Identifier: Apache-2.0
// Copies metadata and tensors of a GGUF into another writer.
#include "export/split.h"

#include <algorithm>
#include <filesystem>
#include <span>
#include <vector>

#include "core/file.h"
#include "format/gguf.h"
#include "format/gguf_files.h"

namespace espalier::exporter {
namespace {

namespace fs = std::filesystem;

bool are_there(const std::vector<std::string>& parts, std::uint64_t bytes,
               const std::string& from) {
  std::error_code absent;
  const fs::file_time_type made = fs::last_write_time(from);
  for (const std::string& part : parts) {
    if (!fs::exists(part, absent) || fs::last_write_time(part, absent) < made) return false;
    bytes -= std::min(bytes, static_cast<std::uint64_t>(fs::file_size(part, absent)));
  }
  return bytes == 0;
}

}  // namespace

void split_gguf(const std::string& from, const std::string& to, std::uint64_t part_bytes) {
  constexpr std::size_t kWindow = std::size_t{16} << 20;
  const format::GgufFiles files(from);
  const format::GgufHeader& header = files.header();
  format::GgufWriter writer(to, header.alignment(), part_bytes);
  for (const auto& [key, value] : header.metadata()) writer.set(key, value);
  for (const format::GgufTensor& t : header.tensors()) writer.add_tensor(t.name, t.ne, t.format);
  const std::vector<std::string> parts = writer.paths();
  if (are_there(parts, writer.planned_bytes(), from)) return;
  writer.begin();
  std::vector<std::byte> window;
  for (const format::GgufTensor& t : header.tensors())
    for (std::uint64_t at = 0; at < t.bytes; at += window.size()) {
      window.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kWindow, t.bytes - at)));
      files.files()[t.part].read(t.offset + at, window);
      writer.write(window);
    }
  writer.finish();
  std::error_code ignored;
  if (parts.size() > 1) fs::remove(to, ignored);  // the whole of an earlier run
}

}  // namespace espalier::exporter
