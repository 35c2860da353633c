"""Networks as estimators: what they learn, and how they work with the rest of scikit-learn."""

import importlib
import io
import pickle
import sys

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xpnet import models, nn
from xpnet.errors import ConfigError, DataError, DivergedError, ShapeError
from xpnet.sklearn import NetClassifier, NetRegressor


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:400], y[:400]


@pytest.fixture(scope="module")
def fitted(digits):
    return NetClassifier(max_epochs=16, random_state=0).fit(*digits)


def test_it_tells_digits_apart_that_it_has_not_seen(fitted):
    X, y = load_digits(return_X_y=True)
    assert fitted.score(X[400:], y[400:]) > 0.85
    assert fitted.n_iter_ == len(fitted.loss_curve_) == 16
    assert fitted.loss_curve_[-1] < fitted.loss_curve_[0] / 3


def test_probabilities_are_the_softmax_of_scores_and_the_largest_is_predicted(fitted, digits):
    X, _ = digits
    found = fitted.predict_proba(X)
    scores = fitted.model_.predict((X - fitted.mean_) * fitted.factor_)
    assert np.allclose(found, np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True), atol=1e-12)
    assert np.allclose(np.log(found), fitted.predict_log_proba(X), atol=1e-9)
    assert np.array_equal(fitted.predict(X), found.argmax(axis=1))


def test_classes_may_be_words(digits):
    X, y = digits
    words = np.array(["even", "odd"])[y % 2]
    net = NetClassifier(max_epochs=16, random_state=0).fit(X, words)
    assert list(net.classes_) == ["even", "odd"]
    assert (net.predict(X) == words).mean() > 0.9


def test_numbers_are_predicted_in_their_own_units_for_one_target_and_for_two():
    X, y = load_diabetes(return_X_y=True)
    net = NetRegressor(max_epochs=20, random_state=0).fit(X[:300], y[:300])
    assert net.score(X[300:], y[300:]) > 0.3
    both = NetRegressor(max_epochs=20, random_state=0).fit(X[:300], np.stack([y, -1000 * y], axis=1)[:300])
    assert both.predict(X[300:]).shape == (142, 2)
    assert both.score(X[300:], np.stack([y, -1000 * y], axis=1)[300:]) > 0.3


def test_images_go_through_a_convolutional_network(digits):
    X, y = digits
    images = X.reshape(-1, 8, 8, 1).astype(np.uint8)
    net = NetClassifier(module="cnn", max_epochs=3, random_state=0).fit(images, y)
    assert net.score(images, y) > 0.5
    assert (net.n_features_in_, net.shape_in_, net.mean_.dtype) == (64, (8, 8, 1), np.float32)
    with pytest.raises(ShapeError, match=r"NetClassifier: expected X \(N, 8, 8, 1\), as in fit, got X \(400, 64\)"):
        net.predict(X)


@pytest.mark.parametrize(
    "module",
    [models.mlp((64,), 10, (20,)), "softmax", lambda shape, outputs: nn.Sequential(nn.Linear(*shape, outputs))],
    ids=["module", "name", "function"],
)
def test_the_network_may_be_a_module_a_name_or_a_function(module, digits):
    X, y = digits
    assert NetClassifier(module=module, max_epochs=10, random_state=0, lr=0.02).fit(X, y).score(X, y) > 0.85


def test_a_module_that_is_given_is_where_training_begins_and_is_left_as_it_is(digits):
    X, y = digits
    given = models.mlp((64,), 10, (20,)).initialize(3)
    before = given.state_dict()
    NetClassifier(module=given, max_epochs=2).fit(X, y)
    assert all(np.array_equal(before[name], value) for name, value in given.state_dict().items())
    still = NetClassifier(module=given, lr=0.0, max_epochs=1).fit(X, y)
    assert all(np.array_equal(before[name], value) for name, value in still.model_.state_dict().items())


