// Tables: a row starts with its header.

import { make } from "./dom.js";

export function tableRow(head, ...cells) {
  return make("tr", {}, make("th", { scope: "row" }, head), ...cells.map((cell) => make("td", {}, cell)));
}

// A table that scrolls by itself where the screen is narrow; the first column is text, the others are numbers.
export function scrollingTable(label, heads, rows, caption) {
  const head = make("tr", {}, ...heads.map((content) => make("th", { scope: "col" }, content)));
  const parts = [make("thead", {}, head), make("tbody", {}, ...rows.map((cells) => tableRow(...cells)))];
  if (caption) parts.unshift(make("caption", {}, make("span", {}, caption)));
  return make("div", { className: "table", role: "region", ariaLabel: label, tabIndex: 0 }, make("table", {}, ...parts));
}
