// A table that scrolls by itself where the screen is narrow; the first column is text, the others are numbers.

import { make } from "./dom.js";

export function scrollingTable(label, heads, rows, caption) {
  const look = (index) => (index ? { className: "number" } : {});
  const head = heads.map((content, index) => make("th", { scope: "col", ...look(index) }, content));
  const body = rows.map((cells) =>
    make("tr", {}, ...cells.map((content, index) => make(index ? "td" : "th", index ? look(index) : { scope: "row" }, content))),
  );
  const parts = [make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body)];
  if (caption) parts.unshift(make("caption", {}, make("span", { textContent: caption })));
  return make("div", { className: "table", role: "region", ariaLabel: label, tabIndex: 0 }, make("table", {}, ...parts));
}
