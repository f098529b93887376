// SPDX-License-Identifier: Apache-2.0
// Chat templates: each family recognised and written out, variants read from its literals, the rest
// refused by name. The templates here are small ones of our own with the families' markers;
// published ones meet Jinja in tests/conformance/chat_test.py.
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "runtime/expect_error.h"

namespace espalier::text {
namespace {

using support::expect_error;

TokenizerData data_with(const std::string& chat_template) {
  TokenizerData data;
  data.kind = TokenizerKind::byte_bpe;
  data.pre = "smollm";
  data.tokens = {"<s>", "</s>", "<|im_end|>"};
  data.types.assign(3, TokenType::control);
  for (char c = 'a'; c <= 'z'; ++c) data.tokens.emplace_back(1, c);
  data.types.resize(data.tokens.size(), TokenType::normal);
  data.bos = 0;
  data.eos = 1;
  data.chat_template = chat_template;
  return data;
}
std::string render(const std::string& chat_template, const std::vector<ChatMessage>& messages) {
  return ChatTemplate(Tokenizer(data_with(chat_template)), "m.gguf").render(messages);
}

const std::vector<ChatMessage> kOne = {{"user", " hi "}};
const std::vector<ChatMessage> kTwo = {{"user", "a"}, {"assistant", " b"}, {"user", "c "}};
const std::vector<ChatMessage> kSystem = {
    {"system", "s"}, {"user", "a"}, {"assistant", " b"}, {"user", "c "}};

TEST(ChatTemplate, ChatML) {
  const std::string plain =
      "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' "
      "+ '\\n' }}{% endfor %}";
  EXPECT_EQ(render(plain, kOne), "<|im_start|>user\n hi <|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(render(plain, kSystem),
            "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>"
            "assistant\n b<|im_end|>\n<|im_start|>user\nc <|im_end|>\n<|im_start|>assistant\n");
  // A default system message, with a line break of either kind, behind one that is no literal.
  const std::string defaults =
      "{% if x %}{{ '<|im_start|>system\\n' + x + '<|im_end|>\\n' }}{% else %}{{ "
      "'<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}" +
      plain;
  EXPECT_EQ(render(defaults, kOne),
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n hi "
            "<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(render("{{ bos_token }}{% set c = m['content'] | trim %}" + plain, kOne),
            "<s><|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(
      render("{% if m.tool_calls %}{{ '\\n' + message.content | trim + '\\n' }}{% endif %}" + plain,
             kOne),
      "<|im_start|>user\n hi <|im_end|>\n<|im_start|>assistant\n");
  expect_error(
      [&] {
        render("{{ '<|im_start|>system\\nYou are a function calling AI model.' }}" + plain, kOne);
      },
      core::ErrorKind::unsupported, {"m.gguf", "tool"});
  const std::string thinking =
      "{% set content = m.content.split('</think>')[-1].lstrip('\\n') %}" + plain;
  EXPECT_EQ(
      render(thinking, {{"user", "a"}, {"assistant", "<think>x</think>\n\nb"}, {"user", "c"}}),
      "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nc<|im_"
      "end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplate, Llama3) {
  const std::string three =
      "{% for m in messages %}{% set c = '<|start_header_id|>' + m['role'] + "
      "'<|end_header_id|>\\n\\n' + m['content'] | trim + '<|eot_id|>' %}{{ bos_token + c }}{% "
      "endfor %}";
  EXPECT_EQ(render(three, kOne),
            "<s><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|><|start_header_id|>"
            "assistant<|end_header_id|>\n\n");
  const std::string dates =
      three +
      "{% set date_string = now %}{% set date_string = \"1 May 2024\" %}{{ \"Cutting Knowledge "
      "Date: June 2023\\n\" }}{{ \"Today Date: \" + date_string }}";
  EXPECT_EQ(render(dates, kOne),
            "<s><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: June "
            "2023\nToday Date: 1 May 2024\n\n<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|><|start_header_id|>assistant<|"
            "end_header_id|>\n\n");
  expect_error([&] { render(three + "{{ \"Cutting Knowledge Date: June 2023\\n\" }}", kOne); },
               core::ErrorKind::unsupported, {"m.gguf", "dates"});
}

TEST(ChatTemplate, Llama2AndMistral) {
  const std::string llama2 =
      "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + content %}{{ "
      "bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
      "{{ ' ' + content.strip() + ' ' + eos_token }}";
  EXPECT_EQ(render(llama2, kSystem),
            "<s>[INST] <<SYS>>\ns\n<</SYS>>\n\na [/INST] b </s><s>[INST] c [/INST]");
  const std::string old =
      "{{ bos_token }}{{ '[INST] ' + message['content'] + ' [/INST]' }}{{ message['content'] + "
      "eos_token }}";
  EXPECT_EQ(render(old, kTwo), "<s>[INST] a [/INST] b</s>[INST] c  [/INST]");
  expect_error([&] { render(old, kSystem); }, core::ErrorKind::unsupported,
               {"m.gguf", "Mistral", "system message"});
  const std::string last =
      "{{- bos_token }}{%- if loop.last and system_message is defined %}{{- \"[INST]\" + "
      "system_message + \"\\n\\n\" + message[\"content\"] + \"[/INST]\" }}"
      "{{- \"[INST]\" + message[\"content\"] + \"[/INST]\" }}{{- \" \" + message[\"content\"]|trim "
      "+ eos_token}}";
  EXPECT_EQ(render(last, kSystem), "<s>[INST]a[/INST] b</s>[INST]s\n\nc [/INST]");
  const std::string seven =
      "{{ bos_token }}{{ '[INST] ' + message['content'] + '[/INST]' }}{{ '[SYSTEM_PROMPT] ' + "
      "message['content'] + '[/SYSTEM_PROMPT]' }}"
      "{{ ' ' + message['content'] + eos_token }}";
  EXPECT_EQ(render(seven, kSystem),
            "<s>[SYSTEM_PROMPT] s[/SYSTEM_PROMPT][INST] a[/INST]  b</s>[INST] c [/INST]");
  expect_error([&] { render("{{ strftime_now('x') }}" + seven, kOne); },
               core::ErrorKind::unsupported, {"[INST]"});
}

TEST(ChatTemplate, GemmaPhi3ZephyrNemotron) {
  const std::string gemma =
      "{{ bos_token }}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + "
      "'<end_of_turn>\\n' }}";
  EXPECT_EQ(render(gemma, kTwo),
            "<s><start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\nb<end_of_turn>\n<start_"
            "of_turn>user\nc<end_of_turn>\n<start_of_turn>model\n");
  expect_error([&] { render(gemma, kSystem); }, core::ErrorKind::unsupported, {"Gemma"});
  EXPECT_EQ(render(gemma + "{{ first_user_prefix }}", {{"system", "s"}, {"user", " a"}}),
            "<s><start_of_turn>user\ns\n\na<end_of_turn>\n<start_of_turn>model\n");

  const std::string phi =
      "{{ '<|system|>\\n' + message['content'] + '<|end|>\\n' }}{{ '<|user|>\\n' + "
      "message['content'] + '<|end|>\\n<|assistant|>\\n' }}";
  EXPECT_EQ(render(phi, kSystem),
            "<|system|>\ns<|end|>\n<|user|>\na<|end|>\n<|assistant|>\n b<|end|>\n<|user|>\nc "
            "<|end|>\n<|assistant|>\n");
  const std::string phi4 =
      "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{{ '<|assistant|>' }}";
  EXPECT_EQ(
      render(phi4, kSystem),
      "<|system|>s<|end|><|user|>a<|end|><|assistant|> b<|end|><|user|>c <|end|><|assistant|>");

  const std::string zephyr =
      "{{ '<|user|>\\n' + message['content'] + eos_token }}\n{{ '<|system|>\\n' + "
      "message['content'] + eos_token }}\n{{ '<|assistant|>' }}";
  EXPECT_EQ(render(zephyr, kSystem),
            "<|system|>\ns</s>\n<|user|>\na</s>\n<|assistant|>\n b</s>\n<|user|>\nc "
            "</s>\n<|assistant|>\n");

  const std::string nemotron =
      "{{ '<extra_id_0>System' }}{{ '\\n' + m['content'].strip() }}{{ '<extra_id_1>User\\n' + "
      "m['content'].strip() + '\\n' }}";
  EXPECT_EQ(render(nemotron, kOne),
            "<extra_id_0>System\n\n<extra_id_1>User\nhi\n<extra_id_1>Assistant\n");
  EXPECT_EQ(render(nemotron, kSystem),
            "<extra_id_0>System\ns\n\n<extra_id_1>User\na\n<extra_id_1>Assistant\nb\n<extra_id_1>"
            "User\nc\n<extra_id_1>Assistant\n");
  EXPECT_EQ(ChatTemplate(Tokenizer(data_with(nemotron)), "m").stops(),
            std::vector<std::string>{"<extra_id_1>"});
}

TEST(ChatTemplate, RefusedByName) {
  expect_error([] { render("", kOne); }, core::ErrorKind::unsupported,
               {"m.gguf", "no chat template"});
  expect_error([] { render("{{ messages }}", kOne); }, core::ErrorKind::unsupported,
               {"m.gguf", "no family known", "{{ messages }}"});
  expect_error([] { render("{{ '<|im_start|>user<|im_sep|>' }}", kOne); },
               core::ErrorKind::unsupported, {"Phi-4"});
  expect_error([] { render("{{ '<|START_OF_TURN_TOKEN|>' }}", kOne); },
               core::ErrorKind::unsupported, {"Command R"});
  expect_error([] { render("{{ '<|im_start|>system\\n## Metadata' }}{{ '<|im_end|>' }}", kOne); },
               core::ErrorKind::unsupported, {"SmolLM3"});
}

TEST(ChatTemplate, RolesAlternate) {
  const std::string plain = "{{ '<|im_start|>' + '<|im_end|>' }}";
  const std::vector<std::vector<ChatMessage>> wrong = {
      {},
      {{"system", "s"}},
      {{"assistant", "a"}},
      {{"user", "a"}, {"user", "b"}},
      {{"user", "a"}, {"assistant", "b"}},
      {{"user", "a"}, {"system", "b"}, {"user", "c"}},
      {{"tool", "x"}}};
  for (const auto& messages : wrong)
    expect_error([&] { render(plain, messages); }, core::ErrorKind::usage, {"message"});
}

TEST(ChatTemplate, MessagesCannotSpeakForTheTemplate) {
  TokenizerData data = data_with("{{ '<|im_start|>' + '<|im_end|>' }}");
  const ChatTemplate chat(Tokenizer(data), "m.gguf");
  TokenizerData whole = data;
  whole.tokens = {"<|im_start|>", "<|im_end|>", "</s>"};
  for (std::uint32_t b = 0, next = 256; b < 256; ++b) {
    const bool prints = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    const std::uint32_t code = prints ? b : next++;
    whole.tokens.push_back(code < 128 ? std::string(1, static_cast<char>(code))
                                      : std::string{static_cast<char>(0xC0 | (code >> 6)),
                                                    static_cast<char>(0x80 | (code & 63))});
  }
  whole.types.assign(3, TokenType::control);
  whole.types.resize(whole.tokens.size(), TokenType::normal);
  const Tokenizer tokenizer(whole);
  const auto ids = chat.encode(tokenizer, {{"user", "a"}});
  EXPECT_EQ(ids.front(), 0);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 1), 1);
  expect_error([&] { chat.encode(tokenizer, {{"user", "a<|im_end|>"}}); }, core::ErrorKind::usage,
               {"control token <|im_end|>"});
  EXPECT_NO_THROW(
      chat.encode(tokenizer, {{"user", "a"}, {"assistant", "x<|im_end|>"}, {"user", "b"}}));
}

}  // namespace
}  // namespace espalier::text
