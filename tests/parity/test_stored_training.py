"""Training from a float32 store against ordinary training of the same model, step by step."""

import math

import pytest
import torch
from accelerate import Accelerator
from finetext.training.loop import Learner, training_steps
from transformers import AutoModelForSequenceClassification, get_scheduler

from finetext.cache import FeatureStore, store_features
from finetext.engine import collate
from finetext.models import find_model, load_model, make_trunk
from finetext.training.config import TrainConfig
from finetext.training.config_file import override

STEPS = 50
TEXTS = [
    f"message {n} about {topic} and then {n * 7 % 13} more words"
    for n in range(16)
    for topic in ("tea", "gold", "rain", "cash", "home")
]
TARGETS = torch.tensor([(n * 5 + n // 3) % 2 for n in range(len(TEXTS))])


def prepared(folder, **options):
    chosen = {"dropout": 0.0, "learning_rate": 2e-3, "epochs": 5, "seed": 3, "model": str(folder)}
    chosen |= {"batch_size": 8, "warmup": 0.0, "trainable": "last-block"}
    config = override(TrainConfig(), chosen | options)
    model = load_model(find_model(config.model.model), ("ham", "spam"), "binary", config.model, seed=3)
    return config, model


def losses(config, model, inputs):
    learner = Learner(model, inputs, TARGETS, config, Accelerator(cpu=True), "adamw")
    return learner, [step.loss for step in training_steps(learner)]


def stored(tmp_path, model, cut):
    trunk = make_trunk(model, cut, arithmetic="fp32", dtype="fp32")
    splits = {"train": model.encode(TEXTS)}
    return store_features(trunk, splits, FeatureStore(tmp_path / "store"), lambda *_: None, lambda: None)[
        "train"
    ]


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "bert"])
def test_fifty_losses_from_the_store_are_those_of_plain_transformers(tmp_path, checkpoint, architecture):
    config, model = prepared(checkpoint(architecture))
    model.network.save_pretrained(tmp_path / "start")
    learner, ours = losses(config, model, stored(tmp_path, model, 1))

    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "start").train()
    parameters = dict(plain.named_parameters())
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in learner.parameters)
    trained = [p for p in parameters.values() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.train.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=config.train.learning_rate,
    )
    steps = math.ceil(len(TEXTS) / config.train.batch_size) * config.train.epochs
    schedule = get_scheduler("linear", optimizer, 0, steps)
    encoded, theirs = model.encode(TEXTS), []
    for epoch in range(config.train.epochs):
        order = learner.order(epoch)
        for start in range(0, len(order), config.train.batch_size):
            chosen = order[start : start + config.train.batch_size]
            batch = collate([encoded[text] for text in chosen], model.pad_id)
            logits = plain(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
            loss = torch.nn.functional.cross_entropy(logits, TARGETS[chosen])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, config.train.max_gradient_norm)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            theirs.append(loss.item())
    assert len(ours) == len(theirs) >= STEPS
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert max(ours) - min(ours) > 0.01


@pytest.mark.parametrize(("trainable", "cut"), [("head", 2), ("last-block", 1)])
@pytest.mark.parametrize("architecture", ["gpt2", "roberta", "deberta-v2"])
def test_every_kind_of_tail_learns_the_same_from_the_store(
    tmp_path, checkpoint, architecture, trainable, cut
):
    # Grouped by length the order would differ: what a head alone reads has one length.
    options = {"trainable": trainable, "epochs": 2, "group_by_length": False}
    config, model = prepared(checkpoint(architecture), **options)
    _, ours = losses(config, model, stored(tmp_path, model, cut))
    config, whole = prepared(checkpoint(architecture), **options)
    _, theirs = losses(config, whole, whole.inputs(whole.encode(TEXTS)))
    assert ours == pytest.approx(theirs, abs=1e-4)
