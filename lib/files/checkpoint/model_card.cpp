// SPDX-License-Identifier: Apache-2.0
// The front matter of README.md: a subset of YAML between two lines of three hyphens. Read are
// scalars and lists of scalars of the outermost level, which is what model cards use for the keys
// below. Text in quotes is written as JSON writes it, which YAML reads too.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <sstream>

#include "checkpoint/description.h"
#include "checkpoint/sampling_keys.h"
#include "core/file.h"
#include "core/notes.h"
#include "text/utf8.h"

namespace espalier::checkpoint {
namespace {

using format::GgufValue;
using Json = nlohmann::ordered_json;

constexpr std::uint64_t kMaxCardBytes = 4 << 20;
constexpr const char *kFence = "---", *kOurs = "# Written by Espalier.";

struct TextKey {
  const char *gguf, *card;
};
constexpr TextKey kTexts[] = {{"general.name", "model_name"},
                              {"general.author", "author"},
                              {"general.version", "version"},
                              {"general.organization", "organization"},
                              {"general.finetune", "finetune"},
                              {"general.basename", "basename"},
                              {"general.size_label", "size_label"},
                              {"general.description", "description"},
                              {"general.license", "license"},
                              {"general.license.name", "license_name"},
                              {"general.license.link", "license_link"},
                              {"general.source.url", "url"},
                              {"general.source.doi", "doi"},
                              {"general.source.uuid", "uuid"},
                              {"general.source.repo_url", "repo_url"}};
constexpr TextKey kLists[] = {{"general.tags", "tags"}, {"general.languages", "language"}};
// Lists of models or data sets: GGUF numbers them.
constexpr TextKey kSources[] = {{"general.base_model.", "base_model"},
                                {"general.dataset.", "datasets"}};
constexpr const char* kHub = "https://huggingface.co/";

std::string trimmed(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return std::string(text);
}

// A scalar in quotes or without. Empty for null.
std::string scalar(const std::string& text) {
  if (text.starts_with('"')) {
    const Json value = Json::parse(text, nullptr, false);
    if (value.is_string()) return value.get<std::string>();
  }
  if (text.size() >= 2 && text.front() == '\'' && text.back() == '\'') {
    std::string out;
    for (std::size_t i = 1; i + 1 < text.size(); ++i) {
      out += text[i];
      if (text[i] == '\'' && text[i + 1] == '\'') ++i;
    }
    return out;
  }
  const std::string plain = trimmed(std::string_view(text).substr(0, text.find(" #")));
  return plain == "null" || plain == "~" ? "" : plain;
}

// "[a, 'b, c']"
std::vector<std::string> flow_list(std::string_view text) {
  std::vector<std::string> out;
  std::string item;
  char quote = 0;
  for (const char c : text.substr(1, text.size() - 2)) {
    if (quote == 0 && c == ',') {
      out.push_back(scalar(trimmed(item)));
      item.clear();
      continue;
    }
    if (quote == c)
      quote = 0;
    else if (quote == 0 && (c == '"' || c == '\''))
      quote = c;
    item += c;
  }
  if (!trimmed(item).empty()) out.push_back(scalar(trimmed(item)));
  return out;
}

// The values of every key, a scalar being a list of one.
using Card = std::map<std::string, std::vector<std::string>>;

class CardReader {
 public:
  explicit CardReader(const std::string& content) {
    std::istringstream in(content);
    std::string line;
    if (!std::getline(in, line) || trimmed(line) != kFence) return;
    while (std::getline(in, line) && trimmed(line) != kFence) add(line);
    close();
  }
  Card take() { return std::move(card_); }

 private:
  void add(const std::string& line) {
    const std::string text = trimmed(line);
    if (text.empty() || text.front() == '#') return;
    const bool outermost = line.front() != ' ' && line.front() != '\t';
    if (outermost && !text.starts_with("- ")) {
      close();
      open(text);
    } else if (folded_) {
      words_ += (words_.empty() ? "" : " ") + text;
    } else if (text.starts_with("- ")) {
      const std::string item = trimmed(std::string_view(text).substr(2));
      const bool quoted = item.starts_with('"') || item.starts_with('\'');
      if (quoted || item.find(": ") == std::string::npos) card_[key_].push_back(scalar(item));
    }
  }
  void open(const std::string& text) {
    const std::size_t colon = text.find(':');
    key_ = colon == std::string::npos ? "" : trimmed(std::string_view(text).substr(0, colon));
    if (key_.empty()) return;
    const std::string value = trimmed(std::string_view(text).substr(colon + 1));
    folded_ = value.starts_with('>') || value.starts_with('|');
    if (folded_ || value.empty()) return;
    if (value.front() == '[' && value.back() == ']')
      card_[key_] = flow_list(value);
    else if (value.front() != '{')
      card_[key_] = {scalar(value)};
  }
  void close() {
    if (folded_ && !words_.empty()) card_[key_] = {words_};
    folded_ = false;
    words_.clear();
    key_.clear();
  }

