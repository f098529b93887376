// SPDX-License-Identifier: Apache-2.0
// Style of all pages and script of the report page, as strings.
#include "report/page.h"

namespace espalier::report {

const char* const kStyle = R"css(
:root{--ink:#1d2a24;--soft:#5d6f66;--line:#dfe7e2;--leaf:#2f7d4f;--bad:#b3392f;--unasked:#8a6414;--paper:#fbfcfa;--card:#fff;--head:#f1f5f2}
@media(prefers-color-scheme:dark){:root{--ink:#e3ebe6;--soft:#a3b3aa;--line:#33413a;--leaf:#2f8553;--bad:#b8443a;--unasked:#8a6414;--paper:#141a17;--card:#1b231f;--head:#222c27}}
*{box-sizing:border-box}body{font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;color:var(--ink);background:var(--paper);margin:0}
main{max-width:1080px;margin:0 auto;padding:32px 24px 80px}h1{font-size:30px;margin:0 0 4px}h2{font-size:20px;margin:44px 0 10px;border-bottom:1px solid var(--line);padding-bottom:6px}
p.sub{color:var(--soft);margin:0 0 24px}.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(190px,1fr));gap:14px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px}.tile b{display:block;font-size:26px}.tile span{color:var(--soft);font-size:13px}
.verdict{border-radius:10px;padding:14px 18px;margin:22px 0;color:#fff;font-weight:600;background:var(--leaf)}.verdict.bad{background:var(--bad)}.verdict.none{background:var(--unasked)}
table{border-collapse:collapse;width:100%;background:var(--card);border:1px solid var(--line);font-size:14px}th,td{padding:7px 10px;text-align:right;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left}th{background:var(--head)}.ok{color:var(--leaf)}.no{color:var(--bad);font-weight:600}
.grid{display:grid;grid-template-columns:1fr 1fr;gap:22px}@media(max-width:800px){.grid{grid-template-columns:1fr}}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px}figcaption{color:var(--soft);font-size:13px;margin-top:8px}
pre{background:var(--card);border:1px solid var(--line);padding:14px;overflow:auto;font-size:13px}code{font-size:13px;word-break:break-all}
.wide{overflow-x:auto;margin:0 0 14px}.wide td,.wide th{white-space:nowrap}.grid>*{min-width:0}figure{position:relative}canvas{max-width:100%}.soft{color:var(--soft)}td.heat{text-align:center;background:color-mix(in srgb,var(--leaf) calc(var(--s)*.55),var(--card))}h3{font-size:16px;margin:22px 0 6px}
@media(max-width:500px){main{padding:20px 12px 60px}h1{font-size:24px}}
@media(prefers-color-scheme:dark){.ok{color:#6fce95}.no{color:#f08a80}}
)css";

const char* const kPrelude = R"js(
const data = JSON.parse(document.getElementById('data').textContent), card = data.card;
const dark = matchMedia('(prefers-color-scheme: dark)').matches;
const leaf = dark ? '#5fbf86' : '#2f7d4f', grey = '#8a9a91', bad = dark ? '#f08a80' : '#b3392f', ink = dark ? '#e3ebe6' : '#1d2a24';
Chart.defaults.animation = false; Chart.defaults.font.family = 'system-ui, sans-serif';
Chart.defaults.color = dark ? '#a3b3aa' : '#5d6f66'; Chart.defaults.borderColor = dark ? '#33413a' : '#dfe7e2';
const axis = (text, more) => Object.assign({title: {display: true, text}}, more || {});
function draw(id, config) { const place = document.getElementById(id); if (place) new Chart(place, config); }
)js";

const char* const kScript = R"js(
if (card) {
  const points = [{name: 'student', x: card.file_bytes / 1e6, y: card.perplexity, own: true}, {name: 'teacher', x: card.teacher_file_bytes / 1e6, y: card.teacher_perplexity}]
    .concat((card.baselines || []).map(b => ({name: b.name, x: b.file_bytes / 1e6, y: b.perplexity})));
  draw('sizes', {type: 'scatter', data: {datasets: points.map(p => ({label: p.name, data: [p], backgroundColor: p.own ? leaf : p.name === 'teacher' ? ink : grey, pointRadius: p.own ? 9 : 7}))},
    options: {scales: {x: axis('size on disk, MB', {type: 'logarithmic'}), y: axis('held-out perplexity (log)', {type: 'logarithmic'})},
      plugins: {legend: {position: 'bottom'}, tooltip: {callbacks: {label: c => `${c.dataset.label}: ${c.raw.x.toFixed(1)} MB, perplexity ${c.raw.y.toFixed(2)}`}}}}});
}
if (data.loss && data.loss.length) {
  const colors = {loss: leaf, kl: '#356aa0', ce: '#c98a1b'}, more = ['#7a4fa0', '#a04f6b', '#4f9aa0', '#6b7a2f'];
  const line = ([key, label], i) => ({label, data: data.loss.filter(r => r[key] !== undefined).map(r => ({x: r.tokens, y: r[key]})), borderColor: colors[key] || more[i % more.length], borderWidth: 1.6, pointRadius: 0});
  draw('loss', {type: 'line', data: {datasets: data.curves.map(line)},
    options: {parsing: false, scales: {x: axis('tokens', {type: 'linear'}), y: axis('per token')}, plugins: {legend: {position: 'bottom'}}}});
}
if (data.kl_histogram) {
  const h = data.kl_histogram;
  draw('kl', {type: 'bar', data: {labels: h.counts.map((_, i) => h.edges[i].toExponential(0)), datasets: [{label: 'tokens', data: h.counts, backgroundColor: leaf}]},
    options: {plugins: {legend: {display: false}}, scales: {x: axis('KL(teacher || file) per token, nats'), y: axis('tokens')}}});
}
if (data.importance && data.importance.block_influence) {
  const kept = new Set(data.importance.kept_layers), v = data.importance.block_influence;
  draw('layers', {type: 'bar', data: {labels: v.map((_, i) => i), datasets: [{label: 'block influence', data: v, backgroundColor: v.map((_, i) => kept.has(i) ? leaf : bad)}]},
    options: {plugins: {legend: {display: false}}, scales: {x: axis('layer (red: dropped)'), y: axis('1 - cos(input, output)', {type: 'logarithmic'})}}});
}
)js";

const char* const kDrawn = R"js(
document.body.dataset.drawn = document.querySelectorAll('canvas').length;
)js";

}  // namespace espalier::report
