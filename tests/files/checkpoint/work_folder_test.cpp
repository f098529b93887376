// SPDX-License-Identifier: Apache-2.0
// A working folder goes on for the same run alone, never removes what is not its own, and keeps
// nothing more when the disk is full.
#include "checkpoint/work_folder.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "support/temp_dir.h"

namespace espalier::checkpoint {
namespace {

namespace fs = std::filesystem;

class Work : public testing::Test {
 protected:
  WorkFolder work(bool resume, const std::string& identity = "me", int threads = 0) {
    return {{.folder = folder, .resume = resume, .threads = threads, .share = 1}, identity};
  }
  // What an earlier run with three threads leaves.
  void leave() {
    WorkFolder earlier = work(false);
    EXPECT_EQ(earlier.begin(), 0);
    earlier.set_threads(3);
    earlier.save([&] { core::write_text_file(earlier.file("part"), "some"); });
    EXPECT_TRUE(earlier.has("part"));
  }
  void refuses(WorkFolder work, core::ErrorKind kind, const std::string& part) const {
    try {
      work.begin();
      ADD_FAILURE() << part;
    } catch (const core::Error& error) {
      EXPECT_EQ(error.kind(), kind);
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(folder), std::string::npos) << error.what();
    }
  }
  support::TempDir dir;
  std::string folder = dir.file("x.work");
};

TEST_F(Work, GoesOnForTheSameRunAlone) {
  leave();
  EXPECT_TRUE(work(true).started());
  EXPECT_FALSE(work(true, "other").started());
  EXPECT_EQ(work(true).begin(), 3);
  EXPECT_EQ(work(true, "me", 3).begin(), 3);
  refuses(work(true, "other"), core::ErrorKind::input, "other options or inputs");
  refuses(work(true, "me", 2), core::ErrorKind::usage, "--threads 2");
  EXPECT_TRUE(fs::exists(folder + "/part"));
  EXPECT_EQ(work(false, "other", 2).begin(), 2);
  EXPECT_FALSE(fs::exists(folder));
  EXPECT_EQ(work(true, "other", 2).begin(), 2) << "nothing to go on from";
}

TEST_F(Work, ABrokenFolderIsRefused) {
  leave();
  core::write_text_file(folder + "/started.json", "{");
  refuses(work(true), core::ErrorKind::input, "remove it to start over");
  EXPECT_FALSE(work(true).started());
  EXPECT_NO_THROW(work(false).begin());
  EXPECT_FALSE(fs::exists(folder));
  EXPECT_THROW(work(true).load([] { throw std::out_of_range("map::at"); }), core::Error);
}

TEST_F(Work, RemovesOnlyWhatARunHasLeft) {
  core::write_text_file(folder + "/mine.txt", "precious");
  refuses(work(false), core::ErrorKind::input, "started.json");
  refuses(work(true), core::ErrorKind::input, "started.json");
  EXPECT_TRUE(fs::exists(folder + "/mine.txt"));
  fs::remove(folder + "/mine.txt");
  // A folder of such folders.
  for (const char* part : {"a", "b"}) {
    WorkFolder inner({.folder = folder + "/" + part}, "me");
    inner.start();
    core::write_text_file(inner.file("part"), "some");
  }
  core::write_text_file(folder + "/c/mine.txt", "precious");
  EXPECT_THROW(WorkFolder::remove(folder), core::Error);
  EXPECT_TRUE(fs::exists(folder + "/a/part"));
  fs::remove_all(folder + "/c");
  core::write_text_file(dir.file("mine/mine.txt"), "precious");
  fs::create_directory_symlink(dir.file("mine"), folder + "/a/link");
  WorkFolder::remove(folder);
  EXPECT_FALSE(fs::exists(folder));
  EXPECT_TRUE(fs::exists(dir.file("mine/mine.txt")));
  // A removal that was interrupted is finished.
  core::write_text_file(folder + "/started.json.old", "");
  EXPECT_EQ(work(true).begin(), 0);
  EXPECT_FALSE(fs::exists(folder));
}

TEST_F(Work, AFullDiskIsSaidAndNothingIsKept) {
  leave();
  WorkFolder full = work(true);
  full.begin();
  EXPECT_TRUE(full.due());
  full.save([&] { core::fail(core::ErrorKind::input, full.file("part"), ": no space left"); });
  EXPECT_NE(full.save_error().find("no space left"), std::string::npos);
  EXPECT_EQ(core::notes().back(), full.save_error());
  EXPECT_FALSE(full.due());
  EXPECT_FALSE(fs::exists(folder));
}

TEST_F(Work, SavesAsRarelyAsItsShareSays) {
  WorkFolder rarely({.folder = folder, .share = 1e-9}, "me");
  EXPECT_TRUE(rarely.due());
  rarely.save([&] { core::write_text_file(rarely.file("part"), "some"); });
  EXPECT_FALSE(rarely.due());
  EXPECT_FALSE(WorkFolder({}, "me").due()) << "without a folder";
}

TEST_F(Work, AFinishedDirectoryBelongsToItsRun) {
  const std::string out = dir.file("out");
  fs::create_directory(out);
  EXPECT_FALSE(work(true).finished(out, "cache"));
  Manifest manifest{.stage = "cache", .metrics = {{"run", "me"}, {"threads", 3}}};
  write_manifest(out, manifest);
  WorkFolder same = work(true);
  EXPECT_TRUE(same.finished(out, "cache"));
  EXPECT_EQ(same.threads(), 3);
  EXPECT_THROW(work(true, "other").finished(out, "cache"), core::Error);
  EXPECT_THROW(work(true).finished(out, "distill"), core::Error);
  EXPECT_THROW(work(true, "me", 2).finished(out, "cache"), core::Error);
}

}  // namespace
}  // namespace espalier::checkpoint
