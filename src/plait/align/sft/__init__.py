"""Supervised fine-tuning: conversations, prompts with completions or plain texts to a model that continues like them.

Read in this order: `formats` (records), `texts` (records to tokens, and which of them are learnt), `packing` (several
texts in a row that do not see each other), `trainer`, `evaluate`. It is the step before preference learning.
"""

from __future__ import annotations
