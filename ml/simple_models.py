"""Simple models of a handful of numbers an item: one number, a ridge, boosted trees. What a network must beat.

Each is fitted on some rows and predicts others; the few hyper-parameters are chosen by K-fold of groups inside the rows
it is fitted on. scikit-learn does the fitting: its estimators are the field's usual ones, and it is there for training.

Legend: N rows to learn from, M rows to predict, F numbers a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml import metrics
from ml.splits import folds

MIN_ROWS = 20
"""From fewer rows nothing is fitted: with fifty numbers a row it would only be noise."""
RIDGE_ALPHAS = (0.1, 1.0, 10.0, 100.0, 1000.0)
LOGISTIC_CS = (0.001, 0.01, 0.1, 1.0)
NEIGHBOURS = 5
BOOSTING_LEAVES = (4, 10)
BOOSTING_ROUNDS, BOOSTING_RATE = 100, 0.08
RIDGE_FOLDS, BOOSTING_FOLDS = 5, 3
THREADS = 1
"""Trees and small matrices gain little from more, and threads that wait for one another on a busy machine cost much."""
OUTLIER_SD = 4.0
_SEED = 0


@dataclass(frozen=True)
class Learned:
    """The rows to learn from."""

    numbers: np.ndarray
    """float (N, F)."""
    targets: np.ndarray
    """float (N,)."""
    groups: Sequence[str]
    """N groups; none of them straddles an inner fold."""

    @property
    def is_yes_no(self) -> bool:
        """Whether the targets are 0 and 1, so that what is predicted is a probability."""
        return bool(np.isin(self.targets, (0.0, 1.0)).all())

    @property
    def can_be_learned(self) -> bool:
        """Whether there are enough rows of different targets."""
        return (
            len(self.targets) >= MIN_ROWS and len(np.unique(self.targets)) > 1 and bool(np.ptp(self.numbers, 0).any())
        )

    def inner(self, folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Pairs of rows to fit on and rows to judge by, by group; pairs that lack a class are left out."""
        from sklearn.model_selection import GroupKFold

        num_groups = len(set(self.groups))
        if num_groups < 2:
            return []
        pairs = list(GroupKFold(min(folds, num_groups)).split(self.numbers, groups=np.asarray(self.groups, dtype=str)))
        if not self.is_yes_no:
            return pairs
        return [pair for pair in pairs if all(len(np.unique(self.targets[part])) > 1 for part in pair)]


def best_single(learned: Learned, numbers: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, str]:
    """Scores (M,) by the one number that ranks the learned rows best, and its name.

    Chosen by the absolute Spearman correlation; the curve is isotonic, rising or falling.
    """
    from sklearn.isotonic import IsotonicRegression

    once = metrics.once(len(learned.targets))
    with np.errstate(invalid="ignore"):
        ranks = [float(metrics.spearman(column, learned.targets, once)[0]) for column in learned.numbers.T]
    strengths = np.nan_to_num(np.abs(ranks), nan=-1.0)
    chosen = int(np.argmax(strengths))
    curve = IsotonicRegression(increasing=bool(ranks[chosen] > 0), out_of_bounds="clip")
    curve.fit(learned.numbers[:, chosen].astype(np.float64), learned.targets)
    return np.asarray(curve.predict(numbers[:, chosen].astype(np.float64))), names[chosen]


