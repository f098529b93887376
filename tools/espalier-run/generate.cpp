// SPDX-License-Identifier: Apache-2.0
// espalier-run generate FILE.gguf --prompt TEXT --tokens N: continues a text, or every text of a
// file. Greedy unless --temperature is given.
#include <iostream>
#include <memory>

#include "core/error.h"
#include "core/notes.h"
#include "core/units.h"
#include "prompts.h"
#include "reference.h"
#include "text/documents.h"
#include "verb.h"
#include "writer.h"

namespace espalier::tool {
namespace {

struct GenerateFlags : WriterFlags {
  std::string prompt, prompt_file, prompts;
  bool special = false, has_prompt = false;
};

using Json = nlohmann::ordered_json;

std::vector<std::int32_t> encode(const Writer& writer, const std::string& text,
                                 const std::string& where, bool special) {
  const text::TokenizerSettings& settings = writer.tokenizer().settings();
  std::vector<std::int32_t> ids = writer.tokenizer().encode(text, true, special);
  if (!special && writer.tokenizer().encode(text, true, true) != ids)
    core::note(where +
               ": control tokens that are written out are read as letters; --special reads them "
               "as tokens");
  // A prompt goes on: the EOS that the model adds behind a text would end it.
  if (settings.add_eos) ids.pop_back();
  // Templates write BOS themselves, and the model was trained on one.
  if (special && settings.add_bos && ids.size() > 1 && ids[1] == *settings.bos) {
    ids.erase(ids.begin());
    core::note(where + ": the prompt begins with BOS itself, so no second one is added");
  }
  ESP_CHECK(!ids.empty(), usage, where, ": the text has no tokens, and the model adds none");
  return ids;
}

Json numbers(const std::vector<std::int32_t>& prompt, const runtime::Generated& out) {
  return {{"text", out.text},
          {"prompt_tokens", prompt.size()},
          {"generated_tokens", out.tokens.size()},
          {"ended", out.end == runtime::Generated::End::end_token},
          {"end", runtime::end_name(out.end)},
          {"ids", out.tokens}};
}

void one(const Common& common, const GenerateFlags& flags) {
  Writer writer(common, flags);
  const std::string text = flags.prompt_file.empty() ? text::clean_text(flags.prompt, "--prompt")
                                                     : read_prompt_file(flags.prompt_file);
  ESP_CHECK(flags.has_prompt || writer.tokenizer().settings().add_bos, usage,
            "generate: give --prompt TEXT, --prompt-file FILE or --prompts FILE");
  const std::vector<std::int32_t> prompt = encode(writer, text, "--prompt", flags.special);
  const runtime::Generated out =
      writer.run(prompt, flags.generate, common.json ? runtime::Show() : show_text);
  const double prefill = static_cast<double>(prompt.size()) / out.prefill_seconds;
  const double decode = static_cast<double>(out.tokens.size()) / out.decode_seconds;
  Json result = numbers(prompt, out);
  result["prefill_tokens_per_second"] = prefill;
  result["decode_tokens_per_second"] = decode;
  result.update(writer.draft_numbers());
  print(common, result, "\n");
  if (!common.quiet && !common.json)
    std::cerr << prompt.size() << " tokens read at " << core::number(prefill) << " tokens/s, "
              << out.tokens.size() << " written at " << core::number(decode) << " tokens/s\n";
  writer.report_draft();
}

// Runs the prompts in order, each as if it were alone: with the same seed and an empty context.
void batch(const Common& common, const GenerateFlags& flags) {
  Writer writer(common, flags);
  std::vector<std::vector<std::int32_t>> prompts;
  for (const std::string& text : read_prompts(flags.prompts)) {
    prompts.push_back(encode(writer, text, flags.prompts, flags.special));
    ESP_CHECK(static_cast<std::int64_t>(prompts.back().size()) <= writer.session().context(), usage,
              flags.prompts, ": prompt ", prompts.size(), " has ", prompts.back().size(),
              " tokens, which do not fit into --context ", writer.session().context());
  }
  Json results = Json::array();
  std::int64_t read = 0, written = 0;
  double prefill_seconds = 0, decode_seconds = 0;
  for (const std::vector<std::int32_t>& prompt : prompts) {
    writer.restart();
    const runtime::Generated out = writer.run(prompt, flags.generate, {});
    read += static_cast<std::int64_t>(prompt.size());
    written += static_cast<std::int64_t>(out.tokens.size());
    prefill_seconds += out.prefill_seconds;
    decode_seconds += out.decode_seconds;
    Json result = numbers(prompt, out);
    if (common.json)
      results.push_back(std::move(result));
    else
      show_text(result.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
  }
  const double prefill = static_cast<double>(read) / prefill_seconds,
               decode = static_cast<double>(written) / decode_seconds;
  Json result = {{"results", std::move(results)},
                 {"prompt_tokens", read},
                 {"generated_tokens", written},
                 {"prefill_tokens_per_second", prefill},
                 {"decode_tokens_per_second", decode}};
  result.update(writer.draft_numbers());
  if (common.json) print(common, result, "");
  if (!common.quiet && !common.json)
    std::cerr << prompts.size() << " prompts: " << read << " tokens read at "
              << core::number(prefill) << " tokens/s, " << written << " written at "
              << core::number(decode) << " tokens/s\n";
  writer.report_draft();
}

}  // namespace

void add_generate(CLI::App& app, Common& common) {
  CLI::App* verb = add_verb(app, common, "generate", "continue a text");
  auto flags = std::make_shared<GenerateFlags>();
  CLI::Option* prompt = verb->add_option("--prompt", flags->prompt, "text to continue");
  CLI::Option* file =
      verb->add_option("--prompt-file", flags->prompt_file,
                       "file with the text to continue; one line break at its end is dropped")
          ->excludes(prompt);
  CLI::Option* many = verb->add_option("--prompts", flags->prompts,
                                       "file with one prompt per line, as it stands, or *.jsonl "
                                       "with a JSON string per line; prints one line of JSON for "
                                       "each")
                          ->excludes(prompt)
                          ->excludes(file);
  verb->add_flag("--special", flags->special,
                 "control tokens spelled out in the prompt become their ids, as a chat template "
                 "means them");
  add_writer_options(*verb, common, *flags);
  verb->footer(
      "Example:\n  espalier-run generate student.gguf --prompt 'Once upon a time' --tokens 64");
  describe_json(*verb,
                {{"text", "what was written"},
                 {"prompt_tokens", "tokens of the prompt"},
                 {"generated_tokens", "tokens that were written"},
                 {"ended", "whether the model ended the text itself"},
                 {"end", "why the text ended"},
                 {"ids", "the written tokens"},
                 {"results", "with `--prompts`: the keys above for each prompt"},
                 {"prefill_tokens_per_second", "speed of reading"},
                 {"decode_tokens_per_second", "speed of writing"},
                 {"drafted", "tokens that the draft model proposed, with `--draft`"},
                 {"accepted", "those that the model took over"},
                 {"target_passes", "passes of the model"},
                 {"acceptance_rate", "accepted of the judged ones; null when none was judged"}});
  verb->callback([&common, flags, prompt, file, many] {
    flags->has_prompt = prompt->count() + file->count() > 0;
    many->count() > 0 ? batch(common, *flags) : one(common, *flags);
  });
}

}  // namespace espalier::tool
