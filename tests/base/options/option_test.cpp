// SPDX-License-Identifier: Apache-2.0
// Described options: what is read, what is refused and in which words, and what a manifest records.
#include "options/option.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "options/json.h"

namespace espalier::options {
namespace {

enum class Fit : std::uint8_t { none, squares };
struct Sample {
  bool tied = true;
  std::int64_t tokens = 4096, bytes = 0;
  std::optional<std::int64_t> layers;
  double rate = 0.25;
  std::optional<double> ridge;
  std::string criterion = "obs", text;
  Fit fit = Fit::squares;
  std::vector<std::string> candidates;
  std::map<std::string, std::string> tensors;
  std::map<std::string, double> gates;

  List describe() {
    List list;
    list.add("tied", &tied, "share the embeddings");
    list.add("tokens", &tokens, "tokens to read").at_least(1);
    list.add("bytes", &bytes, "largest file").in_bytes().at_least(0);
    list.add("layers", &layers, "layers to keep").at_least(1).otherwise("all");
    list.add("rate", &rate, "rate").above(0).most = 1;
    list.add("ridge", &ridge, "ridge").at_least(0);
    list.add("criterion", &criterion, "criterion").one_of({"obs", "activation"});
    list.add("text", &text, "text").names_a_file().decides_nothing();
    list.add_choice("fit", fit, {{"none", Fit::none}, {"least_squares", Fit::squares}}, "fit");
    list.add("candidates", &candidates, "formats").one_of({"q8_0", "q4_0"});
    list.add("tensors", &tensors, "formats of tensors");
    list.add("gates", &gates, "gates").one_of({"kl_mean_max", "file_bytes_max"});
    return list;
  }
};

std::string refusal(const char* name, const std::string& text) {
  Sample sample;
  const List list = sample.describe();
  try {
    read(list.at(name), text);
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), core::ErrorKind::usage);
    return e.what();
  }
  return "nothing was refused";
}

TEST(Options, ReadsWhatUsersWrite) {
  Sample s;
  const List list = s.describe();
  for (const auto& [name, text] : std::map<std::string, std::string>{{"tied", "false"},
                                                                     {"tokens", "8k"},
                                                                     {"bytes", "60MB"},
                                                                     {"layers", "12"},
                                                                     {"rate", "1e-3"},
                                                                     {"ridge", "0"},
                                                                     {"criterion", "activation"},
                                                                     {"text", "a.txt"},
                                                                     {"fit", "none"}})
    read(list.at(name), text);
  read_item(list.at("candidates"), "q4_0");
  read_item(list.at("tensors"), "attn_q", "q8_0");
  read_item(list.at("gates"), "kl_mean_max", "0.5");
  read_item(list.at("gates"), "file_bytes_max", "1kB");
  EXPECT_FALSE(s.tied);
  EXPECT_EQ(s.tokens, 8000);
  EXPECT_EQ(s.bytes, 60000000);
  EXPECT_EQ(s.layers, 12);
  EXPECT_EQ(s.rate, 1e-3);
  EXPECT_EQ(s.ridge, 0.0);
  EXPECT_EQ(s.criterion, "activation");
  EXPECT_EQ(s.fit, Fit::none);
  EXPECT_EQ(
      json_of(list).dump(),
      R"({"tied":false,"tokens":8000,"bytes":60000000,"layers":12,"rate":0.001,"ridge":0.0,)"
      R"("criterion":"activation","fit":"none","candidates":["q4_0"],"tensors":{"attn_q":"q8_0"},)"
      R"("gates":{"file_bytes_max":1000.0,"kl_mean_max":0.5}})");
}

TEST(Options, RefusesWithWhatWasExpected) {
  EXPECT_EQ(refusal("tied", "yes"), "'yes': expected true or false");
  EXPECT_EQ(refusal("tokens", "-1"), "expected a number from 0 on, not -1");
  EXPECT_EQ(refusal("tokens", "0"), "0: expected at least 1");
  EXPECT_NE(refusal("tokens", "2.5").find("2.5"), std::string::npos);
  EXPECT_EQ(refusal("rate", "0"), "0: expected above 0, at most 1");
  EXPECT_EQ(refusal("rate", "1.5"), "1.5: expected above 0, at most 1");
  EXPECT_NE(refusal("rate", "nan").find("finite"), std::string::npos);
  EXPECT_NE(refusal("ridge", "inf").find("finite"), std::string::npos);
  EXPECT_EQ(refusal("rate", "0.1x"), "'0.1x' is not a number");
  EXPECT_EQ(refusal("criterion", "activatoin"),
            "'activatoin' is not known; did you mean 'activation'? (known: obs, activation)");
  EXPECT_NE(refusal("fit", "least").find("none, least_squares"), std::string::npos);
  EXPECT_NE(refusal("candidates", "q4_O").find("q4_0"), std::string::npos);
  Sample s;
  EXPECT_THROW(read_item(s.describe().at("gates"), "kl_maen_max", "1"), core::Error);
  read_item(s.describe().at("tensors"), "attn_q", "q8_0");
  EXPECT_THROW(read_item(s.describe().at("tensors"), "attn_q", "q4_0"), core::Error);
}

TEST(Options, NamesWithAPartThatUsersChoose) {
  std::map<std::string, double> gates;
  List list;
  list.add("gates", &gates, "gates").one_of({"kl_mean_max", "task.NAME.acc_min"});
  for (const char* known : {"kl_mean_max", "task.arc.acc_min", "task.a.b.acc_min"})
    EXPECT_NO_THROW(read_item(list.at("gates"), known, "1")) << known;
  EXPECT_EQ(gates.size(), 3u);
  for (const char* unknown :
       {"task..acc_min", "task.acc_min", "task.arc.acc_max", "tasks.a.acc_min"})
    EXPECT_THROW(read_item(list.at("gates"), unknown, "1"), core::Error) << unknown;
}

TEST(Options, ChecksAStructThatNobodyRead) {
  Sample s;
  check(s.describe());
  s.rate = 0;
  try {
    check(s.describe());
    FAIL();
  } catch (const core::Error& e) {
    EXPECT_STREQ(e.what(), "rate: 0: expected above 0, at most 1");
  }
}

TEST(Options, TellDefaultsAndKinds) {
  Sample s;
  const List list = s.describe();
  EXPECT_EQ(value_text(list.at("rate")), "0.25");
  EXPECT_EQ(value_text(list.at("layers")), "");
  EXPECT_EQ(list.at("layers").absent, "all");
  EXPECT_EQ(value_text(list.at("fit")), "least_squares");
  EXPECT_EQ(range_text(list.at("rate")), "above 0, at most 1");
  EXPECT_EQ(range_text(list.at("layers")), "at least 1");
  EXPECT_EQ(kind_text(list.at("bytes")), "SIZE");
  EXPECT_EQ(kind_text(list.at("criterion")), "NAME");
  EXPECT_EQ(flag_of(list.at("tied")), "--tied");
}

}  // namespace
}  // namespace espalier::options
