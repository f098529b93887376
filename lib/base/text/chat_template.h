// SPDX-License-Identifier: Apache-2.0
// Writes conversations in the format that a model was trained on. A file's template is a Jinja
// program. It is not run but recognised by its markers. What varies within a family (a default
// system message, spaces, the place of the system message) is read out of its string literals.
//
// A template of another family is refused by name. tests/conformance compares the result with Jinja
// itself on published templates.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace espalier::text {

struct ChatMessage {
  std::string role;  // "system" (only the first), then "user" and "assistant" in turn
  std::string content;
};

class ChatTemplate {
 public:
  // Reads tokenizer.chat_template. Error(unsupported) naming `where` when there is no template or
  // it is not recognised.
  ChatTemplate(const Tokenizer& tokenizer, const std::string& where);

  // ChatML, Llama 3, Llama 2, Mistral, Gemma, Phi-3, Zephyr or Nemotron.
  const char* family() const { return family_; }
  // The whole conversation as text, up to where the model's answer begins. BOS is written out where
  // the template has it. Error(usage) unless roles alternate and the last message is the user's.
  // Error(unsupported) for a system message that the template has no place for.
  std::string render(const std::vector<ChatMessage>& messages) const;
  // The ids of render(). Error(usage) when a system or user message spells out a control token,
  // which would be read as part of the template.
  std::vector<std::int32_t> encode(const Tokenizer& tokenizer,
                                   const std::vector<ChatMessage>& messages) const;
  // Strings that end the model's answer, in addition to its end tokens.
  const std::vector<std::string>& stops() const { return stops_; }

 private:
  enum class System : std::uint8_t { own_turn, in_first_user, in_last_user, refused };

  void chatml(const std::string& source);
  void llama3(const std::string& source);
  // Llama 2 and Mistral.
  void inst(const std::string& source, const std::string& bos, const std::string& eos);
  void gemma(const std::string& source);
  void phi3(const std::string& source);
  void zephyr(const std::string& source, const std::string& eos);
  void nemotron();

  std::string where_;
  const char* family_ = "";
  std::string start_;  // BOS, or empty
  System system_ = System::refused;
  // Text around the system message, as a turn or within the user's turn.
  std::string system_open_, system_close_;
  // Text that replaces the system message when there is none.
  std::string no_system_;
  std::string user_open_, user_close_, assistant_open_, assistant_close_;
  std::string answer_open_;                     // follows the last user message
  bool trim_ = false, trim_assistant_ = false;  // strip white space around messages
  bool trim_together_ = false;  // strip the user's message together with the system message in it
  bool drop_thinking_ = false;  // drop the text up to </think> from earlier answers
  std::vector<std::string> stops_;
};

}  // namespace espalier::text
