"""A flow as people see it: as text and in a notebook, with what is wrong beside the steps that it is about."""

from html import escape

from .faults import faults_of
from .step import Flow, Kind, Step

_CELL = 'style="text-align:left;vertical-align:top"'


def as_text(flow: Flow) -> str:
    """Returns a line a step and a line a fault."""
    lines = [f"Flow {flow.name!r}: {len(flow.steps)} steps"]
    lines += [f"  {step.id} ({step.kind}){_waits(flow, step)}{_leads(step)}" for step in flow.steps]
    if found := faults_of(flow):
        lines += ["It cannot start:", *(f"  - {fault.text}" for fault in found)]
    return "\n".join(lines)


def as_html(flow: Flow) -> str:
    """Returns a table of the steps; texts of the flow are escaped."""
    found = faults_of(flow)
    head = "".join(f"<th {_CELL}>{name}</th>" for name in ("step", "kind", "waits for", "leads to", "at fault"))
    rows = []
    for step in flow.steps:
        wrong = "; ".join(fault.text for fault in found if step.id in fault.steps)
        texts = (
            step.id,
            step.kind.value,
            _waits(flow, step).removeprefix(" after "),
            _leads(step).removeprefix(" to: "),
            wrong,
        )
        rows.append("<tr>" + "".join(f"<td {_CELL}>{escape(text)}</td>" for text in texts) + "</tr>")
    whole = "".join(f"<li>{escape(fault.text)}</li>" for fault in found)
    told = f"<p>It cannot start:</p><ul>{whole}</ul>" if found else ""
    title = f"<p><strong>{escape(flow.name)}</strong>: {len(flow.steps)} steps</p>"
    return f"{title}<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>{told}"


def _waits(flow: Flow, step: Step) -> str:
    deps = flow.deps_of(step)
    if not deps:
        return ""
    return f" after {', '.join(deps)}" + (
        f" ({step.trigger_rule})" if len(deps) > 1 or step.trigger_rule != "all_success" else ""
    )


def _leads(step: Step) -> str:
    if step.kind is not Kind.SWITCH:
        return ""
    return " to: " + "; ".join(f"{branch.label} → {', '.join(branch.steps) or 'nothing'}" for branch in step.branches)
