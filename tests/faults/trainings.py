"""Small trainings that are broken from outside; for the tests here and for the reports that do the same for longer."""

import contextlib
import csv
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

AGENTS, HORIZON, SUMMARY_EVERY, CHECKPOINT_EVERY, KEEP = 12, 20, 300, 500, 3
# A trajectory is counted when it is cut, and the agents of 3DBall begin together.
AT_ONCE = AGENTS * HORIZON
CONFIGURATION = f"""
behaviors:
  3DBall:
    trainer_type: ppo
    hyperparameters: {{batch_size: 32, buffer_size: 200, num_epoch: 1, learning_rate: 0.001}}
    network_settings: {{normalize: true, hidden_units: 16, num_layers: 1}}
    time_horizon: {HORIZON}
    max_steps: 1000000000
    summary_freq: {SUMMARY_EVERY}
    checkpoint_interval: {CHECKPOINT_EVERY}
    keep_checkpoints: {KEEP}
"""
BEGUN = ". Step: "  # the first summary of a life
LIMIT = 240.0  # seconds that anything may take
_SUMMARY = re.compile(r"3DBall\. Step: (\d+)\.")
_RESUMED = re.compile(r"Resuming '3DBall' from step (\d+) ")
_FINISHED = re.compile(r"\.tmp-")


def our_learn() -> list[str]:
    """What stands before the arguments of `mlbridge learn`, with this Python."""
    return [sys.executable, "-m", "trainers.commands", "learn"]


class Training:
    """A trainer as a process that writes into a log. It leads a group of its own; its players leave with it."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        log: Path,
        variables: dict[str, str] | None = None,
        before: Callable[[], None] | None = None,
    ) -> None:
        """`variables`: of the environment. `before` is called in the new process before its program begins."""
        self._log = log
        variables = dict(os.environ if variables is None else variables) | {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=before,
            )
        self.pid = self._process.pid

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def code(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.poll()

    def wait_for(self, text: str, limit: float = LIMIT) -> bool:
        """Whether `text` is printed before the process ends or the time is up."""
        deadline = time.monotonic() + limit
        while text not in self.output:
            if self.code is not None or time.monotonic() > deadline:
                return text in self.output
            time.sleep(0.02)
        return True

    def wait(self, limit: float = LIMIT) -> int:
        """The exit code; TimeoutError, with all that it said, if it does not end."""
        try:
            return self._process.wait(limit)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(f"{self._process.args} went on:\n{self.output[-4000:]}") from None

    def kill(self) -> None:
        """SIGKILL for the trainer alone; its players have to notice by themselves."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()


@dataclass
class Kills:
    """What was seen of a run that was killed again and again, and of the run that then went on to its end."""

    kills: int = 0
    before_a_checkpoint: int = 0  # then the remedy in the message is taken: start anew
    steps_lost: list[int] = field(default_factory=list)  # summaries that a kill undid, in agent steps
    failures: list[str] = field(default_factory=list)  # lives that did not go on from the newest checkpoint
    end: str = ""  # the last life's output
    end_code: int | None = None


def kill_again_and_again(kills: int, seed: int, folder: Path, *, in_process: bool) -> Kills:
    """Starts a training, kills it at a moment drawn at random, resumes it, and so on; lets the last life end well.

    A quarter of the moments are counted from the start of the program, the others from its first summary.
    """
    (folder / "tiny.yaml").write_text(CONFIGURATION, encoding="utf-8")
    generator = random.Random(seed)
    command = [*our_learn(), "tiny.yaml", "--env=3DBall", "--run-id=killed", "--seed=1", "--no-graphics"]
    command += ["--torch-device=cpu", *(["--in-process"] if in_process else [])]
    seen, known, step = Kills(), False, 0
    while True:
        last = seen.kills == kills
        how = ["--resume"] if known else ["--force"]
        if last:  # each summary and checkpoint once more
            how += ["--set", f"behaviors.3DBall.max_steps={step + 4 * CHECKPOINT_EVERY}"]
        training = Training([*command, *how], folder, folder / "killed.log")
        try:
            if last:
                seen.end_code = training.wait()
            elif generator.random() < 0.25:
                time.sleep(generator.uniform(0.0, 4.0))
            elif training.wait_for(BEGUN):
                time.sleep(generator.uniform(0.0, 2.0))
        finally:
            ended_by_itself = training.code is not None and not last
            training.kill()
        output = training.output
        resumed = _RESUMED.search(output)
        if resumed is not None:
            if step and int(resumed[1]) < step:
                seen.steps_lost.append(step - int(resumed[1]))
            step = int(resumed[1])
        if ended_by_itself:
            seen.failures.append(output[-2000:])
        step = max([step, *map(int, _SUMMARY.findall(output))])
        if last:
            seen.end = output
            return seen
        seen.kills += 1
        if not known:
            known = (folder / "results" / "killed" / "3DBall" / "checkpoint.pt").is_file()
            seen.before_a_checkpoint += not known
            step = step if known else 0
        if len(seen.failures) > 3:
            return seen


