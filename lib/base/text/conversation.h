// SPDX-License-Identifier: Apache-2.0
// A conversation as transformers' apply_chat_template() takes it: messages, and what a template may
// want to know besides them.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "text/template/template.h"

namespace espalier::text {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant", "tool", or what else the template knows
  std::string content;
};

class Conversation {
 public:
  explicit Conversation(const std::vector<ChatMessage>& messages);
  // From JSON, either the list of messages alone or
  //   {"messages": [...], "tools": [...], "documents": [...], "add_generation_prompt": true,
  //    "chat_template_kwargs": {...}}
  // with everything but the messages optional. Messages have a role, and what else the template
  // reads: content, tool_calls, reasoning_content, ... Error(input) naming `where` for other JSON.
  static Conversation read(std::string_view json, const std::string& where);

  // Further variables of the template, as a JSON object. Error(input) naming `where`.
  void set_options(std::string_view json, const std::string& where);

  bool has_tools() const { return has_tools_; }
  const jinja::Variables& variables() const { return variables_; }
  // All texts of messages that are not the model's own, and of tools and documents.
  const std::vector<std::string>& foreign_texts() const { return foreign_texts_; }

 private:
  Conversation() = default;

  jinja::Variables variables_;
  std::vector<std::string> foreign_texts_;
  bool has_tools_ = false;
};

}  // namespace espalier::text
