// SPDX-License-Identifier: Apache-2.0
// What the layouts share: values of a line, and questions. Internal to lib/pipeline/tasks.
#pragma once
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "tasks/python_text.h"
#include "tasks/task.h"

namespace espalier::tasks {

using Json = nlohmann::ordered_json;

// Error(input) that names the key unless the value is of that kind.
std::string text_at(const Json& line, const char* key);
std::vector<std::string> texts_at(const Json& line, const char* key);
// A whole number, also where it is written as a text.
std::int64_t number_at(const Json& line, const char* key);

// An item with a question for each choice. Error(input) when the answer is none of them, or a
// continuation is empty.
Item multiple_choice(const std::string& context, const std::vector<std::string>& choices,
                     std::int64_t answer, const char* key_of_answer);
// Error(input) for a continuation of white space alone. `key`: where it stands.
void require_continuation(const std::string& continuation, const std::string& key);

}  // namespace espalier::tasks
