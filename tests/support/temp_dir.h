// SPDX-License-Identifier: Apache-2.0
// A directory that lives as long as the object.
#pragma once
#include <string>

namespace espalier::support {

class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace espalier::support