def test_the_same_random_state_gives_the_same_network_and_another_gives_another(fitted, digits):
    X, y = digits
    assert np.array_equal(clone(fitted).fit(X, y).predict_proba(X), fitted.predict_proba(X))
    other = clone(fitted).set_params(random_state=1).fit(X, y)
    assert not np.allclose(other.predict_proba(X), fitted.predict_proba(X))


def test_columns_may_be_in_any_unit(fitted, digits):
    X, y = digits
    other = clone(fitted).fit(X * np.linspace(1e-3, 1e6, 64) + 1e4, y)
    assert abs(other.score(X * np.linspace(1e-3, 1e6, 64) + 1e4, y) - fitted.score(X, y)) < 0.02


def test_a_column_that_did_not_vary_in_training_changes_no_prediction():
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=(60, 2)), np.ones(60)]
    net = NetClassifier(max_epochs=5, random_state=0).fit(X, X[:, 0] > 0)
    assert np.array_equal(net.predict_proba(X), net.predict_proba(X * [1, 1, 1e6]))


def test_a_weight_counts_as_so_many_examples_and_a_class_weight_for_all_of_a_class(digits):
    X, y = digits[0][:50], digits[1][:50] % 3
    weights = np.arange(50) % 8
    net = NetClassifier(max_epochs=30, batch_size=1000, random_state=0)
    weighted = clone(net).fit(X, y, sample_weight=weights).predict_proba(X)
    repeated = clone(net).fit(X.repeat(weights, axis=0), y.repeat(weights)).predict_proba(X)
    assert np.allclose(weighted, repeated, rtol=1e-9)
    by_class = clone(net).set_params(class_weight={0: 3, 1: 1, 2: 2}).fit(X, y).predict_proba(X)
    assert np.allclose(by_class, clone(net).fit(X, y, np.array([3, 1, 2])[y]).predict_proba(X), rtol=1e-9)


def test_early_stopping_gives_back_the_best_epoch(digits):
    net = NetClassifier(early_stopping=True, n_iter_no_change=3, max_epochs=60, lr=0.03, random_state=0)
    net.set_params(schedule="constant").fit(*digits)
    curve = net.validation_loss_curve_
    assert len(curve) == net.n_iter_ < 60
    assert np.argmin(curve) < len(curve) - 1
    best = clone(net).set_params(max_epochs=int(np.argmin(curve)) + 1).fit(*digits)  # which ends there
    assert np.allclose(net.predict_proba(digits[0]), best.predict_proba(digits[0]), rtol=1e-9)


def test_partial_fit_goes_on_after_a_copy_through_pickle_as_without_it(digits):
    X, y = digits
    net = NetClassifier(random_state=0)
    for start in range(0, 400, 100):
        net.partial_fit(X[start : start + 100], y[start : start + 100], classes=range(10))
    copied = pickle.loads(pickle.dumps(net))
    assert np.allclose(net.partial_fit(X, y).predict_proba(X), copied.partial_fit(X, y).predict_proba(X), rtol=1e-9)
    assert net.n_iter_ == copied.n_iter_ == 5


def test_a_warm_start_goes_on_and_a_cold_one_begins_anew(fitted, digits):
    net = clone(fitted).set_params(warm_start=True, max_epochs=3).fit(*digits)
    assert net.fit(*digits).n_iter_ == 6
    assert net.loss_curve_[5] < net.loss_curve_[2] / 2 < net.loss_curve_[0] / 2
    assert net.set_params(warm_start=False).fit(*digits).n_iter_ == 3


def test_it_works_in_a_pipeline(digits):
    X, y = digits
    pipeline = make_pipeline(StandardScaler(), NetClassifier(max_epochs=16, random_state=0)).fit(X, y)
    assert pipeline.score(X, y) > 0.9
    assert pipeline.set_params(netclassifier__max_epochs=1).fit(X, y)[-1].n_iter_ == 1


