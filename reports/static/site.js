// Theme, sorting, and values read off curves. Without this script the pages are complete.
"use strict";

const root = document.documentElement;

const theme = {
  stored() {
    try { return localStorage.getItem("pgbench-theme"); } catch { return null; }
  },
  store(name) {
    try { localStorage.setItem("pgbench-theme", name); } catch { /* shown, not remembered */ }
  },
  isDark() {
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    return (root.dataset.theme ?? system) === "dark";
  },
};
if (["light", "dark"].includes(theme.stored())) root.dataset.theme = theme.stored();

function addThemeButton(place) {
  const button = element("button", { type: "button", class: "theme" }, "Dark theme");
  const show = () => button.setAttribute("aria-pressed", String(theme.isDark()));
  button.addEventListener("click", () => {
    root.dataset.theme = theme.isDark() ? "light" : "dark";
    theme.store(root.dataset.theme);
    show();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
  place.append(button);
}

function element(name, attributes, ...children) {
  const made = name === "circle" || name === "path"
    ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Sorting: ascending, descending, as it was; what is missing stays last.

function columnOf(header) {
  // The second line of a heading starts behind the cells that reach down from the first.
  const rows = [...header.closest("thead").rows];
  const taken = rows.map(() => []);
  for (const [line, row] of rows.entries()) {
    let at = 0;
    for (const cell of row.cells) {
      while (taken[line][at]) at++;
      if (cell === header) return at;
      for (let down = line; down < line + cell.rowSpan; down++)
        for (let right = at; right < at + cell.colSpan; right++) taken[down][right] = true;
    }
  }
  return -1;
}

function keyOf(cell) {
  const text = cell.textContent.trim();
  if (cell.dataset.value) return Number(cell.dataset.value);
  if (cell.hasAttribute("data-value") || text === "" || text === "—") return null;
  const number = Number(text.replaceAll(",", ""));
  return Number.isNaN(number) ? text : number;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

function makeSortable(table) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const headers = [...table.querySelectorAll("th[data-sort]")];
  for (const header of headers) {
    const button = element("button", { type: "button", class: "sort" }, ...header.childNodes);
    header.replaceChildren(button);
    header.setAttribute("aria-sort", "none");
    const column = columnOf(header);
    button.addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" };
      const order = next[header.getAttribute("aria-sort")];
      for (const other of headers) other.setAttribute("aria-sort", "none");
      header.setAttribute("aria-sort", order);
      body.append(...sorted(original, column, order));
    });
  }
}

function sorted(rows, column, order) {
  if (order === "none") return rows;
  const keyed = rows.map((row) => [keyOf(row.cells[column]), row]);
  const sign = order === "ascending" ? 1 : -1;
  const present = keyed.filter(([key]) => key !== null).sort(([a], [b]) => sign * compare(a, b));
  const missing = keyed.filter(([key]) => key === null);
  return [...present, ...missing].map(([, row]) => row);
}

// Curves: the table of values beneath a figure says where each point lies.

const [WIDTH, HEIGHT] = [640, 330]; // of the drawing
const STEPS = {
  ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0],
  Home: [0, -Infinity], End: [0, Infinity],
};

function readPoints(figure) {
  return [...figure.querySelectorAll("table.values tbody")].map((body) => {
    const name = body.querySelector("th").textContent;
    return [...body.querySelectorAll("tr[data-at]")].map((row) => {
      const [x, y] = row.dataset.at.split(",").map(Number);
      const [first, second, band] = [...row.cells].map((cell) => cell.textContent);
      return { x, y, name, first, second, band };
    });
  });
}

class Reader {
  constructor(figure) {
    this.figure = figure;
    this.plot = figure.querySelector(".plot");
    this.svg = this.plot.querySelector("svg");
    this.groups = [...this.svg.querySelectorAll("g.curve")];
    const heads = figure.querySelectorAll("table.values thead th");
    [this.xName, this.yName] = [...heads].map((head) => head.textContent);
    this.value = element("div", { class: "value", hidden: "" });
    this.spoken = element("div", { class: "hidden", role: "status" });
    this.dot = element("circle", { class: "dot", r: "5", visibility: "hidden" });
    this.svg.append(this.dot);
    this.plot.append(this.value, this.spoken);
    this.plot.tabIndex = 0;
    this.plot.setAttribute("role", "group");
    this.plot.setAttribute("aria-label", "Curves; read values with the arrow keys");
    this.at = null; // [line, index] of the point shown last
    this.lines = null;
    this.svg.addEventListener("pointermove", (event) => this.follow(event));
    this.svg.addEventListener("pointerleave", () => this.hide());
    this.plot.addEventListener("blur", () => this.hide());
    this.plot.addEventListener("keydown", (event) => this.step(event));
    this.addToggles();
  }

