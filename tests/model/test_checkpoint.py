from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bevformer_lib.errors import CheckpointError, OutputError
from bevformer_lib.model.bevformer import build_model
from bevformer_lib.model.checkpoint import load_checkpoint, make_checkpoint
from tests.support.micro import micro_config


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "micro.pth"
    make_checkpoint(micro_config(), path, seed=3)
    return path


def test_made_checkpoint_loads_and_says_that_it_is_random(checkpoint: Path) -> None:
    facts = load_checkpoint(checkpoint, build_model(micro_config()))
    assert facts.random_weights_seed == 3
    assert facts.num_tensors == len(build_model(micro_config()).state_dict())
    assert len(facts.sha256) == 64


def test_same_seed_same_weights_other_seed_other_weights(checkpoint: Path, tmp_path: Path) -> None:
    def weights(path: Path) -> torch.Tensor:
        model = build_model(micro_config())
        load_checkpoint(path, model)
        return torch.cat([p.flatten() for p in model.state_dict().values()])

    make_checkpoint(micro_config(), tmp_path / "same.pth", seed=3)
    make_checkpoint(micro_config(), tmp_path / "other.pth", seed=4)
    assert torch.equal(weights(checkpoint), weights(tmp_path / "same.pth"))
    assert not torch.equal(weights(checkpoint), weights(tmp_path / "other.pth"))


def test_published_layout_and_bare_state_dict_load(checkpoint: Path, tmp_path: Path) -> None:
    state_dict = torch.load(checkpoint, weights_only=True)["state_dict"]
    published = {
        "meta": {"epoch": 24, "CLASSES": ["car"], "mmcv_version": "1.4.0"},
        "state_dict": state_dict,
        "optimizer": {"state": {}, "param_groups": []},
    }
    torch.save(published, tmp_path / "published.pth")
    torch.save(state_dict, tmp_path / "bare.pth")
    for name in ("published.pth", "bare.pth"):
        assert load_checkpoint(tmp_path / name, build_model(micro_config())).random_weights_seed is None


def test_every_misfit_is_named(checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    state_dict = content["state_dict"]
    del state_dict["img_backbone.conv1.weight"]
    state_dict["stranger"] = torch.zeros(1)
    state_dict["img_backbone.bn1.bias"] = torch.zeros(5)
    state_dict["img_backbone.bn1.weight"] = torch.full((8,), float("nan"))
    torch.save(content, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError) as raised:
        load_checkpoint(tmp_path / "bad.pth", build_model(micro_config()))
    message = str(raised.value)
    assert str(tmp_path / "bad.pth") in message
    assert "missing: img_backbone.conv1.weight" in message
    assert "unexpected: stranger" in message
    assert "img_backbone.bn1.bias is (5,), the model's is (8,)" in message
    assert "not finite: img_backbone.bn1.weight" in message


class _Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("legacy", [False, True])
def test_pickle_with_code_is_refused_and_not_executed(checkpoint: Path, tmp_path: Path, legacy: bool) -> None:
    content = torch.load(checkpoint, weights_only=True)
    marker = tmp_path / "executed"
    content["meta"] = {"hook": _Hostile(marker)}
    torch.save(content, tmp_path / "hostile.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"hostile\.pth is refused.*Nothing of it was executed"):
        load_checkpoint(tmp_path / "hostile.pth", build_model(micro_config()))
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 truncated"])
def test_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged\.pth"):
        load_checkpoint(path, build_model(micro_config()))


def test_truncated_checkpoint_is_named(checkpoint: Path) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"micro\.pth"):
        load_checkpoint(checkpoint, build_model(micro_config()))


def test_nobody_is_advised_to_execute_the_file(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    (tmp_path / "graph.onnx").write_bytes(b"\x08\x08\x12\x07pytorch")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"state_dict": {1, 2}}, protocol=4))
    for name in ("graph.onnx", "plain.pth"):
        with pytest.raises(CheckpointError, match=f"{name} is refused") as caught:
            load_checkpoint(tmp_path / name, build_model(micro_config()))
        assert "weights_only" not in str(caught.value)
    assert not recwarn


