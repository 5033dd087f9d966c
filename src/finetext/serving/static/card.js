// The model: its metrics on the test split, and its card.

import { byId, count, make } from "./dom.js";
import { renderMarkdown } from "./markdown.js";
import { ask, model, waitsForServer } from "./server.js";
import { scrollingTable } from "./tables.js";

async function showCard() {
  const { name } = model;
  const state = byId("about-state");
  let answer;
  try {
    answer = await ask(`card?model=${encodeURIComponent(name)}`);
  } catch (error) {
    if (!waitsForServer(error, showCard)) state.textContent = error.message;
    return;
  }
  if (name !== model.name) return;
  state.textContent = answer.card || answer.test ? "" : "This model has neither a card nor test metrics.";
  byId("figures").replaceChildren(...(answer.test ? metricParts(answer.test) : []));
  byId("card-part").hidden = !answer.card;
  byId("card").replaceChildren(...renderMarkdown(answer.card ?? ""));
}

function metricParts(test) {
  const parts = [];
  if (test.synthetic_data)
    parts.push(make("p", { className: "notice", textContent: "Synthetic data: the texts were made up, and the metrics say nothing about real ones." }));
  const hidden = model.task === "multi-label" ? "balanced_accuracy" : "micro_f1";
  const columns = [{ name: "this model", figures: test.figures }, ...test.baselines];
  const rows = test.figures
    .filter(({ name }) => name !== hidden)
    .map(({ name, title }) => [title, ...columns.map(({ figures }) => metricCell(figures, name))]);
  const texts = test.examples === null ? "the test texts" : `${count(test.examples)} test texts, which were not used in training`;
  const caption = `Metrics on ${texts}, each with its 95 % interval below`;
  parts.push(scrollingTable(caption, ["", ...columns.map(({ name }) => name)], rows, caption));
  const verdicts = test.baselines.filter(({ verdict }) => verdict);
  if (verdicts.length)
    parts.push(make("ul", {}, ...verdicts.map(({ name, verdict }) => make("li", { textContent: `Compared with ${name}: ${verdict}.` }))));
  const classes = test.classes.map((metrics) => [
    metrics.name,
    ...["precision", "recall", "f1"].map((key) => metrics[key]?.toFixed(3) ?? "–"),
    metrics.support === null ? "–" : count(metrics.support),
  ]);
  const perLabel = "Test metrics of each label";
  const table = scrollingTable(perLabel, ["label", "precision", "recall", "F1", "texts"], classes, perLabel);
  if (classes.length) parts.push(make("details", {}, make("summary", { textContent: "Each label" }), table));
  return parts;
}

function metricCell(metrics, name) {
  const metric = metrics.find((candidate) => candidate.name === name);
  if (!metric) return "–";
  const digits = (value) => value.toFixed(3).replace("-", "−");
  const interval = metric.low === null ? "" : `${digits(metric.low)} to ${digits(metric.high)}`;
  return make("span", {}, digits(metric.value), make("small", { textContent: interval }));
}

byId("model").addEventListener("change", showCard);
