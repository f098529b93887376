// SPDX-License-Identifier: Apache-2.0
// Gives a template its variables, and turns its text into ids.
#include "text/chat_template.h"

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <string_view>

#include "core/error.h"
#include "format/gguf_files.h"
#include "text/utf8.h"

namespace espalier::text {
namespace {

const std::string kTemplatePrefix = "tokenizer.chat_template.";

const std::string& source_of(const Tokenizer& tokenizer, const std::string& where) {
  const std::string& source = tokenizer.settings().chat_template;
  ESP_CHECK(!source.empty(), unsupported, where,
            ": no chat template (tokenizer.chat_template): this is not a chat model; the prompt "
            "can be written out for 'generate --special'");
  return source;
}

std::tm current_time() {
  std::tm out = {};
  std::time_t now = std::time(nullptr);
  if (const char* fixed = std::getenv("SOURCE_DATE_EPOCH"); fixed != nullptr && *fixed != '\0') {
    char* end = nullptr;
    now = std::strtoll(fixed, &end, 10);
    ESP_CHECK(*end == '\0' && ::gmtime_r(&now, &out) != nullptr, usage, "SOURCE_DATE_EPOCH is '",
              fixed, "', expected seconds since 1970");
  } else {
    ::localtime_r(&now, &out);
  }
  return out;
}

}  // namespace

NamedTemplates named_templates(const std::string& path) {
  const format::GgufHeader header = format::read_gguf_header(path);
  NamedTemplates out;
  for (const auto& [key, unused] : header.metadata())
    if (key.size() > kTemplatePrefix.size() && key.starts_with(kTemplatePrefix))
      out.emplace_back(key.substr(kTemplatePrefix.size()), replace_broken_utf8(header.text(key)));
  return out;
}

ChatTemplate::ChatTemplate(const Tokenizer& tokenizer, const std::string& where,
                           const NamedTemplates& named)
    : default_(source_of(tokenizer, where), where) {
  for (const auto& [name, source] : named)
    if (name == "tool_use") tool_use_.emplace(source, where + ": tool_use");
  const TokenizerSettings& settings = tokenizer.settings();
  const auto add = [&](const char* name, const std::optional<std::int32_t>& id) {
    if (id) special_.emplace_back(name, jinja::Value::text(std::string(tokenizer.token(*id))));
  };
  add("bos_token", settings.bos);
  add("eos_token", settings.eos);
  add("unk_token", settings.unk);
  add("pad_token", settings.pad);
}

const char* ChatTemplate::name_for(const Conversation& conversation) const {
  return conversation.has_tools() && tool_use_ ? "tool_use" : "default";
}

std::string ChatTemplate::render(const Conversation& conversation) const {
  // The first of two equal names counts.
  jinja::Variables variables = conversation.variables();
  variables.insert(variables.end(), special_.begin(), special_.end());
  const jinja::Template& used = conversation.has_tools() && tool_use_ ? *tool_use_ : default_;
  return used.render(variables, {.now = current_time()});
}

std::vector<std::int32_t> ChatTemplate::encode(const Tokenizer& tokenizer,
                                               const Conversation& conversation) const {
  for (const std::string& text : conversation.foreign_texts())
    for (const std::int32_t id : tokenizer.encode(text, false, true))
      ESP_CHECK(tokenizer.type(id) != TokenType::control, usage,
                "a message or tool spells out the control token ", tokenizer.token(id),
                ", which would be read as the template's");
  return tokenizer.encode(render(conversation), false, true);
}

std::vector<std::string> ChatTemplate::stops(const Tokenizer& tokenizer) const {
  const std::string answer = "(an answer)", next = "(a question)";
  std::string text;
  try {
    text = render(Conversation({{"user", "(a greeting)"}, {"assistant", answer}, {"user", next}}));
  } catch (const core::Error&) {
    return {};  // it writes no conversation of this kind, and none can tell where an answer ends
  }
  const std::size_t begin = text.find(answer), end = text.find(next);
  if (begin == std::string::npos || end == std::string::npos || end < begin) return {};
  std::string_view between(text);
  between = between.substr(begin + answer.size(), end - begin - answer.size());
  constexpr std::string_view kSpace = " \t\r\n";
  between.remove_prefix(std::min(between.find_first_not_of(kSpace), between.size()));
  between = between.substr(0, between.find_last_not_of(kSpace) + 1);
  const std::vector<std::int32_t> ids = tokenizer.encode(between, false, true);
  const auto is_control = [&](std::int32_t id) { return tokenizer.type(id) == TokenType::control; };
  if (!ids.empty() && is_control(ids.front())) return {tokenizer.piece(ids.front())};
  const bool plain = std::none_of(ids.begin(), ids.end(), is_control);
  return plain && between.size() >= 3 ? std::vector<std::string>{std::string(between)}
                                      : std::vector<std::string>{};
}

}  // namespace espalier::text
