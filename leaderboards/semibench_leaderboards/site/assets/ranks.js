// The critical-difference diagram: average ranks, and bars over rows that can't be told apart. Wide: Demšar's; narrow, or for
// many rows: one line a row, bars at the right.
const FEW = 24;

function ranks(data, details) {
  const box = byId("ranks-figure"), more = byId("ranks-more");
  const rows = data.order.map((id, index) => ({ row: data.rows.find((row) => row.id === id), index, average: data.average[index] })).filter((item) => known(item.average));
  if (rows.length < 2) {
    box.replaceChildren(make("p", { class: "note" }, "Fewer than two rows are ranked; a row needs three runs."));
    return;
  }
  rows.sort((a, b) => a.average - b.average || a.index - b.index);
  let every = rows.length <= FEW;
  const show = () => {
    const shown = every ? rows : rows.slice(0, FEW);
    const indices = new Set(shown.map((item) => item.index));
    const groups = data.groups.map((group) => group.filter((index) => indices.has(index))).filter((group) => group.length > 1);
    figure(box, (width) => (width >= 620 && shown.length <= FEW ? rankLine(data, shown, groups, width, details) : rankList(data, shown, groups, width, details)));
    more.textContent = every ? `Only the ${FEW} best` : `All ${rows.length} rows`;
  };
  more.hidden = rows.length <= FEW;
  more.addEventListener("click", () => { every = !every; show(); });
  show();
}

function rankTip(node, item) {
  const row = item.row;
  return tip(node, `${row.name}\naverage rank ${number(item.average, 2)}\nrank by mean ${row.rank}${row.rank_low === null ? "" : `, 95 %: ${row.rank_low}–${row.rank_high}`}\ngroup ${row.same}`);
}

function rankLine(data, items, groups, width, details) {
  const half = Math.ceil(items.length / 2);
  const depth = Math.max(half, items.length - half);
  const margin = Math.min(230, width * 0.27);
  const top = 34, gap = 13, step = 22;
  const first = top + 16 + groups.length * gap;
  const height = first + depth * step + 6;
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "Critical-difference diagram" });
  const best = items[0].average < 4 ? 1 : Math.floor(items[0].average);
  const last = Math.max(best + 1, Math.ceil(items.at(-1).average));
  const x = (value) => margin + ((value - best) / (last - best)) * (width - 2 * margin);
  svg.append(draw("line", { class: "axis", x1: x(best), x2: x(last), y1: top, y2: top }));
  for (const value of ticks(best, last, 10).filter(Number.isInteger))
    svg.append(draw("line", { class: "axis", x1: x(value), x2: x(value), y1: top - 6, y2: top }), draw("text", { class: "soft", x: x(value), y: top - 11, "text-anchor": "middle" }, String(value)));
  const spots = [];
  items.forEach((item, index) => {
    const left = index < half;
    const y = first + (left ? index : items.length - 1 - index) * step + 8;
    const end = left ? margin - 14 : width - margin + 14;
    svg.append(draw("polyline", { class: "link", points: `${x(item.average)},${top} ${x(item.average)},${y} ${end},${y}` }));
    const room = Math.floor((margin - 64) / 6.6);
    const name = draw("text", { x: left ? end - 6 : end + 6, y: y + 4, "text-anchor": left ? "end" : "start" });
    const rank = draw("tspan", { class: "soft" }, number(item.average, 2));
    if (left) name.append(`${clip(item.row.name, room)}  `, rank); else name.append(rank, `  ${clip(item.row.name, room)}`);
    svg.append(name);
    spots.push(rankTip(draw("circle", { class: "point", cx: x(item.average), cy: top, r: 4.5, role: "button" }), item));
  });
  groups.map((group) => group.map((index) => items.find((item) => item.index === index).average).sort((a, b) => a - b))
    .sort((a, b) => a[0] - b[0]).forEach((members, number) => {
      const y = top + 14 + number * gap;
      svg.append(draw("line", { class: "joined", x1: x(members[0]) - 6, x2: x(members.at(-1)) + 6, y1: y, y2: y }),
        ...members.map((member) => draw("circle", { class: "member", cx: x(member), cy: y, r: 4 })));
    });
  svg.append(...spots);
  roving(spots, (at) => details(items[at].row));
  return svg;
}

function rankList(data, items, groups, width, details) {
  const step = 20, top = 30;
  const side = Math.min(groups.length * 9 + 8, width * 0.25);
  const gap = groups.length ? Math.min(9, (side - 8) / groups.length) : 0;
  const names = Math.min(230, width * 0.42);
  const height = top + items.length * step + 8;
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "Average ranks" });
  const low = Math.floor(items[0].average), high = Math.max(low + 1, Math.ceil(items.at(-1).average));
  const x = (value) => names + 12 + ((value - low) / (high - low)) * (width - names - side - 24);
  for (const value of ticks(low, high, width < 500 ? 3 : 8).filter(Number.isInteger))
    svg.append(draw("line", { class: "grid", x1: x(value), x2: x(value), y1: top - 6, y2: height }), draw("text", { class: "soft", x: x(value), y: top - 12, "text-anchor": "middle" }, String(value)));
  const at = (index) => top + index * step + step / 2;
  const spots = items.map((item, index) => {
    svg.append(draw("text", { x: names, y: at(index) + 4, "text-anchor": "end" }, clip(item.row.name, Math.floor(names / 6.6))));
    return rankTip(draw("circle", { class: "point", cx: x(item.average), cy: at(index), r: 4.5, role: "button" }), item);
  });
  groups.forEach((group, number) => {
    const indices = group.map((member) => items.findIndex((item) => item.index === member)).sort((a, b) => a - b);
    const column = width - side + 8 + number * gap;
    svg.append(draw("line", { class: "joined", x1: column, x2: column, y1: at(indices[0]), y2: at(indices.at(-1)) }),
      ...indices.map((index) => draw("circle", { class: "member", cx: column, cy: at(index), r: Math.min(3.5, gap / 2.2) })));
  });
  svg.append(...spots);
  roving(spots, (index) => details(items[index].row));
  return svg;
}
