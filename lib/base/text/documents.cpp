// SPDX-License-Identifier: Apache-2.0
// Reads texts, and says what a file is that is none.
#include "text/documents.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string_view>

#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "format/json_input.h"
#include "format/known_file.h"
#include "text/lines.h"
#include "text/utf8.h"

namespace espalier::text {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMark = "\xEF\xBB\xBF";

// UTF-16 and UTF-32 without a mark: Latin letters have zero bytes beside them.
bool has_many_zeros(std::string_view bytes) {
  const std::string_view sample = bytes.substr(0, 4096);
  return 4 * std::count(sample.begin(), sample.end(), '\0') >=
             static_cast<std::ptrdiff_t>(sample.size()) &&
         !sample.empty();
}

[[noreturn]] void refuse(std::string_view bytes, std::size_t offset, const std::string& path) {
  const auto line = 1 + std::count(bytes.begin(), bytes.begin() + static_cast<long>(offset), '\n');
  char byte[8];
  std::snprintf(byte, sizeof byte, "0x%02X", static_cast<unsigned char>(bytes[offset]));
  std::string what(format::what_it_is(bytes));
  if (what.empty() && has_many_zeros(bytes))
    what = "looks like UTF-16; convert it with iconv -f UTF-16LE -t UTF-8";
  // Bytes that only continue a character may follow the one that begins it.
  if (what.empty() && bytes.size() - offset < 4 &&
      code_point_at(bytes, offset).length == bytes.size() - offset &&
      static_cast<unsigned char>(bytes[offset]) >= 0xC2)
    what = "ends inside a character; cut it between characters";
  if (what.empty())
    what = "is in another encoding; convert it from that, as with iconv -f ENCODING -t UTF-8";
  core::fail(core::ErrorKind::input, path, ":", line, ": byte ", offset, " of the file (", byte,
             ") is not UTF-8 text; the file ", what);
}

// The offset of the first byte that is no UTF-8 text. npos: all is.
std::size_t first_not_text(std::string_view bytes) {
  std::size_t first = has_many_zeros(bytes) ? bytes.find('\0') : bytes.npos;
  if (!is_valid_utf8(bytes)) {
    std::size_t at = 0;
    while (true) {
      const CodePoint c = code_point_at(bytes, at);
      if (!c.valid) break;
      at += c.length;
    }
    first = std::min(first, at);
  }
  return first;
}

void require_text(std::string_view bytes, const std::string& path) {
  if (const std::size_t first = first_not_text(bytes); first != bytes.npos)
    refuse(bytes, first, path);
}

// Returns the number of carriage returns that were there.
std::int64_t unify_line_breaks(std::string& text) {
  const std::int64_t n = std::count(text.begin(), text.end(), '\r');
  if (n == 0) return 0;
  std::size_t out = 0;
  for (std::size_t in = 0; in < text.size(); ++in) {
    const bool pair = text[in] == '\r' && in + 1 < text.size() && text[in + 1] == '\n';
    if (!pair) text[out++] = text[in] == '\r' ? '\n' : text[in];
  }
  text.resize(out);
  return n;
}

class Reader {
 public:
  explicit Reader(std::string path) { read_.path = std::move(path); }

  Documents read() {
    std::error_code unreadable;
    if (fs::is_directory(read_.path, unreadable))
      read_folder();
    else
      read_file(read_.path);
    if (returns_ > 0)
      core::note(read_.path + ": " + std::to_string(returns_) +
                 " carriage returns are read as line breaks");
    for (const auto& [is, name] : {std::pair(has_mark_, "mark"),
                                   {returns_ > 0, "line breaks"},
                                   {read_.texts.size() > 1, "documents"}})
      if (is) read_.changes += (read_.changes.empty() ? "" : ",") + std::string(name);
    if (read_.texts.empty()) read_.texts.emplace_back();
    return std::move(read_);
  }
  // The bytes of a file, checked, without a mark.
  std::string bytes_of(const std::string& path) {
    std::string bytes = core::read_text_file(path);
    require_text(bytes, path);
    if (bytes.starts_with(kMark)) {
      bytes.erase(0, kMark.size());
      has_mark_ = true;
    }
    return bytes;
  }
  void add(std::string text) {
    returns_ += unify_line_breaks(text);
    if (!text.empty()) read_.texts.push_back(std::move(text));
  }

