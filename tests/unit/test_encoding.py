import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import processors
from transformers import AutoConfig

from checkpoints import CORPUS, byte_level_tokenizer, word_piece_tokenizer
from finetext.errors import ModelError, UsageError
from finetext.models.tokenization import (
    TextEncoder,
    choose_limit,
    choose_pad_token,
    load_tokenizer,
    position_limit,
    special_ends,
)

LONG = " ".join(CORPUS)


@pytest.fixture(scope="module")
def tokenizers_by_kind(tmp_path_factory):
    tokenizers = {}
    for kind, make in (("bytes", byte_level_tokenizer), ("words", word_piece_tokenizer)):
        folder = tmp_path_factory.mktemp(kind)
        make().save_pretrained(folder)
        tokenizers[kind] = load_tokenizer(folder)
        choose_pad_token(tokenizers[kind])
    return tokenizers


@pytest.mark.parametrize("kind", ["bytes", "words"])
@given(text=st.text() | st.lists(st.sampled_from(LONG.split())).map(" ".join), limit=st.integers(4, 20))
def test_truncation_matches_the_tokenizer(tokenizers_by_kind, kind, text, limit):
    tokenizer = tokenizers_by_kind[kind]
    ours = TextEncoder(tokenizer, limit, "truncate")([text])[0]
    theirs = tokenizer(text, truncation=True, max_length=limit)["input_ids"]
    assert ours == (theirs or [tokenizer.pad_token_id],)


@pytest.mark.parametrize("kind", ["bytes", "words"])
@pytest.mark.parametrize("policy", ["truncate", "head-tail", "windows"])
@given(text=st.text() | st.lists(st.sampled_from(LONG.split())).map(" ".join), limit=st.integers(4, 20))
def test_windows_are_neither_empty_nor_too_long(tokenizers_by_kind, kind, policy, text, limit):
    windows = TextEncoder(tokenizers_by_kind[kind], limit, policy)([text])[0]
    assert windows and all(1 <= len(window) <= limit for window in windows)
    if policy != "windows":
        assert len(windows) == 1


@given(text=st.lists(st.sampled_from(LONG.split()), min_size=1).map(" ".join), limit=st.integers(4, 20))
def test_windows_overlap_and_cover_the_text(tokenizers_by_kind, text, limit):
    tokenizer = tokenizers_by_kind["words"]
    body = tokenizer(text, add_special_tokens=False)["input_ids"]
    windows = [window[1:-1] for window in TextEncoder(tokenizer, limit, "windows")([text])[0]]
    overlap = (limit - 2) // 4
    joined = list(windows[0])
    for before, window in itertools.pairwise(windows):
        assert window[:overlap] == before[len(before) - overlap :] if overlap else True
        joined += window[overlap:]
    assert joined == body


def test_head_tail_keeps_both_ends(tokenizers_by_kind):
    tokenizer = tokenizers_by_kind["words"]
    body = tokenizer(LONG, add_special_tokens=False)["input_ids"]
    (window,) = TextEncoder(tokenizer, 13, "head-tail")([LONG])[0]
    assert window == [2, *body[:6], *body[-5:], 3]


@pytest.mark.parametrize("kind", ["bytes", "words"])
@pytest.mark.parametrize("text", ["<|endoftext|>", "a [SEP] b", "[PAD]", "[CLS] [MASK] <|endoftext|> x"])
def test_no_text_makes_a_special_token(tokenizers_by_kind, kind, text):
    tokenizer = tokenizers_by_kind[kind]
    prefix, suffix = special_ends(tokenizer)
    (ids,) = TextEncoder(tokenizer, 64, "truncate")([text])[0]
    body = ids[len(prefix) : len(ids) - len(suffix)]
    specials = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    assert not specials & set(body)


@pytest.mark.parametrize("kind", ["bytes", "words"])
def test_unpaired_surrogates_are_replaced(tokenizers_by_kind, kind):
    encode = TextEncoder(tokenizers_by_kind[kind], 64, "truncate")
    assert encode(["tea \ud83d\ude00", "tea \udcff"]) == encode(["tea \U0001f600", "tea \ufffd"])


def test_truncation_and_padding_in_the_file_are_switched_off(tokenizers_by_kind):
    (ids,) = TextEncoder(tokenizers_by_kind["words"], 64, "truncate")([LONG])[0]
    assert len(ids) > 12
    (short,) = TextEncoder(tokenizers_by_kind["words"], 64, "truncate")(["tea"])[0]
    assert len(short) == 3


def test_token_counts_cover_the_whole_text(tokenizers_by_kind):
    tokenizer = tokenizers_by_kind["words"]
    assert TextEncoder(tokenizer, 8, "truncate").count(["tea", LONG]) == [
        3,
        len(tokenizer(LONG)["input_ids"]),
    ]


def test_a_limit_without_room_for_text_is_refused(tokenizers_by_kind):
    with pytest.raises(UsageError, match="max_length"):
        TextEncoder(tokenizers_by_kind["words"], 2, "truncate")


@pytest.mark.parametrize(
    ("family", "sizes", "limit"),
    [
        ("gpt2", {}, 1024),
        ("bert", {}, 512),
        ("llama", {"max_position_embeddings": 131072}, 131072),
        ("modernbert", {}, 8192),
        ("distilbert", {}, 512),
        ("bloom", {}, 2048),
    ],
)
def test_the_limit_is_that_of_the_model(family, sizes, limit):
    assert position_limit(AutoConfig.for_model(family, **sizes)) == limit


def test_the_limit_of_roberta_excludes_its_padding_positions():
    import torch
    from transformers import AutoModel

    config = AutoConfig.for_model("roberta", max_position_embeddings=514, pad_token_id=1, num_hidden_layers=1)
    with torch.device("meta"):
        assert position_limit(config, AutoModel.from_config(config)) == 512


def test_a_length_above_the_limit_is_refused():
    assert choose_limit(None, 512) == 512
    assert choose_limit(100, 512) == 100
    with pytest.raises(UsageError, match="512"):
        choose_limit(513, 512)


def test_a_dedicated_pad_token_is_preferred():
    tokenizer = byte_level_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|finetune_right_pad_id|>"]})
    choose_pad_token(tokenizer)
    assert tokenizer.pad_token == "<|finetune_right_pad_id|>"


def test_without_a_pad_token_the_end_of_text_token_pads():
    tokenizer = byte_level_tokenizer()
    choose_pad_token(tokenizer)
    assert tokenizer.pad_token == "<|endoftext|>"


def test_a_token_that_the_tokenizer_appends_is_not_used_for_padding():
    tokenizer = byte_level_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", tokenizer.eos_token_id)]
    )
    with pytest.raises(ModelError, match="pad"):
        choose_pad_token(tokenizer)
    tokenizer.add_special_tokens({"unk_token": "<unk>"})
    choose_pad_token(tokenizer)
    assert tokenizer.pad_token == "<unk>"
