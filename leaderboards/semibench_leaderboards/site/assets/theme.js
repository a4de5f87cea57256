(() => {
  "use strict";
  let chosen = "";
  try { chosen = localStorage.getItem("semibench-theme") || ""; } catch { /* storage may be forbidden; then the system decides */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
