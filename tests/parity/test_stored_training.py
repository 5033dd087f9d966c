"""Training from activations cached in float32 matches ordinary training of the same model, step by step."""

import math

import pytest
import torch
from transformers import AutoModelForSequenceClassification, get_scheduler

from finetext.engine import collate
from finetext.training import Trainer, cache_frozen_layers
from finetext.training.sampling import epoch_batches
from trainings import setup_of, steps_of, trainer_of

STEPS = 50
TEXTS = [
    f"message {n} about {topic} and then {n * 7 % 13} more words"
    for n in range(16)
    for topic in ("tea", "gold", "rain", "cash", "home")
]
TARGETS = torch.tensor([(n * 5 + n // 3) % 2 for n in range(len(TEXTS))])


def setup_with(folder, **options):
    base = {"dropout": 0.0, "learning_rate": 2e-3, "epochs": 5, "seed": 3, "model": str(folder)}
    base |= {"batch_size": 8, "warmup": 0.0, "trainable": "last-block", "head_start": "none"}
    base |= {"precision": "fp32", "store": "fp32"}
    return setup_of(TEXTS, TARGETS.tolist(), **base | options)


def losses(trainer):
    return [step.loss for step in steps_of(trainer)]


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "bert"])
def test_fifty_losses_from_the_cache_match_plain_transformers(tmp_path, checkpoint, architecture):
    setup = setup_with(checkpoint(architecture))
    config, model = setup.config, setup.model
    model.network.save_pretrained(tmp_path / "start")
    inputs = cache_frozen_layers(setup)
    assert (inputs.cut, inputs.stored) == (1, "fp32")
    trainer = Trainer(setup, inputs)
    ours = losses(trainer)

    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "start").train()
    parameters = dict(plain.named_parameters())
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in trainer.parameters)
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
        lengths = [len(text[0]) for text in encoded]
        batches = epoch_batches(lengths, config.train.batch_size, config.train.seed, epoch, grouped=True)
        for chosen in batches:
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
def test_training_from_the_cache_matches_for_every_kind_of_tail(checkpoint, architecture, trainable, cut):
    # Not grouped by length, which would change the order: the cached inputs of a head alone all have one length.
    options = {"trainable": trainable, "epochs": 2, "group_by_length": False}
    cached = setup_with(checkpoint(architecture), **options)
    assert (cached.plan.cut, cached.plan.cache_dtype) == (cut, "fp32")
    ours = losses(trainer_of(cached))
    whole = setup_with(checkpoint(architecture), **options, **{"store": "none"})
    theirs = losses(trainer_of(whole))
    assert ours == pytest.approx(theirs, abs=1e-4)
