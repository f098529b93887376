// espalier-run tokenize FILE.gguf --text FILE: token ids.
#include <memory>

#include "core/file.h"
#include "text/tokenizer.h"
#include "verb.h"

namespace espalier::tool {
namespace {

struct Flags {
  std::string text;
  bool special = false, no_bos = false;
};

void run(const Common& common, const Flags& flags) {
  const text::Tokenizer tokenizer(text::tokenizer_from_gguf(format::GgufHeader::read(core::FileReader(common.model))));
  const std::vector<std::int32_t> ids = tokenizer.encode(core::read_text_file(flags.text), !flags.no_bos, flags.special);
  std::string readable;
  for (const std::int32_t id : ids) readable += (readable.empty() ? "" : " ") + std::to_string(id);
  print(common, {{"ids", ids}}, readable + "\n");
}

}  // namespace

void add_tokenize(CLI::App& app, Common& common) {
  CLI::App* verb = add_verb(app, common, "tokenize", "token ids of a text", false);
  auto flags = std::make_shared<Flags>();
  verb->add_option("--text", flags->text, "the text, UTF-8")->required();
  verb->add_flag("--special", flags->special, "special tokens written out in the text become their ids");
  verb->add_flag("--no-bos", flags->no_bos, "without the tokens the model adds at the ends");
  verb->callback([&common, flags] { run(common, *flags); });
}

}  // namespace espalier::tool
