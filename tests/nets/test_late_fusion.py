"""Features add log-odds, nothing where none is known; scale and start come from the rows given; the gain is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from lungdet.errors import ConfigError, RunError
from lungdet.io.phantom.clinical import draw_answers, log_odds
from lungdet.metrics.ranking import auroc
from lungdet.nets.late_fusion import LateFusion

NAMES = ("age", "smoking=former", "smoking=never")
NAN = float("nan")


def made(**given: float) -> LateFusion:
    torch.manual_seed(0)
    fusion = LateFusion(**given)  # type: ignore[arg-type]
    fusion.build(NAMES)
    return fusion


def test_hidden_features_are_hidden_in_training_only() -> None:
    """One row in ten answers as the image branch does; the step's random numbers decide which."""
    fusion = filled(made())
    outputs, features = torch.zeros(4000, 1), torch.tensor([[60.0, 1.0, 0.0]]).repeat(4000, 1)
    torch.manual_seed(3)
    first = fusion.train()(outputs, features)
    assert (first == 0).float().mean().item() == pytest.approx(0.1, abs=0.02)
    torch.manual_seed(3)
    assert torch.equal(fusion(outputs, features), first)
    assert (fusion.eval()(outputs, features) != 0).all()
    assert (filled(made(unknown_share=0.0)).train()(outputs, features) != 0).all()


def filled(fusion: LateFusion) -> LateFusion:
    """Weights that are not zero anywhere."""
    with torch.no_grad():
        for number, parameter in enumerate(fusion.parameters()):
            parameter.copy_(torch.linspace(0.3 + number, -0.7, parameter.numel()).reshape(parameter.shape))
    return fusion


@pytest.mark.parametrize("hidden", [0, 4])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_a_row_without_any_value_is_the_image_branch_bit_for_bit(hidden: int, n_outputs: int) -> None:
    fusion = filled(made(hidden=hidden)).eval()
    outputs = torch.randn(3, n_outputs)
    features = torch.tensor([[NAN, NAN, NAN], [60.0, 1.0, 0.0], [NAN, 0.0, 1.0]])
    fused = fusion(outputs, features)
    assert torch.equal(fused[0], outputs[0])
    assert (fused[1:, -1] != outputs[1:, -1]).all()
    assert torch.equal(fused[:, :-1], outputs[:, :-1]), "the negative class is left alone"


def test_by_hand() -> None:
    fusion = made()
    fusion.mean.copy_(torch.tensor([60.0, 0.5, 0.2]))
    fusion.deviation.copy_(torch.tensor([10.0, 0.5, 0.4]))
    assert fusion.linear is not None
    # Three values, then "age is known" and "smoking is known".
    with torch.no_grad():
        fusion.linear.weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 0.25, -0.5]]))
    added = fusion.added_logit(torch.tensor([[70.0, 1.0, 0.0], [NAN, 1.0, 0.0], [50.0, NAN, NAN], [999.0, NAN, NAN]]))
    first = 1 * 1.0 + 2 * 1.0 + 3 * -0.5 + 0.25 - 0.5
    expected = [first, first - 1 - 0.25, -1.0 + 0.25, 5.0 + 0.25]
    np.testing.assert_allclose(added.detach(), expected, atol=1e-6)


def test_it_starts_at_the_ridge_regression_of_the_rows_given() -> None:
    """Against scikit-learn on inputs standardised here, patients weighing the same."""
    rng = np.random.default_rng(3)
    features = np.column_stack([rng.normal(60, 8, 80), rng.integers(0, 2, 80), rng.integers(0, 2, 80)])
    features[rng.uniform(size=80) < 0.2, 0] = np.nan
    label = (np.nan_to_num(features[:, 0], nan=60) + 8 * features[:, 1] + rng.normal(0, 8, 80) > 64).astype(np.int64)
    weight = rng.choice([1.0, 0.5], 80).astype(np.float32)
    fusion = made(ridge=2.0)
    fusion.fit(features.astype(np.float32), label, weight=weight)

    inside = ~np.isnan(features[:, 0])
    mean = np.average(features[inside, 0], weights=weight[inside])
    sd = np.sqrt(np.average((features[inside, 0] - mean) ** 2, weights=weight[inside]))
    assert fusion.mean[0].item() == pytest.approx(mean, rel=1e-6)
    assert fusion.deviation[0].item() == pytest.approx(sd, rel=1e-6)
    z = [np.where(inside, (features[:, 0] - mean) / sd, 0)]
    for k in (1, 2):
        share = np.average(features[:, k], weights=weight)
        z.append((features[:, k] - share) / np.sqrt(share * (1 - share)))
    inputs = np.column_stack([*z, inside, np.ones(80)])
    expected = LogisticRegression(C=0.5, max_iter=1000).fit(inputs, label, sample_weight=weight).coef_
    assert fusion.linear is not None
    np.testing.assert_allclose(fusion.linear.weight.detach(), expected, atol=2e-3)


