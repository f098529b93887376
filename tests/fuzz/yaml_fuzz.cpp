// SPDX-License-Identifier: Apache-2.0
// Any bytes as a recipe: read or refused with an Error. Of what is read, every key is asked for in
// every way, maps and lists all the way down.
#include <cstdint>
#include <string>
#include <string_view>

#include "format/memory_file.h"
#include "fuzz/refusal.h"
#include "recipe/yaml_reader.h"

namespace {

using espalier::fuzz::allow_refusal;
using espalier::fuzz::require;
using espalier::recipe::YamlMap;

// `left` bounds the work: aliases share nodes, so a small file can name a map very often.
void use(YamlMap& map, int& left) {
  for (const std::string& key : map.keys()) {
    if (--left < 0) return;
    require(map.has(key));
    require(map.where(key).starts_with("/proc/self/fd/"));
    allow_refusal([&] { map.text(key); });
    allow_refusal([&] { map.count(key); });
    allow_refusal([&] { map.texts(key); });
    allow_refusal([&] {
      if (auto inner = map.map(key)) use(*inner, left);
    });
    allow_refusal([&] {
      for (YamlMap& inner : map.maps(key)) use(inner, left);
    });
  }
  map.finish();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static espalier::support::MemoryFile memory;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (text.find("use") != std::string_view::npos)
    return 0;  // would open other files, whatever their names
  memory.assign(text);
  allow_refusal([&] {
    YamlMap map = YamlMap::load(memory.path());
    int left = 1000;
    use(map, left);
  });
  return 0;
}
