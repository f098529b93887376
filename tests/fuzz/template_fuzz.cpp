// SPDX-License-Identifier: Apache-2.0
// Any bytes as a chat template, run on a conversation with tools. It writes valid UTF-8 or is
// refused with an Error, within its bounds.
#include <cstdint>
#include <string>
#include <string_view>

#include "fuzz/refusal.h"
#include "text/conversation.h"
#include "text/template/template.h"
#include "text/utf8.h"

namespace {

const espalier::text::Conversation& conversation() {
  static const auto out = espalier::text::Conversation::read(
      R"({"messages": [{"role": "system", "content": " S\u00e9 "}, {"role": "user", "content": "a"},
          {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function",
           "function": {"name": "f", "arguments": {"x": [1, 2.5, true], "y": "<'\">"}}}]},
          {"role": "tool", "content": "3"}],
          "tools": [{"type": "function", "function": {"name": "f", "parameters": {"x": {}}}}]})",
      "fuzz");
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using espalier::fuzz::require;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (!espalier::text::is_valid_utf8(bytes)) return 0;  // the readers of tokenizers refuse it
  espalier::fuzz::allow_refusal([&] {
    const espalier::text::jinja::Template source(bytes, "fuzz");
    const std::string text = source.render(
        conversation().variables(),
        {.steps = 50'000, .work = std::uint64_t{64} << 20, .memory = std::uint64_t{16} << 20});
    require(espalier::text::is_valid_utf8(text));
  });
  return 0;
}
