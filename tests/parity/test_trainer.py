"""Our trainer has the same losses as `transformers.Trainer` for the same model and batches."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments

from finetext.engine import collate
from finetext.training.sampling import epoch_order
from trainings import NAMES, setup_of, steps_of, trainer_of

STEPS = 30
TEXTS = [
    f"message {n} about {topic} and then {n * 7 % 13} more words"
    for n in range(24)
    for topic in ("tea", "gold", "rain", "cash", "home")
]
TARGETS = torch.tensor([(n * 5 + n // 3) % 2 for n in range(len(TEXTS))])

CASES = {
    "plain": {},
    "accumulation": {"gradient_accumulation": 2, "batch_size": 4},
    "clipping": {"max_gradient_norm": 0.05},
    "warm-up": {"warmup": 10.0},
    "cosine": {"schedule": "cosine", "warmup": 0.2},
    "weight decay": {"weight_decay": 0.5},
    "class weights": {"class_weights": [0.3, 1.9]},
    "label smoothing": {"label_smoothing": 0.2},
}


class Recorder(Trainer):
    """A Trainer that takes its batches in our order and records every loss."""

    def __init__(self, *args, batches, class_weights, **kwargs):
        super().__init__(*args, **kwargs)
        self.batches, self.weights, self.losses = batches, class_weights, []

    def get_train_dataloader(self):
        return self.batches

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        logits = model(**inputs).logits
        weight = None if self.weights is None else torch.tensor(self.weights)
        loss = F.cross_entropy(
            logits, labels, weight=weight, label_smoothing=self.args.label_smoothing_factor
        )
        self.losses.append(loss.item())
        # For models that normalise by the number of items in a step, Trainer leaves the division to the loss.
        return loss / self.args.gradient_accumulation_steps if self.model_accepts_loss_kwargs else loss


class Batches(list):
    """What Trainer requires of a data loader: batches, a length and a batch size."""

    batch_size = 1


def setup_for(case, folder):
    options = {
        "model": str(folder),
        "trainable": "all",
        "dropout": 0.0,
        "learning_rate": 2e-3,
        "epochs": 2,
        "weight_decay": 0.0,
        "max_gradient_norm": 1.0,
        "group_by_length": False,
        "warmup": 0.0,
        "batch_size": 8,
        "seed": 3,
    }
    weights = case.get("class_weights")
    if weights is not None:
        case = {"balance": "weights", "class_weights": dict(zip(NAMES, weights, strict=True))}
    return setup_of(TEXTS, TARGETS.tolist(), **options | case)


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_thirty_losses_agree_with_trainer(tmp_path, checkpoint, architecture, case):
    setup = setup_for(case, checkpoint(architecture))
    train, model = setup.config.train, setup.model
    model.network.save_pretrained(tmp_path / "start")
    encoded = model.encode(TEXTS)

    reference = AutoModelForSequenceClassification.from_pretrained(tmp_path / "start")
    batches = Batches()
    for epoch in range(train.epochs):
        order = epoch_order(len(TEXTS), train.seed, epoch)
        for start in range(0, len(order), train.batch_size):
            chosen = order[start : start + train.batch_size]
            batch = collate([encoded[i] for i in chosen], model.pad_id)
            batches.append(
                {
                    "input_ids": batch.input_ids,
                    "attention_mask": batch.attention_mask,
                    "labels": TARGETS[chosen],
                }
            )
    steps = len(batches) // train.gradient_accumulation
    trainer = Recorder(
        reference,
        TrainingArguments(
            output_dir=str(tmp_path / "trainer"),
            num_train_epochs=1,
            max_steps=steps,
            gradient_accumulation_steps=train.gradient_accumulation,
            learning_rate=train.learning_rate,
            lr_scheduler_type="cosine" if train.schedule == "cosine" else "linear",
            warmup_steps=train.warmup,
            weight_decay=train.weight_decay,
            max_grad_norm=train.max_gradient_norm,
            label_smoothing_factor=train.label_smoothing,
            optim="adamw_torch",
            use_cpu=True,
            report_to=[],
            disable_tqdm=True,
            save_strategy="no",
            logging_strategy="no",
        ),
        batches=batches,
        class_weights=case.get("class_weights"),
    )
    trainer.train()
    expected = np.array(trainer.losses).reshape(-1, train.gradient_accumulation).mean(axis=1)

    ours = [step.loss for step in steps_of(trainer_of(setup))]
    assert len(ours) == len(expected) == steps >= STEPS
    assert ours[:STEPS] == pytest.approx(expected[:STEPS].tolist(), abs=1e-5)
    assert max(ours) - min(ours) > 0.01  # the updates change the losses
