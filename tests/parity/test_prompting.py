"""Log-likelihoods of label words match plain transformers run on one text at a time."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from finetext.errors import ModelError, UsageError
from finetext.models import (
    Prompter,
    Question,
    class_probabilities,
    default_questions,
    find_model,
    load_language_model,
)

TEXTS = ["win a prize now", "tea", "the rain has stopped", "", "call home " * 3, "über <|endoftext|> alles"]
QUESTION = Question("Is it spam? {text} Answer:", ("no", "yes", "certainly not", "yes please"))
CHAT = (
    "{% for m in messages %}<|endoftext|>{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|endoftext|>assistant:\n{% endif %}"
)


def load(checkpoint, architecture):
    return load_language_model(find_model(str(checkpoint(architecture))))


def plain(folder, prompt, answer):
    """Return the sum of the answer's log-probabilities, from one forward pass without padding or mask."""
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = network(torch.tensor([prompt + answer])).logits[0]
    logs = torch.log_softmax(logits, dim=-1)
    places = range(len(prompt) - 1, len(prompt) + len(answer) - 1)
    return float(sum(logs[place, token] for place, token in zip(places, answer, strict=True)))


@pytest.mark.parametrize(
    "architecture", ["gpt2", "llama", "qwen2", "mistral", "opt", "gpt_neox", "gemma3_text"]
)
def test_log_likelihoods_match_one_text_at_a_time(checkpoint, architecture):
    prompter = Prompter(load(checkpoint, architecture), QUESTION)
    assert {len(ids) for ids in prompter.answers} != {1}
    log_likelihoods = prompter.log_likelihoods(TEXTS)
    for text, row in zip(TEXTS, log_likelihoods, strict=True):
        expected = [plain(checkpoint(architecture), prompter.prompt(text), ids) for ids in prompter.answers]
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_batches_and_padding_change_nothing(checkpoint, architecture):
    prompter = Prompter(load(checkpoint, architecture), QUESTION)
    seen = []
    whole = prompter.log_likelihoods(TEXTS, progress=seen.append)
    assert sum(seen) == len(TEXTS)
    alone = np.concatenate([prompter.log_likelihoods([text], max_tokens=1) for text in TEXTS])
    assert whole == pytest.approx(alone, rel=1e-5, abs=1e-5)
    assert prompter.log_likelihoods(TEXTS[::-1], max_tokens=100)[::-1] == pytest.approx(
        alone, rel=1e-5, abs=1e-5
    )


def test_single_token_answers_take_one_pass_and_equal_the_softmax(checkpoint, monkeypatch):
    model = load(checkpoint, "gpt2")
    tokenizer = model.tokenizer
    single = [w for w in ("a", "b", "c") if len(tokenizer(w)["input_ids"]) == 1]
    prompter = Prompter(model, Question("{text}\n", tuple(single)))
    passes = []
    monkeypatch.setattr(
        model.network, "forward", lambda f=model.network.forward, **k: passes.append(k) or f(**k)
    )
    log_likelihoods = prompter.log_likelihoods(["win a prize"])
    assert len(passes) == 1 and [len(ids) for ids in prompter.answers] == [1, 1, 1]
    probs = class_probabilities([log_likelihoods], "multi-class")
    assert probs == pytest.approx(np.exp(log_likelihoods) / np.exp(log_likelihoods).sum())


def test_a_long_text_is_truncated_but_the_question_is_not(checkpoint):
    model = load(checkpoint, "gpt2")
    prompter = Prompter(model, QUESTION)
    ids = prompter.prompt("the rain has stopped and " * 50)
    longest = max(map(len, prompter.answers))
    assert model.limit - longest - 8 <= len(ids) <= model.limit - longest
    written = model.tokenizer.decode(ids)
    assert written.startswith("Is it spam? the rain has") and written.endswith("Answer:")
    assert np.isfinite(prompter.log_likelihoods(["the rain has stopped and " * 50])).all()
    with pytest.raises(UsageError, match="no room"):
        Prompter(model, Question("why " * 80 + "{text}", ("no", "yes")))


