// A metric against the costs of a row, or against the amount of labels over tracks that differ in nothing else.
const COSTS = [
  ["parameters", "parameters", true, short], ["inference_parameters", "parameters used for prediction", true, short], ["gflops", "GFLOPs", true, short],
  ["training_seconds", "training time", true, seconds], ["seconds_per_case", "inference time per case", true, seconds],
  ["peak_memory_mb", "peak memory [MB]", true, short], ["label_budget", "labeled and validation cases", false, short],
];

function plots(data, details) {
  const box = byId("plot-figure"), ySelect = byId("plot-y"), xSelect = byId("plot-x");
  const metrics = [data.metric, ...data.metrics];
  const costs = COSTS.filter(([key]) => data.rows.some((row) => known(row[key])));
  const choices = costs.map(([key, label]) => [key, label]);
  if (data.family.length) choices.unshift(["family", "amount of labels, over tracks"]);
  if (!choices.length) { byId("plots").hidden = true; return; }
  options(ySelect, metrics.map((item) => [item.name, item.label]), data.metric.name);
  const spread = (key) => new Set(data.rows.map((row) => row[key]).filter(known)).size;
  options(xSelect, choices, data.family.length ? "family" : (costs.find(([key]) => spread(key) > 1) || costs[0])[0]);
  const show = () => {
    ySelect.disabled = xSelect.value === "family";
    if (xSelect.value === "family") ySelect.value = data.metric.name;
    const caption = byId("plot-caption");
    caption.textContent = xSelect.value === "family"
      ? "Boards that differ only in the amount of labels; bars: 95 % interval. Means of different amounts are not ranked with each other."
      : `Bars: ${ySelect.value === data.metric.name ? "95 % interval over cases" : "standard deviation over runs"}; hollow: fewer than three runs; lines across: references. Logarithmic where the values span more than a factor of three.`;
    figure(box, (width) => (xSelect.value === "family" ? familyPlot(data, width) : costPlot(data, width, ySelect.value, costs.find(([key]) => key === xSelect.value), details)));
  };
  ySelect.addEventListener("change", show);
  xSelect.addEventListener("change", show);
  show();
}

function costPlot(data, width, metric, [key, label, log, text], details) {
  const own = metric === data.metric.name;
  const value = (row) => (own ? row.mean : (row.metrics[metric] || [null])[0]);
  const bar = (row) => {
    if (own) return known(row.low) ? [row.low, row.high] : null;
    const [mean, std] = row.metrics[metric] || [null, null];
    return known(std) ? [mean - std, mean + std] : null;
  };
  const rows = data.rows.filter((row) => known(value(row)) && known(row[key]) && !row.role).sort((a, b) => a[key] - b[key] || value(b) - value(a));
  if (!rows.length) return make("p", { class: "note" }, "No row has both values.");
  const height = width < 560 ? 320 : 380;
  const edge = { left: 52, right: width - 12, top: 34, bottom: height - 46 };
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `Scatter plot of ${rows.length} rows` });
  const lines = data.rows.filter((row) => row.role && row.role !== "control" && known(value(row)));
  const ends = [...rows.flatMap((row) => [value(row), ...(bar(row) || [])]), ...lines.map(value)];
  const x = scale(rows.map((row) => row[key]), edge.left + 10, edge.right - 10, { log, pad: 0.08, most: width < 560 ? 4 : 7 });
  const y = scale(ends, edge.bottom, edge.top, { most: 6, bounds: metricBounds(ends) });
  frame(svg, x, y, edge, { x: label, y: [data.metric, ...data.metrics].find((item) => item.name === metric).label, xText: text });
  const heights = [];
  for (const row of lines) {
    const at = y(value(row));
    svg.append(draw("line", { class: `bound ${row.role.split(" ")[0]}`, x1: edge.left, x2: edge.right, y1: at, y2: at }));
    let text = at - 4;
    while (heights.some((other) => Math.abs(other - text) < 12)) text += 12;
    heights.push(text);
    svg.append(tip(draw("text", { class: "bound", x: edge.left + 4, y: text }, row.borrowed ? row.name : `${row.name} (${row.role})`), `${row.name}\n${number(value(row))}${own ? ` (${interval(row)})` : ""}`));
  }
  const taken = rows.map((row) => [x(row[key]) - 6, y(value(row)) - 6, x(row[key]) + 6, y(value(row)) + 6]);
  const points = rows.map((row) => {
    const span = bar(row);
    const clipped = (found) => Math.min(edge.bottom, Math.max(edge.top - 6, y(found)));
    if (span) svg.append(draw("line", { class: "error", x1: x(row[key]), x2: x(row[key]), y1: clipped(span[0]), y2: clipped(span[1]) }));
    return tip(draw("circle", { class: row.n < 3 ? "point unsure" : "point", cx: x(row[key]), cy: y(value(row)), r: 5, role: "button" }),
      `${row.name}\n${number(value(row))}${own ? ` (${interval(row)})` : ""}\n${label}: ${text(row[key])}`);
  });
  const best = [...rows].sort((a, b) => (data.higher ? value(b) - value(a) : value(a) - value(b)));
  for (const row of best.slice(0, 60)) putLabel(svg, taken, x(row[key]), y(value(row)), clip(row.name, width < 560 ? 18 : 34), edge);
  svg.append(...points);
  roving(points, (at) => details(rows[at]));
  return svg;
}

