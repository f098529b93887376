// SPDX-License-Identifier: Apache-2.0
// The long text of scripts/golden/long_text.py, stitched here from the same material: 200 kB of
// many scripts, code, emoji, runs of white space, digits and broken UTF-8; and the hashes of the
// ids that the packages `tokenizers` and `sentencepiece` give for it.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "hash/sha256.h"
#include "text/fixtures.h"
#include "text/utf8.h"

namespace espalier::text {

// Knuth's 64-bit linear congruential generator (MMIX), upper bits.
class Lcg {
 public:
  explicit Lcg(std::uint64_t seed) : state_(seed) {}
  std::size_t below(std::size_t n) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::size_t>(state_ >> 33) % n;
  }

 private:
  std::uint64_t state_;
};

inline std::string stitch(const nlohmann::json& material) {
  std::vector<std::string> fragments;
  for (const auto& [name, text] : stress_texts()) {
    if (!text.empty()) fragments.push_back(text);
  }
  for (const auto& sentence : material.at("sentences"))
    fragments.push_back(sentence.get<std::string>());
  const auto ranges =
      material.at("ranges").get<std::vector<char32_t>>();  // first, last, first, last, ...
  const auto white = material.at("white").get<std::vector<std::string>>();
  const auto bytes = material.at("bytes").get<std::size_t>();
  Lcg random(material.at("seed").get<std::uint64_t>());
  std::string out;
  while (out.size() < bytes) {
    const std::size_t kind = random.below(10);
    if (kind < 3) {  // whole
      out += fragments[random.below(fragments.size())];
    } else if (kind < 6) {  // cut anywhere, within a code point too
      const std::string& fragment = fragments[random.below(fragments.size())];
      const std::size_t start = random.below(fragment.size()), length = 1 + random.below(40);
      out += fragment.substr(start, length);
    } else if (kind < 8) {
      const std::size_t range = random.below(ranges.size() / 2);
      const char32_t first = ranges[2 * range], last = ranges[2 * range + 1];
      for (std::size_t n = 1 + random.below(12); n > 0; --n)
        append_code_point(out, first + static_cast<char32_t>(random.below(last - first + 1)));
      if (random.below(2) != 0) out += ' ';
    } else if (kind < 9) {
      const std::string& space = white[random.below(white.size())];
      for (std::size_t n = 1 + random.below(6); n > 0; --n) out += space;
    } else {
      for (std::size_t n = 1 + random.below(9); n > 0; --n)
        out += static_cast<char>('0' + random.below(10));
    }
  }
  return out.substr(0, bytes);
}

struct LongText {
  std::string text;
  std::size_t piece_bytes = 0;
};
// Made once; throws when it is not the text the values were stored for.
inline const LongText& long_text() {
  static const LongText made = [] {
    const nlohmann::json material = read_json(golden_path("text_long/material.json"));
    LongText out{stitch(material), material.at("piece").get<std::size_t>()};
    if (hash::sha256(out.text) != material.at("sha256"))
      throw std::runtime_error("long_text.h and long_text.py make different texts");
    return out;
  }();
  return made;
}

inline std::string digest(const std::vector<std::int32_t>& ids) {
  std::string readable;
  for (const std::int32_t id : ids) readable += (readable.empty() ? "" : " ") + std::to_string(id);
  return hash::sha256(readable);
}

// Where the ids that `encode` gives differ from the stored ones; empty: nowhere. golden: {"count",
// "sha256", "pieces"} of text_long/<name>.json.
template <typename Encode>
std::string long_text_differences(const nlohmann::json& golden, Encode encode) {
  const LongText& source = long_text();
  std::string out;
  std::istringstream pieces(golden.at("pieces").get<std::string>());
  std::string expected;
  for (std::size_t i = 0; i < source.text.size(); i += source.piece_bytes) {
    if (!(pieces >> expected)) return "fewer pieces are stored than the text has";
    const std::string piece = source.text.substr(i, source.piece_bytes);
    if (digest(encode(piece)).substr(0, 8) != expected) out += " byte " + std::to_string(i);
  }
  if (pieces >> expected) out += " more pieces are stored than the text has";
  const std::vector<std::int32_t> ids = encode(source.text);
  if (ids.size() != golden.at("count"))
    out += " whole: " + std::to_string(ids.size()) + " ids, expected " + golden.at("count").dump();
  if (digest(ids) != golden.at("sha256")) out += " whole: other ids";
  return out;
}

}  // namespace espalier::text