  Card card_;
  std::string key_, words_;
  bool folded_ = false;
};

// Of a hub's id, its address, or any other text.
void add_source(Description& out, const std::string& prefix, const std::string& text) {
  const bool at_hub = text.starts_with(kHub);
  const std::string id = at_hub ? text.substr(std::string_view(kHub).size()) : text;
  const std::size_t slash = id.find('/');
  const bool is_id = slash != std::string::npos && id.find('/', slash + 1) == std::string::npos &&
                     id.find(' ') == std::string::npos;
  const auto set = [&](const char* what, const std::string& value) {
    out.emplace_back(prefix + what, GgufValue::string(value));
  };
  if (is_id) {
    set("name", id.substr(slash + 1));
    set("organization", id.substr(0, slash));
    set("repo_url", kHub + id);
  } else {
    set(text.find("://") != std::string::npos ? "repo_url" : "name", text);
  }
}

const std::string* text_of(const Description& description, const std::string& key) {
  const GgufValue* value = find(description, key);
  return value != nullptr ? std::get_if<std::string>(&value->value) : nullptr;
}

// As model cards name it: a hub's id, or the name.
std::string source_text(const Description& description, const std::string& prefix) {
  const std::string *name = text_of(description, prefix + "name"),
                    *address = text_of(description, prefix + "repo_url");
  if (address != nullptr && address->starts_with(kHub))
    return address->substr(std::string_view(kHub).size());
  return name != nullptr ? *name : address != nullptr ? *address : "";
}

std::string quoted(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}
void add_list(std::string& out, const char* key, const std::vector<std::string>& items) {
  if (items.empty()) return;
  out += std::string(key) + ":\n";
  for (const std::string& item : items) out += "- " + quoted(item) + "\n";
}

void add_sampling(Description& out, const nlohmann::json& config) {
  if (const auto it = config.find("do_sample"); it != config.end() && *it == false) return;
  for (const SamplingKey& key : kSamplingKeys) {
    const auto it = config.find(key.config);
    if (it == config.end() || it->is_null()) continue;
    const double value = it->is_number() ? it->get<double>() : std::nan("");
    if (!(value >= key.least && value <= key.most)) {
      core::note(std::string("generation_config.json: ") + key.config + ": " + it->dump() +
                 " is no number that it can be, so it is left out");
      continue;
    }
    out.emplace_back(key.gguf, key.is_whole ? GgufValue::i32(static_cast<std::int32_t>(value))
                                            : GgufValue::f32(static_cast<float>(value)));
  }
}

void add_card(Description& out, const Card& card) {
  const auto values = [&](const char* key) {
    const auto found = card.find(key);
    std::vector<std::string> all = found == card.end() ? std::vector<std::string>() : found->second;
    std::erase_if(all, [](const std::string& v) { return v.empty(); });
    return all;
  };
  for (const TextKey& key : kTexts)
    if (const auto all = values(key.card); !all.empty())
      out.emplace_back(key.gguf, GgufValue::string(all.front()));
  for (const TextKey& key : kLists)
    if (auto all = values(key.card); !all.empty())
      out.emplace_back(key.gguf, GgufValue::strings(std::move(all)));
  for (const TextKey& key : kSources) {
    const auto all = values(key.card);
    if (all.empty()) continue;
    const std::string prefix = key.gguf;
    out.emplace_back(prefix + "count", GgufValue::u32(static_cast<std::uint32_t>(all.size())));
    for (std::size_t i = 0; i < all.size(); ++i)
      add_source(out, prefix + std::to_string(i) + ".", all[i]);
  }
}

}  // namespace

Description description_of(const std::string& directory, const nlohmann::json& generation_config) {
  Description out;
  const std::string path = directory + "README.md";
  std::error_code unreadable;
  if (std::filesystem::is_regular_file(path, unreadable) &&
      std::filesystem::file_size(path, unreadable) <= kMaxCardBytes) {
    const std::string content = core::read_text_file(path, kMaxCardBytes);
    if (text::is_valid_utf8(content))
      add_card(out, CardReader(content).take());
    else
      core::note(path + ": is not UTF-8, so what it says of licence and origin is left out");
  }
  add_sampling(out, generation_config);
  return out;
}

std::string model_card(const Description& description) {
  std::string out;
  for (const TextKey& key : kTexts)
    if (const std::string* value = text_of(description, key.gguf))
      out += std::string(key.card) + ": " + quoted(*value) + "\n";
  for (const TextKey& key : kLists) {
    const GgufValue* value = find(description, key.gguf);
    if (value == nullptr) continue;
    if (const auto* list = std::get_if<std::shared_ptr<const format::GgufArray>>(&value->value))
      add_list(out, key.card, (*list)->strings);
  }
  for (const TextKey& key : kSources) {
    std::vector<std::string> items;
    for (std::size_t i = 0;; ++i) {
      const std::string item = source_text(description, key.gguf + std::to_string(i) + ".");
      if (item.empty()) break;
      items.push_back(item);
    }
    add_list(out, key.card, items);
  }
  if (out.empty()) return "";
  return std::string(kFence) + "\n" + kOurs + "\n" + out + kFence + "\n";
}

bool is_our_card(const std::string& path) {
  std::error_code unreadable;
  if (!std::filesystem::is_regular_file(path, unreadable)) return false;
  const core::FileReader file(path);
  std::string start(std::string(kFence) + "\n" + kOurs);
  if (file.size() < start.size()) return false;
  const std::string wanted = start;
  file.read(0, std::as_writable_bytes(std::span(start.data(), start.size())));
  return start == wanted;
}

}  // namespace espalier::checkpoint
