// SPDX-License-Identifier: Apache-2.0
// Copies metadata and tensors into a writer.
#include "support/rewrite_gguf.h"

#include "format/gguf_files.h"

namespace espalier::support {

std::vector<std::string> rewrite_gguf(
    const std::string& from, const std::string& to,
    const std::vector<std::pair<std::string, format::GgufValue>>& keys, std::uint64_t part_bytes) {
  const format::GgufFiles files(from);
  format::GgufWriter writer(to, files.header().alignment(), part_bytes);
  for (const auto& [key, value] : files.header().metadata()) writer.set(key, value);
  for (const auto& [key, value] : keys) writer.set(key, value);
  for (const format::GgufTensor& t : files.header().tensors())
    writer.add_tensor(t.name, t.ne, t.format);
  const std::vector<std::string> paths = writer.paths();
  writer.begin();
  for (const format::GgufTensor& t : files.header().tensors()) {
    std::vector<std::byte> bytes(t.bytes);
    files.files()[t.part].read(t.offset, bytes);
    writer.write(bytes);
  }
  writer.finish();
  return paths;
}

}  // namespace espalier::support
