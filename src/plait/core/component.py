"""A component: one frozen declaration that is the Python API, the recipe schema, the CLI help and the docs.

    class Length(Component):
        '''Keeps texts of a sensible length.'''

        min_chars: int = 10
        '''Shortest text kept, in characters.'''

Building a component touches no disk, GPU or network; work happens in its methods.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Component(BaseModel):
    """Base of everything a recipe can name. Unknown settings are errors and values never change.

    Example:
        >>> class Length(Component):
        ...     min_chars: int = 10
        >>> Length(min_chars=20).min_chars
        20
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        arbitrary_types_allowed=False,
    )
