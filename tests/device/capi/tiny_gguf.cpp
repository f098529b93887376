// SPDX-License-Identifier: Apache-2.0
// tiny_gguf FILE: writes a tiny random Llama, for tests that are not C++.
#include <cstdio>
#include <exception>

#include "support/tiny_model.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    espalier::support::write_tiny_llama_gguf(argv[1]);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}
