// SPDX-License-Identifier: Apache-2.0
// Any bytes as a GGUF file: read or refused with an Error. What is read must be usable: typed
// access, and every tensor's bytes decoded.
#include <algorithm>
#include <cstdint>

#include "format/gguf.h"
#include "format/memory_file.h"
#include "fuzz/refusal.h"

namespace {

using espalier::fuzz::allow_refusal;
using espalier::fuzz::require;

void use(const espalier::core::FileReader& file) {
  const espalier::format::GgufHeader header = espalier::format::GgufHeader::read(file);
  for (const auto& entry : header.metadata()) {
    const std::string& key = entry.first;
    require(header.find(key) == &entry.second);
    allow_refusal([&] { header.integer(key); });
    allow_refusal([&] { header.real(key); });
    allow_refusal([&] { header.text(key); });
    allow_refusal([&] { header.optional_boolean(key); });
    allow_refusal([&] { header.array(key); });
  }
  for (const espalier::format::GgufTensor& tensor : header.tensors()) {
    require(header.tensor(tensor.name) == &tensor);
    std::vector<std::byte> bytes(tensor.bytes);
    file.read(tensor.offset, bytes);
    std::vector<float> values(static_cast<std::size_t>(tensor.cols() * tensor.rows()));
    espalier::format::info(tensor.format)
        .decode(bytes.data(), values.data(), static_cast<std::int64_t>(values.size()));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static espalier::support::MemoryFile memory;
  memory.assign({reinterpret_cast<const char*>(data), size});
  const espalier::core::FileReader file(memory.path());
  allow_refusal([&] { use(file); });
  return 0;
}
