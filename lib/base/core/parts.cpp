// SPDX-License-Identifier: Apache-2.0
// Reads and makes names of parts, and names beside a file.
#include "core/parts.h"

#include <climits>
#include <filesystem>
#include <string_view>

#include "core/error.h"
#include "core/file.h"

namespace espalier::core {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kOf = "-of-", kEnding = ".gguf";
constexpr std::size_t kDigits = 5;
constexpr int kMostParts = 99999;

// Five digits as a number; -1 for anything else.
int number_of(std::string_view digits) {
  int out = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return -1;
    out = 10 * out + (c - '0');
  }
  return out;
}

std::string five_digits(int number) {
  std::string out = std::to_string(number);
  return out.insert(0, kDigits - out.size(), '0');
}

}  // namespace

std::optional<PartName> part_name(const std::string& path) {
  constexpr std::size_t kTail = 1 + kDigits + kOf.size() + kDigits + kEnding.size();
  if (path.size() <= kTail || !path.ends_with(kEnding)) return std::nullopt;
  const std::string_view tail = std::string_view(path).substr(path.size() - kTail);
  if (tail.front() != '-' || tail.substr(1 + kDigits, kOf.size()) != kOf) return std::nullopt;
  const int index = number_of(tail.substr(1, kDigits)),
            of = number_of(tail.substr(1 + kDigits + kOf.size(), kDigits));
  if (index < 1 || of < index) return std::nullopt;
  return PartName{path.substr(0, path.size() - kTail), index - 1, of};
}

std::string part_path(const std::string& prefix, int index, int of) {
  ESP_CHECK(index >= 0 && index < of && of <= kMostParts, usage, prefix, ": ", of,
            " parts, but names count at most ", kMostParts);
  std::string out = prefix + "-" + five_digits(index + 1) + std::string(kOf) + five_digits(of) +
                    std::string(kEnding);
  const std::size_t bytes = fs::path(out).filename().string().size();
  ESP_CHECK(bytes <= NAME_MAX, usage, out, ": names of parts are ", bytes,
            " bytes long, but at most ", NAME_MAX, " are possible; choose a shorter name");
  return out;
}

std::vector<std::string> with_parts(const std::string& path) {
  std::vector<std::string> out{path};
  const std::optional<PartName> name = part_name(path);
  if (!name || name->index > 0) return out;
  std::error_code unreadable;
  for (int i = 1; i < name->of; ++i)
    if (const std::string part = part_path(name->prefix, i, name->of); fs::exists(part, unreadable))
      out.push_back(part);
  return out;
}

std::uint64_t bytes_with_parts(const std::string& path) {
  std::uint64_t sum = 0;
  for (const std::string& part : with_parts(path)) sum += file_stamp(part).bytes;
  return sum;
}

std::string beside(const std::string& path, const std::string& ending) {
  const fs::path file(path);
  const std::string name = file.filename().string();
  if (name.size() + ending.size() <= NAME_MAX) return path + ending;
  std::uint64_t hash = 0xCBF29CE484222325;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  std::string start = name.substr(0, NAME_MAX - ending.size() - 20);
  // Never ends within a character.
  while (!start.empty() && (static_cast<unsigned char>(start.back()) & 0x80) != 0) start.pop_back();
  return (file.parent_path() / (start + "~" + std::to_string(hash % 1000000000) + ending)).string();
}

}  // namespace espalier::core
