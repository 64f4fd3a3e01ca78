"""The probability in the files is that of metrics.calibrators: read by other programs' own readers, at every knot."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from lungdet.errors import RunError
from lungdet.exports.calibrated import KnotInterpolation, SigmoidOfLine, positive_logit, probability_module
from lungdet.exports.card import NetworkCard, NetworkSpec, OutputSpec
from lungdet.exports.card_file import read_card
from lungdet.exports.frozen import FrozenNetwork
from lungdet.exports.load import FORMATS, load_exported
from lungdet.exports.write import export_network
from lungdet.metrics.calibrators import Calibrator, Isotonic, Platt, Temperature, fit_calibrator

Net = tuple[nn.Module, NetworkCard]
GRAPHS = [name for name, form in FORMATS.items() if form.holds_graph]

ISOTONIC = Isotonic((-3.5, -1.0, -1 + 2**-10, 0.25, 2.0), (0.0, 0.125, 0.375, 0.375, 1.0))
CALIBRATORS: dict[str, Calibrator | None] = {
    "none": None,
    "temperature": Temperature(1.7),
    "platt": Platt(0.81, -1.42),
    "isotonic": ISOTONIC,
}


def calibration_of(calibrator: Calibrator) -> dict[str, Any]:
    return {"parameters": json.loads(json.dumps(calibrator.to_dict())), "formula": "probability = f(logit)"}


def in_float32(calibrator: Calibrator, logit: npt.ArrayLike) -> npt.NDArray[np.float64]:
    module = probability_module(calibration_of(calibrator))
    given = module(torch.tensor(np.asarray(logit, np.float32)))
    assert given.dtype == torch.float32
    result: npt.NDArray[np.float64] = given.double().numpy()
    return result


def test_knots_are_met_exactly() -> None:
    expected = np.asarray(ISOTONIC.knot_probability, np.float32)
    np.testing.assert_array_equal(in_float32(ISOTONIC, ISOTONIC.knot_logit), expected)


def test_between_and_beyond_the_knots_by_hand() -> None:
    """Half of a rise, a plateau, and the constant ends, which infinity does not leave."""
    given = in_float32(ISOTONIC, [-2.25, 0.0, 1.125, -9.0, 9.0, -np.inf, np.inf])
    np.testing.assert_allclose(given, [0.0625, 0.375, 0.6875, 0.0, 1.0, 0.0, 1.0], atol=1e-7)


def test_one_knot_is_a_constant_and_nan_stays_nan() -> None:
    assert in_float32(Isotonic((0.5,), (0.25,)), [-1.0, 0.5, 2.0]).tolist() == [0.25] * 3
    assert np.isnan(in_float32(ISOTONIC, [np.nan])).all()


def test_knots_that_float32_cannot_tell_apart_are_one_step() -> None:
    close = Isotonic((0.0, 1.0, 1.0 + 1e-12, 2.0), (0.0, 0.25, 0.75, 1.0))
    assert in_float32(close, [0.5, 1.0, 1.5]).tolist() == [0.125, 0.75, 0.875]


def fitted(method: str, *, n: int = 20_000, scale: float = 3.0) -> Calibrator:
    """A calibrator of float32 logits, as a predictions table has them; isotonic gets some hundred knots."""
    rng = np.random.default_rng(5)
    logit = rng.normal(-2, scale, n).astype(np.float32)
    label = rng.uniform(size=n) < 1 / (1 + np.exp(-0.7 * logit + 1))
    return fit_calibrator(method, logit, label.astype(int))  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["temperature", "platt", "isotonic"])
def test_float32_is_within_a_millionth_of_float64(method: str) -> None:
    calibrator = fitted(method)
    logit = np.linspace(-30, 30, 60_001).astype(np.float32)
    if isinstance(calibrator, Isotonic):
        knots = np.asarray(calibrator.knot_logit, np.float32)
        assert len(knots) > 80
        logit = np.concatenate([logit, knots, np.nextafter(knots, np.float32(np.inf)), np.nextafter(knots, -knots)])
    given, expected = in_float32(calibrator, logit), calibrator.probability(logit)
    assert np.abs(given - expected).max() < 1e-6
    assert 0 <= given.min() <= given.max() <= 1


def test_no_calibration_is_the_sigmoid() -> None:
    module = probability_module(None)
    assert isinstance(module, SigmoidOfLine)
    logit = torch.linspace(-8, 8, 33)
    assert torch.equal(module(logit), torch.sigmoid(logit))


def test_the_logit_of_one_and_of_two_channels() -> None:
    assert positive_logit(torch.tensor([[1.5], [2.0]])).tolist() == [1.5, 2.0]
    assert positive_logit(torch.tensor([[1.5, -2.0]])).tolist() == [-3.5]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"method": "beta"}, "the method 'beta'; known are temperature, platt, isotonic"),
        ({"method": "platt", "slope": 1.0}, "damaged .'intercept'."),
        ({"method": "temperature", "temperature": 0}, "damaged"),
        ({"method": "isotonic", "knot_logit": [], "knot_probability": []}, "damaged .as many knot_logit"),
        ({"method": "isotonic", "knot_logit": [1.0], "knot_probability": "a"}, "damaged"),
        ({}, "damaged .'method'."),
    ],
)
def test_parameters_that_are_none(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError, match=message):
        probability_module({"parameters": parameters})


class Tiny(nn.Module):
    """Its logit is a rising function of the mean, from about -5 for an image of 0 to 5 for one of 1."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 1, 3, padding=1, padding_mode="replicate", bias=False)
        self.head = nn.Linear(1, n_classes)
        nn.init.constant_(self.conv.weight, 1 / 27)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[10.0]] if n_classes == 1 else [[-4.0], [6.0]]))
            self.head.bias.copy_(torch.tensor([-5.0] if n_classes == 1 else [1.0, -4.0]))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.conv(x).relu().mean(dim=(2, 3, 4)))
        return logits


