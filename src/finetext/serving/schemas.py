"""What clients send and get: the schemas behind `/openapi.json`, and the answers made of probabilities."""

from functools import cache
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    model_validator,
)

from finetext.decision import confidence, decide
from finetext.inference import Classifier
from finetext.models.tokenization import well_formed


def _read_text(value: Any) -> Any:
    # JSON can name halves of a surrogate pair; they are read as the library reads them.
    return well_formed(value) if isinstance(value, str) else value


def _read_texts(value: Any) -> Any:
    # One fault for the whole list: pydantic would report each text that is none.
    if not isinstance(value, list):
        return value
    if not all(isinstance(text, str) for text in value):
        raise ValueError("every text must be a string")
    return [well_formed(text) for text in value]


def _read_inputs(value: Any) -> Any:
    if isinstance(value, str):
        return well_formed(value)
    lists = value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
    if not all(isinstance(own, list) and all(isinstance(text, str) for text in own) for own in lists):
        raise ValueError("must be a text, a list with one text, or a list of such lists")
    if not all(len(own) == 1 for own in lists):
        raise ValueError(
            "a list holds one text; a list of two would be a pair, which is not classified. "
            "A batch is a list of lists: [[text], [text]]"
        )
    texts = [[well_formed(text) for text in own] for own in lists]
    return texts if lists is value else texts[0]


Text = Annotated[StrictStr, BeforeValidator(_read_text)]
Texts = Annotated[list[str], BeforeValidator(_read_texts)]
ModelName = Annotated[
    str | None, BeforeValidator(_read_text), Field(description="Which model; by default the first.")
]


@cache  # pydantic looks them up anew each time
def _known_fields(shape: type[BaseModel]) -> dict[str, None]:
    return dict.fromkeys(shape.model_fields)


def _refuse_unknown(shape: type[BaseModel], values: Any) -> Any:
    if isinstance(values, dict) and not values.keys() <= _known_fields(shape).keys():
        raise ValueError(f"known fields are {', '.join(_known_fields(shape))}")
    return values


class ClassifyRequest(BaseModel):
    """Texts to label: `text` for one, or `texts`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"texts": ["win a prize, text now", "see you at four"], "top_k": 2}]}
    )

    text: Annotated[Text | None, Field(description="One text.")] = None
    texts: Annotated[Texts | None, Field(description="Several texts.")] = None
    top_k: Annotated[
        StrictInt | None,
        Field(ge=1, description="How many scores a text, the likeliest first; by default all."),
    ] = None
    model: ModelName = None

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        return _refuse_unknown(cls, values)

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.text is None) == (self.texts is None):
            raise ValueError("give either text or texts")
        return self

    def all_texts(self) -> list[str]:
        """Return the texts as a list."""
        return [self.text] if self.text is not None else self.texts or []


class ExplainRequest(BaseModel):
    """A text, of which each word is left out once."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "win a prize, text now"}]})

    text: Annotated[Text, Field(description="The text.")]
    label: Annotated[
        Text | None, Field(description="The label to explain; by default the predicted or likeliest one.")
    ] = None
    model: ModelName = None

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        return _refuse_unknown(cls, values)


class Score(BaseModel):
    """The probability of a label."""

    label: str
    score: float


class Prediction(BaseModel):
    """What the model says of a text."""

    label: Annotated[
        str | None, Field(description="The likeliest predicted label; null where the model predicts none.")
    ]
    score: Annotated[
        float, Field(description="Its probability; where none is predicted, that of the label nearest to it.")
    ]
    labels: Annotated[
        list[str], Field(description="All predicted labels: at most one, or any number if multi-label.")
    ]
    scores: Annotated[list[Score], Field(description="Every label's probability, or the top_k highest.")]


class ClassifyAnswer(BaseModel):
    """One prediction a text, in the order of the texts."""

    model: str
    predictions: list[Prediction]


class WordWeight(BaseModel):
    """A word, a run of punctuation marks, or neighbouring words of a long text."""

    word: str
    start: Annotated[int, Field(description="Where it begins, in characters (Unicode code points).")]
    end: Annotated[int, Field(description="Where it ends, exclusive.")]
    weight: Annotated[
        float,
        Field(description="By how much the log-odds of the label fall without it; below 0: against it."),
    ]


class ExplainAnswer(BaseModel):
    """The words of a text that speak for a label and against it, in the order of the text."""

    model: str
    text: str
    label: str
    score: Annotated[float, Field(description="The label's probability.")]
    log_odds: float
    words: list[WordWeight]


