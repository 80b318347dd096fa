"""What MLflow takes to read as many spans of tool calls back: run by `benchmarks.frames` in an environment of its own.

    python peer_spans.py FOLDER SPANS

Prints one line of JSON: spans, seconds of `search_traces`, seconds until a frame with a row a span is made of what it
returned, version. MLflow's own API writes them.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

OF_TRACE = 1_000


def write(spans: int) -> None:
    for _ in range(spans // OF_TRACE):
        with mlflow.start_span("run") as root:
            root.set_inputs({"prompt": "Which files are there?"})
            for place in range(OF_TRACE - 1):
                with mlflow.start_span(f"tool_{place % 9}", span_type="TOOL") as span:
                    span.set_inputs({"path": "data/survey.csv", "max_lines": 40})
                    span.set_outputs("a line of what was read\n" * 4)
        if hasattr(mlflow, "flush_trace_async_logging"):
            mlflow.flush_trace_async_logging()  # its queue drops what it has no room for


def main() -> None:
    folder, spans = Path(sys.argv[1]), int(sys.argv[2])
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = mlflow.create_experiment("spans", artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment(experiment_id=experiment)
    write(spans)
    began = time.perf_counter()
    traces = mlflow.search_traces(locations=[experiment], return_type="list")
    found = sum(len(trace.data.spans) for trace in traces)
    seconds = time.perf_counter() - began
    frame = pd.DataFrame([told(trace.info.trace_id, span) for trace in traces for span in trace.data.spans])
    print(json.dumps({
        "rows": found, "seconds": seconds, "frame_rows": len(frame), "frame_seconds": time.perf_counter() - began,
        "version": mlflow.__version__,
    }))  # fmt: skip


def told(trace_id: str, span: Any) -> dict[str, Any]:
    """Returns of a span about what a row of a tool call says."""
    return {
        "trace_id": trace_id, "span_id": span.span_id, "name": span.name, "arguments": span.inputs,
        "result": span.outputs, "status": str(span.status.status_code),
        "started_at": pd.Timestamp(span.start_time_ns, unit="ns", tz="UTC"),
        "finished_at": pd.Timestamp(span.end_time_ns, unit="ns", tz="UTC"),
    }  # fmt: skip


if __name__ == "__main__":
    main()
