// SPDX-License-Identifier: Apache-2.0
// Any bytes as a model for the device runtime: refused with an Error, or loaded and one token
// decoded, on the fast kernels and the reference.
#include <cstdint>

#include "format/memory_file.h"
#include "fuzz/refusal.h"
#include "runtime/session.h"

namespace {

using espalier::fuzz::allow_refusal;
using espalier::fuzz::require;
using espalier::runtime::Session;
using Kv = espalier::runtime::SessionOptions::KvType;

void decode_one(const std::string& path, const char* isa, Kv kv) {
  Session session(path, {.threads = 1, .context = 1, .isa = isa, .kv = kv});
  const auto logits = session.decode_step(0);
  require(static_cast<std::int64_t>(logits.size()) == session.dims().vocab);
  require(session.decode_step(0).empty());  // the context is full
  session.reset();
  require(!session.decode_step(static_cast<std::int32_t>(session.dims().vocab - 1)).empty());
  require(session.decode_step(-1).empty());
  allow_refusal([&] { session.tokenizer(); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static espalier::support::MemoryFile memory;
  memory.assign({reinterpret_cast<const char*>(data), size});
  const bool blocks = size % 2 == 0;
  allow_refusal([&] { decode_one(memory.path(), "", blocks ? Kv::q8_0 : Kv::f16); });
  allow_refusal([&] { decode_one(memory.path(), "reference", Kv::f32); });
  return 0;
}