def test_it_keeps_the_names_of_the_columns_of_pandas(digits):
    pd = pytest.importorskip("pandas")
    X, y = digits
    frame = pd.DataFrame(X, columns=[f"pixel{i}" for i in range(64)])
    pipeline = make_pipeline(StandardScaler(), NetClassifier(max_epochs=16, random_state=0))
    pipeline.set_output(transform="pandas").fit(frame, y)
    assert list(pipeline[-1].feature_names_in_) == list(frame.columns)
    assert pipeline.score(frame, y) > 0.9


def test_a_grid_search_in_two_processes_finds_the_rate_that_learns(digits):
    grid = {"lr": [1e-7, 3e-3]}
    search = GridSearchCV(NetClassifier(max_epochs=5, random_state=0), grid, n_jobs=2, cv=2).fit(*digits)
    assert search.best_params_ == {"lr": 3e-3}


def test_cross_validation_and_joblib_give_the_same_figures(fitted, digits):
    X, y = digits
    assert cross_val_score(clone(fitted), X, y, cv=2).mean() > 0.8
    file = io.BytesIO()
    joblib.dump(fitted, file)
    file.seek(0)
    assert np.array_equal(joblib.load(file).predict_proba(X), fitted.predict_proba(X))


def test_tensors_are_made_arrays_of_numpy_unless_scikit_learn_is_asked_otherwise(fitted, digits):
    torch = pytest.importorskip("torch")
    net = clone(fitted).fit(*(torch.asarray(a) for a in digits))
    assert net.model_.backend.name == "numpy"
    assert np.array_equal(net.predict_proba(torch.asarray(digits[0])), fitted.predict_proba(digits[0]))


def test_the_network_may_be_on_any_device_and_learns_the_same(backend, digits):
    X, y = digits[0][:130].astype(np.float32), digits[1][:130]
    net = NetClassifier(hidden_layer_sizes=(9,), max_epochs=2, random_state=0, device=backend)
    assert net.fit(X, y).model_.backend == backend
    found, wanted = net.predict_proba(X), net.set_params(device=None).fit(X, y).predict_proba(X)
    assert type(found) is np.ndarray
    assert np.allclose(found, wanted, atol=1e-5)


def test_without_scikit_learn_there_is_one_line_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delitem(sys.modules, "xpnet.sklearn")
    with pytest.raises(
        ConfigError, match=r"^xpnet\.sklearn: sklearn is not installed; pip install 'xpnet\[sklearn\]'$"
    ):
        importlib.import_module("xpnet.sklearn")


def test_a_fit_that_fails_leaves_an_estimator_that_is_not_fitted(digits):
    X, y = digits
    net = NetClassifier(optimizer="sgd", lr=0.1, batch_size=16, max_epochs=5, standardize=False)
    with pytest.raises(DivergedError):
        net.fit(X.astype(np.float32) * 1e36, y)
    with pytest.raises(NotFittedError):
        net.predict(X)


def test_lists_of_images_are_images(digits):
    X, y = digits
    images = [row.reshape(8, 8, 1) for row in X[:40]]
    net = NetClassifier(max_epochs=2, random_state=0).fit(images, y[:40])
    assert net.shape_in_ == (8, 8, 1)
    assert np.array_equal(net.predict(images), net.predict(np.stack(images)))


def test_a_module_must_give_a_number_for_each_class(digits):
    for outputs in (1, 9, 12):
        module = models.mlp((64,), outputs)
        with pytest.raises(ShapeError, match=rf"a network that gives \(N, 10\), got gives \(1, {outputs}\)"):
            NetClassifier(module=module).fit(*digits)


def test_labels_that_are_numbers_words_or_truth_values_come_back_as_they_were(digits):
    X, y = digits
    for labels in (y * 2.0, y > 4, y.astype(str), [str(k) for k in y]):
        net = NetClassifier(max_epochs=16, random_state=0).fit(X, labels)
        assert net.predict(X).dtype == np.asarray(labels).dtype
        assert (net.predict(X) == np.asarray(labels)).mean() > 0.9


