"""finetext as a scikit-learn classifier.

scikit-learn's `check_estimator` passes numbers to every estimator and skips those that take texts, such as its text
vectorizers. Its checks without data run here; those that make sense for texts are reimplemented: unfitted estimators,
`fit` returning self, unchanged parameters, repeated fits, order and subsets of the examples, pickling, inconsistent
lengths, a single class. Those on sparse or complex X, NaN in X, dtypes, `n_features_in_`, feature names and sample
weights do not apply.
"""

import json
import pickle
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MultiLabelBinarizer
from sklearn.utils import estimator_checks

import finetext
from finetext.errors import DataError, ModelError, UsageError
from finetext.training import TrainConfig
from finetext.training.config_file import option_types

TEXTS = [f"{text} number {n}" for n in range(16) for text in ("win cash now", "tea at four")]
LABELS = ["spam", "ham"] * 16


@pytest.fixture(scope="module")
def make(checkpoint):
    def classifier(**options):
        defaults = {"trainable": "all", "epochs": 6, "learning_rate": 1e-2} | options
        return finetext.FinetextClassifier(model=str(checkpoint("bert")), **defaults)

    return classifier


@pytest.fixture(scope="module")
def fitted(make):
    return make().fit(TEXTS, LABELS)


@pytest.mark.parametrize(
    "name",
    [
        "check_estimator_cloneable",
        "check_estimator_tags_renamed",
        "check_valid_tag_types",
        "check_estimator_repr",
        "check_no_attributes_set_in_init",
        "check_do_not_raise_errors_in_init_or_set_params",
        "check_mixin_order",
        "check_parameters_default_constructible",
        "check_get_params_invariance",
        "check_set_params",
    ],
)
def test_scikit_learn_checks_without_data_pass(name):
    getattr(estimator_checks, name)("FinetextClassifier", finetext.FinetextClassifier())


def test_every_option_not_about_files_is_a_parameter_with_the_same_default():
    params = finetext.FinetextClassifier().get_params()
    config = TrainConfig()
    for name, (table, _) in option_types().items():
        if name in params:
            assert params[name] == (getattr(getattr(config, table), name) or params[name])
    of_files = {name for name, (table, _) in option_types().items() if table in ("data", "decision")}
    assert set(option_types()) - set(params) == of_files - {"validation", "balance", "class_weights"} | {
        "keep_adapter",
        "save_every",
        "track",
    }
    with pytest.raises(UsageError, match="learning_rate"):
        finetext.FinetextClassifier(learning_rat=1)


def test_it_learns_and_keeps_its_parameters(make):
    classifier = make()
    before = classifier.get_params()
    assert classifier.fit(TEXTS, LABELS) is classifier
    assert classifier.get_params() == before
    assert classifier.score(TEXTS, LABELS) == 1
    assert list(classifier.classes_) == ["ham", "spam"]
    assert "_bundle" not in vars(clone(classifier))


def test_an_unfitted_classifier_raises_not_fitted(make):
    for method in ("predict", "predict_proba"):
        with pytest.raises(NotFittedError):
            getattr(make(), method)(TEXTS)
    with pytest.raises(NotFittedError):
        make().save("x")


def test_the_same_fit_gives_the_same_probabilities(make, fitted):
    again = make().fit(TEXTS, LABELS)
    np.testing.assert_array_equal(again.predict_proba(TEXTS), fitted.predict_proba(TEXTS))
    other = make(seed=1).fit(TEXTS, LABELS)
    assert np.abs(other.predict_proba(TEXTS) - fitted.predict_proba(TEXTS)).max() > 1e-4


def test_order_subsets_and_container_type_do_not_change_probabilities(fitted):
    probs = fitted.predict_proba(TEXTS)
    assert probs.shape == (32, 2)
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(fitted.predict_proba(TEXTS[::-1])[::-1], probs, atol=1e-6)
    np.testing.assert_allclose(np.concatenate([fitted.predict_proba([t]) for t in TEXTS]), probs, atol=1e-5)
    array = np.array(TEXTS)
    array.flags.writeable = False
    for same in (tuple(TEXTS), array, array[:, None], array.astype(object), pl.Series(TEXTS)):
        np.testing.assert_array_equal(fitted.predict_proba(same), probs)
    assert fitted.predict_proba([]).shape == (0, 2)


@pytest.mark.parametrize(
    "labels", [(7, 3), (True, False), ("b", "a"), (np.str_("y"), np.str_("x")), (1.0, 0.0)]
)
def test_labels_keep_their_type(make, labels):
    classifier = make(epochs=1).fit(TEXTS, list(labels) * 16)
    assert classifier.classes_.dtype == np.unique(labels).dtype
    assert list(classifier.classes_) == sorted(labels)
    assert classifier.predict(TEXTS).dtype == classifier.classes_.dtype


def test_more_than_nine_numeric_classes_keep_numeric_order(make):
    texts = [f"{word} {n}" for word in "abcdefghijk" for n in range(4)]
    labels = [n for n in range(11) for _ in range(4)]
    classifier = make(epochs=1, validation=0.3).fit(texts, labels)
    assert list(classifier.classes_) == list(range(11))
    assert classifier.classifier.class_names == tuple(map(str, range(11)))


