"""What a bench hands over: the table on the terminal, latest.json, the chart."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any

# name -> (target, smaller is better)
TARGETS: dict[str, tuple[float, bool]] = {
    "call.cpu_ratio": (0.45, True),
    "call.cpu_ratio_chain": (0.40, True),
    "call.max_rate_ratio": (2.5, False),
    "call.delay_ratio": (1.0, True),
    "call.timer_lateness_p99_ms": (50, True),
    "plain.cpu_ratio": (1.5, True),
    "plain.cpu_ratio_sippy": (0.15, True),
    "register.cpu_ratio": (0.8, True),
    "cdr.cpu_ratio": (0.2, True),
    "memory.registration_bytes": (3000, True),
    "memory.call_bytes": (40000, True),
    "start.seconds": (2, True),
    "import.subscribers_per_second": (500, False),
    "directory.mb_per_100k": (400, True),
    "api.get_cpu_ms": (20, True),
    "api.list_cpu_ms": (20, True),
    "api.list_cpu_ms_worst": (20, True),
    "provision.failed_calls": (0, True),
}


@dataclass
class Metric:
    """`value` None: it could not be measured; `how` then says why."""

    value: float | None
    unit: str
    how: str
    peer: str


@dataclass
class Report:
    machine: dict[str, Any]
    versions: dict[str, str]
    metrics: dict[str, Metric] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, value: float | None, unit: str, how: str, peer: str) -> None:
        rounded = None if value is None else float(f"{value:.4g}")
        self.metrics[name] = Metric(rounded, unit, how, peer)
        print(f"  {name} = {'none' if rounded is None else f'{rounded:g}'} {unit}   ({how})", flush=True)

    def write(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        content = {"metrics": {n: asdict(m) for n, m in self.metrics.items()}, "machine": self.machine, "versions": self.versions, "runs": self.runs}
        (directory / "latest.json").write_text(json.dumps(content, indent=1) + "\n")
        (directory / "latest.svg").write_text(chart(self.metrics))

    def table(self) -> str:
        """Name, value, target and whether it is met."""
        lines = [f"{'measure':34} {'value':>10} {'unit':12} {'target':>8}  "]
        for name, metric in self.metrics.items():
            target = TARGETS.get(name)
            value = "none" if metric.value is None else f"{metric.value:g}"
            said = "" if target is None or metric.value is None else ("met" if met(name, metric.value) else "MISSED")
            wanted = "" if target is None else f"{'<=' if target[1] else '>='}{target[0]:g}"
            lines.append(f"{name:34} {value:>10} {metric.unit:12} {wanted:>8}  {said}")
        return "\n".join(lines)


def met(name: str, value: float) -> bool:
    target, smaller = TARGETS[name]
    return value <= target if smaller else value >= target


def chart(metrics: dict[str, Metric]) -> str:
    """Each measure that has a target as a bar, 1.0 = the target; longer than the line is worse."""
    shown = [(name, m, TARGETS[name]) for name, m in metrics.items() if name in TARGETS and m.value]
    left, width, step, scale = 250, 420, 26, 140.0
    height = 60 + step * len(shown)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 160}" height="{height}" font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="10" y="20" font-weight="bold">ngcpd against its targets (bar up to the line: met; shorter is better)</text>',
    ]
    for n, (name, metric, (target, smaller)) in enumerate(shown):
        assert metric.value is not None
        part = metric.value / target if smaller else target / metric.value
        y = 36 + step * n
        length = min(part * scale, width)
        colour = "#3a7d44" if part <= 1 else "#b5482a"
        out.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>')
        out.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="18" fill="{colour}"/>')
        out.append(
            f'<text x="{left + length + 6:.1f}" y="{y + 14}">{metric.value:g} {escape(metric.unit)} ({"≤" if smaller else "≥"} {target:g})</text>'
        )
    out.append(f'<line x1="{left + scale}" y1="30" x2="{left + scale}" y2="{height - 20}" stroke="black" stroke-dasharray="4 3"/>')
    out.append("</svg>")
    return "\n".join(out) + "\n"
