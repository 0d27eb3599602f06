// Light or dark before the first paint: what was chosen here, else what the system says. A classic
// script, since modules run after the page was shown once.
"use strict";
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => {
    try {
      const value = localStorage.getItem("fanal-theme");
      return value === "light" || value === "dark" ? value : null;
    } catch {
      return null; // Storage is switched off: the choice lives as long as the page.
    }
  };
  let choice = chosen();
  const isDark = () => (choice ?? (system.matches ? "dark" : "light")) === "dark";
  const show = () => {
    root.dataset.theme = isDark() ? "dark" : "light";
    const button = document.getElementById("theme");
    if (button) {
      button.setAttribute("aria-pressed", String(isDark()));
      button.disabled = false;
    }
  };
  system.addEventListener("change", show);
  show();
  document.addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme").addEventListener("click", () => {
      choice = isDark() ? "light" : "dark";
      try {
        localStorage.setItem("fanal-theme", choice);
      } catch {
        // As above.
      }
      show();
    });
    show();
  });
})();
