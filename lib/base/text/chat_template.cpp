// SPDX-License-Identifier: Apache-2.0
// Recognition of chat templates by their markers, one function per family, and rendering.
#include "text/chat_template.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "core/error.h"
#include "text/utf8.h"

namespace espalier::text {
namespace {

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

std::string_view trimmed(std::string_view text) {
  text.remove_prefix(leading_space_bytes(text));
  text.remove_suffix(trailing_space_bytes(text));
  return text;
}

// Resolves escapes and joins concatenated literals. So a marker and the line break after it stand
// together, however the template writes them.
std::string normalized(const std::string& source) {
  std::string out = replace_all(source, "\\n", "\n");
  for (const char* seam : {"' + '", "'+'", "\" + \"", "\"+\""}) out = replace_all(out, seam, "");
  return out;
}

// Whether white space around messages is stripped. A match after a separate line break does not
// count: that is the text beside a tool call.
bool trims(std::string_view source, std::string_view variable = "content") {
  for (std::size_t at = source.find(variable); at != std::string_view::npos;
       at = source.find(variable, at + 1)) {
    std::string_view before = source.substr(0, at), rest = source.substr(at + variable.size());
    if (before.ends_with("message.")) before.remove_suffix(8);
    if (before.ends_with("'\n' + ")) continue;
    while (!rest.empty() && (rest.front() == '\'' || rest.front() == '"' || rest.front() == ']' ||
                             rest.front() == ' '))
      rest.remove_prefix(1);
    for (const std::string_view trim : {"| trim", "|trim", ".strip()"}) {
      if (!rest.starts_with(trim)) continue;
      rest.remove_prefix(trim.size());
      // Otherwise the template asks for its length.
      if (!trimmed(rest).starts_with("|")) return true;
    }
  }
  return false;
}

// The text between `open` and `close` when it is part of one literal, with no quote or brace
// inside.
std::optional<std::string> literal_between(std::string_view source, std::string_view open,
                                           std::string_view close) {
  for (std::size_t at = source.find(open); at != std::string_view::npos;
       at = source.find(open, at + 1)) {
    const std::size_t begin = at + open.size(), end = source.find(close, begin);
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view inside = source.substr(begin, end - begin);
    if (inside.find_first_of("'\"{}") == std::string_view::npos) return std::string(inside);
  }
  return std::nullopt;
}

// The whole string literal that contains `marker`.
std::optional<std::string> literal_around(std::string_view source, std::string_view marker) {
  for (std::size_t at = source.find(marker); at != std::string_view::npos;
       at = source.find(marker, at + 1)) {
    const std::size_t begin = source.substr(0, at).find_last_of("'\"{}");
    if (begin == std::string_view::npos || source[begin] == '{' || source[begin] == '}') continue;
    const std::size_t end = source.find_first_of("'\"{}", at + marker.size());
    if (end != std::string_view::npos && source[end] == source[begin])
      return std::string(source.substr(begin + 1, end - begin - 1));
  }
  return std::nullopt;
}

// The expression {{ ... content ... eos_token }} that writes an answer.
std::optional<std::string> answer_expression(std::string_view source) {
  for (std::size_t at = source.find("eos_token"); at != std::string_view::npos;
       at = source.find("eos_token", at + 1)) {
    const std::size_t begin = source.substr(0, at).rfind("{{");
    if (begin == std::string_view::npos) continue;
    std::string_view expression = source.substr(begin + 2, at - begin - 2);
    if (expression.starts_with("-")) expression.remove_prefix(1);
    if (has(expression, "content") && !has(expression, "}}") && !has(expression, "INST"))
      return std::string(trimmed(expression));
  }
  return std::nullopt;
}

struct Named {
  const char* marker;
  const char* name;
};
// Reasoning models begin every answer with a thought.
constexpr std::array kRefused = {Named{"<|im_start|>assistant\n<think>", "a reasoning model"},
                                 Named{"'<think>\n' }}", "a reasoning model"},
                                 Named{">>>all", "Functionary"},
                                 Named{"a function calling AI model", "a tool caller"},
                                 Named{"functools", "Firefunction"},
                                 Named{"[BEGIN FINAL", "Apriel"},
                                 Named{"[INST] <<SYS>>", "FusionNet"},
                                 Named{"true == true", "Vigogne"},
                                 Named{"## Metadata", "SmolLM3"},
                                 Named{"<|im_sep|>", "Phi-4"},
                                 Named{"<|START_OF_TURN_TOKEN|>", "Command R"},
                                 Named{"[gMASK]", "ChatGLM"},
                                 Named{"<|start_of_role|>", "Granite"},
                                 Named{"<|channel|>", "gpt-oss"},
                                 Named{"<\xEF\xBD\x9CUser\xEF\xBD\x9C>", "DeepSeek"},
                                 Named{"<|turn>", "Gemma 4"},
                                 Named{"<role>", "Ling"},
                                 Named{"<|im_middle|>", "Kimi"},
                                 Named{"<seed:", "Seed-OSS"},
                                 Named{"<|role_start|>", "Megrez"},
                                 Named{"ASSISTANT:", "Vicuna"},
                                 Named{"### Instruction", "Alpaca"},
                                 Named{"Assistant:", "DeepSeek 2"}};

}  // namespace

ChatTemplate::ChatTemplate(const Tokenizer& tokenizer, const std::string& where) : where_(where) {
  const TokenizerSettings& settings = tokenizer.settings();
  const auto token = [&](const std::optional<std::int32_t>& id) {
    return id ? std::string(tokenizer.token(*id)) : std::string();
  };
  ESP_CHECK(!settings.chat_template.empty(), unsupported, where,
            ": no chat template (tokenizer.chat_template): this is not a chat model");
  const std::string source = normalized(settings.chat_template);
  for (const Named& refused : kRefused)
    ESP_CHECK(!has(source, refused.marker), unsupported, where, ": its chat template is ",
              refused.name, "'s (", refused.marker,
              "), which is not supported; use 'generate' with the prompt written out");

  if (has(source, "bos_token")) start_ = token(settings.bos);
  trim_ = trim_assistant_ = trims(source);
  if (has(source, "<|im_start|>") && has(source, "<|im_end|>"))
    chatml(source);
  else if (has(source, "<|start_header_id|>") && has(source, "<|eot_id|>"))
    llama3(source);
  else if (has(source, "[INST]") && has(source, "[/INST]"))
    inst(source, token(settings.bos), token(settings.eos));
  else if (has(source, "<start_of_turn>") && has(source, "<end_of_turn>"))
    gemma(source);
  else if (has(source, "<|assistant|>") && has(source, "<|end|>"))
    phi3(source);
  else if (has(source, "<|assistant|>") && has(source, "eos_token"))
    zephyr(source, token(settings.eos));
  else if (has(source, "<extra_id_0>System") && has(source, "<extra_id_1>"))
    nemotron();
  else
    core::fail(core::ErrorKind::unsupported, where,
               ": its chat template is of no family known (ChatML, Llama 3, Llama 2, Mistral, "
               "Gemma, Phi-3, Zephyr, Nemotron): '",
               replace_broken_utf8(std::string_view(settings.chat_template).substr(0, 60)),
               "...'; use 'generate' with the prompt written out");
}

void ChatTemplate::chatml(const std::string& source) {
  family_ = "ChatML";
  system_ = System::own_turn;
  system_open_ = "<|im_start|>system\n";
  user_open_ = "<|im_start|>user\n";
  assistant_open_ = answer_open_ = "<|im_start|>assistant\n";
  system_close_ = user_close_ = assistant_close_ = "<|im_end|>\n";
  if (const auto text = literal_between(source, system_open_, "<|im_end|>"))
    no_system_ = system_open_ + *text + system_close_;
  drop_thinking_ = has(source, "split('</think>')");
}

void ChatTemplate::llama3(const std::string& source) {
  family_ = "Llama 3";
  const auto header = [](const char* role) {
    return std::string("<|start_header_id|>") + role + "<|end_header_id|>\n\n";
  };
  system_ = System::own_turn;
  system_open_ = header("system");
  user_open_ = header("user");
  assistant_open_ = answer_open_ = header("assistant");
  system_close_ = user_close_ = assistant_close_ = "<|eot_id|>";
  if (!has(source, "Cutting Knowledge Date:")) return;
  // From Llama 3.1 on there is always a system turn with two dates. The current date is the
  // template's own fallback, so that answers do not depend on the day.
  const auto cutting = literal_between(source, "Cutting Knowledge Date:", "\n"),
             today = literal_between(source, "set date_string = \"", "\"");
  ESP_CHECK(cutting && today && has(source, "Today Date: "), unsupported, where_,
            ": its chat template is like Llama 3.1's but names its dates in another way");
  system_open_ += "Cutting Knowledge Date:" + *cutting + "\nToday Date: " + *today + "\n\n";
  no_system_ = system_open_ + system_close_;
}

void ChatTemplate::inst(const std::string& source, const std::string& bos, const std::string& eos) {
  const bool llama2 = has(source, "<<SYS>>");
  family_ = llama2 ? "Llama 2" : "Mistral";
  const auto open = literal_around(source, "[INST]"), close = literal_around(source, "[/INST]"),
             answer = answer_expression(source);
  ESP_CHECK(open && close && answer && !has(source, "strftime_now") &&
                !has(source, "default_system_message"),
            unsupported, where_,
            ": its chat template has [INST] in it but is neither Llama 2's nor one of Mistral's up "
            "to version 7");
  const bool bos_every_turn =
      has(source, "bos_token + '[INST]") || has(source, "bos_token + \"[INST]");
  if (bos_every_turn) start_ = "";
  user_open_ = (bos_every_turn ? bos : "") + *open;
  user_close_ = *close;
  // ' ' + message['content'] + ' ' + eos_token
  if (answer->front() == '\'' || answer->front() == '"')
    assistant_open_ = answer->substr(1, answer->find(answer->front(), 1) - 1);
  const std::string_view before_eos =
      trimmed(std::string_view(*answer).substr(0, answer->find_last_not_of(" +") + 1));
  const char quote = before_eos.back();
  const std::size_t last = quote == '\'' || quote == '"'
                               ? before_eos.find_last_of(quote, before_eos.size() - 2)
                               : std::string_view::npos;
  if (last != std::string_view::npos)
    assistant_close_ = before_eos.substr(last + 1, before_eos.size() - last - 2);
  assistant_close_ += eos;
  trim_ = llama2 && trim_;
  trim_assistant_ = trims(*answer);

  if (llama2) {
    trim_together_ = true;
    system_ = System::in_first_user;
    system_open_ = "<<SYS>>\n";
    system_close_ = "\n<</SYS>>\n\n";
  } else if (const auto system = literal_around(source, "[SYSTEM_PROMPT]"),
             end = literal_around(source, "[/SYSTEM_PROMPT]");
             system && end) {
    system_ = System::own_turn;
    system_open_ = *system;
    system_close_ = *end;
  } else if (has(source, "system_message + ") && has(source, "loop.last and system_message")) {
    system_ = System::in_last_user;
    system_close_ = "\n\n";
  } else if (has(source, "system_message + ") && has(source, "loop.first and system_message")) {
    system_ = System::in_first_user;
    system_close_ = "\n\n";
  }
}

void ChatTemplate::gemma(const std::string& source) {
  family_ = "Gemma";
  user_open_ = "<start_of_turn>user\n";
  assistant_open_ = answer_open_ = "<start_of_turn>model\n";
  user_close_ = assistant_close_ = "<end_of_turn>\n";
  if (has(source, "first_user_prefix")) {
    system_ = System::in_first_user;
    system_close_ = "\n\n";
  }
}

void ChatTemplate::phi3(const std::string& source) {
  family_ = "Phi-3";
  const std::string line = has(source, "<|assistant|>\n") ? "\n" : "";
  system_open_ = "<|system|>" + line;
  user_open_ = "<|user|>" + line;
  assistant_open_ = answer_open_ = "<|assistant|>" + line;
  system_close_ = user_close_ = assistant_close_ =
      has(source, "<|end|>\n") ? "<|end|>\n" : "<|end|>";
  const bool any_role = has(source, "'<|' + message") || has(source, "\"<|\" + message");
  if (any_role || has(source, "<|system|>")) system_ = System::own_turn;
}

void ChatTemplate::zephyr(const std::string& source, const std::string& eos) {
  family_ = "Zephyr";
  ESP_CHECK(has(source, "<|user|>\n"), unsupported, where_,
            ": its chat template has <|assistant|> in it but is neither Phi-3's nor Zephyr's");
  user_open_ = "<|user|>\n";
  assistant_open_ = answer_open_ = "<|assistant|>\n";
  user_close_ = assistant_close_ = eos + "\n";
  if (!has(source, "<|system|>\n")) return;
  system_ = System::own_turn;
  system_open_ = "<|system|>\n";
  system_close_ = user_close_;
}

void ChatTemplate::nemotron() {
  family_ = "Nemotron";
  system_ = System::own_turn;
  system_open_ = "<extra_id_0>System\n";
  system_close_ = "\n\n";
  no_system_ = system_open_ + "\n";
  user_open_ = "<extra_id_1>User\n";
  assistant_open_ = answer_open_ = "<extra_id_1>Assistant\n";
  user_close_ = assistant_close_ = "\n";
  stops_ = {"<extra_id_1>"};
}

std::string ChatTemplate::render(const std::vector<ChatMessage>& messages) const {
  const bool system = !messages.empty() && messages.front().role == "system";
  const std::size_t first = system ? 1 : 0;
  for (std::size_t i = first; i < messages.size(); ++i) {
    const char* expected = (i - first) % 2 == 0 ? "user" : "assistant";
    ESP_CHECK(messages[i].role == expected, usage, "message ", i + 1,
              " of the conversation is of role '", messages[i].role, "', expected '", expected,
              "'");
  }
  ESP_CHECK(messages.size() > first && messages.back().role == "user", usage,
            "the last message of a conversation is the user's");
  ESP_CHECK(!system || system_ != System::refused, unsupported, where_, ": its chat template (",
            family_, ") has no place for a system message");

  const auto text = [](const std::string& content, bool trim) {
    return trim ? std::string(trimmed(content)) : content;
  };
  std::string out = start_;
  const std::string embedded = system && system_ != System::own_turn
                                   ? system_open_ + messages.front().content + system_close_
                                   : "";
  if (system && system_ == System::own_turn)
    out += system_open_ + text(messages.front().content, trim_) + system_close_;
  if (!system) out += no_system_;
  for (std::size_t i = first; i < messages.size(); ++i) {
    std::string content = messages[i].content;
    if (messages[i].role == "user") {
      const bool here = system_ == System::in_last_user ? i + 1 == messages.size() : i == first;
      const std::string before = here ? embedded : "";
      out += user_open_ +
             (trim_together_ ? text(before + content, trim_) : before + text(content, trim_)) +
             user_close_;
      continue;
    }
    if (const std::size_t thought = content.rfind("</think>");
        drop_thinking_ && thought != std::string::npos) {
      content.erase(0, thought + 8);
      content.erase(0, std::min(content.size(), content.find_first_not_of('\n')));
    }
    out += assistant_open_ + text(content, trim_assistant_) + assistant_close_;
  }
  return out + answer_open_;
}

std::vector<std::int32_t> ChatTemplate::encode(const Tokenizer& tokenizer,
                                               const std::vector<ChatMessage>& messages) const {
  for (const ChatMessage& message : messages) {
    if (message.role == "assistant") continue;
    for (const std::int32_t id : tokenizer.encode(message.content, false, true))
      ESP_CHECK(tokenizer.type(id) != TokenType::control, usage, "a ", message.role,
                " message spells out the control token ", tokenizer.token(id),
                ", which would be read as the template's");
  }
  return tokenizer.encode(render(messages), false, true);
}

}  // namespace espalier::text
