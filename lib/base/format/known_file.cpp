// SPDX-License-Identifier: Apache-2.0
// The beginnings of files that are often taken for others.
#include "format/known_file.h"

#include <algorithm>
#include <cstdint>
#include <span>

#include "core/error.h"
#include "core/file.h"

namespace espalier::format {
namespace {

struct Beginning {
  std::string_view bytes;
  std::string_view what;
};
// Longer beginnings first.
constexpr Beginning kBeginnings[] = {
    {"version https://git-lfs.github.com/",
     "is a pointer of Git LFS, not the file itself; fetch that with 'git lfs pull'"},
    {std::string_view("\xFF\xFE\0\0", 4), "is UTF-32; convert it with iconv -f UTF-32 -t UTF-8"},
    {std::string_view("\0\0\xFE\xFF", 4), "is UTF-32; convert it with iconv -f UTF-32 -t UTF-8"},
    {"\xFF\xFE", "is UTF-16; convert it with iconv -f UTF-16 -t UTF-8"},
    {"\xFE\xFF", "is UTF-16; convert it with iconv -f UTF-16 -t UTF-8"},
    {"\x1F\x8B", "is compressed by gzip; unpack it first"},
    {"\x28\xB5\x2F\xFD", "is compressed by zstd; unpack it first"},
    {"\xFD"
     "7zXZ",
     "is compressed by xz; unpack it first"},
    {"BZh", "is compressed by bzip2; unpack it first"},
    {"PK\x03\x04", "is a ZIP archive, as PyTorch's files are too; unpack it, or convert it"},
    {"PAR1", "is a Parquet file; write its texts as JSONL, a line {\"text\": ...} for each"},
    {"GGUF", "is a GGUF"}};

// "<!doctype html" and "<html" in any case, behind white space.
bool is_web_page(std::string_view bytes) {
  bytes.remove_prefix(std::min(bytes.find_first_not_of(" \t\r\n"), bytes.size()));
  std::string start(bytes.substr(0, 14));
  for (char& c : start)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return start == "<!doctype html" || start.starts_with("<html");
}

// The length of the header in eight bytes, of which the upper ones are zero, and the header.
bool is_safetensors(std::string_view bytes) {
  return bytes.size() > 10 && bytes.substr(5, 5) == std::string_view("\0\0\0{\"", 5);
}

}  // namespace

std::string_view what_it_is(std::string_view beginning) {
  for (const Beginning& known : kBeginnings)
    if (beginning.starts_with(known.bytes)) return known.what;
  if (is_web_page(beginning))
    return "is a web page, such as one that asks to sign in; fetch the file again";
  if (is_safetensors(beginning))
    return "is a safetensors file; give the directory in which it lies beside its config.json";
  return {};
}

void refuse_known_file(const std::string& path) {
  constexpr std::uint64_t kEnough = 64;
  const core::FileReader file(path);
  std::string start(std::min(file.size(), kEnough), ' ');
  file.read(0, std::as_writable_bytes(std::span(start.data(), start.size())));
  const std::string_view known = what_it_is(start);
  ESP_CHECK(known.empty(), input, path, ": ", known);
}

}  // namespace espalier::format