function familyPlot(data, width) {
  const names = [...new Set(data.family.map((point) => point.name))];
  const last = (name) => data.family.filter((point) => point.name === name).at(-1).mean;
  names.sort((a, b) => (data.higher ? last(b) - last(a) : last(a) - last(b)));
  const shown = names.slice(0, 8);
  const points = data.family.filter((point) => shown.includes(point.name));
  const height = width < 560 ? 360 : 420;
  const side = width < 560 ? 12 : 150;
  const edge = { left: 52, right: width - side, top: 34, bottom: height - 46 };
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "Metric against the amount of labels" });
  const ends = points.flatMap((point) => [point.mean, point.low, point.high]).filter(known);
  const x = scale(points.map((point) => point.labels), edge.left + 10, edge.right - 10, { log: true });
  const y = scale(ends, edge.bottom, edge.top, { bounds: metricBounds(ends) });
  frame(svg, x, y, edge, { x: "labeled and validation cases", y: data.metric.label, xText: short });
  const marks = [];
  let used = [];
  shown.forEach((name, index) => {
    const mine = points.filter((point) => point.name === name).sort((a, b) => a.labels - b.labels);
    const line = draw("polyline", { fill: "none", "stroke-width": 1.8, points: mine.map((point) => `${x(point.labels)},${y(point.mean)}`).join(" ") });
    line.style.stroke = `var(--s${index + 1})`;
    svg.append(line);
    mine.forEach((point) => {
      const shift = (index - (shown.length - 1) / 2) * 4;
      if (known(point.low)) {
        const error = draw("line", { class: "error", x1: x(point.labels) + shift, x2: x(point.labels) + shift, y1: y(point.low), y2: y(point.high) });
        error.style.stroke = `var(--s${index + 1})`;
        svg.append(error);
      }
      const mark = draw("circle", { class: "point", cx: x(point.labels) + shift, cy: y(point.mean), r: 4.5, role: "img" });
      mark.style.fill = `var(--s${index + 1})`;
      marks.push(tip(mark, `${name}\n${point.labels} labels: ${number(point.mean)} (${interval(point)})\n${point.n} runs`));
    });
    if (side > 100) {
      let at = y(mine.at(-1).mean) + 4;
      while (used.some((other) => Math.abs(other - at) < 14)) at += 14;
      used.push(at);
      const text = draw("text", { x: edge.right + 8, y: at }, clip(name, 22));
      text.style.fill = `var(--s${index + 1})`;
      svg.append(text);
    }
  });
  svg.append(...marks);
  roving(marks, null);
  if (side > 100) return svg;
  return make("div", {}, svg, make("p", { class: "legend" }, shown.map((name, index) => {
    const spot = make("i");
    spot.style.background = `var(--s${index + 1})`;
    return make("span", {}, spot, name);
  })));
}