def test_a_feature_that_nobody_has_gets_no_weight_and_stays_finite() -> None:
    features = np.array([[50.0, np.nan, 1.0], [60.0, np.nan, 1.0]] * 5, np.float32)
    fusion = made()
    fusion.fit(features, np.array([0, 1] * 5), weight=np.ones(10, np.float32))
    assert torch.isfinite(torch.cat([p.flatten() for p in fusion.state_dict().values()])).all()
    assert fusion.linear is not None
    assert fusion.linear.weight[0, 1] == 0
    assert fusion.linear.weight[0, 2].abs() < 1e-6, "one value for all"


def test_one_class_or_no_ridge_start_at_zero() -> None:
    features = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    for fusion, label in ((made(), np.ones(6, np.int64)), (made(ridge=0), np.array([0, 1] * 3))):
        fusion.fit(features, label, weight=np.ones(6, np.float32))
        assert (fusion.added_logit(torch.from_numpy(features)) == 0).all()


def test_the_small_network_starts_at_nothing_and_learns() -> None:
    fusion = made(hidden=8)
    features = torch.tensor([[60.0, 1.0, 0.0]])
    assert fusion.added_logit(features).item() == 0
    torch.autograd.backward(fusion.added_logit(features).sum())
    assert fusion.network is not None
    last = fusion.network[-1]
    assert isinstance(last, nn.Linear)
    assert last.weight.grad is not None
    assert last.weight.grad.abs().sum() > 0


def test_other_features_are_refused_by_name() -> None:
    fusion = made()
    fusion.build(NAMES)
    with pytest.raises(RunError, match=r"missing smoking=never; new sex=male\. Give the table and split"):
        fusion.build(("age", "smoking=former", "sex=male"))
    with pytest.raises(RunError, match="another order"):
        fusion.build(NAMES[::-1])
    with pytest.raises(RunError, match="knows no features yet"):
        LateFusion()(torch.zeros(1, 2), torch.zeros(1, 3))
    with pytest.raises(ConfigError, match=r"model\.fusion: hidden=-1 and ridge=1"):
        LateFusion(hidden=-1)
    with pytest.raises(ConfigError, match=r"model\.fusion\.unknown_share=1.0 must lie between 0 and 1"):
        LateFusion(unknown_share=1.0)


def patients(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Image scores of AUROC .76, the phantom's answers, and what both depend on."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    answers = [draw_answers(rng, malignant=bool(state)) for state in label]
    columns = []
    for name in log_odds():
        column, _, category = name.partition("=")
        values = [a[column] for a in answers]
        columns.append([NAN if v is None else float(v == category) if category else float(v) for v in values])
    image = torch.from_numpy(rng.normal(label * 1.0, 1.0).astype(np.float32))
    return image[:, None], torch.tensor(columns).T.contiguous(), torch.from_numpy(label)


def trained(
    image: torch.Tensor, features: torch.Tensor, label: torch.Tensor, *, fusion: LateFusion | None
) -> nn.Module:
    """An image branch of one weight, with or without features behind it, for 300 steps."""
    torch.manual_seed(0)
    branch = nn.Linear(1, 1)
    parameters = [*branch.parameters(), *(fusion.parameters() if fusion else ())]
    optimizer = torch.optim.AdamW(parameters, lr=0.02)
    for _ in range(300):
        outputs = branch(image)
        outputs = outputs if fusion is None else fusion(outputs, features)
        loss = nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], label.float())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return branch


@pytest.mark.parametrize("hidden", [0, 8])
def test_clinical_features_beat_the_image_alone_on_patients_not_seen(hidden: int) -> None:
    """Paired by patient, the bootstrap interval of the gain lies above 0; the weights are the documented ones."""
    image, features, label = patients(3000, seed=1)
    torch.manual_seed(0)
    fusion = LateFusion(hidden=hidden)
    fusion.build(tuple(log_odds()))
    fusion.fit(features.numpy(), label.numpy(), weight=np.ones(len(label), np.float32))
    fused, alone = trained(image, features, label, fusion=fusion), trained(image, features, label, fusion=None)
    image, features, label = patients(800, seed=2)
    fusion.eval()
    with torch.no_grad():
        scores = {"with": fusion(fused(image), features)[:, 0].numpy(), "without": alone(image)[:, 0].numpy()}
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(200):
        drawn = rng.integers(0, len(label), len(label))
        gains.append(
            auroc(label.numpy()[drawn], scores["with"][drawn]) - auroc(label.numpy()[drawn], scores["without"][drawn])
        )
    assert np.quantile(gains, 0.025) > 0.03
    if not hidden:
        assert fusion.linear is not None
        per_unit = (fusion.linear.weight[0, : len(log_odds())] / fusion.deviation).detach().numpy()
        for slope, (name, value) in zip(per_unit, log_odds().items(), strict=True):
            # A mean in the place of missing pack-years shifts weight to the smoking status they go with.
            if "smoking" not in name and "pack" not in name:
                assert slope == pytest.approx(value, abs=0.4 if "=" in name else 0.02), name
