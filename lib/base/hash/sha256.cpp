// SPDX-License-Identifier: Apache-2.0
// SHA-256 through OpenSSL's EVP interface.
#include "hash/sha256.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/parts.h"

namespace espalier::hash {

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  ESP_CHECK(EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) == 1, internal,
            "this build of OpenSSL has no SHA-256");
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> bytes) {
  EVP_DigestUpdate(state_->context, bytes.data(), bytes.size());
}
void Sha256::update(std::string_view text) {
  EVP_DigestUpdate(state_->context, text.data(), text.size());
}

std::string Sha256::hex() {
  std::array<unsigned char, 32> digest{};
  unsigned int n = 0;
  EVP_DigestFinal_ex(state_->context, digest.data(), &n);
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (unsigned char byte : digest) {
    out += digits[byte >> 4];
    out += digits[byte & 15];
  }
  return out;
}

std::string sha256(std::string_view text) {
  Sha256 h;
  h.update(text);
  return h.hex();
}

std::string sha256_file(const std::string& path) {
  const core::FileReader reader(path);
  std::vector<std::byte> window(std::size_t{4} << 20);
  Sha256 h;
  for (std::uint64_t at = 0; at < reader.size();) {
    const std::size_t n =
        static_cast<std::size_t>(std::min<std::uint64_t>(window.size(), reader.size() - at));
    reader.read(at, std::span(window).first(n));
    h.update(std::span<const std::byte>(window).first(n));
    at += n;
  }
  return h.hex();
}

std::string sha256_parts(const std::string& path) {
  const std::vector<std::string> parts = core::with_parts(path);
  if (parts.size() == 1) return sha256_file(path);
  Sha256 h;
  for (const std::string& part : parts) h.update(sha256_file(part) + "\n");
  return h.hex();
}

}  // namespace espalier::hash
