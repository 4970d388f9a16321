"""Live views in a real terminal: what is drawn, renewed in place, and left behind."""

from __future__ import annotations

import re

from nats_streaming.cli.exits import ExitCode
from tools.terminal import Terminal, svg

from .conftest import Place, start_place
from .tool import COMMAND, environment, run


def terminal_of(place: Place, *arguments: str, rows: int = 40) -> Terminal:
    return Terminal([*COMMAND, *arguments], rows=rows, variables=environment(**place.variables))


def test_watch_renews_one_view_until_ctrl_c(ours: Place, channel: str) -> None:
    run("pub", channel, "x", **ours.variables)
    with terminal_of(ours, "watch", channel, "-i", "0.2") as terminal:
        assert terminal.wait_for(channel).count("STANDALONE") == 1
        run("pub", channel, "x", "-n", "41", **ours.variables)
        screen = terminal.wait_for(" 42 ")
        assert screen.count("STANDALONE") == 1
        assert screen.count(f" {channel} ") == 1
        assert any(bar in terminal.wait_for("█") for bar in "▁▂▃▄▅▆▇█")
        assert "\x1b[" in terminal.screen(colours=True)
        terminal.send("C-c")
        assert terminal.wait_for_end() == ExitCode.INTERRUPTED
        assert "Traceback" not in terminal.screen()


def test_watch_goes_on_over_a_restart() -> None:
    place = start_place()
    try:
        with terminal_of(place, "watch", "-i", "0.1") as terminal:
            terminal.wait_for("STANDALONE")
            place.process.stop()
            terminal.wait_for("trying again")
            place.process.start()
            screen = terminal.wait_for("STANDALONE")
            while "trying again" in screen:
                screen = terminal.wait_for("STANDALONE")
    finally:
        place.process.close()


def test_bench_shows_progress_and_then_its_figures(ours: Place) -> None:
    with terminal_of(ours, "bench", "-S", "1", "-n", "2000", "--rate", "1000", rows=60) as terminal:
        terminal.wait_for("published and acked")
        terminal.wait_for("/2000")
        terminal.wait_for("all acked and received")
        assert terminal.wait_for_end() == ExitCode.OK
        screen = terminal.screen()
        assert "published and acked" not in screen
        assert "█" in screen
        assert "p99.9" in screen


def test_pub_shows_progress_on_a_terminal(ours: Place, channel: str) -> None:
    with terminal_of(ours, "pub", channel, "x", "-n", "400", "--rate", "200") as terminal:
        terminal.wait_for(f"publishing to {channel}")
        terminal.wait_for("400 messages, 400 B")
        assert terminal.wait_for_end() == ExitCode.OK


def test_no_colours_if_nobody_wants_them(ours: Place, channel: str) -> None:
    run("pub", channel, "x", **ours.variables)
    with terminal_of(ours, "channels", channel, "--no-color") as terminal:
        terminal.wait_for(f"{channel}  messages")
        assert not re.search(r"\x1b\[(?:\d+;)*(?:3[0-8]|9[0-7])[;m]", terminal.screen(colours=True))


def test_a_screen_becomes_a_picture() -> None:
    drawn = svg("\x1b[31mred\x1b[0m plain\n", "a title", 40)
    assert drawn.startswith("<svg")
    assert "red" in drawn
    assert "a&#160;title" in drawn or "a title" in drawn