class Figure(BaseModel):
    """A figure, with its 95 % interval if it has one."""

    name: str
    value: float
    low: float | None
    high: float | None


class ClassFigures(BaseModel):
    """The figures of a class."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int | None


class Baseline(BaseModel):
    """A simple classifier on the same test texts."""

    name: str
    verdict: Annotated[
        str | None, Field(description="What the model is beside it: better, worse, or neither.")
    ]
    figures: list[Figure]


class TestFigures(BaseModel):
    """How the model did on the test split of its training data."""

    examples: int | None
    synthetic_data: Annotated[bool, Field(description="The texts were made up; the figures say nothing.")]
    figures: list[Figure]
    classes: list[ClassFigures]
    baselines: list[Baseline]


class Card(BaseModel):
    """What is known of a model."""

    model: str
    card: Annotated[str | None, Field(description="The model card, Markdown; null if there is none.")]
    test: Annotated[TestFigures | None, Field(description="null where no run's folder is served.")]


class PredictRequest(BaseModel):
    """A request in the shape of text-embeddings-inference: one text, or a batch of one-text lists."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"inputs": "win a prize, text now"}]})

    inputs: Annotated[
        str | list[str] | list[list[str]],
        BeforeValidator(_read_inputs),
        Field(
            description="A text, a list with one text, or a batch: a list of such lists. Pairs are not classified."
        ),
    ]
    truncate: Annotated[
        StrictBool, Field(description="Cut long texts as the model was trained to; false refuses them.")
    ] = True
    raw_scores: Annotated[StrictBool, Field(description="Give logits instead of probabilities.")] = False
    model: ModelName = None

    def all_texts(self) -> list[str]:
        """Return the texts as a list."""
        if isinstance(self.inputs, str):
            return [self.inputs]
        return [own if isinstance(own, str) else own[0] for own in self.inputs]

    @property
    def batch(self) -> bool:
        """Whether the answer is a list of lists."""
        return isinstance(self.inputs, list) and isinstance(self.inputs[0], list)


class Limit(BaseModel):
    """A limit that was met."""

    name: str
    value: float


class Problem(BaseModel):
    """Why a request was refused."""

    error: str
    error_type: str
    limit: Limit | None = None


class Status(BaseModel):
    """How the server is."""

    status: str


class ModelInfo(BaseModel):
    """A served model."""

    name: str
    task: str
    labels: list[str]
    thresholds: Annotated[
        list[float] | None,
        Field(description="From which probability on a label is predicted; null for the likeliest (0.5)."),
    ]
    abstain_below: float | None
    max_length: Annotated[int, Field(description="Longest text in tokens.")]
    long_texts: str
    architecture: str
    device: str
    precision: str


class Info(BaseModel):
    """What is served, and within which limits."""

    version: str
    default_model: str
    models: list[ModelInfo]
    limits: dict[str, float]


def ranked(class_names: tuple[str, ...], values: NDArray[np.float32], top_k: int | None = None) -> list[Any]:
    """Return `{"label", "score"}` of the highest values, the highest first."""
    order = np.argsort(-values, kind="stable")[:top_k]
    return [{"label": class_names[i], "score": float(values[i])} for i in order]


def prediction(classifier: Classifier, probs: NDArray[np.float32], top_k: int | None) -> dict[str, Any]:
    """Return what the model's saved rule makes of a text's probabilities `(C,)`."""
    names = classifier.class_names
    labels = classifier.decide(probs)
    if classifier.task == "multi-label":
        chosen = decide(probs[None], classifier.task, classifier.decision)[0].astype(bool)
        best = int(np.argmax(np.where(chosen, probs, -1))) if chosen.any() else None
        label = None if best is None else names[best]
        score = float(probs.max() if best is None else probs[best])
    else:
        label = labels[0] if labels else None
        score = float(confidence(probs[None], classifier.task, classifier.decision)[0])
    return {"label": label, "score": score, "labels": list(labels), "scores": ranked(names, probs, top_k)}


def describe(name: str, classifier: Classifier) -> dict[str, Any]:
    """Return what `/info` says of a model."""
    settings = classifier.model.settings
    thresholds = settings.decision.thresholds
    return {
        "name": name,
        "task": classifier.task,
        "labels": list(classifier.class_names),
        "thresholds": None if thresholds is None else list(thresholds),
        "abstain_below": settings.decision.abstain_below,
        "max_length": settings.max_length,
        "long_texts": settings.long_texts,
        "architecture": type(classifier.model.network).__name__,
        "device": classifier.model.device.type,
        "precision": classifier.precision,
    }
