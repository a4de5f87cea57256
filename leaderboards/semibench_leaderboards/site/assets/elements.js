// Elements, and numbers as text. All text is inserted as text nodes; no code of the page parses markup.
const byId = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}
const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const known = (value) => typeof value === "number" && Number.isFinite(value);
const number = (value, digits = 4) => (!known(value) ? "–" : value.toFixed(Math.abs(value) < 10 ? digits : 2));
const signed = (value) => (!known(value) ? "–" : (value > 0 ? "+" : value < 0 ? "−" : "") + number(Math.abs(value)));
function short(value) {
  if (!known(value)) return "–";
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]])
    if (Math.abs(value) >= size) return `${Number((value / size).toPrecision(3))} ${unit}`;
  return String(Number(value.toPrecision(3)));
}
function seconds(value) {
  if (!known(value)) return "–";
  if (value < 100) return `${Number(value.toPrecision(3))} s`;
  return value < 6000 ? `${Number((value / 60).toPrecision(3))} min` : `${Number((value / 3600).toPrecision(3))} h`;
}
const interval = (row) => (known(row.low) ? `${number(row.low)} … ${number(row.high)}` : "–");
const clip = (text, most) => (text.length > most ? `${text.slice(0, Math.max(1, most - 1))}…` : text);
const json = (id) => (byId(id) ? JSON.parse(byId(id).textContent) : null);

// Options of a select: [value, text].
function options(select, pairs, chosen) {
  select.replaceChildren(...pairs.map(([value, text]) => make("option", { value, selected: value === chosen }, text)));
}

// Tooltip of a point while it is under the pointer or has the focus.
function tip(node, text) {
  const box = byId("tip");
  const show = () => {
    box.textContent = text;
    box.hidden = false;
    const at = node.getBoundingClientRect();
    const size = box.getBoundingClientRect();
    const left = Math.min(Math.max(6, at.left + at.width / 2 - size.width / 2), document.documentElement.clientWidth - size.width - 6);
    const above = at.top - size.height - 8;
    box.style.left = `${left}px`;
    box.style.top = `${above > 4 ? above : at.bottom + 8}px`;
  };
  const hide = () => { box.hidden = true; };
  for (const name of ["pointerenter", "focus"]) node.addEventListener(name, show);
  for (const name of ["pointerleave", "blur"]) node.addEventListener(name, hide);
  node.setAttribute("aria-label", text.replaceAll("\n", ", "));
  return node;
}

// One tab stop for many points: arrow keys move between them, Enter activates one.
function roving(nodes, act) {
  nodes.forEach((node, index) => {
    node.setAttribute("tabindex", index === 0 ? "0" : "-1");
    node.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      let next = null;
      if (step) next = nodes[(index + step + nodes.length) % nodes.length];
      if (event.key === "Home") next = nodes[0];
      if (event.key === "End") next = nodes[nodes.length - 1];
      if (next) {
        event.preventDefault();
        node.setAttribute("tabindex", "-1");
        next.setAttribute("tabindex", "0");
        next.focus();
      }
      if (act && (event.key === "Enter" || event.key === " ")) { event.preventDefault(); act(index); }
    });
    if (act) node.addEventListener("click", () => act(index));
  });
}

// A drawing that is redrawn when its width changes. plan(width) returns an <svg>.
const figures = new Map();
const watcher = "ResizeObserver" in window ? new ResizeObserver((entries) => {
  for (const entry of entries) {
    const known = figures.get(entry.target);
    const width = Math.floor(entry.contentRect.width);
    if (known && width > 0 && width !== known.width) redraw(entry.target);
  }
}) : null;
function redraw(box) {
  const known = figures.get(box);
  known.width = Math.floor(box.clientWidth);
  if (known.width > 0) box.replaceChildren(known.plan(known.width));
}
function figure(box, plan) {
  const first = !figures.has(box);
  figures.set(box, { plan, width: 0 });
  redraw(box);
  if (first && watcher) watcher.observe(box);
}