def run_files(folder: Path) -> dict[str, Any]:
    """What lies in the folder of a run of 3DBall: its numbered checkpoints, temporary files, and the steps of the CSV
    and of TensorBoard, as their readers find them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    behavior = folder / "3DBall"
    reader = EventAccumulator(str(behavior), size_guidance={"scalars": 0})
    reader.Reload()
    tags = {tag: [event.step for event in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}
    with (folder / "run_logs" / "3DBall.csv").open(newline="", encoding="utf-8") as file:
        rows = [(int(row["step"]), row["tag"]) for row in csv.DictReader(file)]
    shown = sorted({step for steps in tags.values() for step in steps})
    return {
        "checkpoints": sorted(int(path.stem.rpartition("-")[2]) for path in behavior.glob("3DBall-[0-9]*.pt")),
        "models": sorted(int(path.stem.rpartition("-")[2]) for path in behavior.glob("3DBall-[0-9]*.onnx")),
        "temporary": sorted(path.name for path in folder.rglob("*") if _FINISHED.match(path.name)),
        "last": shown[-1],
        "lost": sorted(set(range(SUMMARY_EVERY, shown[-1] + 1, SUMMARY_EVERY)) - set(shown)),
        "twice": sorted({step for steps in tags.values() for step in steps if steps.count(step) > 1}),
        "csv_lost": sorted(set(shown) - {step for step, _ in rows}),
        "csv_twice": len(rows) - len(set(rows)),
    }


def processes_that_name(path: Path) -> list[int]:
    """Processes with a path on their command lines, as every player names its log there. Linux only."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and str(path).encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


def faulty_player(folder: Path) -> Path:
    """Writes the program of faulty_player.py, which starts with this Python, whatever the trainer's is."""
    here = Path(__file__).resolve()
    path = folder / "faulty"
    path.write_text(
        f"#!{sys.executable}\nimport runpy, sys\nsys.path.insert(0, {str(here.parents[2])!r})\n"
        f"runpy.run_path({str(here.with_name('faulty_player.py'))!r}, run_name='__main__')\n"
    )
    path.chmod(0o755)
    return path


@dataclass
class Broken:
    """What was seen of a training whose players went wrong."""

    code: int | None  # None: it went on for too long
    output: str
    lives: int  # of the player
    played: int  # agent steps that were answered, in all lives together
    saved: int  # the step of the newest checkpoint


def train_with_faults(
    faults: Sequence[str],
    folder: Path,
    *,
    steps: int = 1500,
    flags: Sequence[str] = (),
    program: Sequence[str] = (),
    variables: dict[str, str] | None = None,
    limit: float = LIMIT,
    watch: Callable[[int], None] | None = None,
) -> Broken:
    """A training of `steps` agent steps with a player whose lives go wrong like this. `program`: another trainer's.

    `watch` is called with the trainer's process again and again.
    """
    (folder / "tiny.yaml").write_text(CONFIGURATION.replace("1000000000", str(steps)), encoding="utf-8")
    lives = folder / "lives"
    command = [*(program or our_learn()), "tiny.yaml", f"--env={faulty_player(folder)}", "--run-id=faults", "--seed=1"]
    command += ["--no-graphics", "--torch-device=cpu", "--max-lifetime-restarts=-1", "--restarts-rate-limit-n=-1"]
    command += [*flags, "--env-args", f"--lives={lives}", "--faults", ",".join(faults)]
    training = Training(command, folder, folder / "faults.log", variables)
    deadline = time.monotonic() + limit
    try:
        while watch is not None and training.code is None and time.monotonic() < deadline:
            watch(training.pid)
            time.sleep(0.2)
        code: int | None = training.wait(max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        code = None
    finally:
        training.kill()
        for player in processes_that_name(lives):  # such as stand still
            with contextlib.suppress(ProcessLookupError):
                os.kill(player, signal.SIGKILL)
    counters = sorted(lives.iterdir()) if lives.is_dir() else []
    saved = [int(path.stem.rpartition("-")[2]) for path in folder.glob("results/faults/3DBall/3DBall-[0-9]*.pt")]
    played = sum(int(path.read_text() or 0) for path in counters)
    return Broken(code, training.output, len(counters), played, max(saved, default=0))
