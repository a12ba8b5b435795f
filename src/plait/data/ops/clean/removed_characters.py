"""Mappers that remove single characters."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from plait.data.op import Cost, Mapper, Need

if TYPE_CHECKING:
    import polars as pl

    from plait.data.batch import Batch


class RemoveSpecificCharsMapper(Mapper):
    """Removes some characters.

    Example:
        - remove_specific_chars_mapper: {chars_to_remove: "◆●"}

        >>> RemoveSpecificCharsMapper(chars_to_remove="◆-").rewrite_texts(["◆ a-b"])
        [' ab']

    Source: Data-Juicer 1.6.1, ``remove_specific_chars_mapper``.
    """

    cost: ClassVar[Cost] = "bytes"
    needs: ClassVar[frozenset[Need]] = frozenset({"bytes"})

    chars_to_remove: str | list[str] = "◆●■►▼▲▴∆▻▷❖♡□"
    """The characters, as one string or a list; of longer strings in a list, each character."""

    def rewrite(self, batch: Batch) -> pl.Series:
        """Removes them all at once."""
        texts = batch.text(self.text_key)
        removed = "".join(rf"\x{{{ord(c):x}}}" for c in sorted(set("".join(self.chars_to_remove))))
        return texts.str.replace_all(f"[{removed}]+", "") if removed else texts


class RemoveNonChineseCharacterMapper(Mapper):
    r"""Removes all characters but Chinese ones, and letters, digits and punctuation if wanted; blanks go too.

    Example:
        - remove_non_chinese_character_mapper: {keep_alphabet: false}

        >>> RemoveNonChineseCharacterMapper(keep_alphabet=False).rewrite_texts(["中文 text，été 1\n"])
        ['中文 ， 1']

    Source: Data-Juicer 1.6.1, ``remove_non_chinese_character_mapper``.
    """

    cost: ClassVar[Cost] = "bytes"
    needs: ClassVar[frozenset[Need]] = frozenset({"bytes"})

    keep_alphabet: bool = True
    """Keep the letters A to Z and a to z."""
    keep_number: bool = True
    """Keep the digits 0 to 9."""
    keep_punc: bool = True
    """Keep spaces and some common punctuation marks."""

    def rewrite(self, batch: Batch) -> pl.Series:
        """Removes runs of what is not kept."""
        kept = r"\x{4e00}-\x{9fa5}"
        kept += "A-Za-z" if self.keep_alphabet else ""
        kept += "0-9" if self.keep_number else ""
        kept += r".， ,\-。%《*》/•、&＆(—)（+）：？!！“”·" if self.keep_punc else ""
        return batch.text(self.text_key).str.replace_all(f"[^{kept}]+", "")
