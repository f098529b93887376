// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4) of bytes and files, computed by OpenSSL. A digest is 64 lowercase
// hexadecimal digits.
#pragma once
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace espalier::hash {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);
  // Returns the digest. The object takes no more bytes after it.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string sha256(std::string_view text);
std::string sha256_file(const std::string& path);  // reads in windows of 4 MiB
// The same for a file that may be the first part of a split model: of several parts the digest of
// their digests, in order, each with a line break.
std::string sha256_parts(const std::string& path);

}  // namespace espalier::hash
