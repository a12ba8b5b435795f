from __future__ import annotations

import polars as pl

from plait.data.batch import Batch
from plait.data.ops.llm.meta import META
from plait.data.ops.rewrite.agents import AgentDialogNormalizeMapper, without_middle
from plait.data.ops.rewrite.contents import returned, said, tool_name
from plait.data.ops.rewrite.usage import ToolSuccessTaggerMapper, UsageCounterMapper

CALL = [{"function": {"name": "search"}}, {"function": {"name": "read"}}, {"function": {"name": "search"}}]
MESSAGES = [
    {"role": "system", "content": "Be brief.", "tool_calls": []},
    {"role": "user", "content": "Find /skills/web/SKILL.md", "tool_calls": []},
    {"role": "assistant", "content": "", "tool_calls": CALL},
    {"role": "tool", "content": "Error: gone", "tool_calls": []},
    {"role": "assistant", "content": "Sorry.", "tool_calls": []},
    {"role": "user", "content": "Thanks", "tool_calls": []},
]
BATCH = Batch.of(pl.DataFrame({"messages": [MESSAGES], "id": ["7"], "choices": [[{"message": {"content": "Bye"}}]]}))


def test_messages_become_turns():
    got = AgentDialogNormalizeMapper().apply(BATCH)
    answer = "[Tool calls: search, read]\n[Tool result]\nError: gone\n\nSorry."
    assert got.column("dialog_history").to_list() == [[["Find /skills/web/SKILL.md", answer], ["Thanks", ""]]]
    assert got.text().to_list() == [f"User: Find /skills/web/SKILL.md\n\nAssistant: {answer}\n\nUser: Thanks"]
    assert (got.column("query").to_list(), got.column("response").to_list()) == (["Thanks"], ["Bye"])
    [meta] = got.column(META).to_list()
    assert meta == {
        "agent_dialog_history_compressed": False,
        "agent_turn_count": 2,
        "agent_tool_types": ["search", "read"],
        "agent_skill_types": ["web"],
        "agent_last_user_msg_idx": 5,
        "agent_last_assistant_msg_idx": 4,
        "agent_request_id": "7",
    }


def test_what_the_system_says_and_how_long_turns_are_can_be_set():
    op = AgentDialogNormalizeMapper(
        include_system_in_first_user=True, history_max_user_chars=35, extract_tool_skill_tags=False
    )
    got = op.apply(BATCH)
    query = got.column("dialog_history").to_list()[0][0][0]
    assert query == "\n…[truncated — agent_dialog_normalize_mapper]…"
    assert got.column(f"{META}.agent_dialog_history_compressed").to_list() == [True]
    whole = AgentDialogNormalizeMapper(include_system_in_first_user=True).apply(BATCH)
    assert whole.column("dialog_history").to_list()[0][0][0] == "Be brief.\n\nFind /skills/web/SKILL.md"
    assert "agent_tool_types" not in got.column(META).to_list()[0]


def test_a_text_loses_its_middle():
    text = "a" * 1000 + "b" * 1000
    cut = without_middle(text, 928, 0.5)
    assert cut.startswith("a" * 400 + "\n\n[··· 1200 chars omitted")
    assert cut.endswith("]\n\n" + "b" * 400)
    assert without_middle(text, 100, 0.5).startswith("a" * 52 + "\n…[truncated")


def test_tool_results_are_told_apart():
    contents = ["wrote 3 bytes", "Error: x", "", "找不到文件", "data", "it FAILED"]
    messages = [[{"role": "tool", "content": c} for c in contents] + [{"role": "user", "content": "error:"}], []]
    batch = Batch.of(pl.DataFrame({"messages": messages}))
    first, second = ToolSuccessTaggerMapper().apply(batch).column(META).to_list()
    assert [first[f"tool_{name}_count"] for name in ("success", "fail", "unknown")] == [2, 3, 1]
    assert first["tool_success_ratio"] == 0.4
    assert second["tool_success_ratio"] is None
    assert first["tool_results"][1] == {"content_preview": "Error: x", "result": "error"}
    mine = ToolSuccessTaggerMapper(error_patterns=["data"], store_per_tool_results=False)
    assert mine.apply(batch).column(META).to_list()[0] == {
        "tool_success_count": 4,
        "tool_fail_count": 1,
        "tool_unknown_count": 1,
        "tool_success_ratio": 0.8,
    }


def test_usage_that_is_told_twice_counts_once():
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    other = {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": None}
    rows = {"usage": [usage], "choices": [[{"usage": usage, "message": {"usage": other}}]]}
    batch = Batch.of(pl.DataFrame(rows))
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    once = UsageCounterMapper().apply(batch).column(META).to_list()[0]
    # A place without usage tells of none: (0, 0) is one more, and adds nothing.
    assert [once[name] for name in names] == [4, 4, 7]
    twice = UsageCounterMapper(dedupe_identical_usage=False).apply(batch).column(META).to_list()[0]
    assert [twice[name] for name in names] == [7, 8, 7]


def test_contents_of_every_shape():
    assert said([{"thinking": "hm"}, {"type": "text", "text": {"value": " v "}}, 3]) == "hm\nv"
    assert said({"content": ["a", "b"]}) == "a\nb"
    assert said(None) == ""
    assert said(5) == "5"
    assert returned([{"a": None, "b": "é"}, "x"]) == '{"b": "é"}\nx'
    assert tool_name({"name": "n"}) == "n"
    assert tool_name({}) is None
