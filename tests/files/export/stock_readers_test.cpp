// SPDX-License-Identifier: Apache-2.0
// What stock llama.cpp would read otherwise is said or refused, and names keep files loadable.
#include "export/stock_readers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::exporter {
namespace {

using checkpoint::Checkpoint;

bool noted(const std::string& part) {
  const auto all = core::notes();
  return std::any_of(all.begin(), all.end(),
                     [&](const std::string& n) { return n.find(part) != std::string::npos; });
}

TEST(StockReaders, ANameThatLooksLikePhi3IsWrittenOtherwise) {
  const support::TempDir dir;
  const Checkpoint source =
      Checkpoint::open(support::write_tiny_llama(dir.file("My-Phi-3-phi3-tiny")));
  EXPECT_EQ(name_for_readers(source, {}), "My-Phi_3-phi_3-tiny");
  EXPECT_TRUE(noted("general.name is \"My-Phi_3-phi_3-tiny\", not \"My-Phi-3-phi3-tiny\""));
  ExportOptions bare;
  bare.no_tokenizer = true;
  EXPECT_EQ(name_for_readers(source, bare), "My-Phi-3-phi3-tiny");
  const Checkpoint other = Checkpoint::open(support::write_tiny_llama(dir.file("philosophy")));
  EXPECT_EQ(name_for_readers(other, {}), "philosophy");
}

TEST(StockReaders, TokensThatTakeWhiteSpaceAreNamed) {
  const support::TempDir dir;
  const std::string plain = support::write_tiny_llama(dir.file("plain"));
  ExportOptions strict;
  strict.compat = Compat::llama_cpp;
  check_stock_readers(Checkpoint::open(plain), strict);  // is fine
  const std::string path = support::write_tiny_llama(dir.file("strip"));
  std::string json = core::read_text_file(path + "/tokenizer.json");
  const std::size_t token = json.find("<|im_end|>");
  const std::size_t at = json.find("\"rstrip\"", token);
  ASSERT_NE(at, std::string::npos);
  json.replace(json.find("false", at), 5, "true");
  core::write_text_file(path + "/tokenizer.json", json);
  const Checkpoint source = Checkpoint::open(path);
  try {
    check_stock_readers(source, strict);
    ADD_FAILURE() << "not refused";
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), core::ErrorKind::unsupported);
    EXPECT_NE(std::string(e.what()).find("it leaves the white space behind <|im_end|>"),
              std::string::npos)
        << e.what();
  }
  ExportOptions ours;
  ours.compat = Compat::espalier;
  check_stock_readers(source, ours);
  EXPECT_FALSE(noted(path + ": stock llama.cpp"));
  check_stock_readers(source, {});
  EXPECT_TRUE(noted(path + ": stock llama.cpp tokenizes some texts otherwise"));
}

}  // namespace
}  // namespace espalier::exporter
