// Reading and writing tables of delimited text.

const TEXT_NAMES = new Set(
  ("text texts message messages msg body sentence sentences review reviews content comment comments tweet post sms " +
    "email document utterance question description headline input review_text full_text").split(" "),
);
const LABEL_NAMES = new Set(
  ("label labels class classes category categories target targets tag tags sentiment intent emotion emotions topic y " +
    "id split").split(" "),
);

// The most frequent separator of the first line that is not empty; "" for a single column.
export function sniffSeparator(text) {
  const counts = { ",": 0, ";": 0, "\t": 0, "|": 0 };
  for (const [token] of text.replace(/^[\r\n]+/, "").matchAll(/"[^"]*"?|[^"]/g)) {
    if (token === "\n" || token === "\r") break;
    if (token in counts) counts[token] += 1;
  }
  const [best, times] = Object.entries(counts).reduce((one, other) => (other[1] > one[1] ? other : one));
  return times ? best : "";
}

// Return the records, or null if a quote is never closed. Empty lines are skipped.
export function parseRecords(text, separator, quotes = true) {
  const end = new RegExp(`[${separator}\\r\\n]`, "g");
  const records = [];
  let record = [];
  let at = 0;
  while (at < text.length || record.length) {
    let cell = "";
    if (quotes && text[at] === '"') {
      for (let from = ++at; ; from = at + 1) {
        at = text.indexOf('"', from);
        if (at < 0) return null;
        cell += text.slice(from, at++);
        if (text[at] !== '"') break;
        cell += '"';
      }
    }
    end.lastIndex = at;
    const stop = end.exec(text)?.index ?? text.length;
    record.push(cell + text.slice(at, stop));
    at = stop + (text.startsWith("\r\n", stop) ? 2 : 1);
    if (stop < text.length && text[stop] === separator) continue;
    if (record.length > 1 || record[0] !== "") records.push(record);
    record = [];
  }
  return records;
}

export function parseTable(text) {
  const separator = sniffSeparator(text);
  const quoted = parseRecords(text, separator);
  const records = quoted ?? parseRecords(text, separator, false);
  return { separator, records, quoted: quoted !== null };
}

export function decode(bytes) {
  // TextDecoder drops the byte order mark.
  const wide = { "255,254": "utf-16le", "254,255": "utf-16be" }[bytes.slice(0, 2).join()];
  if (wide) return { text: new TextDecoder(wide).decode(bytes), encoding: "UTF-16" };
  try {
    return { text: new TextDecoder("utf-8", { fatal: true }).decode(bytes), encoding: "UTF-8" };
  } catch {
    return { text: new TextDecoder("windows-1252").decode(bytes), encoding: "Windows-1252" };
  }
}

const normal = (name) => name.trim().toLowerCase().replace(/[\s-]+/g, "_");

export function looksNamed(cells) {
  const known = cells.some((cell) => TEXT_NAMES.has(normal(cell)) || LABEL_NAMES.has(normal(cell)));
  const filled = cells.every((cell) => cell.trim() && cell.length <= 40);
  return known || (filled && new Set(cells).size === cells.length && cells.length > 1);
}

export function findTextColumn(columns, rows) {
  const named = columns.findIndex((name) => TEXT_NAMES.has(normal(name)));
  if (named >= 0) return named;
  const some = rows.slice(0, 200);
  const lengths = columns.map((_, place) => some.reduce((sum, row) => sum + (row[place] ?? "").length, 0));
  return lengths.indexOf(Math.max(...lengths));
}

// Escape what spreadsheets would run as a formula; some take full-width signs for the ASCII ones.
export function harmless(cell) {
  return /^[=+\-@\t\r\n＝＋－＠]/.test(cell) ? `'${cell}` : cell;
}

export function writeTable(records, separator) {
  const special = new RegExp(`["\\r\\n${separator}]|^\\s|\\s$`);
  const quote = (cell) => (special.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  return records.map((record) => `${record.map((cell) => quote(harmless(cell))).join(separator)}\r\n`).join("");
}
