// SPDX-License-Identifier: Apache-2.0
// Reads values of a line and makes questions of them.
#include "tasks/layout.h"

#include <charconv>

namespace espalier::tasks {
namespace {

const Json& value_at(const Json& line, const char* key, bool right_kind, const char* expected) {
  ESP_CHECK(right_kind, input, "'", key, "': expected ", expected, ", not ",
            line.at(key).dump(-1, ' ', false, Json::error_handler_t::replace));
  return line.at(key);
}

bool is_text(const Json& line, const char* key) {
  return line.is_object() && line.contains(key) && line.at(key).is_string();
}

}  // namespace

std::string text_at(const Json& line, const char* key) {
  ESP_CHECK(line.is_object() && line.contains(key), input, "'", key, "' is missing");
  return value_at(line, key, is_text(line, key), "a text").get<std::string>();
}

std::vector<std::string> texts_at(const Json& line, const char* key) {
  ESP_CHECK(line.is_object() && line.contains(key), input, "'", key, "' is missing");
  const Json& list = value_at(line, key, line.at(key).is_array(), "a list of texts");
  std::vector<std::string> out;
  for (const Json& value : list) {
    value_at(line, key, value.is_string(), "a list of texts");
    out.push_back(value.get<std::string>());
  }
  return out;
}

std::int64_t number_at(const Json& line, const char* key) {
  ESP_CHECK(line.is_object() && line.contains(key), input, "'", key, "' is missing");
  if (!is_text(line, key))
    return value_at(line, key, line.at(key).is_number_integer(), "a whole number")
        .get<std::int64_t>();
  const std::string text = line.at(key).get<std::string>();
  std::int64_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  value_at(line, key, error == std::errc() && end == text.data() + text.size(), "a whole number");
  return out;
}

void require_continuation(const std::string& continuation, const std::string& key) {
  ESP_CHECK(!strip(continuation).empty(), input, key,
            " is empty, so that there is no continuation to score; leave the item out");
}

Item multiple_choice(const std::string& context, const std::vector<std::string>& choices,
                     std::int64_t answer, const char* key_of_answer) {
  Item out;
  for (const std::string& choice : choices) {
    require_continuation(choice, "choice " + std::to_string(out.questions.size() + 1));
    out.questions.push_back({.context = context,
                             .continuation = " " + choice,
                             .characters = characters(choice),
                             .bytes = static_cast<std::int64_t>(choice.size())});
  }
  ESP_CHECK(choices.size() > 1, input, "an item has at least two choices, this one has ",
            choices.size());
  ESP_CHECK(answer >= 0 && answer < static_cast<std::int64_t>(choices.size()), input, "'",
            key_of_answer, "': ", answer, " is no choice: there are ", choices.size(),
            ", counted from 0");
  out.answer = static_cast<std::size_t>(answer);
  return out;
}

}  // namespace espalier::tasks
