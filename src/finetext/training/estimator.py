"""finetext as a scikit-learn classifier of texts."""

import inspect
import tempfile
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from finetext.data import Dataset, dataset_from_memory, hold_out_validation
from finetext.errors import DataError, UsageError, closest
from finetext.models import merge_adapter, save_bundle
from finetext.options import check_options
from finetext.training.config import TrainConfig
from finetext.training.config_file import option_types, override
from finetext.training.trial import run_trial

if TYPE_CHECKING:
    from finetext.inference import Classifier

DATA_OPTIONS = ("validation", "balance", "class_weights")
"""The options of `[data]` that do not say how a file is read."""
FOLDER_OPTIONS = ("keep_adapter", "save_every", "track")
"""The options of `[model]` and `[train]` that only concern a run's folder."""


def _parameters() -> Iterator[inspect.Parameter]:
    defaults = TrainConfig()
    for name, (table, kind) in option_types().items():
        if name in DATA_OPTIONS or (table in ("model", "train") and name not in FOLDER_OPTIONS):
            # A table is empty by default; scikit-learn wants immutable defaults.
            default = getattr(getattr(defaults, table), name)
            default = None if default == {} else default
            yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


PARAMETERS = {parameter.name: parameter for parameter in _parameters()}


class FinetextClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Fine-tunes a pretrained language model, as a scikit-learn classifier.

    Its parameters are the options of `finetext train` that do not concern files, under the same names and with the
    same defaults: `model`, `trainable`, `epochs`, `learning_rate`, `batch_size`, `max_length`, `seed`, `validation`,
    `balance`, `device`, `precision`, … (`finetext train --help` explains each). Thresholds and calibration are
    scikit-learn's own (`TunedThresholdClassifierCV`, `CalibratedClassifierCV`).

    `fit` holds out the share `validation` of the texts to choose the best epoch. It writes nothing but the cached
    activations of frozen layers, which other folds and candidates of a search reuse. A fitted classifier can be
    pickled; the pickle holds the whole model. `save` writes it as a folder that `finetext.load` and plain
    transformers read.

    Attributes:
        classes_: The classes in the order of the columns of `predict_proba`; for an indicator matrix `0 … C - 1`.

    Example:
        >>> from sklearn.model_selection import cross_val_score             # doctest: +SKIP
        >>> cross_val_score(finetext.FinetextClassifier(epochs=3), texts, labels)   # doctest: +SKIP
    """

    def __init__(self, **options: Any) -> None:
        """Take options by name."""
        for name in options:
            if name not in PARAMETERS:
                raise UsageError(f"unknown option `{name}`.{closest(name, PARAMETERS)}")
        for name, parameter in PARAMETERS.items():
            setattr(self, name, options.get(name, parameter.default))

    # scikit-learn reads the parameters from here.
    __init__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD), *PARAMETERS.values()]
    )

    def __sklearn_tags__(self) -> Any:
        """Declare the input: one text per example, with one label or an indicator matrix."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.classifier_tags.multi_label = True
        return tags

    def fit(self, X: Any, y: Any) -> "FinetextClassifier":
        """Fine-tune the model.

        Args:
            X: `N` texts: a list, an array, a Series, or a table with one column.
            y: `N` labels, whole numbers or strings, or an indicator matrix `(N, C)` of zeros and ones.

        Raises:
            DataError: Training makes no sense with these texts and labels.
            UsageError: Something is not a text, or an option has an invalid value.
            ModelError: The model cannot be loaded or is refused.
        """
        texts = as_texts(X)
        check_consistent_length(texts, y)
        classes, dataset = as_dataset(texts, y)
        config = self._config()
        splits = hold_out_validation(dataset, config.data.validation, config.train.seed)
        setup = run_trial(config, (dataset, splits), read_test=False).setup
        if config.model.trainable == "lora":
            merge_adapter(setup.model)
        setup.model.network.to("cpu")
        with tempfile.TemporaryDirectory() as folder:
            save_bundle(setup.model, Path(folder) / "model", setup.provenance())
            self._bundle = {path.name: path.read_bytes() for path in (Path(folder) / "model").iterdir()}
        self.classes_ = classes
        self.__dict__.pop("classifier", None)  # of an earlier fit
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each text, `(N,)`; for an indicator matrix zeros and ones `(N, C)`."""
        probs = self.predict_proba(X)
        if self.classifier.task == "multi-label":
            return (probs >= 0.5).astype(np.int64)
        return self.classes_[probs.argmax(axis=1)]  # type: ignore[no-any-return]

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Return the probability of each class for each text, `(N, C)` in the order of `classes_`."""
        check_is_fitted(self)
        return self.classifier.predict_proba(as_texts(X))

    def save(self, folder: str | Path) -> None:
        """Write the fitted model as a folder, for `finetext.load` and plain transformers.

        Raises:
            UsageError: The folder already exists or cannot be written.
        """
        from finetext import files

        check_is_fitted(self)
        path = Path(folder)
        if path.exists():
            raise UsageError(f"{path}: already exists. Choose another folder.")
        for name, content in self._bundle.items():
            files.write_bytes(path / name, content)

    @cached_property
    def classifier(self) -> "Classifier":
        """The fitted model as `finetext.load` gives it."""
        from finetext.inference import load

        with tempfile.TemporaryDirectory() as folder:
            self.save(Path(folder) / "model")
            precision = "fp32" if self.precision == "auto" else self.precision
            return load(Path(folder) / "model", device=self.device, precision=precision)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle holds: the options and the bundle's files; the model is loaded on first use."""
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "classifier"}

    def _config(self) -> TrainConfig:
        changed = {}
        for name, parameter in PARAMETERS.items():
            value = getattr(self, name)
            if value is None or value == parameter.default:
                continue
            # Candidates from an array are scalars of numpy.
            changed[name] = value.item() if isinstance(value, np.generic) else value
        config = override(TrainConfig(), changed)
        check_options(config)
        return config