def test_an_indicator_matrix_is_multi_label(make):
    tags = [("win",) if n % 4 == 0 else ("tea", "four") if n % 2 else () for n in range(32)]
    y = MultiLabelBinarizer(classes=["win", "tea", "four"]).fit_transform(tags)
    classifier = make(epochs=30, learning_rate=5e-3).fit(TEXTS, y)
    assert list(classifier.classes_) == [0, 1, 2]
    predicted = classifier.predict(TEXTS)
    assert predicted.shape == y.shape and set(np.unique(predicted)) <= {0, 1}
    np.testing.assert_array_equal(predicted[:, 1:], y[:, 1:])
    assert classifier.score(TEXTS, y) == pytest.approx((predicted == y).all(axis=1).mean())


def test_a_pickle_holds_the_model_and_loads_in_a_fresh_process(tmp_path, fitted):
    path = tmp_path / "classifier.pickle"
    path.write_bytes(pickle.dumps(fitted))
    code = (
        "import json, pickle, sys\n"
        f"classifier = pickle.load(open({str(path)!r}, 'rb'))\n"
        f"print(json.dumps(classifier.predict_proba({TEXTS[:4]!r}).tolist()))\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    np.testing.assert_allclose(json.loads(answer.stdout), fitted.predict_proba(TEXTS[:4]), atol=1e-6)


def test_a_saved_classifier_loads_in_plain_transformers(tmp_path, fitted):
    from transformers import pipeline

    fitted.save(tmp_path / "model")
    plain = pipeline("text-classification", model=str(tmp_path / "model"), top_k=None)
    for text, probs in zip(TEXTS[:4], fitted.predict_proba(TEXTS[:4]), strict=True):
        scores = {score["label"]: score["score"] for score in plain([text])[0]}
        assert [scores["ham"], scores["spam"]] == pytest.approx(probs.tolist(), abs=1e-5)
    assert finetext.load(tmp_path / "model").predict(TEXTS[:2]) == [("spam",), ("ham",)]
    with pytest.raises(UsageError, match="already exists"):
        fitted.save(tmp_path / "model")


@pytest.mark.parametrize("options", [{"trainable": "head"}, {"depth": "auto"}, {"trainable": "last-block"}])
def test_frozen_layers_and_a_depth_chosen_by_a_probe(make, options):
    classifier = make(**options).fit(TEXTS, LABELS)
    assert classifier.score(TEXTS, LABELS) == 1


def test_adapters_are_merged(make, tmp_path):
    classifier = make(trainable="lora", epochs=1).fit(TEXTS, LABELS)
    classifier.save(tmp_path / "model")
    assert not list((tmp_path / "model").glob("adapter*"))
    assert classifier.predict_proba(TEXTS).shape == (32, 2)


def test_it_works_in_a_pipeline_and_in_cross_validation(make):
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    upper = [text.upper() for text in TEXTS]
    pipeline = make_pipeline(lower, make())
    scores = cross_val_score(pipeline, upper, LABELS, cv=2)
    assert scores.tolist() == [1, 1]


def test_a_grid_search_finds_the_better_options_and_refits(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    search = GridSearchCV(make(), {"learning_rate": np.array([1e-6, 1e-2])}, cv=2, scoring="neg_log_loss")
    search.fit(np.array(TEXTS), np.array(LABELS))
    assert search.best_params_ == {"learning_rate": 1e-2}
    assert search.predict(TEXTS[:2]).tolist() == ["spam", "ham"]
    assert list(tmp_path.iterdir()) == []


def test_scikit_learn_tunes_thresholds_and_calibrates(make):
    # After only six epochs, the probabilities of the classes are so close that the refitted model's may be on the
    # other side of the threshold tuned on the folds.
    longer = make(epochs=12)
    tuned = TunedThresholdClassifierCV(longer, cv=2, scoring="balanced_accuracy").fit(TEXTS, LABELS)
    assert tuned.predict(TEXTS).tolist() == LABELS
    calibrated = CalibratedClassifierCV(make(), cv=2).fit(TEXTS, LABELS)
    assert calibrated.score(TEXTS, LABELS) == 1


@pytest.mark.parametrize(
    ("texts", "labels", "kind", "words"),
    [
        (TEXTS, ["spam"] * 32, DataError, "one class"),
        (TEXTS, None, ValueError, "y"),
        (TEXTS, LABELS[1:], ValueError, "inconsistent numbers of samples"),
        ([3, *TEXTS[1:]], LABELS, UsageError, r"X\[0\] must be a text, not int"),
        ("win", ["spam"], UsageError, "not str"),
        (np.zeros((32, 2)), LABELS, UsageError, "one text per example"),
        (TEXTS, list(np.linspace(0, 1, 32)), DataError, "continuous"),
        (TEXTS, [["a", "b"], ["a"]] * 16, DataError, "MultiLabelBinarizer"),
        (TEXTS[:2], LABELS[:2], DataError, "too few"),
        ([], [], ValueError, "."),
    ],
)
def test_invalid_input_is_refused(make, texts, labels, kind, words):
    with pytest.raises(kind, match=words):
        make().fit(texts, labels)


def test_a_bad_option_is_refused_when_fitting(make):
    with pytest.raises(UsageError, match="epochs"):
        make(epochs=0).fit(TEXTS, LABELS)
    with pytest.raises((UsageError, ModelError)):
        make().set_params(model="no-such-model").fit(TEXTS, LABELS)
