"""`mlbridge bench --only kernels`, each row once, as short as can be: all of them are there."""

from pathlib import Path

import pytest

from trainers.benchmarks import Context, kernels
from trainers.kernels import instruction_sets, status

NAMES = [
    "ppo_step 128x2 b64 vs default_adam",
    "ppo_step 128x2 b64 vs fused_adam",
    "ppo_step 128x2 b64 2 threads vs default_adam",
    "ppo_step 128x2 b2048 vs default_adam",
    "ppo_step 256x3 b64 vs default_adam",
    "ppo_step 256x3 b2048 vs default_adam",
    *(f"act {agents} agents vs eager" for agents in (1, 12, 100, 1000)),
    *(f"gae T=1000 {agents} agents vs numpy" for agents in (12, 100, 1000)),
    "gemm_share 128x2 b64: update vs best matrix product",
]


def test_every_row_is_there(native: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_SECONDS", 0.0)
    rows = {row.name: row.to_json() for row in kernels.run(Context(None, 1, 24000, False, tmp_path))}
    slower = [f"ppo_step 128x2 b64 {name} vs default_adam" for name in instruction_sets()[1:]]
    assert set(NAMES + slower) <= set(rows)
    for row in rows.values():
        assert {"name", "ours", "peer", "ratio", "unit", "threads", "instruction_set"} <= set(row)
        assert row["ours"] > 0 and row["peer"] > 0 and row["ratio"] > 0
    assert rows[NAMES[0]]["instruction_set"] == status().instruction_set
    assert rows[NAMES[2]]["threads"] == 2
