// Strict keys: place, nearest name, parts by `use`, hostile files.
#include "recipe/yaml_reader.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "support/temp_dir.h"

namespace espalier::recipe {
namespace {

std::string message_of(const std::string& path, const std::function<void(YamlMap&)>& read) {
  try {
    YamlMap map = YamlMap::load(path);
    read(map);
    map.finish();
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), core::ErrorKind::input);
    return e.what();
  }
  return "";
}

TEST(YamlReader, UnknownKeyNamesPlaceAndNearest) {
  support::TempDir dir;
  core::write_text_file(dir.file("a.yaml"), "tokens: 4k\nlerning_rate: 0.1\n");
  const std::string message = message_of(dir.file("a.yaml"), [](YamlMap& map) {
    EXPECT_EQ(map.count("tokens"), 4000);
    map.real("learning_rate");
  });
  EXPECT_NE(message.find("a.yaml:2:1"), std::string::npos) << message;
  EXPECT_NE(message.find("did you mean 'learning_rate'"), std::string::npos) << message;
}

TEST(YamlReader, UseGivesDefaultsThatOwnKeysOverride) {
  support::TempDir dir;
  core::write_text_file(dir.file("part.yaml"), "a: 1\nb: 2\n");
  core::write_text_file(dir.file("whole.yaml"), "use: part.yaml\nb: 3\n");
  YamlMap map = YamlMap::load(dir.file("whole.yaml"));
  EXPECT_EQ(map.count("a"), 1);
  EXPECT_EQ(map.count("b"), 3);
  EXPECT_NE(map.where("a").find("part.yaml:1"), std::string::npos);
  map.finish();
}

TEST(YamlReader, BrokenFilesAreRefusedWithAPlace) {
  support::TempDir dir;
  const std::pair<const char*, std::string> broken[] = {
      {"list", "- 1\n"},          {"twice", "a: 1\na: 2\n"},      {"unclosed", "a: [1, 2\n"},          {"tab", "a:\n\t- b\n"},
      {"empty", ""},              {"scalar", "hello\n"},          {"zero", std::string("a: \0b\n", 6)}, {"deep", "a: " + std::string(3000, '[') + "\n"},
      {"key is a map", "{a: 1}: 2\n"}, {"use is a list", "use: [a, b]\n"}, {"use is missing", "use: nothing.yaml\n"}, {"itself", "use: itself.yaml\n"},
  };
  for (const auto& [name, text] : broken) {
    const std::string file = dir.file(std::string(name) + ".yaml");
    core::write_text_file(file, text);
    const std::string message = message_of(file, [](YamlMap& map) { map.count("a"); });
    EXPECT_NE(message.find(name), std::string::npos) << name << ": " << message;
  }
}

TEST(YamlReader, WrongTypesNameTheKey) {
  support::TempDir dir;
  core::write_text_file(dir.file("a.yaml"), "n: many\nflag: yes please\nlist: 3\n");
  EXPECT_NE(message_of(dir.file("a.yaml"), [](YamlMap& map) { map.count("n"); }).find("many"), std::string::npos);
  EXPECT_NE(message_of(dir.file("a.yaml"), [](YamlMap& map) { map.boolean("flag"); }).find("a.yaml:2"), std::string::npos);
  EXPECT_NE(message_of(dir.file("a.yaml"), [](YamlMap& map) { map.texts("list"); }).find("expected a list"), std::string::npos);
}

}  // namespace
}  // namespace espalier::recipe
