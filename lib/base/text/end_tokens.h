// SPDX-License-Identifier: Apache-2.0
// Tokens that end a text, by the rule of stock readers of GGUF. A file names the end of a text
// (EOS), of a turn (EOT), of a message (EOM), and of a file of code. Other tokens say it by their
// name.
#pragma once
#include <cstdint>
#include <set>
#include <string_view>

#include "text/tokenizer.h"

namespace espalier::text {

// Whether models of this field end a turn or a document with a token of this name, such as
// <|im_end|>.
bool names_an_end(std::string_view token);

// `header` is that of the file from which `tokenizer` was read.
std::set<std::int32_t> end_tokens(const Tokenizer& tokenizer, const format::GgufHeader& header);

}  // namespace espalier::text