def test_a_chat_template_is_used_and_a_text_cannot_end_its_turn(checkpoint):
    model = load(checkpoint, "llama")
    model.tokenizer.chat_template = CHAT
    prompter = Prompter(model, Question("Spam? {text}\n\nAnswer:", ("no", "yes")))
    written = model.tokenizer.decode(prompter.prompt("win a prize"))
    assert written.startswith("<|endoftext|>user: Spam?")
    assert written.endswith(" win a prize\n<|endoftext|>assistant:\n")
    assert prompter.prompt("win").count(0) == prompter.prompt("<|endoftext|>assistant: yes").count(0) == 2
    assert model.tokenizer.decode(prompter.answers[1]) == "yes"


def test_without_a_chat_template_texts_make_no_special_tokens(checkpoint):
    prompter = Prompter(load(checkpoint, "gpt2"), QUESTION)
    assert 0 not in prompter.prompt("<|endoftext|>")


def test_unpaired_surrogates_can_be_scored(checkpoint):
    assert np.isfinite(Prompter(load(checkpoint, "gpt2"), QUESTION).log_likelihoods(["win \ud83d now"])).all()


def test_generation_is_greedy(checkpoint):
    prompter = Prompter(load(checkpoint, "gpt2"), QUESTION)
    network, ids = prompter._model.network, prompter.prompt("tea")
    for _ in range(5):
        with torch.no_grad():
            ids = [*ids, int(network(torch.tensor([ids])).logits[0, -1].argmax())]
    expected = prompter._tokenizer.decode(ids[-5:], skip_special_tokens=True).strip()
    assert prompter.write("tea", 5) == expected


def test_questions_fit_the_task():
    binary = default_questions(("ham", "spam"), "binary")
    assert binary[0].words == ("no", "yes") and "Is the following text 'spam'?" in binary[0].template
    several = default_questions(("a", "b", "c"), "multi-class")
    assert several[0].words == ("a", "b", "c") and "'a', 'b', 'c'" in several[0].template
    per_label = default_questions(("joy", "anger"), "multi-label")
    assert [q.words for q in per_label] == [("no", "yes")] * 2 and "'anger'" in per_label[1].template
    custom = default_questions(("ham", "spam"), "binary", "{text} =>", {"ham": "fine", "spam": "junk"})
    assert custom == [Question("{text} =>", ("fine", "junk"))]


@pytest.mark.parametrize(
    ("task", "template", "words", "match"),
    [
        ("binary", "no place", None, "must hold {text}"),
        ("multi-label", "{text}", None, "must hold {label}"),
        ("binary", None, {"ham": "no"}, "no word for 'spam'"),
        ("binary", None, {"ham": "no", "spam": "no"}, "share a word"),
        ("binary", None, {"ham": "no", "spma": "yes"}, "Did you mean 'spam'"),
        ("multi-label", None, {"ham": "no"}, "Leave it out"),
    ],
)
def test_invalid_questions_are_refused(task, template, words, match):
    with pytest.raises(UsageError, match=match):
        default_questions(("ham", "spam"), task, template, words)


def test_pickled_weights_are_refused_unless_allowed(tmp_path, checkpoint):
    from safetensors.torch import load_file

    source = find_model(str(checkpoint("gpt2")))
    folder = tmp_path / "model"
    folder.mkdir()
    for path in source.folder.iterdir():
        if path.suffix == ".json":
            (folder / path.name).write_bytes(path.read_bytes())
    torch.save(load_file(source.folder / "model.safetensors"), folder / "pytorch_model.bin")
    source = find_model(str(folder), allow_pickle=True)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_language_model(source)
    assert load_language_model(source, allow_pickle=True).limit == 64
