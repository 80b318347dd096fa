"""What MLflow takes to read as many spans of tool calls back: run by `benchmarks.frames` in an environment of its own.

    python peer_spans.py FOLDER SPANS

Prints one line of JSON: spans, seconds, version. MLflow's own API writes them, its own `search_traces` reads them.
"""

import json
import sys
import time
from pathlib import Path

import mlflow

OF_TRACE = 1_000


def write(spans: int) -> None:
    for _ in range(spans // OF_TRACE):
        with mlflow.start_span("run") as root:
            root.set_inputs({"prompt": "Which files are there?"})
            for place in range(OF_TRACE - 1):
                with mlflow.start_span(f"tool_{place % 9}", span_type="TOOL") as span:
                    span.set_inputs({"path": "data/survey.csv", "max_lines": 40})
                    span.set_outputs("a line of what was read\n" * 4)


def main() -> None:
    folder, spans = Path(sys.argv[1]), int(sys.argv[2])
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = mlflow.create_experiment("spans", artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment(experiment_id=experiment)
    write(spans)
    if hasattr(mlflow, "flush_trace_async_logging"):
        mlflow.flush_trace_async_logging()
    began = time.perf_counter()
    traces = mlflow.search_traces(locations=[experiment], return_type="list")
    found = sum(len(trace.data.spans) for trace in traces)
    print(json.dumps({"rows": found, "seconds": time.perf_counter() - began, "version": mlflow.__version__}))


if __name__ == "__main__":
    main()
