// SPDX-License-Identifier: Apache-2.0
// The rules of llama.cpp's llama-vocab.cpp: it looks for names of models, and knows no rules of
// added tokens besides.
#include "export/stock_readers.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/notes.h"
#include "text/pretokenizer.h"

namespace espalier::exporter {
namespace {

// Without them, a file that is called so does not load.
constexpr std::string_view kLookedUp[] = {"</s>", "<unk>", "<s>", "<|endoftext|>"};

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}
// Where the name says "phi-3", with or without the hyphen, and in how many letters.
std::optional<std::pair<std::size_t, std::size_t>> phi_in(const std::string& name) {
  const std::string text = lower(name);
  for (std::size_t at = text.find("phi"); at != std::string::npos; at = text.find("phi", at + 1)) {
    const std::size_t n = text.compare(at + 3, 1, "-") == 0 ? 5 : 4;
    if (text.compare(at + n - 1, 1, "3") == 0) return std::pair(at, n);
  }
  return std::nullopt;
}

std::set<std::int32_t> ids_with_rstrip(const text::TokenizerData& data) {
  std::set<std::int32_t> out;
  for (const text::AddedRule& rule : data.rules)
    if (rule.rstrip) out.insert(rule.id);
  return out;
}

// The tokens that take the white space behind them in a file that is called Phi-3. Nothing where it
// would not load.
std::optional<std::set<std::int32_t>> phi_rstrip(const text::TokenizerData& data) {
  std::set<std::int32_t> out;
  std::size_t found = 0;
  for (std::size_t i = 0; i < data.tokens.size(); ++i) {
    const auto id = static_cast<std::int32_t>(i);
    const text::TokenType type = data.types[i];
    const auto at = std::find(std::begin(kLookedUp), std::end(kLookedUp), data.tokens[i]);
    if (at != std::end(kLookedUp)) {
      ++found;
      if (at == std::begin(kLookedUp)) out.insert(id);
    } else if (type == text::TokenType::control || type == text::TokenType::user_defined ||
               type == text::TokenType::unknown) {
      out.insert(id);
    }
  }
  if (found < std::size(kLookedUp)) return std::nullopt;
  return out;
}

// Whether the file is to be called Phi-3, because that is nearer to its tokenizer.
bool means_phi(const text::TokenizerData& data) {
  return phi_rstrip(data).has_value() && !ids_with_rstrip(data).empty();
}

std::string names_of(const text::TokenizerData& data, const std::set<std::int32_t>& ids) {
  constexpr std::size_t kListed = 6;
  std::string out;
  std::size_t n = 0;
  for (const std::int32_t id : ids) {
    if (n++ == kListed) return out + " and " + std::to_string(ids.size() - kListed) + " more";
    out += (out.empty() ? "" : ", ") + data.tokens[static_cast<std::size_t>(id)];
  }
  return out;
}

// Each difference in words; empty: stock readers give the same tokens.
std::vector<std::string> differences(const text::TokenizerData& data, bool called_phi) {
  std::vector<std::string> out;
  std::set<std::int32_t> left, right = ids_with_rstrip(data);
  for (const text::AddedRule& rule : data.rules)
    if (rule.lstrip) left.insert(rule.id);
  if (!left.empty()) out.push_back("it leaves the white space before " + names_of(data, left));
  const std::set<std::int32_t> stock =
      called_phi ? phi_rstrip(data).value_or(std::set<std::int32_t>()) : std::set<std::int32_t>();
  std::set<std::int32_t> kept, taken;
  std::set_difference(right.begin(), right.end(), stock.begin(), stock.end(),
                      std::inserter(kept, kept.end()));
  std::set_difference(stock.begin(), stock.end(), right.begin(), right.end(),
                      std::inserter(taken, taken.end()));
  if (!kept.empty()) out.push_back("it leaves the white space behind " + names_of(data, kept));
  if (!taken.empty()) out.push_back("it takes the white space behind " + names_of(data, taken));
  if (data.kind == text::TokenizerKind::spm && data.space_rule != text::SpaceRule::every_segment &&
      data.add_space_prefix)
    out.emplace_back("it begins a text, and what follows a special token, with one space more");
  const text::PreSpec* spec =
      data.kind == text::TokenizerKind::byte_bpe ? text::find_pre_spec(data.pre) : nullptr;
  if (spec != nullptr && data.ignore_merges != spec->ignore_merges)
    out.emplace_back(data.ignore_merges ? "it merges words that are tokens"
                                        : "it takes words that are tokens without merging");
  return out;
}

}  // namespace

std::string name_for_readers(const checkpoint::Checkpoint& source, const ExportOptions& options) {
  std::string name = source.name();
  if (options.no_tokenizer || !source.has_tokenizer() || !phi_in(name) ||
      means_phi(source.tokenizer()))
    return name;
  while (const auto phi = phi_in(name))
    name.replace(phi->first, phi->second, name.substr(phi->first, 3) + "_3");
  core::note("general.name is \"" + name + "\", not \"" + source.name() +
             "\": of a file with that name, stock llama.cpp expects the special tokens of Phi-3, "
             "which this model does not have");
  return name;
}

void check_stock_readers(const checkpoint::Checkpoint& source, const ExportOptions& options) {
  if (options.no_tokenizer || options.compat == Compat::espalier || !source.has_tokenizer()) return;
  const text::TokenizerData& data = source.tokenizer();
  const std::vector<std::string> all =
      differences(data, phi_in(source.name()).has_value() && means_phi(data));
  if (all.empty()) return;
  std::string list;
  for (const std::string& one : all) list += (list.empty() ? "" : "; ") + one;
  const std::string text =
      source.path() + ": stock llama.cpp tokenizes some texts otherwise: " + list;
  ESP_CHECK(options.compat != Compat::llama_cpp, unsupported, text,
            ". Leave --compat llama.cpp out for a file that espalier-run reads as the model means "
            "it");
  core::note(text);
}

}  // namespace espalier::exporter
