"""What stages need of each other: it exists, and no stage waits for itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter

from plait.core.problems import Problems
from plait.core.recipe import RecipeStage
from plait.core.references import references_of
from plait.core.yaml import KeyPath
from plait.errors import nearest


def check_links(
    built: Mapping[str, RecipeStage | None], index: Mapping[str, int], problems: Problems
) -> list[RecipeStage]:
    """Check that every stage and output that is needed exists, and that there is an order.

    Args:
        built: Every named stage; ``None`` for one that could not be built, about which nothing more is said.
        index: Where each stands in the recipe.
        problems: What is wrong is added here.

    Returns:
        The stages, each with its needs in the order of the recipe.
    """
    stages = [stage for stage in built.values() if stage is not None]
    for stage in stages:
        _check_stage(stage, built, ("stages", index[stage.name]), problems)
    cycle = find_cycle({stage.name: [n for n in stage.needs if n != stage.name and n in built] for stage in stages})
    if cycle:
        shown = f"stages wait for each other: {' -> '.join(cycle)}"
        at: KeyPath = ("stages", index[cycle[0]])
        problems.add(shown, code="cycle", path=at, hint="remove one of these references")
    return [replace(stage, needs=tuple(n for n in index if n in stage.needs)) for stage in stages]


def find_cycle(needs: Mapping[str, Iterable[str]]) -> list[str] | None:
    """A cycle, each member needing the one after it and the first repeated at the end; ``None`` if there is none.

    Example:
        >>> find_cycle({"a": ["b"], "b": ["a"], "c": []})
        ['a', 'b', 'a']
    """
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        ring: list[str] = error.args[1][:0:-1]  # from needed to needing, the first repeated at the end
        start = ring.index(min(ring, key=list(needs).index))
        return [*ring[start:], *ring[:start], ring[start]]
    return None


def _check_stage(stage: RecipeStage, built: Mapping[str, RecipeStage | None], at: KeyPath, problems: Problems) -> None:
    references = references_of(stage.component)
    for needed in stage.needs:
        field = next((field for field, name, _ in references if name == needed), "needs")
        if needed == stage.name:
            shown = f"stage {stage.name} waits for itself"
            problems.add(shown, code="cycle", path=(*at, field), hint="refer to another stage")
        elif needed not in built:
            problems.add(
                f'stage {stage.name} needs "{needed}", and there is no such stage',
                code="dangling-reference",
                path=(*at, field),
                hint=nearest(needed, [name for name in built if name != stage.name]),
            )
    for field, needed, output in references:
        other = built.get(needed)
        if other is not None and needed != stage.name and output not in type(other.component).outputs:
            problems.add(
                f'stage {needed} has no output "{output}"',
                code="dangling-reference",
                path=(*at, field),
                hint=nearest(output, type(other.component).outputs),
            )