  // Read when first needed: a page may have thousands of points.
  points() {
    return (this.lines ??= readPoints(this.figure));
  }

  // The numbers of the curves that can be read now.
  shown() {
    const numbers = [...this.groups.keys()];
    return numbers.filter((line) => !this.groups[line].classList.contains("off") && this.points()[line].length);
  }

  show(line, index) {
    const point = this.points()[line][index];
    const colour = [...this.groups[line].classList].find((name) => /^c\d$/.test(name));
    this.at = [line, index];
    const place = { cx: point.x, cy: point.y, class: `dot ${colour}`, visibility: "visible" };
    for (const [key, value] of Object.entries(place)) this.dot.setAttribute(key, value);
    const band = point.band ? ` (${point.band})` : "";
    this.value.replaceChildren(
      element("b", {}, point.name),
      element("span", {}, `${this.yName}: ${point.second}${band}`),
      element("span", {}, `${this.xName}: ${point.first}`),
    );
    this.value.hidden = false;
    const [left, top] = [(point.x / WIDTH) * 100, (point.y / HEIGHT) * 100];
    this.value.style.left = `${left}%`;
    this.value.style.top = `${top}%`;
    this.value.style.setProperty("--shift", `${-left}%`); // stays inside at both ends
    this.value.classList.toggle("below", top < 35);
    return `${point.name}: ${point.second}${band} at ${point.first}`;
  }

  hide() {
    this.value.hidden = true;
    this.dot.setAttribute("visibility", "hidden");
  }

  follow(event) {
    const box = this.svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * WIDTH;
    const y = ((event.clientY - box.top) / box.height) * HEIGHT;
    let best = null;
    for (const line of this.shown()) {
      const index = nearest(this.points()[line], (point) => Math.hypot(point.x - x, point.y - y));
      const point = this.points()[line][index];
      const distance = Math.hypot(point.x - x, point.y - y);
      if (!best || distance < best.distance) best = { distance, line, index };
    }
    if (best) this.show(best.line, best.index);
  }

  step(event) {
    if (event.key === "Escape") this.hide();
    const move = STEPS[event.key];
    const shown = this.shown();
    if (!move || !shown.length) return;
    event.preventDefault();
    this.spoken.textContent = this.show(...this.next(shown, ...move));
  }

  // The point to go to: along the line, or at about the same place of another line.
  next(shown, down, right) {
    if (!this.at || !shown.includes(this.at[0])) return [shown[0], 0];
    const [from, index] = this.at;
    const line = shown[(shown.indexOf(from) + down + shown.length) % shown.length];
    const points = this.points();
    if (line !== from) return [line, nearest(points[line], (point) => Math.abs(point.x - points[from][index].x))];
    return [line, Math.min(Math.max(index + right, 0), points[line].length - 1)];
  }

  addToggles() {
    for (const [line, item] of [...this.figure.querySelectorAll(".legend .curve")].entries()) {
      const button = element("button", { type: "button", "aria-pressed": "true" }, ...item.childNodes);
      item.replaceChildren(button);
      button.addEventListener("click", () => {
        const off = this.groups[line].classList.toggle("off");
        button.setAttribute("aria-pressed", String(!off));
        this.hide();
      });
    }
  }
}

function nearest(points, distance) {
  let best = 0;
  for (const [index, point] of points.entries())
    if (distance(point) < distance(points[best])) best = index;
  return best;
}

document.addEventListener("DOMContentLoaded", () => {
  addThemeButton(document.getElementById("tools"));
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  for (const figure of document.querySelectorAll("figure.chart"))
    if (figure.querySelector(".plot")) new Reader(figure);
});
