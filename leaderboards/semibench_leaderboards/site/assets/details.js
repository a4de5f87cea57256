// Details of a row: its origin, the command that repeats it, its runs, classes and options.
function facts(pairs) {
  return make("dl", { class: "facts" }, pairs.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

function grid(heads, rows, kinds) {
  return make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": heads.join(", ") },
    make("table", {},
      make("thead", {}, make("tr", {}, heads.map((head, index) => make("th", { scope: "col", class: kinds[index] }, head)))),
      make("tbody", {}, rows.map((cells) => make("tr", {}, cells.map((cell, index) => make("td", { class: kinds[index] }, cell)))))));
}

function copier(text) {
  const button = make("button", { type: "button", class: "plain" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {  // a page opened from a file may not use the clipboard, so select the text instead
      const range = document.createRange();
      range.selectNodeContents(button.previousElementSibling);
      const selection = window.getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      button.textContent = "Selected";
    }
  });
  return button;
}

function rowDetails(data) {
  const dialog = byId("details");
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  return (row) => {
    const close = make("button", { type: "button", class: "plain" }, "Close");
    close.addEventListener("click", () => dialog.close());
    const rank = row.rank === null ? `not ranked${row.unranked ? `: ${row.unranked}` : ""}` : `rank ${row.rank} of ${data.order.length}`;
    const parts = [
      make("p", {}, make("strong", {}, `${data.metric.label} ${number(row.mean)}`), row.std === null ? "" : ` ± ${number(row.std)}`,
        ` · 95 % interval ${interval(row)} · ${rank}`, row.same ? ` · group ${row.same}` : ""),
    ];
    const differences = [["unlabeled_worth", "What the unlabeled images are worth (row − control)"], ["over_labels_alone", "Over the labels alone"], ["gap", "Gap between all labels and the labels alone"]]
      .filter(([key]) => known(row[key])).map(([key, label]) => [label, `${signed(row[key])}${known(row[`${key}_low`]) ? ` (${signed(row[`${key}_low`])} … ${signed(row[`${key}_high`])})` : ""}`
        + (row[`${key}_against`] ? ` against ${row[`${key}_against`]}, ${row[`${key}_runs`]} pairs of runs` : "")]);
    if (known(row.gap_closed)) differences.push(["Part of the gap closed", `${Math.round(100 * row.gap_closed)} %` + (known(row.gap_closed_low) ? ` (${Math.round(100 * row.gap_closed_low)} … ${Math.round(100 * row.gap_closed_high)} %)` : "")]);
    if (differences.length) parts.push(make("h3", {}, "References"), facts(differences));
    if (data.phantom) parts.push(make("p", {}, make("span", { class: "badge phantom" }, "phantom"), " procedural stand-ins, not patients"));
    if (row.notes.length) parts.push(make("ul", { class: "warnings" }, row.notes.map((note) => make("li", {}, note))));
    if (row.command) {
      const block = make("pre", { class: "command" }, make("code", {}, row.command));
      parts.push(make("h3", {}, "Run it again"), block, copier(row.command));
    }
    parts.push(make("h3", {}, "Runs"), grid(
      ["run", "draw", "fold", "seed", "state", data.metric.label, "training", "ended (UTC)", "device"],
      row.runs.map((run) => [make("code", {}, run.key), run.draw ?? "–", run.fold ?? "–", run.seed,
        run.error ? make("span", { class: "failed" }, `${run.state}: ${run.error}`) : run.state,
        number(run.mean), seconds(run.seconds), run.ended || "–", run.device || "–"].map((cell) => (typeof cell === "number" ? String(cell) : cell))),
      ["", "number", "number", "number", "", "number", "number", "", ""]));
    const classes = Object.entries(row.per_class);
    if (classes.length > 1) parts.push(make("h3", {}, "Classes"), facts(classes.map(([name, value]) => [name, number(value)])));
    const metrics = Object.entries(row.metrics).filter(([name]) => name !== data.metric.name);
    if (metrics.length) parts.push(make("h3", {}, "Other metrics"), facts(metrics.map(([name, [mean, std]]) =>
      [(data.metrics.find((item) => item.name === name) || { label: name }).label, number(mean) + (std === null ? "" : ` ± ${number(std)}`)])));
    parts.push(make("h3", {}, "Cost"), facts([
      ["parameters", short(row.parameters)], ["parameters used for prediction", short(row.inference_parameters)], ["GFLOPs", short(row.gflops)],
      ["training", seconds(row.training_seconds)], ["peak memory", known(row.peak_memory_mb) ? `${Math.round(row.peak_memory_mb)} MB` : "–"],
      ["inference per case", seconds(row.seconds_per_case)], ["labeled and validation cases", row.label_budget === null ? "–" : String(row.label_budget)],
      ["empty predictions", String(row.empty_prediction)], ["undefined", String(row.undefined)], ["missing cases", String(row.missing)]]));
    parts.push(make("h3", {}, "Entry"), facts(Object.entries(row.options)));
    parts.push(make("h3", {}, "Origin"), grid(["part", "name", "distribution", "source (sha256)"],
      row.plugins.map(([role, name, from, source]) => [role, name, from, make("code", {}, source)]), ["", "", "", ""]),
      facts([...Object.entries(row.versions), ...Object.entries(row.machine), ["row", row.digest]]));
    dialog.replaceChildren(
      make("div", { class: "dialog-head" }, make("h2", { id: "details-title" }, row.name), close),
      make("div", { class: "inner" }, parts));
    dialog.showModal();
    dialog.scrollTop = 0;
  };
}
