"use strict";
// Without this script the page is its tables and drawings; with it they sort, filter and tell.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);

  // -- light and dark ---------------------------------------------------------------------------
  const scheme = byId("scheme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.scheme || (dark.matches ? "dark" : "light")) === "dark";
  const label = () => { scheme.textContent = isDark() ? "Light" : "Dark"; };
  scheme.addEventListener("click", () => {
    document.documentElement.dataset.scheme = isDark() ? "light" : "dark";
    label();
  });
  dark.addEventListener("change", label);
  scheme.hidden = false;
  label();

  // -- sorting ----------------------------------------------------------------------------------
  const valueOf = (cell) => {
    if (!cell) return { number: NaN, words: "" };
    const given = cell.dataset.v;
    return { number: given === undefined ? NaN : Number(given), words: cell.textContent.trim() };
  };
  const sortBy = (table, column, down) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row, place) => ({ row, place, ...valueOf(row.cells[column]) }));
    const empty = (one) => Number.isNaN(one.number) && (one.words === "" || one.words === "–");
    const numeric = rows.some((one) => !Number.isNaN(one.number));
    rows.sort((a, b) => {
      if (empty(a) !== empty(b)) return empty(a) ? 1 : -1; // what is not there comes last, always
      let order = 0;
      if (numeric && !Number.isNaN(a.number) && !Number.isNaN(b.number)) order = a.number - b.number;
      else order = a.words.localeCompare(b.words, "en", { numeric: true });
      return (down ? -order : order) || a.place - b.place;
    });
    body.append(...rows.map((one) => one.row));
  };
  for (const table of all("table.sorts")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      if (head.matches(".nosort, .unsorted") || !head.textContent.trim()) return;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        // Numbers begin with the largest, names with the first of the alphabet.
        const number = [...table.tBodies[0].rows].some((row) => row.cells[column] && row.cells[column].dataset.v !== undefined);
        const now = head.getAttribute("aria-sort");
        const down = now ? now === "ascending" : number;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        sortBy(table, column, down);
      });
    });
  }

  // -- filters ----------------------------------------------------------------------------------
  const filters = byId("filters");
  const rows = all(".row");
  const sections = all("[data-protocol]");
  const named = new Map(); // class of a model -> its name and whether it is a control
  for (const row of all("tr.row")) {
    const mine = [...row.classList].find((name) => /^m\d+$/.test(name));
    if (mine && !named.has(mine)) {
      const name = row.querySelector(".name");
      const badges = all(".badge", row).map((badge) => badge.textContent);
      named.set(mine, { name: name ? name.textContent.toLowerCase() : "", control: badges.includes("control") });
    }
  }
  const apply = () => {
    const part = byId("by-name").value.trim().toLowerCase();
    const kind = byId("by-kind").value;
    const protocol = byId("by-protocol").value;
    const hidden = new Set();
    for (const [mine, about] of named) {
      const wrongKind = kind !== "" && (kind === "control") !== about.control;
      if (wrongKind || !about.name.includes(part)) hidden.add(mine);
    }
    const filtering = part !== "" || kind !== "";
    for (const row of rows) {
      const mine = [...row.classList].find((name) => /^m\d+$/.test(name));
      const other = mine === undefined && filtering && !row.classList.contains("chance");
      row.toggleAttribute("data-off", mine !== undefined ? hidden.has(mine) : other);
    }
    for (const section of sections) {
      section.hidden = protocol !== "" && section.dataset.protocol !== protocol;
    }
    byId("shown").textContent = filtering ? `${named.size - hidden.size} of ${named.size} models` : "";
  };
  const sheet = document.styleSheets[0];
  sheet.insertRule("[data-off] { display: none !important; }", sheet.cssRules.length);
  for (const name of ["input", "change"]) filters.addEventListener(name, apply);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.hidden = false;

  // -- values under the pointer and the arrow keys -----------------------------------------------
  const tip = byId("told");
  let marked = null;
  for (const point of all(".pt")) {
    // Browsers show titles by themselves, late and twice; they stay for pages without a script.
    const title = point.querySelector("title");
    if (title) {
      point.dataset.tip = title.textContent;
      title.remove();
    }
  }
  const words = (element) => element.dataset.tip || (element.dataset.v !== undefined ? `${element.textContent.trim()} (${element.dataset.v})` : "");
  const hide = () => {
    tip.hidden = true;
    if (marked) marked.classList.remove("at");
    marked = null;
  };
  const show = (element, x, y, mark) => {
    const said = words(element);
    if (!said) return hide();
    if (marked) marked.classList.remove("at");
    marked = null;
    if (mark) {
      marked = element;
      element.classList.add("at");
    }
    tip.textContent = said;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = Math.max(6, Math.min(x + 12, innerWidth - box.width - 6));
    const top = y - box.height - 12 < 4 ? y + 16 : y - box.height - 12;
    tip.style.left = `${left}px`;
    tip.style.top = `${top}px`;
  };
  const nearest = (svg, x, y) => {
    let best = null;
    let reach = 14;
    for (const point of all(".pt", svg)) {
      if (point.closest("[data-off]")) continue;
      const box = point.getBoundingClientRect();
      const dx = Math.max(box.left - x, 0, x - box.right);
      const dy = Math.max(box.top - y, 0, y - box.bottom);
      const far = Math.hypot(dx, dy);
      if (far < reach) {
        reach = far;
        best = point;
      }
    }
    return best;
  };
  document.addEventListener("pointermove", (event) => {
    if (!(event.target instanceof Element)) return;
    const svg = event.target.closest("svg.panel, svg.timeline");
    const found = svg ? nearest(svg, event.clientX, event.clientY) : event.target.closest("[data-tip], td[data-v]");
    if (found) show(found, event.clientX, event.clientY, false);
    else if (!tip.hidden) hide();
  });
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1 };
  for (const box of all(".walk")) {
    let place = -1;
    box.addEventListener("keydown", (event) => {
      const points = all(".pt, td[data-v], td[data-tip]", box).filter((point) => !point.closest("[data-off]"));
      if (event.key === "Escape") return hide();
      if (!(event.key in steps) || points.length === 0 || event.target !== box) return undefined;
      event.preventDefault();
      place = Math.max(0, Math.min(points.length - 1, place + steps[event.key]));
      points[place].scrollIntoView({ block: "nearest", inline: "nearest", behavior: "instant" });
      const at = points[place].getBoundingClientRect();
      return show(points[place], at.left + at.width / 2, at.top, true);
    });
    box.addEventListener("blur", hide);
  }

  // -- narrow screens and print -----------------------------------------------------------------
  const contents = document.querySelector("nav details");
  if (contents && innerWidth < 1088) contents.open = false;
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all("details:not([open])");
    folded.forEach((one) => { one.open = true; });
  });
  addEventListener("afterprint", () => folded.forEach((one) => { one.open = false; }));
})();
