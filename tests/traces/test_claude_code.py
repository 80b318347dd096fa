"""Sessions of Claude Code: an answer in several lines is one, with its usage once."""

from tests.traces.counted import counts, imported, lines, unmapped


def line(kind, uuid, message=None, parent=None, **more):
    said = {
        "type": kind,
        "uuid": uuid,
        "parentUuid": parent,
        "sessionId": "s1",
        "version": "2.1.0",
        "timestamp": f"2026-05-04T12:00:{int(uuid.strip('u')) % 60:02d}.000Z",
        "isSidechain": False,
    }
    return {**said, **({"message": message} if message else {}), **more}


def usage(given, out, read=0, write=0):
    return {
        "input_tokens": given,
        "output_tokens": out,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": write,
    }


def answer(message_id, block, counted, **more):
    return {
        "id": message_id,
        "role": "assistant",
        "model": "claude-x",
        "content": [block],
        "usage": counted,
        "stop_reason": "tool_use",
        **more,
    }


def tool_use(call_id, name="Bash"):
    return {"type": "tool_use", "id": call_id, "name": name, "input": {"command": "ls"}}


def tool_result(call_id, content, **more):
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call_id, "content": content, **more}]}


SESSION = lines(
    {"type": "summary", "summary": "A session", "leafUuid": "u9"},
    line("file-history-snapshot", "u0", messageId="m", snapshot={}),
    line("user", "u1", {"role": "user", "content": "List the files."}),
    line(
        "assistant",
        "u2",
        answer("msg_1", {"type": "thinking", "thinking": "Hm.", "signature": "x"}, usage(10, 1, 100, 20)),
    ),
    line("assistant", "u3", answer("msg_1", {"type": "text", "text": "I look."}, usage(10, 1, 100, 20))),
    line("assistant", "u4", answer("msg_1", tool_use("t1"), usage(10, 50, 100, 20)), costUSD=0.5),
    line("user", "u5", tool_result("t1", "a.txt\nb.txt"), toolUseResult={"stdout": "a.txt\nb.txt"}),
    line("assistant", "u6", answer("msg_1", tool_use("t2"), usage(10, 50, 100, 20)), costUSD=0.5),
    line("user", "u7", tool_result("t2", "no such command", is_error=True)),
    line("assistant", "u7", answer("msg_1", tool_use("t2"), usage(10, 50, 100, 20))),
    line("system", "u8", subtype="compact_boundary", content="Conversation compacted"),
    line("user", "u9", {"role": "user", "content": "This session is being continued …"}, isCompactSummary=True),
    line("assistant", "u10", answer("msg_2", tool_use("t3", "Task"), usage(5, 7))),
    line("user", "u11", {"role": "user", "content": "Look deeper."}, isSidechain=True),
    line("assistant", "u12", answer("msg_3", tool_use("t4"), usage(3, 2)), "u11", isSidechain=True),
    line("user", "u13", tool_result("t4", [{"type": "text", "text": "deep"}]), "u12", isSidechain=True),
    line("user", "u14", tool_result("t3", "done")),
    line(
        "assistant",
        "u15",
        {
            "id": "x1",
            "role": "assistant",
            "model": "<synthetic>",
            "usage": usage(0, 0),
            "content": [{"type": "text", "text": "API Error: 529"}],
        },
        isApiErrorMessage=True,
    ),
    line(
        "assistant",
        "u16",
        {
            "id": "x2",
            "role": "assistant",
            "model": "<synthetic>",
            "usage": usage(0, 0),
            "content": [{"type": "text", "text": "No response requested."}],
        },
    ),
)


def test_a_session_with_repeated_usage_sidechain_and_compaction():
    found = imported(SESSION + b'{"type": "user", "uu')
    assert found.format == "claude-code"
    assert counts(found) == {
        "runs": 2,
        "turns": 4,
        "messages": 12,
        "calls": 4,
        "errors": 2,
        "in": 130 + 5 + 3,
        "out": 50 + 7 + 2,
        "read": 100,
        "write": 20,
        "reasoning": 0,
        "cost": 0.5,
    }
    assert unmapped(found) == {
        "line: summary": 1,
        "line: file-history-snapshot": 1,
        "line that repeats an earlier one": 1,
        "line: system compact_boundary": 1,
        "line that is no JSON": 1,
    }
    main, side = found.runs
    assert side.parent_run_id == main.run_id
    assert side.thread_id == main.thread_id
    assert (main.foreign_run_id, main.foreign_thread_id, side.foreign_run_id) == ("s1", "s1", "u11")
    first = found.messages.df.iloc[1]
    assert (first["text"], first["thinking"], first["tool_calls"]) == ("I look.", "Hm.", 2)
    calls = found.tool_calls.df
    assert calls["foreign_tool_call_id"].tolist() == ["t1", "t2", "t3", "t4"]
    assert calls["outcome"].astype("string").tolist() == ["success", "error", "success", "success"]
    assert found.turns.df["stop_reason"].astype("string").tolist() == ["tool_use", "tool_use", "error", "tool_use"]


def test_the_line_with_most_output_counts_with_its_model():
    found = imported(
        lines(
            line("user", "u1", {"role": "user", "content": "Go."}),
            line("assistant", "u2", answer("m", {"type": "text", "text": "a"}, usage(2, 1, 50), model="first")),
            line("assistant", "u3", answer("m", {"type": "text", "text": "b"}, usage(4, 90, 70), model="second")),
            line("assistant", "u4", answer("m", {"type": "text", "text": "c"}, usage(2, 30, 50), model="first")),
        )
    )
    assert counts(found)["in"] == 74
    assert counts(found)["out"] == 90
    assert found.turns[0].model == "second"
    assert found.messages.df["text"].tolist() == ["Go.", "a\nb\nc"]


def test_what_stream_json_prints():
    found = imported(
        lines(
            {"type": "system", "subtype": "init", "session_id": "s2", "model": "claude-x"},
            {"type": "assistant", "session_id": "s2", "message": answer("m1", tool_use("t1"), usage(10, 5))},
            {"type": "user", "session_id": "s2", "message": tool_result("t1", "ok")},
            {
                "type": "assistant",
                "session_id": "s2",
                "message": answer("m2", {"type": "text", "text": "Done."}, usage(20, 6)),
            },
            {
                "type": "result",
                "subtype": "success",
                "session_id": "s2",
                "total_cost_usd": 0.75,
                "is_error": False,
                "result": "Done.",
                "usage": usage(30, 11),
            },
        )
    )
    assert counts(found) == {
        "runs": 1,
        "turns": 2,
        "messages": 3,
        "calls": 1,
        "errors": 0,
        "in": 30,
        "out": 11,
        "read": 0,
        "write": 0,
        "reasoning": 0,
        "cost": 0.75,
    }


def test_the_file_of_a_sidechain_alone_is_one_run():
    found = imported(
        lines(
            line("user", "u1", {"role": "user", "content": "Look."}, isSidechain=True, agentId="a7"),
            line(
                "assistant",
                "u2",
                answer("m", {"type": "text", "text": "Done."}, usage(3, 2)),
                "u1",
                isSidechain=True,
                agentId="a7",
            ),
        )
    )
    assert counts(found)["runs"] == 1
    assert (found.runs[0].foreign_run_id, found.runs[0].foreign_thread_id) == ("a7", "s1")
    assert found.runs[0].parent_run_id is None
