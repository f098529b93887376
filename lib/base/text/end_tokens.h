// SPDX-License-Identifier: Apache-2.0
// Tokens that end a text, by the rule of stock readers of GGUF. A file names the end of a text
// (EOS), of a turn (EOT), of a message (EOM), and of a file of code. Other tokens say it by their
// name.
#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace espalier::text {

// Whether models of this field end a turn or a document with a token of this name, such as
// <|im_end|>.
bool names_an_end(std::string_view token);

// The keys of a GGUF for ends: of a text, of a turn and of a message, then those of code.
std::span<const char* const> end_keys();
inline constexpr std::size_t kEndsOfText = 3;
// The id under such a key, or under that of another special token. None also for -1, which some
// converters write for it, as a signed or an unsigned number.
std::optional<std::int64_t> stated_id(const format::GgufHeader& header, const std::string& key);

// `header` is that of the file from which `tokenizer` was read.
std::set<std::int32_t> end_tokens(const Tokenizer& tokenizer, const format::GgufHeader& header);

}  // namespace espalier::text
