// SPDX-License-Identifier: Apache-2.0
// The cases, operation by operation.
#include "operation_cases.h"

#include <cmath>
#include <utility>

namespace espalier::model {
namespace {

using torch::Tensor;
using Inputs = std::vector<Tensor>;
using Cases = std::vector<OperationCase>;

// Widths below, at and beside the widths of vectors.
constexpr std::int64_t kWidths[] = {1, 31, 32, 77, 576};

void add_norms(Cases& out) {
  for (const std::int64_t h : kWidths) {
    const std::string size = "[2, 5, " + std::to_string(h) + "]";
    out.push_back(
        {"rms_norm",
         size,
         {torch::randn({2, 5, h}), torch::randn({h})},
         [](const Operations& ops, const Inputs& v) { return ops.rms_norm(v[0], v[1], 1e-5); }});
    // Of one value the deviation is 0, and its gradient the difference of numbers as large as
    // 1 / sqrt(eps).
    if (h > 1)
      out.push_back({"layer_norm",
                     size,
                     {torch::randn({2, 5, h}), torch::randn({h}), torch::randn({h})},
                     [](const Operations& ops, const Inputs& v) {
                       return ops.layer_norm(v[0], v[1], v[2], 1e-5);
                     }});
  }
  // Norms of heads: the last of four dimensions.
  out.push_back(
      {"rms_norm",
       "[2, 3, 5, 10]",
       {torch::randn({2, 3, 5, 10}), torch::randn({10})},
       [](const Operations& ops, const Inputs& v) { return ops.rms_norm(v[0], v[1], 1e-6); }});
}

void add_linears(Cases& out) {
  const auto apply = [](torch::ScalarType dtype) {
    return [dtype](const Operations& ops, const Inputs& v) {
      return torch::cat(ops.linears(v[0], {v.begin() + 1, v.end()}, dtype), -1);
    };
  };
  const auto inputs = [] {
    return Inputs{torch::randn({2, 5, 33}), torch::randn({17, 33}), torch::randn({1, 33}),
                  torch::randn({6, 33})};
  };
  out.push_back({"linears",
                 "one",
                 {torch::randn({2, 5, 33}), torch::randn({17, 33})},
                 apply(torch::kFloat32)});
  out.push_back({"linears", "three", inputs(), apply(torch::kFloat32)});
  // The reference casts x for each product, and so does every row round what it adds.
  out.push_back({"linears", "three in bfloat16", inputs(), apply(torch::kBFloat16), 1e-2});
}

void add_activations(Cases& out) {
  const auto two = [&](const char* name, auto operation) {
    for (const std::int64_t n : {1, 53})
      out.push_back({name,
                     std::to_string(n),
                     {torch::randn({3, 4, n}) * 20, torch::randn({3, 4, n})},
                     [operation](const Operations& ops, const Inputs& v) {
                       return (ops.*operation)(v[0], v[1]);
                     }});
  };
  const auto one = [&](const char* name, auto operation) {
    for (const std::int64_t n : {1, 53})
      out.push_back(
          {name,
           std::to_string(n),
           {torch::randn({3, 4, n}) * 3},
           [operation](const Operations& ops, const Inputs& v) { return (ops.*operation)(v[0]); }});
  };
  two("swiglu", &Operations::swiglu);
  two("geglu", &Operations::geglu);
  one("gelu", &Operations::gelu);
  one("relu_squared", &Operations::relu_squared);
}

// Whole heads, a part of each head, and heads that are slices of a fused matrix.
void add_rotations(Cases& out) {
  constexpr std::pair<std::int64_t, std::int64_t> kHeads[] = {{8, 8}, {9, 6}, {10, 2}};
  for (const auto& [width, rotated] : kHeads) {
    const Tensor angle = torch::randn({7, rotated / 2}), c = angle.cos(), s = angle.sin();
    const auto rotate = [c, s](const Operations& ops, const Tensor& x) {
      return ops.rotate(x, c.to(x.device()), s.to(x.device()));
    };
    out.push_back({"rotate",
                   std::to_string(rotated) + " of " + std::to_string(width),
                   {torch::randn({2, 7, 3, width})},
                   [rotate](const Operations& ops, const Inputs& v) { return rotate(ops, v[0]); }});
    out.push_back({"rotate",
                   "a slice of " + std::to_string(width),
                   {torch::randn({2, 7, 5 * width})},
                   [rotate, n = width](const Operations& ops, const Inputs& v) {
                     return rotate(ops, v[0].narrow(-1, n, 3 * n).unflatten(-1, {3, n}));
                   }});
  }
}

// Odd lengths, several blocks of queries, groups of one and of several heads; then other scales,
// soft-caps, and windows shorter and longer than the text; then queries of the last positions
// alone.
void add_attention(Cases& out) {
  struct Case {
    std::int64_t b, t, n, k, d;
    double scale = 0, softcap = 0;
    std::int64_t window = 0;
    std::int64_t queries = 0;  // 0: of all positions
    std::int64_t n_queries() const { return queries > 0 ? queries : t; }
  };
  for (const Case& c : {Case{2, 1, 2, 1, 4}, Case{1, 37, 3, 3, 10}, Case{2, 131, 6, 2, 16},
                        Case{1, 300, 4, 1, 7}, Case{1, 1100, 1, 1, 4}, Case{2, 37, 4, 2, 10, 0.11},
                        Case{2, 37, 4, 2, 10, 0.3, 5}, Case{2, 37, 4, 2, 10, 0, 0, 8},
                        Case{2, 37, 4, 4, 10, 0, 0, 64}, Case{1, 41, 6, 2, 10, 0.25, 20, 7},
                        Case{2, 41, 6, 2, 10, 0, 0, 0, 5}, Case{1, 41, 4, 2, 10, 0.3, 5, 7, 12}})
    out.push_back({"attention",
                   "[" + std::to_string(c.b) + ", " + std::to_string(c.t) + ", " +
                       std::to_string(c.n) + " of " + std::to_string(c.k) + ", " +
                       std::to_string(c.d) + "], softcap " + std::to_string(c.softcap) +
                       ", window " + std::to_string(c.window) + ", queries " +
                       std::to_string(c.n_queries()),
                   {torch::randn({c.b, c.n_queries(), c.n, c.d}) * 2,
                    torch::randn({c.b, c.t, c.k, c.d}) * 2, torch::randn({c.b, c.t, c.k, c.d})},
                   [c](const Operations& ops, const Inputs& v) {
                     const double usual = 1 / std::sqrt(static_cast<double>(c.d));
                     return ops.attention(v[0], v[1], v[2],
                                          {c.scale > 0 ? c.scale : usual, c.softcap, c.window});
                   }});
}

// Ids that occur several times.
void add_embeddings(Cases& out) {
  const Tensor ids = torch::tensor({{1, 4, 1, 0}, {4, 4, 2, 1}}, torch::kInt64);
  for (const std::int64_t h : kWidths)
    out.push_back({"embed_rows",
                   "[6, " + std::to_string(h) + "]",
                   {torch::randn({6, h})},
                   [ids](const Operations& ops, const Inputs& v) {
                     return ops.embed_rows(ids.to(v[0].device()), v[0]);
                   }});
}

}  // namespace

std::vector<OperationCase> operation_cases() {
  torch::manual_seed(1);
  Cases out;
  add_norms(out);
  add_linears(out);
  add_activations(out);
  add_rotations(out);
  add_attention(out);
  add_embeddings(out);
  return out;
}

}  // namespace espalier::model
