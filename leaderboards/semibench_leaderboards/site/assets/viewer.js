// Image, truth and predictions of a case, side by side for two rows. Label maps are run-length coded and drawn here.
function labelsOf(runs, size) {
  const map = new Uint8Array(size);
  for (let index = 0, at = 0; index < runs.length; index += 2) {
    map.fill(runs[index], at, at + runs[index + 1]);
    at += runs[index + 1];
  }
  return map;
}

// Outline of the pixels with a label, as a path on a canvas that is `zoom` times as large.
function border(context, map, width, height, label, zoom) {
  context.beginPath();
  const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && map[y * width + x] === label;
  for (let y = 0; y <= height; y++)
    for (let x = 0; x <= width; x++) {
      const here = inside(x, y);
      if (here !== inside(x - 1, y)) { context.moveTo(x * zoom, y * zoom); context.lineTo(x * zoom, (y + 1) * zoom); }
      if (here !== inside(x, y - 1)) { context.moveTo(x * zoom, y * zoom); context.lineTo((x + 1) * zoom, y * zoom); }
    }
  context.stroke();
}

function paint(context, map, width, zoom, tint) {
  for (let index = 0; index < map.length; ) {
    let end = index + 1;
    const row = Math.floor(index / width);
    while (end < map.length && end < (row + 1) * width && tint(end) === tint(index)) end++;
    const colour = tint(index);
    if (colour) { context.fillStyle = colour; context.fillRect((index - row * width) * zoom, row * zoom, (end - index) * zoom, zoom); }
    index = end;
  }
}

const TRUTH = "#39e75f", MISSED = "#4cc9f0", ADDED = "#ff9f1c", WRONG = "#e56bff";

