// SPDX-License-Identifier: Apache-2.0
// Reads prompts line by line.
#include "prompts.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/notes.h"
#include "core/pipe.h"
#include "format/json_input.h"
#include "text/documents.h"
#include "text/lines.h"

namespace espalier::tool {
namespace {

using Json = nlohmann::ordered_json;

std::string prompt_of(std::string_view line, const std::string& place) {
  const Json json = format::parse_json<Json>(line, place);
  if (json.is_string()) return json.get<std::string>();
  ESP_CHECK(json.is_object() && json.contains("prompt") && json["prompt"].is_string(), input, place,
            ": expected a JSON string, or {\"prompt\": \"...\"}");
  return json["prompt"].get<std::string>();
}

bool is_json_string(std::string_view line) {
  return line.size() >= 2 && line.front() == '"' && Json::parse(line, nullptr, false).is_string();
}

}  // namespace

std::string read_prompt_file(const std::string& path) {
  std::string text = text::read_text(core::readable_again(path));
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

std::vector<std::string> read_prompts(const std::string& path) {
  const std::string text = text::read_text(core::readable_again(path));
  const bool is_json = text::has_json_lines(path);
  std::vector<std::string> out;
  std::int64_t quoted = 0;
  text::for_each_line(text, [&](std::string_view line, std::int64_t number) {
    if (is_json ? text::is_blank(line) : line.empty()) return;
    quoted += !is_json && is_json_string(line);
    out.push_back(is_json ? prompt_of(line, path + ":" + std::to_string(number))
                          : std::string(line));
  });
  ESP_CHECK(!out.empty(), input, path, ": there are no prompts, expected one per line");
  if (quoted > 0)
    core::note(path + ": " + std::to_string(quoted) +
               " lines are JSON strings and are read with their quotes; a name that ends in .jsonl "
               "has them read as JSON");
  return out;
}

}  // namespace espalier::tool