def as_texts(texts: Any) -> list[str]:
    """Return a list, array, Series or one-column table of texts as a list.

    Raises:
        UsageError: It is not one of these, or something in it is not a text.
    """
    from finetext.inference import TextTypeError

    if isinstance(texts, (str, bytes)) or not hasattr(texts, "__len__"):
        raise TextTypeError(f"X must be a list, array or Series of texts, not {type(texts).__name__}.")
    array = texts.to_numpy() if hasattr(texts, "to_numpy") else texts
    if getattr(array, "ndim", 1) == 2 and array.shape[1] == 1:
        array = array.ravel()
    if getattr(array, "ndim", 1) != 1:
        raise TextTypeError(f"X must hold one text per example; it has the shape {array.shape}.")
    for index, text in enumerate(array):
        if not isinstance(text, str):
            raise TextTypeError(f"X[{index}] must be a text, not {type(text).__name__}.")
    return [str(text) for text in array]


def as_dataset(texts: Sequence[str], y: Any) -> tuple[NDArray[Any], Dataset]:
    """Return the classes, typed as in `y`, and the examples.

    Raises:
        DataError: `y` holds no classes, or only one.
    """
    try:
        check_classification_targets(y)
        multi = type_of_target(y, input_name="y") == "multilabel-indicator"
        if multi:
            matrix = y.toarray() if hasattr(y, "toarray") else np.asarray(y)  # (N, C)
            classes, ids = np.arange(matrix.shape[1]), [np.flatnonzero(row) for row in matrix]
        else:
            classes, inverse = np.unique(np.asarray(y).ravel(), return_inverse=True)
            ids = list(inverse.reshape(-1, 1))
    except (ValueError, TypeError) as error:
        raise DataError(
            f"y: {error} Give one label per text, all of one type, or an indicator matrix (MultiLabelBinarizer)."
        ) from error
    names = [str(label) for label in classes.tolist()]
    if len(set(names)) < len(names):
        raise DataError("y: two different labels read the same; give all of them one type.")
    labels = [tuple(names[i] for i in row) for row in ids]
    return classes, dataset_from_memory(texts, labels, names, multi=multi)
