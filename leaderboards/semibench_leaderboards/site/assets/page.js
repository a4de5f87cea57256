// Starts the parts that the page has.
function theme() {
  const button = byId("theme");
  const states = ["", "light", "dark"];
  const show = () => { byId("theme-name").textContent = document.documentElement.dataset.theme || "system"; };
  button.addEventListener("click", () => {
    const next = states[(states.indexOf(document.documentElement.dataset.theme || "") + 1) % states.length];
    if (next) document.documentElement.dataset.theme = next; else delete document.documentElement.dataset.theme;
    try {
      if (next) localStorage.setItem("semibench-theme", next); else localStorage.removeItem("semibench-theme");
    } catch { /* storage may be forbidden; the choice then lasts for this page */ }
    show();
  });
  button.hidden = false;
  show();
}

function start() {
  theme();
  for (const bar of document.querySelectorAll("[data-tools]")) bar.hidden = false;
  const data = json("board-data");
  if (!data) { if (byId("filter")) trackTables(); return; }
  const details = rowDetails(data);
  boardTable(data, details);
  const pictures = json("viewer-data");
  const look = pictures ? viewer(data, pictures) : { has: () => false, go: () => {} };
  if (byId("ranks-figure")) {
    ranks(data, details);
    plots(data, details);
    distributions(data, details);
    pairs(data, look);
  }
}
start();
