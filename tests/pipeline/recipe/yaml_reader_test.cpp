// SPDX-License-Identifier: Apache-2.0
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
    map.text("learning_rate");
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
      {"list", "- 1\n"},
      {"twice", "a: 1\na: 2\n"},
      {"unclosed", "a: [1, 2\n"},
      {"tab", "a:\n\t- b\n"},
      {"empty", ""},
      {"scalar", "hello\n"},
      {"zero", std::string("a: \0b\n", 6)},
      {"deep", "a: " + std::string(3000, '[') + "\n"},
      {"key is a map", "{a: 1}: 2\n"},
      {"use is a list", "use: [a, b]\n"},
      {"use is missing", "use: nothing.yaml\n"},
      {"itself", "use: itself.yaml\n"},
  };
  for (const auto& [name, text] : broken) {
    const std::string file = dir.file(std::string(name) + ".yaml");
    core::write_text_file(file, text);
    const std::string message = message_of(file, [](YamlMap& map) { map.count("a"); });
    EXPECT_NE(message.find(name), std::string::npos) << name << ": " << message;
  }
}

// Every form of nesting, and brackets that only seem to close others.
TEST(YamlReader, DeepNestingIsRefused) {
  const auto repeated = [](const std::string& text) {
    std::string out;
    for (int i = 0; i < 100000; ++i) out += text;
    return out;
  };
  const std::pair<const char*, std::string> deep[] = {
      {"lists", "a: " + repeated("[") + "\n"},
      {"closed lists", "a: " + repeated("[") + repeated("]") + "\n"},
      {"maps", "a: " + repeated("{a: ")},
      {"maps in lists", "a: " + repeated("[{")},
      {"pairs in lists", "a: " + repeated("[a: ")},
      {"block lists", repeated("- ")},
      {"block keys", repeated("? ")},
      {"closed in a comment", "# " + repeated("]") + "\na: " + repeated("[")},
      {"closed in quotes", "a: " + repeated("[']', ")},
  };
  ASSERT_EQ(std::size(deep), 9u);
  support::TempDir dir;
  for (const auto& [name, text] : deep) {
    core::write_text_file(dir.file("deep.yaml"), text);
    const std::string message =
        message_of(dir.file("deep.yaml"), [](YamlMap& map) { map.has("a"); });
    EXPECT_NE(message.find("deep.yaml:"), std::string::npos) << name << ": " << message;
    EXPECT_NE(message.find("nested too deeply"), std::string::npos) << name << ": " << message;
  }
}

TEST(YamlReader, AliasesNeitherMultiplyNorGoInCircles) {
  support::TempDir dir;
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 30; ++i) {
    const std::string before = std::to_string(i - 1), now = std::to_string(i);
    bomb += "a";
    bomb += now + ": &a" + now + " [*a" + before;
    for (int n = 0; n < 3; ++n) bomb += ", *a" + before;
    bomb += "]\n";
  }
  core::write_text_file(dir.file("bomb.yaml"), bomb);
  EXPECT_EQ(YamlMap::load(dir.file("bomb.yaml")).keys().size(), 30u);
  EXPECT_NE(message_of(dir.file("bomb.yaml"), [](YamlMap& map) { map.texts("a29"); })
                .find("expected a list of names"),
            std::string::npos);

  core::write_text_file(dir.file("circle.yaml"), "a: &a\n  a: *a\n");
  const std::string message = message_of(dir.file("circle.yaml"), [](YamlMap& map) {
    for (std::optional<YamlMap> inner = map.map("a"); inner;) inner = inner->map("a");
  });
  EXPECT_NE(message.find("in circles"), std::string::npos) << message;
}

TEST(YamlReader, WrongTypesNameTheKey) {
  support::TempDir dir;
  core::write_text_file(dir.file("a.yaml"), "n: many\nlist: 3\n");
  EXPECT_NE(message_of(dir.file("a.yaml"), [](YamlMap& map) { map.count("n"); }).find("many"),
            std::string::npos);
  EXPECT_NE(message_of(dir.file("a.yaml"), [](YamlMap& map) { map.texts("list"); })
                .find("expected a list"),
            std::string::npos);
}

