// The Markdown that model cards are made of, as text nodes; anything else, links and HTML included, is shown as written.

import { make } from "./dom.js";
import { scrollingTable } from "./tables.js";

const BLOCK_START = /^(```|#{1,6} |[-*] |>|\|)/;

export function renderMarkdown(text) {
  const lines = text.split(/\r?\n/);
  const parts = [];
  const takeWhile = (test) => {
    const end = lines.findIndex((line) => !test(line));
    return lines.splice(0, end < 0 ? lines.length : end);
  };
  while (lines.length) {
    const line = lines.shift();
    const heading = /^(#{1,6})\s+(.*)$/.exec(line);
    if (!line.trim()) continue;
    if (line.startsWith("```")) {
      parts.push(make("pre", { tabIndex: 0, textContent: takeWhile((code) => !code.startsWith("```")).join("\n") }));
      lines.shift();
    } else if (heading) parts.push(make(heading[1].length < 2 ? "h3" : "h4", {}, ...renderInline(heading[2])));
    else if (/^[-*] /.test(line)) {
      const items = [line, ...takeWhile((item) => /^[-*] /.test(item))];
      parts.push(make("ul", {}, ...items.map((item) => make("li", {}, ...renderInline(item.slice(2))))));
    } else if (line.startsWith(">")) {
      const quoted = [line, ...takeWhile((quote) => quote.startsWith(">"))].map((quote) => quote.replace(/^>\s?/, ""));
      parts.push(make("blockquote", { className: "notice" }, ...renderMarkdown(quoted.join("\n"))));
    } else if (line.startsWith("|")) parts.push(renderTable([line, ...takeWhile((row) => row.startsWith("|"))]));
    else {
      const paragraph = [line, ...takeWhile((next) => next.trim() && !BLOCK_START.test(next))];
      parts.push(make("p", {}, ...renderInline(paragraph.join(" "))));
    }
  }
  return parts;
}

function renderTable(lines) {
  const cells = (line) => line.replace(/^\||\|\s*$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim());
  const rows = lines.filter((line) => !/^[|\s:-]+$/.test(line)).map(cells);
  const [heads = [], ...body] = rows.map((row) => row.map((cell) => make("span", {}, ...renderInline(cell))));
  return scrollingTable("A table of the card", heads, body);
}

function renderInline(text) {
  const plain = (part) => part.replace(/\\([\\`*_|[\]#~$])/g, "$1").replaceAll("&lt;", "<");
  return text.split(/(?<!\\)(\*\*.+?\*\*|`[^`]+`)/).map((part) => {
    if (/^\*\*.+\*\*$/.test(part)) return make("strong", { textContent: plain(part.slice(2, -2)) });
    if (/^`[^`]+`$/.test(part)) return make("code", { textContent: part.slice(1, -1) });
    return plain(part);
  });
}
