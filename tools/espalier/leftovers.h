// SPDX-License-Identifier: Apache-2.0
// What a run that was refused would leave behind: folders that it made and put nothing into.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace espalier::tool {

class Leftovers {
 public:
  // Before the run makes anything. Empty paths are absent ones.
  explicit Leftovers(const std::vector<std::string>& paths) {
    std::error_code unreadable;
    for (const std::string& path : paths)
      if (!path.empty() && !std::filesystem::exists(path, unreadable)) paths_.push_back(path);
  }
  // Removes those that hold nothing, or only the note that a run began (started.json). What can be
  // resumed stays.
  void remove() const {
    std::error_code ignored;
    for (const std::string& path : paths_)
      if (std::filesystem::is_directory(path, ignored) && holds_nothing(path))
        std::filesystem::remove_all(path, ignored);
  }

 private:
  static bool holds_nothing(const std::string& folder) {
    std::error_code error;
    for (std::filesystem::recursive_directory_iterator it(folder, error), end; !error && it != end;
         it.increment(error))
      if (!it->is_directory() && it->path().filename() != "started.json") return false;
    return !error;
  }

  std::vector<std::string> paths_;
};

// Runs `work`. Where that fails, nothing empty stays.
template <typename Work>
auto without_leftovers(const std::vector<std::string>& paths, Work&& work) {
  const Leftovers left(paths);
  try {
    return work();
  } catch (...) {
    left.remove();
    throw;
  }
}

}  // namespace espalier::tool
