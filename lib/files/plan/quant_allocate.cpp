// SPDX-License-Identifier: Apache-2.0
// Chooses a format per tensor under a budget of bytes: the multiple-choice knapsack problem. There
// are three steps:
// - Lagrangian relaxation (Everett 1963, generalized Lagrange multipliers). For a price lambda,
//   each tensor alone takes the format of least error + lambda * bytes. Bisection finds the
//   smallest price that fits.
// - Greedy repair spends the rest of the budget.
// - Dynamic programming over undominated (bytes, error) states closes the gap, cut by the
//   Lagrangian bound.
//
// The last step is exact while the states fit in kMaxStates. Beyond that, states with the worst
// bounds are dropped, and the result is the better of the last two steps.
#include <algorithm>
#include <limits>

#include "core/error.h"
#include "core/units.h"
#include "plan/quant_plan.h"

namespace espalier::plan {
namespace {

constexpr std::int64_t kAlignment = 32;  // alignment of tensors in a GGUF
constexpr std::size_t kMaxStates = 20000;

std::int64_t padded(std::int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

struct Option {
  format::FormatId format;
  std::int64_t bytes;  // padded
  double error;
};
struct Item {
  std::size_t tensor;           // index into arch::tensors()
  std::vector<Option> options;  // by bytes ascending, error strictly descending
};

// Drops options that another option beats in both bytes and error.
void keep_undominated(std::vector<Option>& options) {
  std::stable_sort(options.begin(), options.end(), [](const Option& a, const Option& b) {
    return a.bytes != b.bytes ? a.bytes < b.bytes : a.error < b.error;
  });
  std::vector<Option> kept;
  for (const Option& o : options)
    if (kept.empty() || o.error < kept.back().error) kept.push_back(o);
  options = std::move(kept);
}

// The index of the option of least error + price * bytes. Among equals, the smaller option.
std::size_t cheapest(const Item& item, double price) {
  std::size_t best = 0;
  double best_cost = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < item.options.size(); ++i) {
    const double cost = item.options[i].error + price * static_cast<double>(item.options[i].bytes);
    if (cost < best_cost) {
      best = i;
      best_cost = cost;
    }
  }
  return best;
}

using Choice = std::vector<std::size_t>;  // option index of each item

Choice relaxed(const std::vector<Item>& items, double price) {
  Choice choice;
  for (const Item& item : items) choice.push_back(cheapest(item, price));
  return choice;
}
std::int64_t bytes_of(const std::vector<Item>& items, const Choice& choice) {
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < items.size(); ++i) bytes += items[i].options[choice[i]].bytes;
  return bytes;
}
double error_of(const std::vector<Item>& items, const Choice& choice) {
  double error = 0;
  for (std::size_t i = 0; i < items.size(); ++i) error += items[i].options[choice[i]].error;
  return error;
}

// The smallest price (to the last bit that matters) whose relaxed choice fits.
double smallest_fitting_price(const std::vector<Item>& items, std::int64_t budget) {
  if (bytes_of(items, relaxed(items, 0)) <= budget) return 0;
  double low = 0, high = 1e-12;
  while (bytes_of(items, relaxed(items, high)) > budget) {
    low = high;
    high *= 4;
    ESP_CHECK(high < 1e300, internal, "allocation of formats: no price fits the budget");
  }
  for (int step = 0; step < 200 && high - low > 1e-15 * high; ++step) {
    const double middle = 0.5 * (low + high);
    (bytes_of(items, relaxed(items, middle)) <= budget ? high : low) = middle;
  }
  return high;
}

// Applies upgrades while any fits, best error per byte first.
void repair(const std::vector<Item>& items, std::int64_t budget, Choice& choice) {
  std::int64_t left = budget - bytes_of(items, choice);
  for (;;) {
    std::size_t best_item = items.size(), best_option = 0;
    double best_rate = 0;
    for (std::size_t i = 0; i < items.size(); ++i) {
      const Option& now = items[i].options[choice[i]];
      for (std::size_t o = choice[i] + 1; o < items[i].options.size(); ++o) {
        const Option& next = items[i].options[o];
        if (next.bytes - now.bytes > left) break;
        const double rate = (now.error - next.error) / static_cast<double>(next.bytes - now.bytes);
        if (rate > best_rate) {
          best_rate = rate;
          best_item = i;
          best_option = o;
        }
      }
    }
    if (best_item == items.size()) return;
    left -= items[best_item].options[best_option].bytes -
            items[best_item].options[choice[best_item]].bytes;
    choice[best_item] = best_option;
  }
}

// The increase of error + price * bytes over the item's best option when this option is taken.
double regret(const Item& item, std::size_t option, double price) {
  const Option& best = item.options[cheapest(item, price)];
  const Option& taken = item.options[option];
  return std::max(0.0,
                  taken.error - best.error + price * static_cast<double>(taken.bytes - best.bytes));
}

// error + price * bytes of the relaxed choice.
double relaxed_cost(const std::vector<Item>& items, double price) {
  double cost = 0;
  for (const Item& item : items) {
    const Option& o = item.options[cheapest(item, price)];
    cost += o.error + price * static_cast<double>(o.bytes);
  }
  return cost;
}

// The items ordered by how soon each may deviate from the relaxed choice: by its smallest regret.
std::vector<std::size_t> by_least_regret(const std::vector<Item>& items, double price) {
  std::vector<std::pair<double, std::size_t>> order;
  for (std::size_t i = 0; i < items.size(); ++i) {
    double least = std::numeric_limits<double>::infinity();
    const std::size_t best = cheapest(items[i], price);
    for (std::size_t o = 0; o < items[i].options.size(); ++o)
      if (o != best) least = std::min(least, regret(items[i], o, price));
    order.emplace_back(least, i);
  }
  std::stable_sort(order.begin(), order.end());
  std::vector<std::size_t> out;
  out.reserve(order.size());
  for (const auto& [least, i] : order) out.push_back(i);
  return out;
}

// A choice for the first items of an order.
struct State {
  std::int64_t bytes;
  double error, regret;
  std::size_t parent, option;
};
using States = std::vector<State>;

// Every state with every option of one more item, while it takes at most `room` bytes and its
// regret stays below `gap`.
States extended(const States& states, const Item& item, double price, std::int64_t room,
                double gap) {
  States out;
  for (std::size_t o = 0; o < item.options.size(); ++o) {
    const double r = regret(item, o, price);
    for (std::size_t s = 0; s < states.size(); ++s) {
      const State& from = states[s];
      const State to{from.bytes + item.options[o].bytes, from.error + item.options[o].error,
                     from.regret + r, s, o};
      if (to.bytes > room || !(to.regret < gap)) continue;
      out.push_back(to);
    }
  }
  return out;
}

// Those that no other one of fewer bytes and less error beats; of too many, those of least regret.
States undominated(States states) {
  std::stable_sort(states.begin(), states.end(), [](const State& a, const State& b) {
    return a.bytes != b.bytes ? a.bytes < b.bytes : a.error < b.error;
  });
  States kept;
  for (const State& s : states)
    if (kept.empty() || s.error < kept.back().error) kept.push_back(s);
  if (kept.size() > kMaxStates) {
    std::nth_element(kept.begin(), kept.begin() + kMaxStates, kept.end(),
                     [](const State& a, const State& b) { return a.regret < b.regret; });
    kept.resize(kMaxStates);
  }
  return kept;
}

// Undominated states over the items, ordered by how soon an item may deviate from the relaxed
// choice. The bound of a state is the relaxed optimum plus its regrets so far. A state is dropped
// when its bound is no better than the incumbent.
Choice close_gap(const std::vector<Item>& items, std::int64_t budget, double price,
                 Choice incumbent) {
  const double gap = error_of(items, incumbent) -
                     (relaxed_cost(items, price) - price * static_cast<double>(budget));
  if (!(gap > 0)) return incumbent;
  const std::vector<std::size_t> order = by_least_regret(items, price);
  std::vector<std::int64_t> smallest_rest(items.size() + 1, 0);
  for (std::size_t k = items.size(); k-- > 0;)
    smallest_rest[k] = smallest_rest[k + 1] + items[order[k]].options.front().bytes;

  std::vector<States> levels{{{0, 0, 0, 0, 0}}};
  for (std::size_t k = 0; k < items.size(); ++k) {
    States next = undominated(
        extended(levels.back(), items[order[k]], price, budget - smallest_rest[k + 1], gap));
    if (next.empty()) return incumbent;
    levels.push_back(std::move(next));
  }
  const States& last = levels.back();
  std::size_t best = 0;
  for (std::size_t s = 1; s < last.size(); ++s)
    if (last[s].error < last[best].error) best = s;
  if (!(last[best].error < error_of(items, incumbent))) return incumbent;
  Choice choice(items.size());
  for (std::size_t k = items.size(), s = best; k-- > 0;) {
    choice[order[k]] = levels[k + 1][s].option;
    s = levels[k + 1][s].parent;
  }
  return choice;
}

}  // namespace

