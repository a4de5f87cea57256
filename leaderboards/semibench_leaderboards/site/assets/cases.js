// Values by case: the distribution of each row, and two rows compared case by case.
const SHOWN = 12;

function quantile(sorted, share) {
  const at = (sorted.length - 1) * share, low = Math.floor(at);
  return sorted[low] + ((sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]) * (at - low));
}

function distributions(data, details) {
  const box = byId("cases-figure"), more = byId("cases-more");
  const rows = data.rows.filter((row) => row.cases.some(known));
  if (!rows.length) { box.replaceChildren(make("p", { class: "note" }, "No values by case.")); return; }
  let every = rows.length <= SHOWN;
  const show = () => {
    figure(box, (width) => distributionPlot(data, every ? rows : rows.slice(0, SHOWN), width, details));
    more.textContent = every ? `Only the first ${SHOWN}` : `All ${rows.length} rows`;
  };
  more.hidden = rows.length <= SHOWN;
  more.addEventListener("click", () => { every = !every; show(); });
  show();
}

function distributionPlot(data, rows, width, details) {
  const narrow = width < 560;
  const step = narrow ? 54 : 36, top = 10;
  const left = narrow ? 8 : Math.min(220, width * 0.24);
  const height = top + rows.length * step + 44;
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `Distributions over cases of ${rows.length} rows` });
  const all = rows.flatMap((row) => row.cases.filter(known));
  const x = scale(all, left + 8, width - 14, { pad: 0.02, most: narrow ? 4 : 8, bounds: metricBounds(all) });
  const bottom = top + rows.length * step, xText = tickTexts(x);
  for (const value of x.ticks)
    svg.append(draw("line", { class: "grid", x1: x(value), x2: x(value), y1: top, y2: bottom }), draw("text", { class: "soft", x: x(value), y: bottom + 17, "text-anchor": "middle" }, xText(value)));
  svg.append(draw("text", { x: width - 14, y: bottom + 36, "text-anchor": "end" }, data.metric.label));
  const dots = all.length <= 4000;
  const marks = rows.map((row, index) => {
    const values = row.cases.filter(known).sort((a, b) => a - b);
    const y = top + index * step + (narrow ? 40 : step / 2 + 6);
    svg.append(narrow ? draw("text", { class: "halo", x: left, y: y - 25 }, clip(row.name, Math.floor(width / 6.8)))
      : draw("text", { x: left - 4, y: y + 2, "text-anchor": "end" }, clip(row.name, Math.floor(left / 6.7))));
    if (dots) {  // equal values are stacked
      const bins = new Map();
      const group = draw("g", { "aria-hidden": "true" });
      for (const value of values) {
        const bin = Math.round(x(value) / 3);
        const count = bins.get(bin) || 0;
        bins.set(bin, count + 1);
        group.append(draw("circle", { class: "dot", cx: x(value), cy: y - 7 - Math.min(14, count * 2.8), r: 2.2 }));
      }
      svg.append(group);
    }
    const [low, q1, middle, q3, high] = [0.05, 0.25, 0.5, 0.75, 0.95].map((share) => quantile(values, share));
    svg.append(draw("line", { class: "range", x1: x(low), x2: x(high), y1: y, y2: y }),
      draw("rect", { class: "box", x: x(q1), y: y - 2.5, width: Math.max(1, x(q3) - x(q1)), height: 5, rx: 1 }),
      draw("line", { class: "median", x1: x(middle), x2: x(middle), y1: y - 3.5, y2: y + 3.5 }));
    const mean = known(row.mean) ? row.mean : middle;
    return tip(draw("path", { class: "mean point", d: `M${x(mean)} ${y - 5}l5 5l-5 5l-5-5z`, role: "button" }),
      `${row.name}\nmean ${number(row.mean)}, median ${number(middle)}\nmiddle half ${number(q1)} … ${number(q3)}\n${values.length} cases`);
  });
  svg.append(...marks);
  roving(marks, (index) => details(rows[index]));
  return svg;
}

