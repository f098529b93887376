// SPDX-License-Identifier: Apache-2.0
// Any bytes as a safetensors file, and as an index: read or refused with an Error. The tensors of
// what is read tile the data.
#include <cstdint>
#include <span>

#include "format/memory_file.h"
#include "format/safetensors.h"
#include "format/safetensors_header.h"
#include "fuzz/refusal.h"

namespace {

using espalier::fuzz::allow_refusal;
using espalier::fuzz::require;

void use(const std::string& path) {
  using espalier::format::SafetensorsSet;
  const SafetensorsSet set = SafetensorsSet::open_file(path, SafetensorsSet::Allowed::any);
  std::uint64_t total = 0;
  for (const espalier::format::SafeTensor& tensor : set.tensors()) {
    require(set.find(tensor.name) == &tensor);
    std::vector<std::byte> bytes(tensor.bytes);
    set.read(tensor, 0, bytes);
    total += tensor.bytes;
  }
  require(total < set.shard(0).size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static espalier::support::MemoryFile memory;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  memory.assign(text);
  allow_refusal([&] { use(memory.path()); });
  allow_refusal([&] { espalier::format::parse_safetensors_index("index", text); });
  return 0;
}