QuantPlan allocate(const arch::Arch& arch, const arch::ModelDims& dims,
                   const std::vector<FormatChoice>& choices, std::int64_t budget_bytes) {
  const std::vector<arch::TensorRef> tensors = arch::tensors(arch, dims);
  std::map<std::pair<arch::Role, int>, const FormatChoice*> by_tensor;
  for (const FormatChoice& c : choices) {
    ESP_CHECK(c.formats.size() == c.error.size(), internal,
              "allocation of formats: ", arch::role_name(c.role), " has ", c.formats.size(),
              " formats and ", c.error.size(), " errors");
    ESP_CHECK(by_tensor.emplace(std::pair(c.role, c.layer), &c).second, internal,
              "allocation of formats: ", arch::gguf_name(c.role, c.layer), " is listed twice");
  }
  QuantPlan plan{.name = "mix", .tensors = {}};
  std::vector<Item> items;
  std::int64_t fixed = 0, smallest = 0;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    const arch::TensorRef& tensor = tensors[t];
    plan.tensors.push_back({tensor.spec->role, tensor.layer, format::FormatId::f32});
    if (tensor.is_vector) {
      fixed += padded(tensor_bytes(tensor, format::FormatId::f32));
      continue;
    }
    const auto found = by_tensor.find({tensor.spec->role, tensor.layer});
    const std::string name = arch::gguf_name(tensor.spec->role, tensor.layer);
    ESP_CHECK(found != by_tensor.end(), internal, "allocation of formats: no choice for ", name);
    Item item{t, {}};
    for (std::size_t i = 0; i < found->second->formats.size(); ++i) {
      const format::FormatId f = found->second->formats[i];
      const double error = found->second->error[i];
      ESP_CHECK(error >= 0 && error < 1e300, input, "allocation of formats: the error of ", name,
                " in ", format::info(f).name, " is ", error);
      if (tensor.row_length() % format::info(f).block == 0)
        item.options.push_back({f, padded(tensor_bytes(tensor, f)), error});
    }
    ESP_CHECK(!item.options.empty(), unsupported,
              "allocation of formats: none of the candidates for ", name,
              " fits its row length of ", tensor.row_length());
    keep_undominated(item.options);
    smallest += item.options.front().bytes;
    items.push_back(std::move(item));
  }
  const std::int64_t budget = budget_bytes - fixed;
  ESP_CHECK(smallest <= budget, unsupported, "no choice of formats fits in ",
            core::human_bytes(budget_bytes), ": the tensors alone need ",
            core::human_bytes(smallest + fixed), " (", smallest + fixed,
            " bytes); prune further or allow smaller formats");

  const double price = smallest_fitting_price(items, budget);
  Choice choice = relaxed(items, price);
  repair(items, budget, choice);
  if (price > 0) choice = close_gap(items, budget, price, std::move(choice));
  for (std::size_t i = 0; i < items.size(); ++i)
    plan.tensors[items[i].tensor].format = items[i].options[choice[i]].format;
  return plan;
}

}  // namespace espalier::plan