def ridge(learned: Learned, numbers: np.ndarray) -> tuple[np.ndarray, str]:
    """Scores (M,) by ridge regression, or by logistic regression where targets are yes and no; and what was chosen.

    Numbers are standardised on the learned rows and cut off at four standard deviations, within the range of targets.
    """
    x, new = _standardised(learned.numbers, numbers)
    with _few_threads():
        if learned.is_yes_no:
            model, strength = _logistic(learned, x)
            return np.asarray(model.predict_proba(new)[:, 1]), f"C {strength:g}"
        from sklearn.linear_model import Ridge, RidgeCV

        pairs = learned.inner(RIDGE_FOLDS)
        alpha = RIDGE_ALPHAS[len(RIDGE_ALPHAS) // 2]
        if pairs:
            chosen = RidgeCV(RIDGE_ALPHAS, cv=pairs, scoring="neg_mean_absolute_error").fit(x, learned.targets)
            alpha = float(chosen.alpha_)
        scores = Ridge(alpha).fit(x, learned.targets).predict(new)
    return _in_range(scores, learned), f"alpha {alpha:g}"


def _logistic(learned: Learned, x: np.ndarray) -> tuple[Any, float]:
    from sklearn.linear_model import LogisticRegression

    def fitted(strength: float, rows: np.ndarray) -> Any:
        return LogisticRegression(C=strength, max_iter=2000).fit(x[rows], learned.targets[rows])

    def error(strength: float) -> Callable[[np.ndarray, np.ndarray], float]:
        return lambda fit, judge: _log_loss(fitted(strength, fit).predict_proba(x[judge])[:, 1], learned.targets[judge])

    strength = _least(LOGISTIC_CS, error, learned.inner(RIDGE_FOLDS))
    return fitted(strength, np.arange(len(x))), strength


def nearest_neighbours(learned: Learned, numbers: np.ndarray) -> tuple[np.ndarray, str]:
    """Scores (M,): mean target of the rows whose standardised numbers are nearest, nearer ones counting more."""
    from sklearn.neighbors import KNeighborsRegressor

    x, new = _standardised(learned.numbers, numbers)
    model = KNeighborsRegressor(n_neighbors=min(NEIGHBOURS, len(x)), weights="distance")
    with _few_threads():
        scores = model.fit(x, learned.targets).predict(new)
    return _in_range(scores, learned), f"{model.n_neighbors} neighbours"


def boosting(learned: Learned, numbers: np.ndarray) -> tuple[np.ndarray, str]:
    """Scores (M,) by boosted trees on histograms (Ke et al. 2017), of few leaves; and what was chosen."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if learned.is_yes_no else HistGradientBoostingRegressor
    least_rows = int(np.clip(len(learned.targets) // 20, 2, 20))

    def predicted(leaves: int, rows: np.ndarray, new: np.ndarray) -> np.ndarray:
        model = kind(
            learning_rate=BOOSTING_RATE, max_iter=BOOSTING_ROUNDS, max_leaf_nodes=leaves, min_samples_leaf=least_rows,
            l2_regularization=1.0, early_stopping=False, random_state=_SEED,
        ).fit(learned.numbers[rows], learned.targets[rows])  # fmt: skip
        return np.asarray(model.predict_proba(new)[:, 1] if learned.is_yes_no else model.predict(new))

    def error(leaves: int) -> Callable[[np.ndarray, np.ndarray], float]:
        def of(fit: np.ndarray, judge: np.ndarray) -> float:
            scores, targets = predicted(leaves, fit, learned.numbers[judge]), learned.targets[judge]
            return _log_loss(scores, targets) if learned.is_yes_no else float(np.abs(scores - targets).mean())

        return of

    with _few_threads():
        leaves = _least(BOOSTING_LEAVES, error, learned.inner(BOOSTING_FOLDS))
        scores = predicted(leaves, np.arange(len(learned.targets)), numbers)
    return _in_range(scores, learned), f"{leaves} leaves"


def out_of_fold(
    model: Callable[[Learned, np.ndarray], tuple[np.ndarray, str]],
    numbers: np.ndarray,
    targets: np.ndarray,
    units: Sequence[str],
    salt: str,
) -> np.ndarray | None:
    """Scores (N,) by models of this file that did not learn from the row's fold; None where one cannot be fitted.

    Args:
        model: one of `ridge`, `nearest_neighbours`, `boosting`.
        numbers: float (N, F).
        targets: float (N,).
        units: N of them, dealt to folds whole.
        salt: of the dealing.
    """
    if len(set(units)) < 2:
        return None
    fold_of, scores = folds(units, RIDGE_FOLDS, salt), np.empty(len(targets))
    for fold in np.unique(fold_of):
        inside = fold_of == fold
        learned = Learned(numbers[~inside], targets[~inside], [units[at] for at in np.flatnonzero(~inside).tolist()])
        if not learned.can_be_learned:
            return None
        scores[inside] = model(learned, numbers[inside])[0]
    return scores


def _least(
    values: Sequence[Any],
    error: Callable[[Any], Callable[[np.ndarray, np.ndarray], float]],
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
) -> Any:
    """The value with the smallest mean error over inner folds; the middle one where there are no folds."""
    if not pairs:
        return values[len(values) // 2]
    means = [float(np.mean([error(value)(fit, judge) for fit, judge in pairs])) for value in values]
    return values[int(np.argmin(means))]


def _log_loss(probabilities: np.ndarray, targets: np.ndarray) -> float:
    return float(metrics.log_loss(probabilities, targets > 0.5, metrics.once(len(targets)))[0])


def _in_range(scores: np.ndarray, learned: Learned) -> np.ndarray:
    return np.clip(np.asarray(scores, dtype=np.float64), learned.targets.min(), learned.targets.max())


def _standardised(numbers: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both on the scale of the first, float64, without what does not vary there."""
    x = numbers.astype(np.float64)
    mean, spread = x.mean(axis=0), x.std(axis=0)
    varies = spread > 1e-6 * (spread.max() + np.abs(mean))  # a random network's features are tiny, all of them
    cut = [
        np.clip((each[:, varies] - mean[varies]) / spread[varies], -OUTLIER_SD, OUTLIER_SD)
        for each in (x, new.astype(np.float64))
    ]
    return cut[0], cut[1]


def _few_threads() -> Any:
    """A context in which BLAS and OpenMP have `THREADS` threads."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    return threadpool_limits(limits=THREADS)
