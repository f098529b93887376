// SPDX-License-Identifier: Apache-2.0
// The tokens that no cut of a vocabulary drops.
//
// Of a unigram vocabulary these are also the piece of the least score and the one of the greatest.
// The price of an unknown character is the least score minus 10, and a user-defined piece costs by
// the greatest. If they changed, a text could be cut otherwise although all its pieces are there.
// Without byte tokens every single character stays, and every piece with a character that is no
// piece itself: so what was known before is not unknown afterwards.
#include <algorithm>
#include <set>
#include <string_view>

#include "checkpoint/vocabulary.h"
#include "core/error.h"
#include "core/notes.h"
#include "plan/vocabulary_choice.h"
#include "text/conversation.h"
#include "text/merge_chain.h"
#include "text/template/lexer.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace espalier::plan {
namespace {

using Ids = std::set<std::int64_t>;

// What one tokenizer makes of the texts of a template. SPM and unigram put a space in front of a
// text, but not where a template goes on behind other text, so both ways count.
class TemplateTexts {
 public:
  TemplateTexts(const text::TokenizerData& data, Ids& ids) : ids_(ids) {
    tokenizers_.emplace_back(data);
    if (data.kind == text::TokenizerKind::byte_bpe || !data.add_space_prefix) return;
    text::TokenizerData bare = data;
    bare.add_space_prefix = false;
    tokenizers_.emplace_back(bare);
  }
  void add(std::string_view text) {
    for (const text::Tokenizer& tokenizer : tokenizers_)
      for (const std::int32_t id : tokenizer.encode(text, false, true)) ids_.insert(id);
  }

 private:
  std::vector<text::Tokenizer> tokenizers_;
  Ids& ids_;
};

// The texts between tags, and those in quotes.
void add_literals(const std::string& source, const std::string& name, TemplateTexts& texts) {
  using Type = text::jinja::Token::Type;
  try {
    for (const text::jinja::Token& token : text::jinja::tokenize(source))
      if (token.is(Type::data) || token.is(Type::string)) texts.add(token.text);
  } catch (const text::jinja::SyntaxFault& fault) {
    core::note("the " + name + " is not valid (line " + std::to_string(fault.line) + ": " +
               fault.message + "); all of its text is kept instead of what it writes");
    texts.add(source);
  }
}

// Short conversations as the template writes them, for texts that it puts together. It may refuse a
// role; its literals are there in any case. The time is fixed, so that the choice is.
void add_conversations(const std::string& source, const text::jinja::Variables& special,
                       TemplateTexts& texts) {
  const std::vector<text::ChatMessage> turns = {
      {"user", "a"}, {"assistant", "a"}, {"user", "a"}, {"assistant", "a"}, {"user", "a"}};
  for (const bool with_system : {true, false}) {
    std::vector<text::ChatMessage> messages = turns;
    if (with_system) messages.insert(messages.begin(), {"system", "a"});
    text::jinja::Variables variables = text::Conversation(messages).variables();
    variables.insert(variables.end(), special.begin(), special.end());
    std::tm now = {};
    now.tm_year = 100;
    now.tm_mday = 1;
    try {
      texts.add(text::jinja::Template(source, "chat template").render(variables, {.now = now}));
    } catch (const core::Error&) {
      continue;
    }
  }
}

void add_templates(const text::TokenizerData& data, Ids& ids) {
  if (data.chat_template.empty() && data.hf_named_templates.empty()) return;
  TemplateTexts texts(data, ids);
  text::jinja::Variables special;
  const auto name = [&](const char* key, const std::optional<std::int32_t>& id) {
    if (id)
      special.emplace_back(key,
                           text::jinja::Value::text(data.tokens[static_cast<std::size_t>(*id)]));
  };
  name("bos_token", data.bos);
  name("eos_token", data.eos);
  name("unk_token", data.unk);
  name("pad_token", data.pad);
  for (const char* role : {"system", "user", "assistant", "tool"}) texts.add(role);
  const auto add = [&](const std::string& source, const std::string& what) {
    if (source.empty()) return;
    add_literals(source, what, texts);
    add_conversations(source, special, texts);
  };
  add(data.chat_template, "chat template");
  for (const auto& [key, source] : data.hf_named_templates) add(source, "chat template " + key);
}

void add_unigram(const text::TokenizerData& data, Ids& ids) {
  std::int64_t least = -1, greatest = -1;
  std::set<std::string_view> characters;
  bool bytes = false;
  const auto score = [&](std::int64_t id) { return data.scores[static_cast<std::size_t>(id)]; };
  for (std::size_t i = 0; i < data.tokens.size(); ++i) {
    bytes = bytes || data.types[i] == text::TokenType::byte;
    if (data.types[i] != text::TokenType::normal) continue;
    const auto id = static_cast<std::int64_t>(i);
    if (least < 0 || score(id) < score(least)) least = id;
    if (greatest < 0 || score(id) > score(greatest)) greatest = id;
    if (text::count_code_points(data.tokens[i]) == 1) characters.insert(data.tokens[i]);
  }
  ids.insert({least, greatest});
  for (std::size_t i = 0; !bytes && i < data.tokens.size(); ++i) {
    if (data.types[i] != text::TokenType::normal) continue;
    const std::string_view piece = data.tokens[i];
    bool whole = characters.contains(piece);
    for (std::size_t at = 0; at < piece.size();) {
      const std::size_t length = text::code_point_at(piece, at).length;
      whole = whole || !characters.contains(piece.substr(at, length));
      at += length;
    }
    if (whole) ids.insert(static_cast<std::int64_t>(i));
  }
}

}  // namespace

std::vector<std::int64_t> needed_tokens(const text::TokenizerData& data,
                                        const std::vector<std::int64_t>& named) {
  Ids ids(named.begin(), named.end());
  for (std::size_t i = 0; i < data.tokens.size(); ++i)
    if (checkpoint::is_always_kept(data, i)) ids.insert(static_cast<std::int64_t>(i));
  for (const auto& id : {data.bos, data.eos, data.unk, data.pad})
    if (id) ids.insert(*id);
  add_templates(data, ids);
  if (data.kind == text::TokenizerKind::unigram) add_unigram(data, ids);
  const text::TokenIds index = text::index_tokens(data, "tokenizer");
  // Spelled in bytes, the space symbol would not be read back as a space.
  const std::int32_t space = index.find(text::kSpaceSymbol);
  if (data.kind != text::TokenizerKind::byte_bpe && space >= 0) ids.insert(space);
  text::MergeChains chains(data, index);
  std::vector<std::int64_t> whole(ids.begin(), ids.end());
  for (const std::int64_t id : ids)
    if (id < static_cast<std::int64_t>(data.tokens.size()))
      for (const std::int32_t part : chains.of(static_cast<std::int32_t>(id)))
        whole.push_back(part);
  std::sort(whole.begin(), whole.end());
  whole.erase(std::unique(whole.begin(), whole.end()), whole.end());
  return whole;
}

}  // namespace espalier::plan
