"""Mapper of personal and secret data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ClassVar

from pydantic import field_validator

from plait.data.op import Cost, Mapper, Need
from plait.data.ops.clean.patterns import checked_pattern, literal_of, replace_pattern, rust_template
from plait.data.ops.clean.pii_fields import redact_fields
from plait.data.ops.clean.pii_patterns import IPV4, PATTERNS

if TYPE_CHECKING:
    import polars as pl

    from plait.data.batch import Batch

_MARK = "\U0010fffe"  # no character, so texts hardly ever hold it


class PiiRedactionMapper(Mapper):
    """Puts placeholders in place of paths, addresses, secrets, phone numbers and identifiers.

    Works on texts, on conversations (``messages``, ``dialog_history``, ``query``, ``response``), and on strings
    called ``path``, ``file_path``, ``file`` or ``arguments`` anywhere in nested fields.

    Example:
        - pii_redaction_mapper: {mask_urls: true}

        >>> PiiRedactionMapper().rewrite_texts(["mail jo@example.org, password: hunter2"])
        ['mail [EMAIL_REDACTED], password: [REDACTED]']

    Source: Data-Juicer 1.6.1, ``pii_redaction_mapper``. All patterns run in linear time; a combining mark belongs to
    the word before it; one of ``extra_patterns`` that cannot be run is an error, where Data-Juicer leaves it out.
    """

    cost: ClassVar[Cost] = "scan"
    needs: ClassVar[frozenset[Need]] = frozenset({"bytes", "fields"})

    mask_paths: bool = True
    """Unix paths below well-known folders, Windows paths, and network shares."""
    mask_emails: bool = True
    """E-mail addresses."""
    mask_secrets: bool = True
    """Values after ``password:``, ``api_key=`` and the like."""
    mask_ids: bool = True
    """Values after ``session_id:``, ``user_id=`` and the like."""
    mask_phones: bool = True
    """Chinese mobile numbers, and international numbers with a plus sign."""
    mask_id_cards: bool = True
    """Chinese identity cards."""
    mask_channel_ids: bool = True
    """Names of an agent's channel."""
    mask_platform_open_ids: bool = True
    """Open ids of messengers (``ou_…``, ``uid_…``)."""
    mask_pem: bool = True
    """PEM blocks: keys and certificates."""
    mask_jwt: bool = True
    """Tokens shaped like a JSON web token."""
    mask_urls: bool = False
    """Links with ``http`` or ``https``."""
    mask_ips: bool = True
    """IPv4 addresses, and IPv6 addresses in brackets."""
    mask_macs: bool = True
    """Hardware addresses."""
    path_replacement: str = "[PATH_REDACTED]"
    """What stands in place of a path."""
    email_replacement: str = "[EMAIL_REDACTED]"
    """What stands in place of an e-mail address."""
    secret_replacement: str = "[REDACTED]"
    """What stands in place of a secret."""
    id_replacement: str = "[ID_REDACTED]"
    """What stands in place of an identifier's value."""
    phone_replacement: str = "[PHONE_REDACTED]"
    """What stands in place of a phone number."""
    id_card_replacement: str = "[ID_CARD_REDACTED]"
    """What stands in place of an identity card's number."""
    channel_id_replacement: str = "[CHANNEL_ID_REDACTED]"
    """What stands in place of a channel or an open id."""
    pem_replacement: str = "[PEM_REDACTED]"
    """What stands in place of a PEM block."""
    jwt_replacement: str = "[JWT_REDACTED]"
    """What stands in place of a token."""
    url_replacement: str = "[URL_REDACTED]"
    """What stands in place of a link."""
    ip_replacement: str = "[IP_REDACTED]"
    """What stands in place of an IP address."""
    mac_replacement: str = "[MAC_REDACTED]"
    """What stands in place of a hardware address."""
    extra_patterns: list[tuple[str, str]] | None = None
    """Patterns of your own, each with what stands in its place; ``.`` finds no newline."""
    redact_keys: list[str] | None = None
    """Fields to work on; the text, ``query``, ``response``, ``dialog_history`` and ``messages`` if not given."""
    messages_key: str | None = "messages"
    """Field with the messages of a conversation."""

    @field_validator("extra_patterns")
    @classmethod
    def _runnable(cls, extra: list[tuple[str, str]] | None) -> list[tuple[str, str]] | None:
        return extra and [(checked_pattern(pattern) or "", put) for pattern, put in extra]

    def rewrite(self, batch: Batch) -> pl.Series:
        """The texts alone; `apply` does all fields."""
        return self._redact(batch.text(self.text_key))

    def apply(self, batch: Batch) -> Batch:
        """Redacts the text and all other fields that may hold such data."""
        keys = self.redact_keys
        if keys is None:
            keys = [self.text_key, "query", "response", "dialog_history", "messages"]
        if self.text_key in keys:
            batch = batch.with_text(self.text_key, self.rewrite(batch))
        return redact_fields(batch, keys, self.messages_key, self.text_key, self._redact)

    def _redact(self, texts: pl.Series) -> pl.Series:
        for step in self._steps():
            texts = step(texts)
        return texts

    def _steps(self) -> Iterator[Callable[[pl.Series], pl.Series]]:
        """Blocks and addresses first, then what may be part of them."""
        wanted: list[tuple[bool, str, str, str]] = [
            (self.mask_pem, "pem", "", self.pem_replacement),
            (self.mask_jwt, "jwt", "", self.jwt_replacement),
            (self.mask_urls, "url", "", self.url_replacement),
            (self.mask_ips, "ipv4", "", self.ip_replacement),
            (self.mask_ips, "ipv6", "", self.ip_replacement),
            (self.mask_macs, "mac", "${1}", self.mac_replacement),
            (self.mask_paths, "path_unix", "${1}", self.path_replacement),
            (self.mask_paths, "path_windows", "${1}", self.path_replacement),
            (self.mask_paths, "path_share", "${1}", self.path_replacement),
            (self.mask_emails, "email", "", self.email_replacement),
            (self.mask_secrets, "secret", "${1}", self.secret_replacement),
            (self.mask_ids, "id", "${1}", self.id_replacement),
            (self.mask_channel_ids, "channel", "${1}", self.channel_id_replacement),
            (self.mask_platform_open_ids, "feishu_id", "", self.channel_id_replacement),
            (self.mask_platform_open_ids, "platform_id", "", self.channel_id_replacement),
            (self.mask_phones, "phone_cn", "", self.phone_replacement),
            (self.mask_phones, "phone", "", self.phone_replacement),
            (self.mask_id_cards, "id_card", "", self.id_card_replacement),
        ]
        for on, name, kept, put in wanted:
            if on:
                yield _ipv4(put) if name == "ipv4" else _replacing(PATTERNS[name], kept + rust_template(put))
        for pattern, put in self.extra_patterns or []:
            yield _own(pattern, put)


def _replacing(pattern: str, template: str) -> Callable[[pl.Series], pl.Series]:
    def step(texts: pl.Series) -> pl.Series:
        return texts.str.replace_all(pattern, template)

    return step


def _ipv4(put: str) -> Callable[[pl.Series], pl.Series]:
    literal = literal_of(put)

    def step(texts: pl.Series) -> pl.Series:
        # Twice: of two addresses with one character between them, the first match takes it. The mark keeps the
        # second pass from finding addresses that begin with what the first one put.
        mark = _MARK
        while texts.str.contains(mark, literal=True).any():
            mark += _MARK
        template = "${1}" + mark + "${2}"
        found = texts.str.replace_all(IPV4, template).str.replace_all(IPV4, template)
        return found.str.replace_all(mark, literal, literal=True)

    return step


def _own(pattern: str, put: str) -> Callable[[pl.Series], pl.Series]:
    def step(texts: pl.Series) -> pl.Series:
        return replace_pattern(texts, pattern, put, dot_all=False)

    return step
