"""Unusual texts, and large sets of distinct texts."""

import random

from hypothesis import strategies as st

import servers

ODD = [
    "",
    " \n\t",
    "a\x00b",
    "\u202eabc\u202c\u200f שלום עולם مرحبا",
    "👩‍👩‍👧‍👦 🇩🇪 \U0001f3f4\U000e0067\U000e0062\U000e007f ❤️",
    "[CLS] [SEP] [PAD] [MASK] <|endoftext|>",
    "n\u0303 ñ ﬁ ½ Å Å \ufeff",
    "日本語 ไทย தமிழ் ʻokina",
    "\r\n".join(["win a prize"] * 9),
    '"quoted", commas; and\ttabs',
]

ANY = st.characters(exclude_categories=())
HALVES = st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF, categories=["Cs"])
EMOJI = st.characters(min_codepoint=0x1F300, max_codepoint=0x1FAFF) | st.sampled_from("\u200d\ufe0f\u2764")
HEBREW_AND_ARABIC = st.characters(min_codepoint=0x0590, max_codepoint=0x06FF) | st.sampled_from(
    "\u202e\u200f"
)
ODD_TEXTS = st.lists(
    st.text(EMOJI) | st.text(HEBREW_AND_ARABIC) | st.text(HALVES) | st.text(ANY) | st.just("\x00"), max_size=6
).map("".join)


def varied_texts(count: int) -> list[str]:
    """Return distinct texts: unusual ones, messages of the built-in sample, and random words."""
    from finetext.data import DataConfig, read

    texts = [*ODD, *dict.fromkeys(read("sample", DataConfig()).texts)]
    pick = random.Random(0)
    while len(texts) < count:
        texts.append(" ".join(pick.choices(servers.WORDS.split(), k=pick.randrange(1, 60))))
    return texts
