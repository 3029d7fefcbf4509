"""`rsbench weights import`: a released file becomes a checkpoint that is scored, or is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import toys
from fusion_toys import write_triplets
from public_names import public_name
from safetensors.torch import save_file
from support.shell import Shell, shell_in
from torch import Tensor

from rsbench import InputError
from rsbench.evaluation.run import RunRequest, run_model
from rsbench.models.checkpoint import Checkpoint, trainable
from rsbench.models.checkpoint_files import tensors_digest
from rsbench.models.weights_import import import_weights, read_state
from rsbench.training.train import fresh_model


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return shell_in(tmp_path)


def released() -> tuple[dict[str, Tensor], str]:
    """A state of swinstfm in the authors' layout, and the digest of the same weights in ours."""
    own = trainable(fresh_model("swinstfm", "tiny", seed=0, bands=2)).module.state_dict()
    state = {f"module.{public_name('swinstfm', n)}": t.clone() for n, t in own.items()}
    return dict(sorted(state.items())), tensors_digest(own)


def test_an_imported_checkpoint_is_scored_and_says_where_it_is_from(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    state, digest = released()
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "epoch_best.pt")
    asked = ("weights", "import", "epoch_best.pt", "--model", "swinstfm", "--preset", "tiny",
             "--bands", "2", "--out", "kept")  # fmt: skip
    code, said = shell(*asked)
    assert code == 2
    assert "2 entries are no tensors: epoch, state_dict" in said
    assert shell(*asked, "--key", "state_dict") == (0, "kept\n")
    note = json.loads((tmp_path / "kept" / "checkpoint.json").read_text())
    assert note["weights_digest"] == digest
    assert note["provenance"]["imported"]["file"] == "epoch_best.pt"

    store = write_triplets(tmp_path / "toy", splits=("test",) * 2, size=(32, 32))
    notes: list[str] = []
    request = RunRequest(
        model="swinstfm", preset="tiny", data=store.path, protocol="fusion1", suite="pixel",
        checkpoint=tmp_path / "kept", out=tmp_path / "run", keep="none",
    )  # fmt: skip
    table = run_model(request, note=notes.append).scores.table()
    assert any("epoch_best" in n and "overlap with the split is not checked" in n for n in notes)
    mine = table[table["model"] == "swinstfm"]
    assert set(mine["weights"]) == {digest}
    assert mine["inputs"].str.endswith("released weights").all()


def test_a_safetensors_file_is_imported_and_no_folder_is_overwritten(tmp_path: Path) -> None:
    state, digest = released()
    save_file(state, str(tmp_path / "w.safetensors"))
    asked = (tmp_path / "w.safetensors", "swinstfm", "tiny", tmp_path / "kept")
    assert Checkpoint.load(import_weights(*asked, bands=2)).weights_digest == digest
    with pytest.raises(InputError, match=r"kept: it is in use\. Give another --out"):
        import_weights(*asked, bands=2)


def test_a_checkpoint_of_openstl_is_imported_and_scored_by_the_command_line(
    shell: Shell, tmp_path: Path
) -> None:
    sizes = ("--option", "hid_S=4", "--option", "hid_T=4", "--option", "N_S=2", "--option", "N_T=2")
    options = {"hid_S": 4, "hid_T": 4, "N_S": 2, "N_T": 2}
    own = trainable(fresh_model("simvp", "paper", seed=0, bands=4, **options)).module.state_dict()
    state = {f"model.{public_name('simvp', n)}": t.clone() for n, t in own.items()}
    torch.save({"state_dict": state, "epoch": 1}, tmp_path / "best.ckpt")
    asked = ("--model", "simvp", "--preset", "paper", *sizes)
    given = ("weights", "import", "best.ckpt", "--key", "state_dict", "--out", "kept")
    code, said = shell(*given, *asked)
    assert code == 2
    assert "model.enc.enc.0.conv.conv.weight [4, 4, 3, 3], not [4, 3, 3, 3]" in said
    assert shell(*given, *asked, "--bands", "4") == (0, "kept\n")
    toys.write_store(tmp_path / "toy", size=32, years=4, simulation=None, floor=False)
    code, said = shell("run", *asked, "--data", "toy", "--protocol", "year1", "--window", "32",
                       "--suite", "pixel", "--checkpoint", "kept", "--out", "run")  # fmt: skip
    assert code == 0, said
    assert "weights imported from best.ckpt" in said


@pytest.mark.parametrize(
    ("name", "model", "more", "told"),
    [
        ("list.pt", "swinstfm", {}, "holds a list, no tensors by name"),
        ("none.pt", "swinstfm", {}, "there is no such file"),
        ("list.pt", "mcvd", {}, "no table of the names in released files"),
        ("list.pt", "swinstfm", {"preset": "no"}, "preset of swinstfm"),
        ("list.pt", "swinstfm", {"key": "a"}, "has no entry a"),
        ("code.pt", "swinstfm", {}, "holds more than tensors"),
        ("x.safetensors", "swinstfm", {}, "absent or damaged"),
    ],
)
def test_what_cannot_be_imported_is_refused(
    name: str, model: str, more: dict[str, str], told: str, tmp_path: Path
) -> None:
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"a": Path("x")}, tmp_path / "code.pt")
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    options = {"preset": "tiny", "out": tmp_path / "kept", "bands": 2, **more}
    with pytest.raises(InputError, match=told):
        import_weights(tmp_path / name, model, **options)  # type: ignore[arg-type]
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("archive", [True, False])
def test_damaged_files_of_torch_are_refused(archive: bool, tmp_path: Path) -> None:
    """Cut anywhere; of an archive, also one changed bit of a tensor."""
    path = tmp_path / "w.pt"
    torch.save(released()[0], path, _use_new_zipfile_serialization=archive)
    whole = path.read_bytes()
    states = [whole[: len(whole) * i // 20] for i in range(20)]
    if archive:
        at = whole.index(released()[0]["module.fine_up.outc.2.bias"].numpy().tobytes())
        states.append(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    for state in states:
        path.write_bytes(state)
        with pytest.raises(InputError, match="damaged, or holds more than tensors"):
            read_state(path)
