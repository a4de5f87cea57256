// Scales, axes and labels of drawings.
function ticks(low, high, most) {
  const raw = (high - low) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(raw || 1));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= raw) || 10 * power;
  const ticks = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-9; value += step) ticks.push(Number(value.toPrecision(12)));
  return ticks;
}

function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
    for (const factor of [1, 2, 5]) {
      const value = factor * 10 ** power;
      if (value >= low * 0.999 && value <= high * 1.001) ticks.push(value);
    }
  return ticks.length > 7 ? ticks.filter((value) => Number.isInteger(Math.round(Math.log10(value) * 1e6) / 1e6)) : ticks;
}

// A padded scale from values to pixels; logarithmic if asked for and if the values span more than a factor of three.
function scale(values, start, end, { log = false, pad = 0.06, most = 6, bounds = null } = {}) {
  let low = Math.min(...values), high = Math.max(...values);
  const logarithmic = log && low > 0 && high / low > 3;
  if (logarithmic) { low = Math.log10(low); high = Math.log10(high); }
  const room = (high - low || Math.abs(high) * 0.1 || 1) * pad;
  low -= room;
  high += room;
  if (bounds && !logarithmic) { low = Math.max(low, bounds[0]); high = Math.min(high, bounds[1]); }
  if (high <= low) { low -= 0.5; high += 0.5; }
  const at = (value) => start + (((logarithmic ? Math.log10(value) : value) - low) / (high - low)) * (end - start);
  at.log = logarithmic;
  at.ticks = logarithmic ? logTicks(10 ** low, 10 ** high) : ticks(low, high, most);
  return at;
}

// The range of a metric: overlaps are in 0 … 1, distances above 0.
function metricBounds(values) {
  const top = Math.max(...values);
  return Math.min(...values) >= 0 ? [0, top <= 1 ? 1 : Infinity] : null;
}

const tickText = (value) => (Math.abs(value) >= 10000 ? short(value) : String(value));

// Ticks with the same number of decimals.
function tickTexts(at) {
  const decimals = Math.max(...at.ticks.map((value) => (String(value).split(".")[1] || "").length));
  return (value) => (at.log || Math.abs(value) >= 10000 ? tickText(value) : value.toFixed(decimals));
}

function frame(svg, x, y, box, labels) {
  const yText = tickTexts(y), xText = labels.xText || tickTexts(x);
  for (const value of y.ticks) {
    svg.append(draw("line", { class: "grid", x1: box.left, x2: box.right, y1: y(value), y2: y(value) }),
      draw("text", { class: "soft", x: box.left - 7, y: y(value) + 4, "text-anchor": "end" }, yText(value)));
  }
  const written = new Set();
  for (const value of x.ticks) {
    if (written.has(xText(value))) continue;
    written.add(xText(value));
    svg.append(draw("line", { class: "axis", x1: x(value), x2: x(value), y1: box.bottom, y2: box.bottom + 5 }),
      draw("text", { class: "soft", x: x(value), y: box.bottom + 19, "text-anchor": "middle" }, xText(value)));
  }
  svg.append(draw("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
    draw("text", { x: box.right, y: box.bottom + 36, "text-anchor": "end" }, labels.x),
    draw("text", { x: 0, y: box.top - 12 }, labels.y));
}

// Writes names next to points where there is room, first come first served. taken: boxes in use.
function putLabel(svg, taken, x, y, text, edge, reach = 8) {
  const width = text.length * 6.5 + 4, height = 14;
  const spots = [
    [x + reach, y + 4, "start"], [x - reach, y + 4, "end"], [x, y - reach - 2, "middle"], [x, y + reach + 11, "middle"],
    [x + reach, y - 7, "start"], [x + reach, y + 15, "start"], [x - reach, y - 7, "end"], [x - reach, y + 15, "end"],
  ];
  for (const [left, base, anchor] of spots) {
    const start = anchor === "start" ? left : anchor === "end" ? left - width : left - width / 2;
    const box = [start, base - 11, start + width, base - 11 + height];
    const free = box[0] >= edge.left && box[2] <= edge.right && box[1] >= edge.top - 8 &&
      !taken.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3]);
    if (free) {
      taken.push(box);
      svg.append(draw("text", { class: "halo", x: left, y: base, "text-anchor": anchor, "aria-hidden": "true" }, text));
      return true;
    }
  }
  return false;
}