@pytest.mark.parametrize("kind", [torch.bool, torch.int8, torch.int64])
def test_weights_that_are_no_floating_point_numbers(checkpoint: Path, kind: torch.dtype) -> None:
    content = torch.load(checkpoint, weights_only=True)
    name = "pts_bbox_head.query_embedding.weight"
    content["state_dict"][name] = content["state_dict"][name].to(kind)
    torch.save(content, checkpoint)
    with pytest.raises(CheckpointError, match=rf"not of floating-point numbers: {name}"):
        load_checkpoint(checkpoint, build_model(micro_config()))


def test_expanded_nested_and_meta_tensors(checkpoint: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    first, second, third = list(content["state_dict"])[:3]
    content["state_dict"][first] = torch.zeros(1).expand(1 << 40)
    content["state_dict"][second] = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])
    content["state_dict"][third] = torch.empty(1 << 40, device="meta")
    torch.save(content, checkpoint)
    with pytest.raises(CheckpointError, match=r"micro\.pth"):
        load_checkpoint(checkpoint, build_model(micro_config()))


def test_a_compressed_archive_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50 << 20))
    with pytest.raises(CheckpointError, match=r"would become 52,428,800 bytes"):
        load_checkpoint(path, build_model(micro_config()))


@pytest.mark.parametrize(
    "content",
    [
        b"(" * 3_000_000 + b".",
        b"\x80\x02" + b"]" * 100_000 + b".",
        b"\x80\x02" + b"(l" * 200_000 + b".",
        b"PK\x05\x06" + bytes(18),
    ],
    ids=["marks", "lists", "nested", "empty zip"],
)
def test_pickles_of_marks(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "marks.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"marks\.pth"):
        load_checkpoint(path, build_model(micro_config()))


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        load_checkpoint(tmp_path / "nowhere.pth", build_model(micro_config()))
    with pytest.raises(CheckpointError, match="is a folder"):
        load_checkpoint(tmp_path, build_model(micro_config()))


def test_an_existing_file_is_not_overwritten(checkpoint: Path) -> None:
    before = checkpoint.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        make_checkpoint(micro_config(), checkpoint)
    assert checkpoint.read_bytes() == before


def test_what_mmcv_writes_beside_tensors_loads(checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["meta"] = {"hook_msgs": {"best_score": np.float64(0.25), "epoch": np.int64(24), "done": np.bool_(True)}}
    torch.save(content, tmp_path / "scored.pth")
    assert load_checkpoint(tmp_path / "scored.pth", build_model(micro_config())).num_tensors > 100


def test_names_under_a_parallel_wrapper_are_the_models_names(checkpoint: Path, tmp_path: Path) -> None:
    state_dict = torch.load(checkpoint, weights_only=True)["state_dict"]
    torch.save({"state_dict": {f"module.{name}": value for name, value in state_dict.items()}}, tmp_path / "w.pth")
    model = build_model(micro_config())
    load_checkpoint(tmp_path / "w.pth", model)
    assert torch.equal(model.img_backbone.conv1.weight, state_dict["img_backbone.conv1.weight"])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (torch.Tensor.to_sparse, "sparse, complex"),
        (lambda weight: weight.to(torch.complex64), "sparse, complex"),
        (lambda weight: weight.to("meta"), "without values"),
        (lambda weight: weight.double() * 1e60, "not finite"),
    ],
)
def test_tensors_that_are_no_float32_values_are_named(
    checkpoint: Path, tmp_path: Path, change: Callable[[torch.Tensor], torch.Tensor], problem: str
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    name = "img_backbone.bn1.weight"
    content["state_dict"][name] = change(content["state_dict"][name])
    torch.save(content, tmp_path / "strange.pth")
    with pytest.raises(CheckpointError, match=f"strange.pth .*{problem}.*: {name}"):
        load_checkpoint(tmp_path / "strange.pth", build_model(micro_config()))
