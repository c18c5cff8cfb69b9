"""What a person sees: exact lines in a file, a dashboard on a terminal."""

import io
import re
import subprocess
import sys
import textwrap

import pytest

from trainers.console import (
    BehaviorProgress,
    Console,
    DashboardConsole,
    Progress,
    duration,
    make_console,
    reward_text,
)
from trainers.report import Summary


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    for variable in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return Terminal()


def progress(step=21000, seconds=10.0, **others):
    behaviors = {"3DBall": BehaviorProgress(step, 500_000, 12.5, 0.79)}
    return Progress(behaviors, agent_steps_per_second=2100.0, seconds=seconds, **others)


def summary(**changes):
    values = {
        "behavior_name": "Test",
        "step": 2000,
        "mean_reward": -1.2371,
        "std_reward": 0.7919,
        "mean_group_reward": None,
        "episodes": 4,
        "seconds_elapsed": 6.5871,
        "is_training": True,
    }
    return Summary(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "Time Elapsed: 6.587 s. Mean Reward: -1.237. Std of Reward: 0.792. Training."),
        ({"is_training": False}, "Time Elapsed: 6.587 s. Mean Reward: -1.237. Std of Reward: 0.792. Not Training."),
        (
            {"mean_group_reward": 0.25},
            "Time Elapsed: 6.587 s. Mean Reward: -1.237. Mean Group Reward: 0.250. Training.",
        ),
        (
            {"mean_reward": None, "std_reward": None, "episodes": 0},
            "Time Elapsed: 6.587 s. No episode was completed since last summary. Training.",
        ),
    ],
)
def test_summary_lines_are_those_of_mlagents(changes, line):
    stream = io.StringIO()
    make_console(debug=False, stream=stream).summary(summary(**changes))
    assert stream.getvalue() == f"[INFO] Test. Step: 2000. {line}\n"


def test_messages_have_their_level_and_debug_messages_are_hidden():
    stream = io.StringIO()
    console = make_console(debug=False, stream=stream)
    console.info("one")
    console.warning("two")
    console.debug("three")
    console.close()
    assert stream.getvalue() == "[INFO] one\n[WARNING] two\n"


def test_debug_mode_shows_debug_messages_and_the_time():
    stream = io.StringIO()
    console = make_console(debug=True, stream=stream)
    console.info("one")
    console.debug("two")
    first, second = stream.getvalue().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[INFO\] one", first)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[DEBUG\] two", second)


def test_elsewhere_than_on_a_terminal_progress_prints_nothing():
    stream = io.StringIO()
    console = make_console(debug=False, stream=stream)
    assert not console.progress_due()
    console.progress(progress())
    console.close()
    assert stream.getvalue() == ""


def test_elsewhere_than_on_a_terminal_rich_is_not_imported():
    code = "import sys; from trainers.console import make_console as m; m().info('x'); sys.exit('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "[INFO] x\n"), done.stderr


def test_a_letter_that_the_stream_cannot_encode_is_escaped():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    make_console(debug=False, stream=stream).info("Bälle")
    assert raw.getvalue().replace(b"\r\n", b"\n") == b"[INFO] B\\xe4lle\n"


def test_terminals_that_cannot_show_a_dashboard_get_plain_lines(terminal, monkeypatch):
    assert type(make_console(stream=terminal)) is DashboardConsole
    monkeypatch.setattr(terminal, "encoding", "cp1252", raising=False)
    assert type(make_console(stream=terminal)) is Console
    monkeypatch.setattr(terminal, "encoding", "utf-8")
    monkeypatch.setenv("TERM", "dumb")
    assert type(make_console(stream=terminal)) is Console


def test_the_dashboard_shows_steps_speed_time_left_rewards_players_and_phases(terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    console = make_console(stream=terminal)
    shares = {"environment": 0.412, "update": 0.3, "save": 0.001}
    console.progress(progress(21_000, 10.0, players=2, phase_shares=shares))
    console._next_refresh = 0.0  # as if a quarter of a second had passed
    console.progress(progress(30_580, 12.0, players=2, phase_shares=shares))
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue()).split("behavior")[-1]
    assert "30,580 / 500,000" in shown
    assert "12.50 +- 0.79" in shown
    assert "0:01:38" in shown  # (500,000 - 30,580) steps / (9,580 steps / 2 s) = 98 s
    assert "4,790 agent-steps/s now, 2,100 mean" in shown
    assert "2 players" in shown and "0:00:12 elapsed" in shown
    assert "environment 41%   update 30%   other 29%" in shown
    assert "save" not in shown
    console.close()


def test_the_speed_is_that_of_the_last_half_minute(terminal):
    console = make_console(stream=terminal)
    for second in range(0, 100, 10):  # 1,000 steps/s for 50 s, then 100 steps/s
        steps = 1000 * min(second, 50) + 100 * max(0, second - 50)
        console._speed.update(progress(steps, float(second)))
    assert console._speed.of("3DBall") == pytest.approx(100)
    assert console._speed.seconds_left("3DBall", BehaviorProgress(5000, 5500)) == pytest.approx(5)
    assert console._speed.seconds_left("3DBall", BehaviorProgress(5600, 5500)) == 0.0
    assert console._speed.of("a behavior that came later") == 0.0