 private:
  void read_file(const std::string& path) {
    std::string bytes = bytes_of(path);
    if (has_json_lines(path))
      read_lines(bytes, path);
    else
      add(std::move(bytes));
  }

  void read_lines(std::string_view bytes, const std::string& path) {
    for_each_line(bytes, [&](std::string_view line, std::int64_t number) {
      if (!is_blank(line)) add(text_of(line, path + ":" + std::to_string(number)));
    });
  }

  static std::string shown(const nlohmann::ordered_json& value) {
    constexpr std::size_t kMost = 60;
    const std::string all = value.dump(-1, ' ', true);
    return all.size() <= kMost ? all : all.substr(0, kMost - 3) + "...";
  }

  static std::string text_of(std::string_view line, const std::string& place) {
    const auto json = format::parse_json<nlohmann::ordered_json>(line, place);
    if (json.is_string()) return json.get<std::string>();
    const bool there = json.is_object() && json.contains("text") && json["text"].is_string();
    ESP_CHECK(there || !json.is_object() || !json.contains("text"), input, place,
              ": key \"text\" is ", shown(json["text"]),
              ", expected a string; leave out the line, or give it a text");
    std::string keys;
    if (json.is_object())
      for (const auto& [key, value] : json.items()) keys += (keys.empty() ? "" : ", ") + key;
    ESP_CHECK(there, input, place, ": expected {\"text\": \"...\"}",
              keys.empty() ? "" : ", but the keys are " + keys);
    return json["text"].get<std::string>();
  }

  void read_folder() {
    const fs::path root = read_.path;
    ESP_CHECK(!fs::exists(root / "config.json"), input, read_.path,
              ": is a model directory; expected a text, or a directory of texts");
    std::vector<std::string> files;
    std::int64_t hidden = 0;
    std::error_code error;
    for (fs::recursive_directory_iterator it(root, error), end; !error && it != end;
         it.increment(error)) {
      if (it->path().filename().string().starts_with('.')) {
        ++hidden;
        it.disable_recursion_pending();
        continue;
      }
      ESP_CHECK(!it->is_symlink() || !it->is_directory(), input, it->path().string(),
                ": is a link to a directory, which is not followed; move it away, or name it");
      if (it->is_directory()) continue;
      ESP_CHECK(
          it->is_regular_file(), input, it->path().string(),
          it->is_symlink() ? ": is a link to a file that is not there" : ": is no regular file",
          "; move it away, or name the files to read");
      files.push_back(it->path().string());
    }
    ESP_CHECK(!error, input, read_.path, ": cannot list the directory: ", error.message());
    ESP_CHECK(!files.empty(), input, read_.path, ": the directory has no files");
    std::sort(files.begin(), files.end());
    if (hidden > 0)
      core::note(read_.path + ": " + std::to_string(hidden) +
                 " names that begin with a dot are left out");
    for (const std::string& file : files) read_file(file);
  }

  Documents read_;
  std::int64_t returns_ = 0;
  bool has_mark_ = false;
};

}  // namespace

bool Documents::empty() const {
  return std::all_of(texts.begin(), texts.end(), [](const auto& text) { return text.empty(); });
}

Documents read_documents(const std::string& path) { return Reader(path).read(); }

std::string read_text(const std::string& path) {
  std::string text = Reader(path).bytes_of(path);
  static_cast<void>(unify_line_breaks(text));
  return text;
}

std::string clean_text(std::string text, const std::string& where) {
  if (text.starts_with(kMark)) text.erase(0, kMark.size());
  const std::size_t bad = first_not_text(text);
  ESP_CHECK(bad == text.npos, input, where, ": byte ", bad,
            " of the text is not UTF-8; give it in that encoding");
  static_cast<void>(unify_line_breaks(text));
  return text;
}

}  // namespace espalier::text