TEST(YamlReader, MergeKeysGiveDefaults) {
  support::TempDir dir;
  core::write_text_file(dir.file("a.yaml"),
                        "base: &base {a: 1, b: 2}\nmore: &more {b: 5, c: 6}\n"
                        "one: {<<: *base, b: 3}\ntwo: {<<: [*base, *more], a: 7}\n");
  YamlMap map = YamlMap::load(dir.file("a.yaml"));
  const auto read = [&](const char* name) {
    auto inner = map.map(name);
    std::string out;
    for (const char* key : {"a", "b", "c"}) {
      const auto value = inner->count(key);
      out += value ? std::to_string(*value) : "-";
    }
    inner->finish();
    return out;
  };
  EXPECT_EQ(read("one"), "13-");
  EXPECT_EQ(read("two"), "726");
  EXPECT_NE(map.map("two")->where("c").find("a.yaml:2:20"), std::string::npos)
      << map.map("two")->where("c");
  for (const char* wrong : {"a: {<<: 3}\n", "a: {<<: [1]}\n"}) {
    core::write_text_file(dir.file("b.yaml"), wrong);
    EXPECT_NE(message_of(dir.file("b.yaml"), [](YamlMap& m) { m.map("a"); }).find("expected"),
              std::string::npos)
        << wrong;
  }
}

TEST(YamlReader, MapsPutTogetherKeepTheirPlaces) {
  support::TempDir dir;
  core::write_text_file(dir.file("a.yaml"),
                        "first: {name: a, ffn: 1, seed: 3}\nsecond: {ffn: 2, tokens: 4}\n");
  YamlMap all = YamlMap::load(dir.file("a.yaml"));
  YamlMap first = *all.map("first");
  const YamlMap second = *all.map("second");
  EXPECT_EQ(first.text("name"), "a");
  YamlMap joined = first.rest();
  EXPECT_FALSE(joined.has("name"));
  joined.add(second);
  joined.add_defaults(first);
  EXPECT_EQ(joined.text("ffn"), "2");  // of the one that was added
  EXPECT_NE(joined.where("ffn").find("a.yaml:2:"), std::string::npos) << joined.where("ffn");
  EXPECT_EQ(joined.text("name"), "a");
  joined.set("words", std::vector<std::string>{"x", "y"});
  joined.set("kind", "prune");
  EXPECT_EQ(joined.texts("words"), (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(joined.text("kind"), "prune");
  joined.drop("tokens");
  EXPECT_EQ(joined.only({"seed", "tokens"}).keys(), (std::vector<std::string>{"seed"}));
  EXPECT_THROW(joined.finish(), core::Error);  // nobody asked for the seed
  EXPECT_EQ(joined.count("seed"), 3);
  joined.finish();
  EXPECT_EQ(first.count("seed"), 3);  // the parts are as they were
  EXPECT_NO_THROW(second.allow_only({"ffn", "tokens"}));
  EXPECT_THROW(second.allow_only({"ffn", "token"}), core::Error);
}

TEST(YamlReader, ASecondDocumentIsRefused) {
  support::TempDir dir;
  core::write_text_file(dir.file("a.yaml"), "---\na: 1\n---\nb: 2\n");
  const std::string message = message_of(dir.file("a.yaml"), [](YamlMap& map) { map.count("a"); });
  EXPECT_NE(message.find("a.yaml:4:1"), std::string::npos) << message;
  EXPECT_NE(message.find("second document"), std::string::npos) << message;
  core::write_text_file(dir.file("b.yaml"), "---\na: 1\n...\n");
  EXPECT_EQ(YamlMap::load(dir.file("b.yaml")).count("a"), 1);
}

TEST(YamlReader, ASeedHasAllItsBits) {
  EXPECT_EQ(parse_seed("18446744073709551615"), ~std::uint64_t{0});
  EXPECT_EQ(parse_seed("0"), 0u);
  for (const char* text : {"18446744073709551616", "-1", "1k", "1.5", "0x10", "", " 1"}) {
    try {
      static_cast<void>(parse_seed(text));
      FAIL() << text;
    } catch (const core::Error& e) {
      EXPECT_NE(std::string(e.what()).find("from 0 to 18446744073709551615"), std::string::npos)
          << e.what();
    }
  }
}

}  // namespace
}  // namespace espalier::recipe
