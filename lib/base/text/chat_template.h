// SPDX-License-Identifier: Apache-2.0
// Conversations written out the way a model was taught them. A file's template is a Jinja program;
// it is not run but recognised by its markers, and what varies within a family (a default system
// message, spaces, where the system message stands) is read out of its string literals. A template
// of another family is refused by name. Judged by Jinja itself on published templates
// (tests/conformance).
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
  // From tokenizer.chat_template; Error(unsupported) naming `where` when there is none or it is not
  // recognised.
  ChatTemplate(const Tokenizer& tokenizer, const std::string& where);

  const char* family() const {
    return family_;
  }  // ChatML, Llama 3, Llama 2, Mistral, Gemma, Phi-3, Zephyr, Nemotron
  // The whole text, BOS written out where the template has it, up to where the model's answer
  // begins. Error(usage) unless roles alternate and the last message is the user's;
  // Error(unsupported) for a system message that the template has no place for.
  std::string render(const std::vector<ChatMessage>& messages) const;
  // Ids of render(). Error(usage) when a system or user message spells out a control token, which
  // would be read as the template's.
  std::vector<std::int32_t> encode(const Tokenizer& tokenizer,
                                   const std::vector<ChatMessage>& messages) const;
  // Strings besides the model's end tokens that end its answer.
  const std::vector<std::string>& stops() const { return stops_; }

 private:
  enum class System : std::uint8_t { own_turn, in_first_user, in_last_user, refused };

  void chatml(const std::string& source);
  void llama3(const std::string& source);
  void inst(const std::string& source, const std::string& bos,
            const std::string& eos);  // Llama 2 and Mistral
  void gemma(const std::string& source);
  void phi3(const std::string& source);
  void zephyr(const std::string& source, const std::string& eos);
  void nemotron();

  std::string where_;
  const char* family_ = "";
  std::string start_;  // BOS or nothing
  System system_ = System::refused;
  std::string system_open_,
      system_close_;       // around the system message, as a turn or within the user's
  std::string no_system_;  // stands instead when there is no system message
  std::string user_open_, user_close_, assistant_open_, assistant_close_;
  std::string answer_open_;                     // after the last user message
  bool trim_ = false, trim_assistant_ = false;  // white space around messages
  bool trim_together_ = false;                  // of the user's with the system message in it
  bool drop_thinking_ = false;                  // of earlier answers: all up to </think>
  std::vector<std::string> stops_;
};

}  // namespace espalier::text
