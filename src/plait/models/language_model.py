"""A causal language model with its tokenizer, ready to be read, generated from or adapted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from plait.core.optional import require
from plait.errors import ModelError, UsageError, nearest
from plait.models.quiet import quiet_loading
from plait.models.source import ModelSource, hub_offline, resolve
from plait.records import Message

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from plait.models.constrain import Grammars

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class LanguageModel:
    """A loaded model. It is in eval mode and its parameters do not ask for gradients unless an adapter does.

    Args:
        model: The network: a plain `transformers` model, or a peft one after `attach_lora` or `load_adapter`.
        tokenizer: Its tokenizer.
        source: Where it came from.
    """

    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    source: ModelSource

    @property
    def network(self) -> Any:
        """The `transformers` model itself, also where peft wraps it; an active adapter acts inside it."""
        model: Any = self.model
        return model.get_base_model() if hasattr(model, "get_base_model") else model

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @cached_property
    def eos_ids(self) -> frozenset[int]:
        """Token ids that end a completion."""
        config = getattr(self.network, "generation_config", None)
        declared = config.eos_token_id if config is not None else None
        ids = set(declared) if isinstance(declared, list) else {declared}
        ids.add(self.tokenizer.eos_token_id)
        return frozenset(i for i in ids if i is not None)

    @cached_property
    def context(self) -> int | None:
        """Most tokens the model reads, prompt and completion together; ``None`` where it has no limit."""
        config = self.network.config.get_text_config(decoder=True)
        return getattr(config, "max_position_embeddings", None)

    @cached_property
    def grammars(self) -> Grammars:
        """Compiled JSON Schemas for this model's tokens."""
        from plait.models.constrain import Grammars

        scores = self.network.get_output_embeddings().weight.shape[0]
        return Grammars(self.tokenizer, vocabulary=scores, ends=sorted(self.eos_ids))

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
        """A conversation as the one string the model was trained on.

        Args:
            messages: The turns, in order.
            add_generation_prompt: End with the header of an assistant turn, so that the model answers.

        Raises:
            ModelError: The model has no chat template, or it rejects the order of the roles.
        """
        from jinja2 import TemplateError

        if not self.tokenizer.chat_template:
            raise ModelError(
                f'"{self.source.name}" has no chat template: it was not trained on conversations',
                code="model.no-chat-template",
                hint="use an instruct model, or write the prompt as plain text",
            )
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    [{"role": m["role"], "content": m["content"]} for m in messages],
                    tokenize=False,
                    add_generation_prompt=add_generation_prompt,
                )
            )
        except TemplateError as error:
            raise ModelError(
                f"the chat template rejects the conversation: {error}",
                code="model.chat-template",
                where=f"roles {[m['role'] for m in messages]}",
            ) from error

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, with nothing added; special tokens written in it are recognised."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def load(name: str | ModelSource, *, dtype: str = "float32", device: Literal["auto"] | str = "cpu") -> LanguageModel:
    """Load a model and its tokenizer.

    A GGUF file is converted once (tens of seconds) and read from the cache afterwards (about a second). A Hub model
    that is not on this machine is downloaded.

    Args:
        name: What `resolve` accepts, or what it returned.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        device: A torch device such as ``cpu`` or ``cuda:0``; ``auto`` is the first GPU, or the CPU without one.

    Raises:
        ModelError: The model cannot be found, downloaded or read.
        MissingExtra: torch or transformers is not installed.
        UsageError: The dtype or device does not exist.
    """
    source = resolve(name) if isinstance(name, str) else name
    torch = require("torch", extra="models", feature="loading a language model")
    require("transformers", extra="models", feature="loading a language model")
    if dtype not in DTYPES:
        raise UsageError(f'no dtype "{dtype}"', code="model.dtype", hint=nearest(dtype, DTYPES))
    target = _device(device)
    folder = local_folder(source)
    model, tokenizer = _read_folder(folder, source, dtype=getattr(torch, dtype))
    torch.nn.Module.to(model, target).eval().requires_grad_(False)
    from plait.models.fast_linear import use_fast_linear

    use_fast_linear(model)
    return LanguageModel(model, tokenizer, source)


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f'no device "{name}"', code="model.device", hint="cpu, cuda, cuda:N or auto") from error
    if target.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("this torch sees no GPU", code="model.device", hint='use device="cpu" or "auto"')
    return target


def local_folder(source: ModelSource) -> Path:
    """The folder with a model's safetensors: converted or downloaded now if it must be.

    Raises:
        ModelError: It can be neither converted nor downloaded.
        MissingExtra: What a conversion needs is not installed.
    """
    if source.kind in ("packaged-gguf", "gguf"):
        for package in ("gguf", "torch", "transformers"):
            require(package, extra="models", feature="reading a GGUF model")
        from plait.models.gguf import convert

        assert source.path is not None
        return convert(source.path)
    if source.path is not None:
        return source.path
    return download(source.name)


def download(hub_id: str) -> Path:
    """Fetch a model from the Hugging Face Hub into its local cache; returns the folder.

    Raises:
        ModelError: The Hub does not answer, does not know the model, or asks for a login.
    """
    require("huggingface_hub", extra="models", feature="downloading a model")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(
            snapshot_download(hub_id, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"])
        )
    except RepositoryNotFoundError as error:
        raise ModelError(
            f'the Hugging Face Hub has no model "{hub_id}" that you may read',
            code="model.unknown",
            hint="check the spelling; for a gated model run `hf auth login`",
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        state = "switched off" if hub_offline() else "not reachable"
        raise ModelError(
            f'"{hub_id}" is not on this machine and the Hugging Face Hub is {state}',
            code="model.not-downloaded",
            hint="give a folder or a GGUF file, or use smollm2-135m",
        ) from error


def _read_folder(
    folder: Path, source: ModelSource, *, dtype: torch.dtype
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with quiet_loading():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, local_files_only=True, output_loading_info=True
            )
            model, found = loaded
    except (ValueError, KeyError, OSError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"the model cannot be read: {str(error).strip().splitlines()[0] if str(error).strip() else error!r}",
            code="model.unreadable",
            where=source.name,
            hint="a causal language model needs config.json, its safetensors and its tokenizer in one folder",
        ) from error
    missing = sorted(found["missing_keys"])
    if missing:
        raise ModelError(
            f"the folder lacks {len(missing)} of the model's weights, first {missing[0]}",
            code="model.incomplete",
            where=source.name,
            hint="fetch or save the model again; transformers would start them at random",
        )
    # Saved adapters name their base model: its name here, never this machine's path.
    model.name_or_path = model.config._name_or_path = source.name
    return model, tokenizer
