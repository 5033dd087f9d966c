// The labelled rows of a file: filtered, ordered, paged through and downloaded.

import { writeTable } from "./csv.js";
import { byId, count, make, percent, rowsOf, setOptions, shorten } from "./dom.js";
import { tableRow } from "./tables.js";
import { showText } from "./text.js";

const PAGE_ROWS = 100;

let job = null; // the one that is shown
let page = 0;
let onPage = "";

export function resetFilters(labels) {
  page = 0;
  byId("least").value = "0";
  byId("most").value = "100";
  byId("order").value = "file";
  const choices = [["all", "all labels"], ...labels.map((name) => [`=${name}`, name])];
  setOptions(byId("by-label"), [...choices, ["none", "no label"], ["skipped", "not labelled"]]);
}

// The labelled rows that pass the filter, in the order of the file.
function chosenRows() {
  const wanted = byId("by-label").value;
  const least = Number(byId("least").value) / 100;
  const most = Number(byId("most").value || 100) / 100;
  const always = least <= 0 && most >= 1;
  return [...job.results.keys()].filter((row) => {
    const result = job.results[row];
    if (result === null) return false;
    if (result.skipped) return wanted === "skipped" || (wanted === "all" && always);
    if (wanted === "skipped" || (wanted === "none" && result.labels.length)) return false;
    if (wanted.startsWith("=") && !result.labels.includes(wanted.slice(1))) return false;
    return always || (result.score >= least && result.score <= most);
  });
}

// Show the labelled rows of a job; by default of the one that is shown.
export function showRows(shownJob = job) {
  job = shownJob;
  if (!job) return;
  const rows = chosenRows();
  const sign = { file: 0, unsure: 1, sure: -1 }[byId("order").value];
  const score = (row) => job.results[row].score ?? -1;
  const ordered = rows.toSorted((one, other) => sign * (score(one) - score(other)));
  const pages = Math.max(1, Math.ceil(ordered.length / PAGE_ROWS));
  page = Math.min(page, pages - 1);
  const shown = ordered.slice(page * PAGE_ROWS, (page + 1) * PAGE_ROWS);
  const key = JSON.stringify(shown.map((row) => [row, job.results[row].score]));
  if (key !== onPage) byId("rows").replaceChildren(...shown.map(resultRow)); // else the focus stays in it
  onPage = key;
  const labelled = job.results.filter((result) => result !== null).length;
  const passed = rows.length === labelled ? rowsOf(labelled) : `${count(rows.length)} of ${rowsOf(labelled)} pass the filter`;
  byId("shown").textContent = job.done ? passed : `${passed} so far`;
  byId("page").textContent = `Page ${count(page + 1)} of ${count(pages)}`;
  byId("previous").disabled = page === 0;
  byId("next").disabled = page + 1 >= pages;
  byId("download").textContent = rows.length === labelled ? `Download all ${rowsOf(labelled)}` : `Download the ${rowsOf(rows.length)} shown`;
  byId("download").disabled = !rows.length;
}

function resultRow(row) {
  const result = job.results[row];
  const text = make("button", { type: "button", className: "text", textContent: shorten(job.texts[row], 400) });
  text.title = "Show this text above, with the words that matter";
  text.onclick = () => showText(job.texts[row]);
  const label = result.skipped ? `(${result.skipped})` : result.labels.join(", ") || "(no label)";
  const score = result.skipped ? "" : percent(result.score);
  return tableRow(count(row + 1), make("span", {}, label), score, result.skipped === "no text" ? "" : text);
}

function freeName(name, taken) {
  let free = name;
  for (let number = 2; taken.includes(free); number++) free = `${name}_${number}`;
  return free;
}

function download() {
  const { columns, rows, separator, mark, name } = job.table;
  const added = ["predicted", "score"].map((wanted) => freeName(wanted, columns));
  const records = chosenRows().map((row) => {
    const result = job.results[row];
    const cells = columns.map((_, index) => rows[row][index] ?? "");
    return [...cells, (result.labels ?? []).join("|"), result.skipped ? "" : String(result.score)];
  });
  const text = writeTable([[...columns, ...added], ...records], separator || ",");
  const blob = new Blob([mark ? "\ufeff" : "", text], { type: "text/csv" });
  const link = make("a", { href: URL.createObjectURL(blob), download: `${name.replace(/\.[^.]*$/, "")}-labelled.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60e3);
}

byId("filters").addEventListener("input", () => {
  page = 0;
  showRows();
});
for (const [id, step] of [["previous", -1], ["next", 1]])
  byId(id).addEventListener("click", () => {
    page += step;
    showRows();
    if (byId(id).disabled) byId(step < 0 ? "next" : "previous").focus();
  });
byId("download").addEventListener("click", download);
