// espalier-run generate FILE.gguf --prompt TEXT --tokens N: continues a text, greedily unless --temperature is given.
#include <iostream>
#include <memory>

#include "core/error.h"
#include "core/file.h"
#include "core/units.h"
#include "generation.h"
#include "verb.h"

namespace espalier::tool {
namespace {

struct Flags {
  std::string prompt, prompt_file;
  std::int64_t tokens = 128;
  runtime::SamplerOptions sampler;
};

void run(const Common& common, const Flags& flags) {
  ESP_CHECK(flags.tokens >= 0, usage, "--tokens ", flags.tokens, ": expected 0 or more");
  runtime::SamplerOptions sampler_options = flags.sampler;
  sampler_options.seed = common.seed;
  runtime::Sampler sampler(sampler_options);
  runtime::Session session(common.model, session_options(common));
  const std::string text = flags.prompt_file.empty() ? flags.prompt : core::read_text_file(flags.prompt_file);
  const std::vector<std::int32_t> prompt = session.tokenizer().encode(text);
  ESP_CHECK(!prompt.empty(), usage, "--prompt: the text gives no tokens, and the model adds none of its own");

  const auto show = [&](std::string_view piece) {
    std::cout << piece;
    std::cout.flush();
  };
  const Generated out = generate(session, sampler, prompt, flags.tokens, common.json ? std::function<void(std::string_view)>() : show);
  const double prefill = static_cast<double>(prompt.size()) / out.prefill_seconds;
  const double decode = static_cast<double>(out.tokens.size()) / out.decode_seconds;
  print(common,
        {{"text", out.text},
         {"prompt_tokens", prompt.size()},
         {"generated_tokens", out.tokens.size()},
         {"ended", out.ended},
         {"ids", out.tokens},
         {"prefill_tokens_per_second", prefill},
         {"decode_tokens_per_second", decode}},
        "\n");
  if (!common.quiet && !common.json)
    std::cerr << prompt.size() << " tokens read at " << core::number(prefill) << " tokens/s, " << out.tokens.size() << " written at "
              << core::number(decode) << " tokens/s\n";
}

}  // namespace

void add_generate(CLI::App& app, Common& common) {
  CLI::App* verb = add_verb(app, common, "generate", "continue a text");
  auto flags = std::make_shared<Flags>();
  CLI::Option* prompt = verb->add_option("--prompt", flags->prompt, "text to continue");
  verb->add_option("--prompt-file", flags->prompt_file, "file with the text to continue")->excludes(prompt);
  verb->add_option("--tokens", flags->tokens, "tokens to write at most")->capture_default_str();
  verb->add_option("--context", common.context, "positions of the KV cache (0: the model's, at most 4096)");
  verb->add_option("--temperature", flags->sampler.temperature, "0: greedy")->capture_default_str();
  verb->add_option("--top-k", flags->sampler.top_k, "sample from the K best (0: all)")->capture_default_str();
  verb->add_option("--top-p", flags->sampler.top_p, "sample from the best that hold this probability")->capture_default_str();
  verb->callback([&common, flags] { run(common, *flags); });
}

}  // namespace espalier::tool
