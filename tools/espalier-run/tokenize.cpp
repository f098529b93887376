// SPDX-License-Identifier: Apache-2.0
// espalier-run tokenize FILE.gguf --text FILE...: token ids, one line (with --json one list) per
// text. With --messages FILE.json, the ids of a conversation in the model's chat template.
#include <memory>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/pipe.h"
#include "format/gguf_files.h"
#include "reference.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"
#include "text/windows.h"
#include "verb.h"

namespace espalier::tool {
namespace {

struct TokenizeFlags {
  std::vector<std::string> texts;
  std::string messages;
  bool no_bos = false;
  text::Reading reading;
};

// As every verb reads a text, and with what the model adds at both ends.
std::vector<std::int32_t> read_ids(const text::Tokenizer& tokenizer, const std::string& file,
                                   const TokenizeFlags& flags) {
  std::vector<std::int32_t> ids =
      text::token_stream(tokenizer, text::read_documents(core::readable_again(file)), flags.reading)
          .tokens;
  const text::TokenizerSettings& settings = tokenizer.settings();
  if (!flags.no_bos && settings.add_bos) ids.insert(ids.begin(), *settings.bos);
  if (!flags.no_bos && settings.add_eos) ids.push_back(*settings.eos);
  return ids;
}

void run(const Common& common, const TokenizeFlags& flags) {
  ESP_CHECK(flags.texts.empty() != flags.messages.empty(), usage,
            "expected exactly one of --text and --messages");
  const text::Tokenizer tokenizer(
      text::tokenizer_from_gguf(format::read_gguf_header(common.model)));
  nlohmann::ordered_json result;
  std::vector<std::vector<std::int32_t>> all;
  if (flags.messages.empty()) {
    for (const std::string& file : flags.texts) all.push_back(read_ids(tokenizer, file, flags));
  } else {
    const text::ChatTemplate chat(tokenizer, common.model, text::named_templates(common.model));
    const text::Conversation conversation =
        text::Conversation::read(core::read_text_file(flags.messages), flags.messages);
    all.push_back(chat.encode(tokenizer, conversation));
    result["text"] = chat.render(conversation);
    result["template"] = chat.name_for(conversation);
  }
  if (all.size() == 1)
    result["ids"] = all.front();
  else
    result["texts"] = all;
  std::string readable;
  for (const auto& ids : all) {
    for (std::size_t i = 0; i < ids.size(); ++i)
      readable += (i == 0 ? "" : " ") + std::to_string(ids[i]);
    readable += "\n";
  }
  print(common, result, readable);
}

}  // namespace

void add_tokenize(CLI::App& app, Common& common) {
  CLI::App* verb =
      add_verb(app, common, "tokenize", "token ids of a text, or of a conversation", false);
  auto flags = std::make_shared<TokenizeFlags>();
  verb->add_option("--text", flags->texts,
                   "text in UTF-8: a file, *.jsonl or a directory of texts; several are tokenized "
                   "separately");
  CLI::Option* messages = verb->add_option(
      "--messages", flags->messages,
      "file with a JSON array of {role, content}, or an object with messages, tools, documents, "
      "add_generation_prompt and chat_template_kwargs; prints the ids in the chat template and "
      "the rendered text");
  // A template writes all of its control tokens itself.
  CLI::Option* reading = add_reading(*verb, flags->reading)->excludes(messages);
  verb->add_flag("--special")
      ->description("as --text-control-tokens yes, the default")
      ->excludes(messages)
      ->excludes(reading);
  verb->add_flag("--no-bos", flags->no_bos, "without the tokens that the model adds at both ends")
      ->excludes(messages);
  verb->footer("Example:\n  espalier-run tokenize student.gguf --text heldout.txt");
  describe_json(*verb, {{"ids", "token ids of one text"},
                        {"texts", "token ids of each of several texts"},
                        {"text", "with `--messages`: the rendered conversation"},
                        {"template", "with `--messages`: name of the chat template in use"}});
  verb->callback([&common, flags] { run(common, *flags); });
}

}  // namespace espalier::tool