@pytest.fixture(scope="module")
def tiny(classifier: Net, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`tiny("platt")`: a folder with net.onnx, net.pt2, net.ts.pt and net.json, of one or two channels."""
    made: dict[str, Path] = {}

    def folder(method: str) -> Path:
        if method not in made:
            n_classes = 1 if method in ("none", "isotonic") else 2
            calibrator = CALIBRATORS[method]
            logit = "outputs[:, 0]" if n_classes == 1 else "outputs[:, 1] - outputs[:, 0]"
            card = dataclasses.replace(
                classifier[1],
                network=NetworkSpec(target="lungdet.nets.tiny.Tiny", arguments={}),
                input=dataclasses.replace(classifier[1].ct_input, crop_zyx_vox=(4, 6, 8)),
                output=dataclasses.replace(classifier[1].output, channels=n_classes, logit=logit),
                calibration=None if calibrator is None else calibration_of(calibrator),
            )
            path = tmp_path_factory.mktemp(method)
            probability = None if calibrator is None else calibrator.probability
            export_network(Tiny(n_classes), card, path, formats=GRAPHS, probability=probability)
            made[method] = path
        return made[method]

    return folder


def images() -> Tensor:
    """Float32 [41, 1, 4, 6, 8] whose means are 0 to 1, so that the logits cross every knot."""
    noise = 0.01 * torch.rand(41, 1, 4, 6, 8, generator=torch.Generator().manual_seed(2))
    return torch.linspace(0, 1, 41).reshape(-1, 1, 1, 1, 1) + noise


def read_onnx(path: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    runtime = pytest.importorskip("onnxruntime", reason='needs pip install "lungdet[onnx]"')
    session = runtime.InferenceSession(path)
    assert [(o.name, o.type) for o in session.get_outputs()] == [
        ("outputs", "tensor(float)"),
        ("probability", "tensor(float)"),
    ]
    outputs, probability = session.run(["outputs", "probability"], {"image": images().numpy()})
    return outputs, probability


def read_program(path: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    outputs, probability = torch.export.load(path).module()(images())
    return outputs.detach().numpy(), probability.detach().numpy()


def read_torchscript(path: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    outputs, probability = torch.jit.load(path)(images())  # type: ignore[no-untyped-call]
    return outputs.detach().numpy(), probability.detach().numpy()


FOREIGN = {"onnx": read_onnx, "torch_export": read_program, "torchscript": read_torchscript}


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated")
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("method", CALIBRATORS)
def test_a_program_without_lungdet_gets_the_calibrated_probability(
    method: str, name: str, tiny: Callable[[str], Path]
) -> None:
    path = tiny(method) / f"net{FORMATS[name].suffix}"
    outputs, probability = FOREIGN[name](path)
    n_classes = outputs.shape[1]
    with torch.inference_mode():
        np.testing.assert_allclose(outputs, Tiny(n_classes)(images()).numpy(), atol=1e-5)
    logit = outputs[:, 0] if n_classes == 1 else outputs[:, 1] - outputs[:, 0]
    assert logit.min() < -4.9
    assert logit.max() > 4.9
    calibrator = CALIBRATORS[method]
    expected = 1 / (1 + np.exp(-logit.astype(np.float64))) if calibrator is None else calibrator.probability(logit)
    assert probability.shape == (41,)
    assert probability.dtype == np.float32
    np.testing.assert_allclose(probability, expected, atol=1e-6, rtol=0)
    if calibrator is not None:
        assert np.abs(probability - 1 / (1 + np.exp(-logit))).max() > 0.05


@pytest.mark.parametrize("method", CALIBRATORS)
def test_the_card_says_which_probability_and_how_near(method: str, tiny: Callable[[str], Path]) -> None:
    card = read_card(tiny(method) / "net.json")
    assert card.graph_outputs == ("outputs", "probability")
    second = card.second_output
    assert second is not None
    assert second["calibrated"] is (method != "none")
    assert second["formula"] == ("probability = sigmoid(logit)" if method == "none" else "probability = f(logit)")
    assert "not calibrated" in second["meaning"] if method == "none" else "calibrated probability" in second["meaning"]
    assert f"({card.output.logit} is the logit)" in second["meaning"]
    assert second["max_abs_difference_to_float64"] < 1e-6
    for name in GRAPHS:
        parity = card.files[name].parity["probability"]
        assert parity["max_abs_difference"] < 1e-6
        assert parity["tolerance"] == 1e-5


@pytest.mark.parametrize("name", GRAPHS)
def test_lungdet_itself_takes_the_raw_outputs(name: str, tiny: Callable[[str], Path]) -> None:
    """So that who applies the card's calibration does not apply it twice."""
    net = load_exported(tiny("platt") / f"net{FORMATS[name].suffix}").net
    assert isinstance(net, FrozenNetwork)
    with torch.inference_mode():
        outputs, probability = net(images()), net.answers(images())[1]
        torch.testing.assert_close(outputs, Tiny(2)(images()), atol=1e-5, rtol=0)
    calibrated = Platt(0.81, -1.42).probability(positive_logit(outputs).numpy())
    np.testing.assert_allclose(probability.numpy(), calibrated, atol=1e-6, rtol=0)


def test_segmentation_networks_keep_one_output(slices: Net, tmp_path: Path) -> None:
    net, card = slices
    assert isinstance(card.output, OutputSpec)
    (path, card_path) = export_network(net, card, tmp_path, formats=["torch_export"])
    assert read_card(card_path).second_output is None
    assert "probability" not in read_card(card_path).files["torch_export"].parity
    assert isinstance(torch.export.load(path).module()(torch.rand(2, 3, 16, 20)), Tensor)


def test_tables_with_float32_logits_give_knots_that_float32_has() -> None:
    calibrator = fitted("isotonic", n=2000)
    assert isinstance(calibrator, Isotonic)
    module = probability_module(calibration_of(calibrator))
    assert isinstance(module, KnotInterpolation)
    assert module.knots.double().tolist() == list(calibrator.knot_logit)
