"""Stock `transformers.Trainer` with dynamic padding and the options that a hand-written script would pass."""

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

Splits = dict[str, tuple[list[str], list[int]]]


def measure(
    folder: Path,
    splits: Splits,
    *,
    trainable: str,
    epochs: int,
    batch: int,
    steps: int | None,
    bf16: bool = False,
) -> dict[str, Any]:
    """Time the training steps, without evaluation.

    Args:
        folder: A checkpoint with its tokenizer.
        splits: Texts and class ids of train (and test).
        trainable: `last-block` or `all`.
        epochs: Passes over the training split.
        batch: Texts per step.
        steps: Number of steps to time and extrapolate from; None runs the whole training.
        bf16: Whether to use mixed precision.
    """
    trainer, total = make_trainer(folder, splits, trainable, epochs, batch, steps, bf16)
    began = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - began
    if steps is None:
        return {"seconds": seconds, "arithmetic": "run in full"}
    return {
        "seconds": seconds / steps * total,
        "arithmetic": f"{total} steps x {seconds / steps:.3f} s ({steps} steps timed)",
    }


def quality(
    folder: Path, splits: Splits, *, epochs: int, batch: int, seed: int, task: str, max_length: int
) -> dict[str, Any]:
    """Train all parameters with the usual learning rate of 5e-5, and return the logits of the test split."""
    trainer, _ = make_trainer(folder, splits, "all", epochs, batch, None, False, seed, task, max_length)
    began = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - began
    texts, labels = splits["test"]
    logits = trainer.predict(_dataset(trainer.processing_class, texts, labels, max_length)).predictions
    return {"seconds": seconds, "logits": np.asarray(logits)}


def make_trainer(
    folder: Path,
    splits: Splits,
    trainable: str,
    epochs: int,
    batch: int,
    steps: int | None,
    bf16: bool,
    seed: int = 42,
    task: str = "single",
    max_length: int = 512,
) -> tuple[Any, int]:
    """Return the trainer and the number of steps of the whole training."""
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    set_seed(seed)
    texts, labels = splits["train"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    multi = task == "multi-label"
    model = AutoModelForSequenceClassification.from_pretrained(
        folder,
        num_labels=len(labels[0]) if multi else max(labels) + 1,
        problem_type="multi_label_classification" if multi else "single_label_classification",
    )
    model.config.pad_token_id = tokenizer.pad_token_id
    if trainable == "last-block":
        for name, parameter in model.named_parameters():
            parameter.requires_grad = any(part in name for part in (".h.11.", "ln_f", "score"))
    total = epochs * math.ceil(len(texts) / batch)
    arguments = TrainingArguments(
        output_dir=str(folder.parent / "trainer"),
        num_train_epochs=epochs,
        max_steps=steps or -1,
        per_device_train_batch_size=batch,
        per_device_eval_batch_size=32,
        learning_rate=5e-5,
        weight_decay=0.01,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        bf16=bf16,
        seed=seed,
        use_cpu=not torch.cuda.is_available(),
    )
    trainer = Trainer(
        model,
        arguments,
        train_dataset=_dataset(tokenizer, texts, labels, max_length),
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
    )
    return trainer, total


def _dataset(tokenizer: Any, texts: list[str], labels: list[Any], max_length: int) -> list[dict[str, Any]]:
    longest = min(max_length, tokenizer.model_max_length)
    encoded = tokenizer(texts, truncation=True, max_length=longest)["input_ids"]
    return [
        {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": label}
        for ids, label in zip(encoded, labels, strict=True)
    ]