function pairs(data, look) {
  const rows = data.rows.filter((row) => row.cases.some(known));
  const first = byId("pair-a"), second = byId("pair-b");
  if (rows.length < 2) {
    byId("h-pair").hidden = true;
    first.closest(".bar").remove();
    first.closest(".two")?.remove();
    return;
  }
  const names = rows.map((row) => [row.id, row.name]);
  options(first, names, rows[0].id);
  options(second, names, rows[1].id);
  const show = () => {
    const [one, other] = [first, second].map((select) => rows.find((row) => row.id === select.value));
    const shared = data.cases.map((key, index) => ({ key, a: one.cases[index], b: other.cases[index] })).filter((item) => known(item.a) && known(item.b));
    figure(byId("pair-figure"), (width) => pairPlot(data, one, other, shared, width, look));
    byId("pair-facts").replaceChildren(...pairFacts(data, one, other, shared, look));
  };
  first.addEventListener("change", show);
  second.addEventListener("change", show);
  show();
}

function pairPlot(data, one, other, shared, width, look) {
  if (!shared.length) return make("p", { class: "note" }, "The rows share no case with a value in both.");
  const side = Math.min(width, 430);
  const edge = { left: 48, right: side - 10, top: 30, bottom: side - 46 };
  const svg = draw("svg", { width: side, height: side, viewBox: `0 0 ${side} ${side}`, role: "group", "aria-label": `${one.name} against ${other.name}, ${shared.length} cases` });
  const values = shared.flatMap((item) => [item.a, item.b]);
  const settings = { pad: 0.05, most: 5, bounds: metricBounds(values) };
  const x = scale(values, edge.left, edge.right, settings), y = scale(values, edge.bottom, edge.top, settings);
  frame(svg, x, y, edge, { x: clip(other.name, 40), y: clip(one.name, 40) });
  const low = Math.min(...values), high = Math.max(...values);
  svg.append(draw("line", { class: "axis", x1: x(low), y1: y(low), x2: x(high), y2: y(high), "stroke-dasharray": "3 3" }));
  const seen = [...shared].sort((p, q) => p.b - q.b);
  const points = seen.map((item) => tip(draw("circle", { class: look.has(item.key) ? "case seen" : "case", cx: x(item.b), cy: y(item.a), r: look.has(item.key) ? 4.5 : 3.2, role: look.has(item.key) ? "button" : "img" }),
    `${item.key}\n${one.name} ${number(item.a)}\n${other.name} ${number(item.b)}${look.has(item.key) ? "\nEnter or click shows it in the viewer" : ""}`));
  svg.append(...points);
  roving(points, (index) => { if (look.has(seen[index].key)) look.go(seen[index].key, one.id, other.id); });
  return svg;
}

function pairFacts(data, one, other, shared, look) {
  if (one === other) return [make("p", { class: "note" }, "Choose two different rows.")];
  if (!shared.length) return [];
  const mean = shared.reduce((sum, item) => sum + item.a - item.b, 0) / shared.length;
  const better = shared.filter((item) => (data.higher ? item.a > item.b : item.a < item.b)).length;
  const equal = shared.filter((item) => item.a === item.b).length;
  const p = adjusted(data, one.id, other.id);
  const verdict = p === null ? "no test: not both rows are ranked" : p < 0.05 ? `told apart: adjusted p = ${short(p)}` : `can't be told apart: adjusted p = ${short(p)}`;
  const most = [...shared].sort((s, t) => Math.abs(t.a - t.b) - Math.abs(s.a - s.b) || (s.key < t.key ? -1 : 1)).slice(0, 5);
  const key = (item) => {
    if (!look.has(item.key)) return item.key;
    const button = make("button", { type: "button", class: "open" }, item.key);
    button.addEventListener("click", () => look.go(item.key, one.id, other.id));
    return button;
  };
  return [
    facts([["mean difference", signed(mean)], [`cases where ${one.name} is better`, `${better} of ${shared.length}${equal ? `, ${equal} equal` : ""}`], ["Wilcoxon, Holm over the board", verdict]]),
    make("p", { class: "soft" }, "Cases that differ most:"),
    grid(["case", clip(one.name, 16), clip(other.name, 16), "difference"], most.map((item) => [key(item), number(item.a), number(item.b), signed(item.a - item.b)]), ["", "number", "number", "number"]),
  ];
}

function adjusted(data, one, other) {
  const indices = [data.order.indexOf(one), data.order.indexOf(other)].sort((a, b) => a - b);
  if (indices[0] < 0 || indices[0] === indices[1]) return null;
  const n = data.order.length;
  return data.adjusted[(indices[0] * (2 * n - indices[0] - 1)) / 2 + indices[1] - indices[0] - 1] ?? null;
}
