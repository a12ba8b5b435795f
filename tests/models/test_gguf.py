from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from plait.errors import ModelError
from plait.models import load
from plait.models.gguf import convert, converted_folder, is_converted


def test_converted_model_equals_what_transformers_reads(
    tiny_gguf: Path, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForCausalLM

    lm = load(str(tiny_gguf))
    assert "GGUF" not in "".join(capfd.readouterr())
    reference = AutoModelForCausalLM.from_pretrained(tiny_gguf.parent, gguf_file=tiny_gguf.name)
    ids = torch.tensor([lm.encode("the ab\n\n12")])
    assert torch.equal(lm.model(ids).logits, reference(ids).logits)
    assert lm.eos_ids == {2}
    assert lm.render([{"role": "user", "content": "x"}]).startswith("<|im_start|>user")


def test_converted_model_is_free_of_quantisation(tiny_gguf: Path, cache: Path) -> None:
    lm = load(str(tiny_gguf))
    assert not getattr(lm.model, "is_quantized", False)
    assert "quantization_config" not in vars(lm.model.config)
    assert "quantization" not in (convert(tiny_gguf) / "config.json").read_text()


def test_whitespace_before_digits_is_one_token_as_the_model_was_trained(tiny_gguf: Path, cache: Path) -> None:
    # transformers alone gives Ċ Ċ 2 here: it drops the digit rule of the file's pre-tokenizer.
    assert load(str(tiny_gguf)).tokenizer.tokenize("\n\n2  12") == ["ĊĊ", "2", "ĠĠ", "1", "2"]


@pytest.mark.parametrize("keep", [6, 200, 0.5, -64])
def test_truncated_file(tiny_gguf: Path, cache: Path, keep: float) -> None:
    data = tiny_gguf.read_bytes()
    tiny_gguf.write_bytes(data[: int(len(data) * keep) if keep == 0.5 else int(keep)])
    with pytest.raises(ModelError, match="cannot be read") as caught:
        load(str(tiny_gguf))
    assert caught.value.code == "model.unreadable"
    assert not is_converted(tiny_gguf)


def test_damaged_cache_is_converted_again(tiny_gguf: Path, cache: Path) -> None:
    folder = convert(tiny_gguf)
    good = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(good[:100])
    assert convert(tiny_gguf) == folder
    assert (folder / "model.safetensors").read_bytes() == good


def test_cache_that_cannot_be_written(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("PLAIT_CACHE", str(blocked))
    with pytest.raises(ModelError, match="cannot be written"):
        convert(tiny_gguf)


def test_killed_conversion_is_done_again(tiny_gguf: Path, cache: Path) -> None:
    code = f"""
import time
from pathlib import Path
from plait.models import gguf
def stall(path):
    print("written", flush=True)
    time.sleep(600)
gguf._sync = stall
gguf.convert(Path({str(tiny_gguf)!r}))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
    folder = converted_folder(tiny_gguf)
    partial = folder.with_name(folder.name + ".partial")
    assert (partial / "model.safetensors").exists()
    assert not is_converted(tiny_gguf)
    load(str(tiny_gguf))
    assert is_converted(tiny_gguf)
    assert not partial.exists()


def test_two_processes_convert_once(tiny_gguf: Path, cache: Path, tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from plait.models import gguf
read = gguf._read
def noted(file):
    Path({str(tmp_path)!r}, f"converted-by-{{os.getpid()}}").touch()
    return read(file)
gguf._read = noted
print(gguf.convert(Path({str(tiny_gguf)!r})))
"""
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [p.communicate(timeout=120)[0] for p in processes]
    assert [p.returncode for p in processes] == [0, 0]
    assert said[0] == said[1]
    assert len(list(tmp_path.glob("converted-by-*"))) == 1


@pytest.mark.model
@pytest.mark.slow
def test_packaged_model_converts_and_reloads(cache: Path) -> None:
    lm = load("smollm2-135m")
    assert lm.decode(lm.encode("1. a\n\n2. b")) == "1. a\n\n2. b"
    assert sum(p.numel() for p in lm.model.parameters()) == 134_515_008
    shutil.rmtree(cache)
