"""Tiny checkpoints of real architectures, created on the fly with random weights and a few thousand parameters."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedTokenizerFast

CORPUS = [
    "win a prize now, text gold to claim your cash today",
    "are we still on for tea at four, the rain has stopped",
    "message number one about home and the day after tomorrow",
    "your account needs a call, reply yes or no to this offer",
    "news of the day: nothing much happened, see you later then",
]
SMALL = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
DECODERS = {"gpt2", "llama", "phi3", "opt", "gpt_neox", "qwen2", "qwen3", "mistral", "gemma3_text"}
ARCHITECTURES = {
    "gpt2": {"n_layer": 2, "n_embd": 16, "n_head": 2, "n_positions": 64},
    "llama": SMALL | {"num_key_value_heads": 1, "max_position_embeddings": 64},
    "phi3": SMALL
    | {"num_key_value_heads": 2, "max_position_embeddings": 64, "original_max_position_embeddings": 64},
    "mistral": SMALL | {"num_key_value_heads": 1, "max_position_embeddings": 64, "sliding_window": 8},
    "qwen2": SMALL | {"num_key_value_heads": 1, "max_position_embeddings": 64},
    "qwen3": SMALL | {"num_key_value_heads": 1, "max_position_embeddings": 64, "head_dim": 8},
    "gemma3_text": SMALL | {"num_key_value_heads": 1, "max_position_embeddings": 64, "head_dim": 8},
    "opt": {
        "num_hidden_layers": 2,
        "hidden_size": 16,
        "num_attention_heads": 2,
        "ffn_dim": 24,
        "word_embed_proj_dim": 16,
        "max_position_embeddings": 64,
    },
    "gpt_neox": SMALL | {"max_position_embeddings": 64},
    "bert": SMALL | {"max_position_embeddings": 64},
    "roberta": SMALL | {"max_position_embeddings": 66, "type_vocab_size": 1},
    "electra": SMALL | {"embedding_size": 8, "max_position_embeddings": 64},
    "distilbert": {"n_layers": 2, "dim": 16, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 64},
    "modernbert": SMALL
    | {"max_position_embeddings": 64, "local_attention": 8, "global_attn_every_n_layers": 2},
    "albert": SMALL | {"embedding_size": 8, "max_position_embeddings": 64},
    "mpnet": SMALL | {"max_position_embeddings": 66},
    "deberta-v2": SMALL
    | {"max_position_embeddings": 64, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
}


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-pair tokenizer like GPT-2's, with an end-of-text token but no pad token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    )


def word_piece_tokenizer() -> PreTrainedTokenizerFast:
    """Return a word-piece tokenizer like BERT's: [CLS] text [SEP], with a pad token."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=specials, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    # As in published files such as MiniLM's, which enable truncation and padding.
    tokenizer.enable_truncation(12)
    tokenizer.enable_padding(length=12)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def make_checkpoint(architecture: str, folder: Path, seed: int = 0) -> Path:
    """Write a tiny backbone and its tokenizer to `folder`, as `save_pretrained` does."""
    decoder = architecture in DECODERS
    tokenizer = byte_level_tokenizer() if decoder else word_piece_tokenizer()
    sizes = {"vocab_size": len(tokenizer)} | ARCHITECTURES[architecture]
    if decoder:
        sizes |= {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
    else:
        sizes |= {"pad_token_id": 0}
        if architecture == "modernbert":
            sizes |= {"bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
    config = AutoConfig.for_model(architecture, **sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = (AutoModelForCausalLM if decoder else AutoModel).from_config(config)
        # Large weights, so that different texts have clearly different logits.
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.ndim >= 2:
                    parameter.mul_(5)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