def test_progress_is_drawn_at_most_four_times_a_second_and_costs_next_to_nothing_between(terminal):
    console = make_console(stream=terminal)
    assert console.progress_due()
    console.progress(progress())
    drawn = len(terminal.getvalue())
    console._next_refresh += 3600.0
    assert not console.progress_due()
    for _ in range(10_000):
        console.progress(progress())
    assert len(terminal.getvalue()) == drawn
    console.close()


@pytest.mark.parametrize("columns", ["1", "8", "40", "300"])
def test_any_width_of_terminal_will_do(terminal, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    console = make_console(stream=terminal)
    names = ("[red]Wall[/red]", "ボール", "x" * 120)
    behaviors = {name: BehaviorProgress(0, 0) for name in names}
    console.progress(Progress(behaviors, 0.0, 0.0, 1, {}))
    console.close()
    assert "\x1b[?25h" in terminal.getvalue()  # the cursor is back


def test_messages_after_closing_are_plain_lines_and_progress_stays_away(terminal):
    console = make_console(stream=terminal)
    console.progress(progress())
    console.close()
    console.close()
    before = len(terminal.getvalue())
    console.progress(progress())
    console.info("Exported [bold]3DBall.onnx")
    assert terminal.getvalue()[before:] == "[INFO] Exported [bold]3DBall.onnx\n"


DEMO = """
    import sys, time
    from trainers.console import BehaviorProgress, Progress, make_console
    from trainers.report import Summary

    console = make_console()
    console.info("Connected new brain: 3DBall?team=0")
    start = time.monotonic()
    while (seconds := time.monotonic() - start) < 1.2:
        step = int(seconds * 10000)
        console.progress(Progress({"3DBall": BehaviorProgress(step, 500000)}, 10000.0, seconds))
        time.sleep(0.001)
    console.summary(Summary("3DBall", 12000, 1.5, 0.25, None, 5, 2.0, True))
    print("a line from elsewhere")
    if "fail" in sys.argv:
        raise RuntimeError("on purpose")
    console.close()
    console.info("Exported 3DBall.onnx")
"""


@pytest.fixture
def on_terminal(tmp_path, terminal):
    """`on_terminal(*arguments)` runs the demo on a pseudo-terminal: (exit code, what the terminal received)."""
    pty = pytest.importorskip("pty", reason="pseudo-terminals are a matter of Linux and macOS")
    import os
    import threading

    program = tmp_path / "demo.py"
    program.write_text(textwrap.dedent(DEMO))

    def run(*arguments, **environment):
        ours, theirs = pty.openpty()
        received = bytearray()

        def read():
            while True:
                try:
                    data = os.read(ours, 65536)
                except OSError:  # Linux's way to say that nobody writes any more
                    return
                if not data:
                    return
                received.extend(data)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            done = subprocess.run(
                [sys.executable, str(program), *arguments],
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "100", **environment},
                timeout=60,
            )
        finally:
            os.close(theirs)
            reader.join(timeout=10)
            os.close(ours)
        return done.returncode, received.decode()

    return run


def test_on_a_terminal_lines_scroll_above_a_live_dashboard(on_terminal):
    code, received = on_terminal()
    assert code == 0, received
    assert "Traceback" not in received
    assert received.count("agent-steps/s") >= 2  # drawn again and again
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", received)
    line = "[INFO] 3DBall. Step: 12000. Time Elapsed: 2.000 s. Mean Reward: 1.500. Std of Reward: 0.250. Training."
    assert line in text
    assert "a line from elsewhere" in text
    assert text.rstrip().endswith("[INFO] Exported 3DBall.onnx")
    assert received.rindex("\x1b[?25h") > received.rindex("\x1b[?25l")  # the cursor is shown again


def test_no_color_leaves_the_colors_out(on_terminal):
    colored = re.compile(r"\x1b\[[0-9;]*3[0-9][0-9;]*m")
    assert colored.search(on_terminal()[1])
    assert not colored.search(on_terminal(NO_COLOR="1")[1])


def test_a_program_that_fails_gives_the_cursor_back(on_terminal):
    code, received = on_terminal("fail")
    assert code == 1
    assert "RuntimeError: on purpose" in received
    assert received.rindex("\x1b[?25h") > received.rindex("\x1b[?25l")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-:--:--"), (0, "0:00:00"), (59.6, "0:01:00"), (3723, "1:02:03"), (360000, "100:00:00")],
)
def test_durations_are_hours_minutes_seconds(seconds, text):
    assert duration(seconds) == text


def test_rewards_of_the_dashboard():
    assert reward_text(BehaviorProgress(0, 1)) == "-"
    assert reward_text(BehaviorProgress(0, 1, 1.234)) == "1.23"
    assert reward_text(BehaviorProgress(0, 1, -1.237, 0.795)) == "-1.24 +- 0.80"


def test_a_pipe_that_nobody_reads_any_more_costs_nothing() -> None:
    script = (
        "import sys, time; from trainers.console import Console\n"
        "console = Console(debug=False, stream=sys.stdout)\n"
        "for line in range(100): console.info('x' * 1000); time.sleep(0.001)\n"
        "print('went on', file=sys.stderr)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == "went on\n"
