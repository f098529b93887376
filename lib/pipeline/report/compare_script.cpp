// SPDX-License-Identifier: Apache-2.0
// The script of a comparison's page: Pareto plots. Schemes differ in the shape of their points too,
// so that the charts can be read without colour.
#include "report/page.h"

namespace espalier::report {

const char* const kCompareScript = R"js(
// Shape, rotation, and whether it is filled: no two of the first sixteen are alike, and later ones are larger.
const marks = [['circle', 0, 1], ['rect', 0, 1], ['triangle', 0, 1], ['rectRot', 0, 1], ['cross', 0, 1], ['star', 0, 1], ['crossRot', 0, 1], ['triangle', 180, 1],
               ['circle', 0, 0], ['rect', 0, 0], ['triangle', 0, 0], ['rectRot', 0, 0], ['triangle', 90, 1], ['triangle', 180, 0], ['triangle', 90, 0], ['triangle', 270, 1]];
const tones = dark ? ['#5fbf86', '#7fb2e5', '#f0b45a', '#c79af0', '#f08a80', '#6fd3d3', '#d8d36a', '#e58fc0']
                   : ['#2f7d4f', '#2a5d94', '#a86a00', '#6a3f94', '#b3392f', '#1f7a80', '#6b6a14', '#94386b'];
const titles = {parameters: 'parameters, millions', bytes: 'bytes, MB', decode_tokens_per_second: 'decode, tokens a second', ratio: 'times dense', kl: 'KL, nats'};
const scale = {parameters: 1e6, bytes: 1e6, decode_tokens_per_second: 1};
// What no other point beats in both. More of a size is worse, more speed is better.
function front(points, x) {
  const better = x === 'decode_tokens_per_second' ? (a, b) => b.x - a.x : (a, b) => a.x - b.x;
  let least = Infinity;
  return [...points].sort((a, b) => better(a, b) || a.y - b.y).filter(p => p.y < least && ((least = p.y), true));
}
// Room for 240 pixels of plot above as many lines as the names need.
function aspect(id, datasets) {
  const width = document.getElementById(id).parentElement.clientWidth - 28;
  const lines = Math.ceil(1.15 * datasets.reduce((n, d) => n + 6 * d.label.length + 26, 0) / width) + 1;
  return width / (240 + 17 * lines);
}
for (const chart of data.charts) {
  const sets = new Map(), all = [];
  for (const row of data.summary) {
    const measured = row.texts[chart.text];
    if (!measured || measured[chart.y] === null || row[chart.x] === null) continue;
    const name = row.scheme + (row.stage === 'distilled' ? ', distilled' : '');
    const point = {x: row[chart.x] / scale[chart.x], y: measured[chart.y], size: row.ratio, low: chart.y === 'ratio' ? measured.low : null, high: measured.high};
    if (!sets.has(name)) sets.set(name, []);
    sets.get(name).push(point);
    all.push(point);
  }
  const datasets = [...sets].map(([label, points], i) => {
    const [pointStyle, rotation, filled] = marks[i % marks.length], tone = tones[(i + Math.floor(i / 8)) % tones.length];
    return {label, data: points, pointStyle, rotation, pointRotation: rotation, pointRadius: 6 + 3 * Math.floor(i / marks.length), borderWidth: 2, borderColor: tone, backgroundColor: filled ? tone : 'transparent'};
  });
  datasets.push({label: 'best of its size', type: 'line', data: front(all, chart.x), borderColor: ink, borderWidth: 1, borderDash: [5, 4], pointRadius: 0, pointStyle: 'line'});
  draw(chart.id, {type: 'scatter', data: {datasets}, options: {aspectRatio: aspect(chart.id, datasets),
    scales: {x: axis(titles[chart.x]), y: axis(titles[chart.y])},
    plugins: {legend: {position: 'bottom', labels: {usePointStyle: true, boxWidth: 8, boxHeight: 8, font: {size: 11}}},
      tooltip: {callbacks: {label: c => `${c.dataset.label} (${c.raw.size}): ${c.raw.x.toFixed(1)}, ${c.raw.y.toFixed(3)}` + (typeof c.raw.low === 'number' ? ` [${c.raw.low.toFixed(3)}, ${c.raw.high.toFixed(3)}]` : '')}}}}});
}
const right = Math.max(0, ...[...document.querySelectorAll('canvas')].map(c => c.getBoundingClientRect().right));
document.body.dataset.fits = Math.max(right, document.documentElement.scrollWidth) <= document.documentElement.clientWidth;
document.body.dataset.width = innerWidth;
document.body.dataset.scheme = dark ? 'dark' : 'light';
)js";

}  // namespace espalier::report