function overlay(item, prediction, truth, how, colours) {
  const { width, height } = item;
  const zoom = Math.max(2, Math.ceil(560 / Math.max(width, height)));
  const canvas = make("canvas", { width: width * zoom, height: height * zoom, "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  const colour = (label) => colours[(label - 1) % colours.length];
  const line = Math.max(2, (zoom * Math.max(width, height)) / 300);
  const classes = (map) => [...new Set(map)].filter((label) => label > 0 && label < 255);
  if (how.mode === "errors" && prediction && truth) {
    paint(context, prediction, width, zoom, (at) => {
      const [predicted, is] = [prediction[at], truth[at]];
      if (predicted === is || is === 255) return null;
      return is === 0 ? `${ADDED}b3` : predicted === 0 ? `${MISSED}b3` : `${WRONG}b3`;
    });
    context.strokeStyle = "#ffffffb0";
    context.lineWidth = line * 0.6;
    for (const label of classes(truth)) border(context, truth, width, height, label, zoom);
    return canvas;
  }
  if (prediction && how.prediction) {
    if (how.mode === "fill") paint(context, prediction, width, zoom, (at) => (prediction[at] ? `${colour(prediction[at])}80` : null));
  }
  if (truth && how.truth) {
    context.strokeStyle = TRUTH;
    context.lineWidth = line * 2;
    for (const label of classes(truth)) border(context, truth, width, height, label, zoom);
  }
  if (prediction && how.prediction && how.mode !== "fill") {
    context.lineWidth = line * 1.2;
    for (const label of classes(prediction)) { context.strokeStyle = colour(label); border(context, prediction, width, height, label, zoom); }
  }
  return canvas;
}

function viewer(data, pictures) {
  const first = byId("view-a"), second = byId("view-b"), strip = byId("view-strip");
  const names = pictures.rows.map((row) => [row.id, row.name]);
  options(first, names, names[0][0]);
  options(second, names, (names[1] || names[0])[0]);
  const runs = new Map(pictures.rows.map((row) => [row.id, row.run]));
  const titles = new Map(names);
  let at = 0;
  const buttons = pictures.cases.map((item, index) => {
    const button = make("button", { type: "button", "aria-pressed": "false", title: item.key },
      make("img", { src: item.image, alt: "", class: item.width < 160 ? "coarse" : null }), make("span", {}, item.why), make("span", {}, item.key.split("/").slice(1).join("/")));
    button.addEventListener("click", () => go(index));
    return button;
  });
  strip.append(...buttons);

  const how = () => ({ mode: document.querySelector("input[name=mode]:checked").value, truth: byId("view-truth").checked, prediction: byId("view-prediction").checked });

  function panel(item, truth, id, side) {
    const found = id === null ? null : item.rows[id];
    const title = id === null ? "Image and truth" : titles.get(id);
    const caption = id === null ? (truth ? "" : "no truth for this case") : found
      ? `${data.metric.label} ${number(found.value, 3)} in ${runs.get(id)} · ${number(found.mean, 3)} over its runs` : "no stored prediction of this case";
    const stack = make("div", { class: "stack" }, make("img", { src: item.image, alt: `Case ${item.key}, ${id === null ? "image" : title}`, class: item.width < 160 ? "coarse" : null }));
    stack.style.aspectRatio = `${item.width} / ${item.height}`;
    const settings = id === null ? { mode: "contour", truth: byId("view-truth").checked, prediction: false } : how();
    stack.append(overlay(item, found ? labelsOf(found.map, item.width * item.height) : null, truth, settings, pictures.colours));
    return make("figure", { class: id === null ? "bare" : null, "data-side": side }, make("figcaption", {}, make("strong", {}, title), caption ? make("br") : "", caption ? make("span", { class: "soft" }, caption) : ""), stack);
  }

  function show() {
    const item = pictures.cases[at];
    const truth = item.truth ? labelsOf(item.truth, item.width * item.height) : null;
    byId("view-title").textContent = `${at + 1} of ${pictures.cases.length}: ${item.key}${item.slice === null ? "" : `, slice ${item.slice}`} (${item.why})`;
    byId("view-panels").replaceChildren(panel(item, truth, null, "image"), panel(item, truth, first.value, "a"), panel(item, truth, second.value, "b"));
    const settings = how();
    const key = (colour, text) => { const spot = make("i"); spot.style.background = colour; return make("span", {}, spot, text); };
    byId("view-legend").replaceChildren(...(settings.mode === "errors"
      ? [key(MISSED, "missed"), key(ADDED, "added"), ...(pictures.classes.length > 2 ? [key(WRONG, "wrong class")] : []), key("#ffffff", "border of the truth")]
      : [key(TRUTH, "truth"), ...pictures.classes.slice(1).map((name, index) => key(pictures.colours[index % pictures.colours.length], `predicted ${name}`))]));
    buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(index === at)));
    buttons.forEach((button, index) => button.setAttribute("tabindex", index === at ? "0" : "-1"));
  }

  function go(index) {
    at = (index + pictures.cases.length) % pictures.cases.length;
    show();
    const button = buttons[at];
    strip.scrollLeft = button.offsetLeft - strip.offsetLeft - (strip.clientWidth - button.offsetWidth) / 2;
  }

  for (const select of [first, second]) select.addEventListener("change", show);
  for (const box of document.querySelectorAll("#viewer .check input")) box.addEventListener("change", show);
  byId("viewer").addEventListener("keydown", (event) => {
    if (event.target.closest("select, input, .scroll") || event.altKey || event.ctrlKey || event.metaKey) return;
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    go(at + step);
    if (event.target.closest(".strip")) buttons[at].focus({ preventScroll: true });
  });
  show();
  const indices = new Map(pictures.cases.map((item, index) => [item.key, index]));
  return {
    has: (key) => indices.has(key),
    go: (key, one, other) => {
      if (titles.has(one)) first.value = one;
      if (titles.has(other)) second.value = other;
      go(indices.get(key));
      byId("viewer").scrollIntoView();
      buttons[at].focus({ preventScroll: true });
    },
  };
}
