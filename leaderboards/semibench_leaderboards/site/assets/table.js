// Sorting and filtering. Two numbers are compared as numbers; missing values come last in both directions.
function order(values, down) {
  const indices = values.map((_, index) => index);
  const absent = (value) => value === null || value === undefined || value === "";
  const text = new Intl.Collator("en", { numeric: true });
  indices.sort((one, other) => {
    const a = values[one], b = values[other];
    if (absent(a) || absent(b)) return absent(a) - absent(b) || one - other;
    const order = typeof a === "number" && typeof b === "number" ? a - b : text.compare(String(a), String(b));
    return (down ? -order : order) || one - other;
  });
  return indices;
}

// Makes the heads of a table sort its rows. value(row, head): the sort key of a row. Returns a function that sorts by a head.
function sortable(table, value) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...body.rows];
  const sort = (head, down) => {
    const indices = order(rows.map((row) => value(row, head)), down);
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const fragment = document.createDocumentFragment();
    for (const index of indices) fragment.append(rows[index]);
    body.append(fragment);
  };
  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      sort(head, now ? now === "ascending" : head.dataset.first === "down");
    });
  }
  return sort;
}

// Words of a filter: a text must contain all of them, and none of those that begin with "-".
function fits(text, filter) {
  return filter.toLowerCase().split(/\s+/).filter(Boolean).every((word) =>
    word.length > 1 && word.startsWith("-") ? !text.includes(word.slice(1)) : text.includes(word));
}

function boardTable(data, details) {
  const table = byId("board");
  const rows = new Map(data.rows.map((row) => [row.id, row]));
  const lines = [...table.tBodies[0].rows];
  sortable(table, (line, head) => {
    const row = rows.get(line.dataset.id);
    return head.dataset.key === "same" && !row.same ? null : row[head.dataset.key];
  });
  for (const button of table.querySelectorAll("button.open")) button.addEventListener("click", () => details(rows.get(button.dataset.id)));

  const texts = new Map(data.rows.map((row) => [row.id,
    [row.name, row.method, row.backbone, row.predictor, row.tuning, row.digest, ...Object.entries(row.options).map((pair) => pair.join("="))].join(" ").toLowerCase()]));
  const backbone = byId("backbone"), ranked = byId("ranked"), words = byId("filter");
  const filter = () => {
    let count = 0;
    for (const line of lines) {
      const row = rows.get(line.dataset.id);
      const shown = fits(texts.get(row.id), words.value) && (!ranked.checked || row.rank !== null) && (!backbone || !backbone.value || row.backbone === backbone.value);
      line.hidden = !shown;
      count += shown;
    }
    byId("count").textContent = `${count} of ${lines.length} rows`;
    byId("none").hidden = count > 0;
  };
  words.addEventListener("input", filter);
  ranked.addEventListener("change", filter);
  if (backbone) backbone.addEventListener("change", filter);
  words.addEventListener("keydown", (event) => { if (event.key === "Escape") { words.value = ""; filter(); } });
  filter();
  columns(table);
}

function columns(table) {
  const panel = byId("columns");
  const menu = panel.closest("details");
  [...table.tHead.rows[0].cells].forEach((head, index) => {
    if (["rank", "name", "mean"].includes(head.dataset.key)) return;
    const box = make("input", { type: "checkbox" });
    box.checked = !head.hidden;
    box.addEventListener("change", () => {
      table.classList.add("all");
      for (const line of table.rows) line.cells[index].hidden = !box.checked;
    });
    panel.append(make("label", { class: "check" }, box, head.textContent.trim()));
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && menu.open) { menu.open = false; menu.querySelector("summary").focus(); }
  });
  document.addEventListener("pointerdown", (event) => { if (menu.open && !menu.contains(event.target)) menu.open = false; });
}

function trackTables() {
  const tables = [...document.querySelectorAll("table[data-sortable]")];
  for (const table of tables) {
    const heads = [...table.tHead.rows[0].cells];
    sortable(table, (line, head) => {
      const text = line.cells[heads.indexOf(head)].dataset.v;
      return text !== "" && head.classList.contains("number") && Number.isFinite(Number(text)) ? Number(text) : text;
    });
  }
  const words = byId("filter");
  const lines = tables.flatMap((table) => [...table.tBodies[0].rows]);
  const filter = () => {
    let count = 0;
    for (const line of lines) {
      line.hidden = !fits(line.dataset.text.toLowerCase(), words.value);
      count += !line.hidden;
    }
    byId("count").textContent = `${count} of ${lines.length} tracks`;
  };
  words.addEventListener("input", filter);
  filter();
}
