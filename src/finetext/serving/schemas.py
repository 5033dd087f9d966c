"""The schemas of requests and responses, which `/openapi.json` documents."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from finetext.models import well_formed


def _read_text(value: Any) -> Any:
    # JSON can hold half a surrogate pair; it is read as the library reads it.
    return well_formed(value) if isinstance(value, str) else value


def _read_texts(value: Any) -> Any:
    # One error for the whole list, where pydantic would report each item.
    if not isinstance(value, list):
        return value
    if not all(isinstance(text, str) for text in value):
        raise ValueError("every text must be a string")
    return [well_formed(text) for text in value]


def _read_inputs(value: Any) -> Any:
    if isinstance(value, str):
        return well_formed(value)
    is_batch = isinstance(value, list) and bool(value) and isinstance(value[0], list)
    lists = value if is_batch else [value]
    if not all(isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in lists):
        raise ValueError("must be a text, a list with one text, or a list of such lists")
    if not all(len(texts) == 1 for texts in lists):
        raise ValueError(
            "a list holds one text; two would be a pair, which cannot be classified. "
            "A batch is a list of lists: [[text], [text]]"
        )
    cleaned = [[well_formed(text) for text in texts] for texts in lists]
    return cleaned if is_batch else cleaned[0]


Text = Annotated[str, BeforeValidator(_read_text)]
Texts = Annotated[list[str], BeforeValidator(_read_texts)]
Inputs = Annotated[str | list[str] | list[list[str]], BeforeValidator(_read_inputs)]
ModelName = Annotated[
    str | None, BeforeValidator(_read_text), Field(description="Which model; by default the first.")
]


class _Schema(BaseModel):
    model_config = ConfigDict(strict=True, use_attribute_docstrings=True, allow_inf_nan=False)


class _StrictRequest(_Schema):
    """A request that may have no other fields: one error for all of them, where pydantic would report each."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, values: Any) -> Any:
        known = cls.__pydantic_fields__
        if isinstance(values, dict) and not values.keys() <= known.keys():
            raise ValueError(f"known fields are {', '.join(known)}")
        return values


class ClassifyRequest(_StrictRequest):
    """Texts to label: `text` for one, or `texts`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"texts": ["win a prize, text now", "see you at four"], "top_k": 2}]}
    )

    text: Text | None = None
    """One text."""
    texts: Texts | None = None
    """Several texts."""
    top_k: Annotated[int, Field(ge=1)] | None = None
    """How many scores per text, the most likely first; by default all."""
    model: ModelName = None

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.text is None) == (self.texts is None):
            raise ValueError("give either text or texts")
        return self

    def all_texts(self) -> list[str]:
        """Return the texts as a list."""
        return [self.text] if self.text is not None else self.texts or []


class ExplainRequest(_StrictRequest):
    """A text to explain by leaving out each word once."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "win a prize, text now"}]})

    text: Text
    """The text."""
    label: Text | None = None
    """The label to explain; by default the predicted or most likely one."""
    model: ModelName = None


class PredictRequest(_Schema):
    """A request in the format of text-embeddings-inference: one text, or a batch of one-text lists."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"inputs": "win a prize, text now"}]})

    inputs: Inputs
    """A text, a list with one text, or a batch: a list of such lists. Pairs are refused."""
    truncate: bool = True
    """Truncate long texts as in training; false refuses them."""
    raw_scores: bool = False
    """Return logits instead of probabilities."""
    model: ModelName = None

    def all_texts(self) -> list[str]:
        """Return the texts as a list."""
        if isinstance(self.inputs, str):
            return [self.inputs]
        return [item if isinstance(item, str) else item[0] for item in self.inputs]

    @property
    def batch(self) -> bool:
        """Whether the response is a list of lists."""
        return isinstance(self.inputs, list) and isinstance(self.inputs[0], list)


class Score(_Schema):
    """The probability of a label."""

    label: str
    score: float


class Prediction(_Schema):
    """The prediction for a text."""

    label: str | None
    """The most likely predicted label; null if none is predicted."""
    score: float
    """Its probability; if none is predicted, that of the label that came closest."""
    labels: list[str]
    """All predicted labels: at most one, any number if multi-label."""
    scores: list[Score]
    """Every label's probability, or the top_k highest."""


class ClassifyResponse(_Schema):
    """One prediction per text, in the order of the texts."""

    model: str
    predictions: list[Prediction]


class WordWeight(_Schema):
    """A word, a run of punctuation marks, or neighbouring words of a long text."""

    word: str
    start: int
    """Where it begins, in characters (Unicode code points)."""
    end: int
    """Where it ends, exclusive."""
    weight: float
    """How much the label's log-odds drop without it; below 0 it is evidence against the label."""


class ExplainResponse(_Schema):
    """The words of a text with their weights for a label, in the order of the text."""

    model: str
    text: str
    label: str
    score: float
    """The label's probability."""
    log_odds: float
    words: list[WordWeight]


class Metric(_Schema):
    """A metric, with its 95 % interval if it has one."""

    name: str
    title: str
    value: float
    low: float | None
    high: float | None


class ClassMetrics(_Schema):
    """The metrics of a class."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int | None


class Baseline(_Schema):
    """A simple classifier on the same test texts."""

    name: str
    verdict: str | None
    """How the model compares: better, worse, or neither."""
    figures: list[Metric]


class TestMetrics(_Schema):
    """The model on the test split of its training data."""

    examples: int | None
    synthetic_data: bool
    """The texts were made up; the metrics say nothing about real ones."""
    figures: list[Metric]
    classes: list[ClassMetrics]
    baselines: list[Baseline]


class ModelCard(_Schema):
    """The card and test metrics of a model."""

    model: str
    card: str | None
    """The model card, Markdown; null if there is none."""
    test: TestMetrics | None
    """null unless a run's folder is served."""


class Limit(_Schema):
    """A limit that was exceeded."""

    name: str
    value: float


class ErrorResponse(_Schema):
    """Why a request was refused."""

    error: str
    error_type: str
    limit: Limit | None = None


class Status(_Schema):
    """The state of the server."""

    status: str


class FastPath(_Schema):
    """Whether a faster way of computing the same is used."""

    on: bool
    reason: str
    """Why it is off; empty if it is on."""


class ModelInfo(_Schema):
    """A served model."""

    name: str
    task: str
    labels: list[str]
    thresholds: list[float] | None
    """Least probability at which a label is predicted; null for the most likely one (multi-label: 0.5)."""
    abstain_below: float | None
    max_length: int
    """Longest text, in tokens."""
    long_texts: str
    architecture: str
    device: str
    precision: str
    fast_paths: dict[str, FastPath]


class Info(_Schema):
    """The served models and the limits of requests."""

    version: str
    default_model: str
    models: list[ModelInfo]
    limits: dict[str, float]