def test_one_class_is_always_predicted(digits):
    X, _ = digits
    net = NetClassifier().fit(X, ["only"] * 400)
    assert set(net.predict(X)) == {"only"}
    assert np.array_equal(net.predict_proba(X), np.ones((400, 1)))


def test_nothing_is_printed_unless_verbose(digits, capfd):
    NetClassifier(max_epochs=1).fit(*digits)
    assert capfd.readouterr() == ("", "")
    NetClassifier(max_epochs=1, verbose=True).fit(*digits)
    assert "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"lr": -1}, "fit: expected 0 <= lr, finite, got lr -1"),
        ({"optimizer": "adm"}, "did you mean 'adam'"),
        ({"module": 3}, "expected module, a Module, the name of a model, or a function"),
        ({"module": lambda shape, outputs: None}, "a function that returns a Module, got returned None"),
        ({"hidden_layer_sizes": "many"}, "expected hidden_layer_sizes that is a list"),
        ({"activation": "rel"}, "expected a known activation"),
        ({"max_epochs": 0}, "expected a whole number max_epochs >= 1, got max_epochs 0"),
        ({"batch_size": 0}, "expected a whole number batch_size >= 1, got batch_size 0"),
        ({"schedule": "linear"}, "expected a known schedule"),
        ({"early_stopping": True, "validation_fraction": 1.5}, "expected 0 < validation_fraction < 1"),
        ({"device": "gpu"}, "did you mean 'cuda'"),
        ({"warm_start": "yes"}, "warm_start"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_parameter_out_of_range_is_one_line(parameters, message, digits):
    with pytest.raises(ConfigError) as raised:
        NetClassifier(**parameters).fit(*digits)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_labels_that_the_first_call_did_not_name_are_an_error(digits):
    X, y = digits
    with pytest.raises(ConfigError, match="classes, all that there are"):
        NetClassifier().partial_fit(X, y)
    with pytest.raises(DataError, match="expected the classes of the first call, got label"):
        NetClassifier().partial_fit(X, y, classes=[0, 1, 2])


@pytest.mark.parametrize(
    "weights",
    [np.ones(3), np.full(400, -1.0), np.zeros(400), np.full(400, np.nan), ["a"] * 400, -1.0, np.ones(400) + 1j],
    ids=["count", "negative", "zero", "nan", "words", "one number", "complex"],
)
def test_weights_that_are_none_are_one_line(weights, digits):
    with pytest.raises((ConfigError, ShapeError, TypeError), match="sample_weight"):
        NetClassifier().fit(*digits, sample_weight=weights)


def test_weights_count_by_their_proportions_however_large_or_small(digits):
    X, y = digits
    weights = np.arange(400) % 3 + 0.5
    first, *others = (
        NetClassifier(8, max_epochs=2, random_state=0).fit(X, y, weights * by).predict_proba(X)
        for by in (1.0, 2.0**900, 2.0**-900)
    )
    assert all(np.array_equal(first, other) for other in others)


def test_weights_that_are_not_finite_after_training_are_an_error(digits):
    X, y = digits
    net = NetClassifier(8, max_epochs=1, batch_size=400, weight_decay=1e50)  # the last step overflows float32
    with pytest.raises(DivergedError, match=r"fit: weights are not finite.*lower lr or weight_decay"):
        net.fit(X.astype(np.float32), y)


def test_targets_that_the_dtype_of_the_examples_cannot_hold_are_an_error(digits):
    X, y = digits
    for by in (1e100, 1e-100):
        with pytest.raises(DataError, match="y whose mean and deviation float32, the dtype of X, holds"):
            NetRegressor(8, max_epochs=1).fit(X.astype(np.float32), y * by)


def test_early_stopping_needs_two_examples():
    for net in (NetClassifier(early_stopping=True), NetRegressor(early_stopping=True)):
        with pytest.raises(ConfigError, match="two examples or more, with early_stopping=True, got N 1"):
            net.fit(np.ones((1, 2)), [1])
