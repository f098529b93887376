// SPDX-License-Identifier: Apache-2.0
// Methods of Python's str that prompts are made with. Texts are valid UTF-8.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace espalier::tasks {

std::int64_t characters(std::string_view text);           // len(text)
std::string_view strip(std::string_view text);            // text.strip()
std::size_t trailing_white_bytes(std::string_view text);  // of what text.rstrip() takes away
// text.capitalize(): the first letter in title case, the others in small letters. Beyond Latin
// letters, one that becomes several in title case stays as it is.
std::string capitalize(std::string_view text);

}  // namespace espalier::tasks
