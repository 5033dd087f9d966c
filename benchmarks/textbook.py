"""The textbook loop: the recipe of Raschka's "Build a Large Language Model (From Scratch)", chapter 6.

Written from its description: GPT-2 with a two-class output layer. Every text is padded to the longest training text,
all positions pass through all layers and the output layer, and the last position is used. The last layer, the final
norm and the output layer are trained with AdamW in float32. The loss over five training and five validation batches is
computed every 50 steps, the accuracy over five batches of each after every epoch, and that of all splits at the end.
"""

import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

EVERY, BATCHES, EPOCHS, BATCH = 50, 5, 5, 8


class LastPosition(nn.Module):
    """GPT-2 with an output layer for classes on every position, of which the last is used."""

    def __init__(self, folder: Path, classes: int) -> None:
        super().__init__()
        from transformers import GPT2Model

        self.backbone = GPT2Model.from_pretrained(folder)
        self.backbone.config.use_cache = False
        for parameter in self.backbone.parameters():
            parameter.requires_grad = False
        for part in (self.backbone.h[-1], self.backbone.ln_f):
            for parameter in part.parameters():
                parameter.requires_grad = True
        self.head = nn.Linear(self.backbone.config.n_embd, classes)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the logits of the last position, `(B, T) -> (B, C)`."""
        return self.head(self.backbone(input_ids=ids).last_hidden_state)[:, -1]


def measure(folder: Path, splits: dict[str, tuple[list[str], list[int]]], full: bool) -> dict[str, Any]:
    """Time the recipe, in full or extrapolated from a few steps and evaluation batches.

    Args:
        folder: A GPT-2 checkpoint with its tokenizer.
        splits: Texts and class ids of train, validation and test.
        full: Run the whole recipe.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    pad = tokenizer.eos_token_id
    encoded = {name: tokenizer(texts)["input_ids"] for name, (texts, _) in splits.items()}
    width = max(map(len, encoded["train"]))
    padded = {
        name: torch.tensor([(ids + [pad] * width)[:width] for ids in rows]) for name, rows in encoded.items()
    }
    targets = {name: torch.tensor(ids) for name, (_, ids) in splits.items()}
    torch.manual_seed(123)
    model = LastPosition(folder, 2)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=5e-5, weight_decay=0.1
    )

    def step(chosen: torch.Tensor) -> None:
        model.train()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(padded["train"][chosen]), targets["train"][chosen]).backward()
        optimizer.step()

    def evaluate(name: str, start: int) -> None:
        model.eval()
        with torch.no_grad():
            model(padded[name][start : start + BATCH])

    steps = EPOCHS * math.ceil(len(padded["train"]) / BATCH)
    sizes = {name: math.ceil(len(rows) / BATCH) for name, rows in padded.items()}
    evaluated = (steps // EVERY + EPOCHS) * 2 * BATCHES + sum(sizes.values())
    if full:
        return {
            "seconds": _run_whole(step, evaluate, padded, sizes),
            "arithmetic": "run in full",
            "width": width,
        }
    for start in range(2):
        step(torch.arange(start, start + BATCH))
    of_step = _mean_seconds(lambda n: step(torch.arange(n * BATCH, (n + 1) * BATCH)), 10)
    of_batch = _mean_seconds(lambda n: evaluate("train", n * BATCH), 5)
    seconds = steps * of_step + evaluated * of_batch
    arithmetic = (
        f"{steps} steps x {of_step:.3f} s + {evaluated} evaluation batches x {of_batch:.3f} s "
        "(10 steps and 5 batches timed)"
    )
    return {"seconds": seconds, "arithmetic": arithmetic, "width": width}


def _mean_seconds(action: Any, times: int) -> float:
    began = time.perf_counter()
    for number in range(times):
        action(number)
    return (time.perf_counter() - began) / times


def _run_whole(step: Any, evaluate: Any, padded: dict[str, torch.Tensor], sizes: dict[str, int]) -> float:
    began = time.perf_counter()
    taken = 0
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(padded["train"])).split(BATCH):
            step(chosen)
            taken += 1
            if taken % EVERY == 0:
                _some(evaluate)
        _some(evaluate)
    for name, batches in sizes.items():
        for number in range(batches):
            evaluate(name, number * BATCH)
    return time.perf_counter() - began


def _some(evaluate: Any) -> None:
    for name in ("train", "validation"):
        for number in range(BATCHES):
            evaluate(name, number * BATCH)
