"""The board: what one process writes, another reads, and counts are exact whoever adds to them."""

import os
import subprocess
import sys
import time

import pytest

from fastserve.transport._board import DRAINING, FREE, READY, STARTING, Board


@pytest.fixture
def board():
    made = Board(slots=4, cells=6)
    yield made
    made.close()


def test_a_new_board_is_empty(board):
    assert [board.slot_cell(slot) for slot in range(4)] == [-1] * 4
    assert {(board.pid(cell), board.state(cell), board.heartbeat(cell)) for cell in range(6)} == {(0, FREE, 0.0)}
    assert {(board.connections(cell), board.requests(cell), board.running(cell)) for cell in range(6)} == {(0, 0, 0)}
    assert {board.description(cell) for cell in range(6)} == {""}


def test_cells_are_apart(board):
    for cell in range(6):
        board.set_pid(cell, 100 + cell)
        board.set_state(cell, READY if cell % 2 else STARTING)
        board.set_connections(cell, 200 + cell)
        board.beat(cell, 300 + cell, 400 + cell, f"GET /{cell}")
    for slot in range(4):
        board.set_slot_cell(slot, 5 - slot)
    for cell in range(6):
        assert board.pid(cell) == 100 + cell
        assert board.state(cell) == (READY if cell % 2 else STARTING)
        assert (board.connections(cell), board.requests(cell), board.running(cell)) == (
            200 + cell,
            300 + cell,
            400 + cell,
        )
        assert board.description(cell) == f"GET /{cell}"
    assert [board.slot_cell(slot) for slot in range(4)] == [5, 4, 3, 2]


def test_clearing_leaves_the_neighbours(board):
    for cell in (1, 2, 3):
        board.set_pid(cell, 7)
        board.beat(cell, 1, 1, "GET /")
    board.clear(2)
    assert [board.pid(cell) for cell in (1, 2, 3)] == [7, 0, 7]
    assert [board.description(cell) for cell in (1, 2, 3)] == ["GET /", "", "GET /"]
    assert board.heartbeat(2) == 0.0


def test_heartbeat_is_on_the_monotonic_clock(board):
    before = time.monotonic()
    board.beat(0, 0, 0, "")
    assert before <= board.heartbeat(0) <= time.monotonic()
    board.set_heartbeat(0, 12.5)
    assert board.heartbeat(0) == pytest.approx(12.5)


@pytest.mark.parametrize("text", ["", "GET /", "ä" * 500, "x" * 5000, "ä€" * 1000, "\udc80"])
def test_description_is_cut_between_characters(board, text):
    board.beat(0, 0, 0, "something long before " * 20)
    board.beat(0, 0, 0, text)
    said = board.description(0)
    assert text.encode("utf-8", "backslashreplace").decode().startswith(said)
    assert len(said.encode()) >= min(997, len(text.encode("utf-8", "backslashreplace")))
    assert len(said.encode()) <= 1000


def test_slot_can_be_given_up(board):
    board.set_slot_cell(1, 3)
    board.set_slot_cell(1, -1)
    assert board.slot_cell(1) == -1


def test_numbers_out_of_range(board):
    for cell in (-1, 6, 1 << 40):
        with pytest.raises((IndexError, OverflowError)):
            board.pid(cell)
        with pytest.raises((IndexError, OverflowError)):
            board.beat(cell, 0, 0, "")
    for slot in (-1, 4):
        with pytest.raises(IndexError):
            board.slot_cell(slot)
        with pytest.raises(IndexError):
            board.set_slot_cell(slot, 0)
    with pytest.raises(IndexError):
        board.set_slot_cell(0, 6)


def test_a_closed_board_has_no_cells():
    board = Board()
    board.close()
    board.close()
    assert board.fd == -1
    with pytest.raises(IndexError):
        board.pid(0)
    with pytest.raises(IndexError):
        board.set_slot_cell(0, -1)


def test_what_is_no_board(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(4096))
    with path.open("r+b") as file, pytest.raises(ValueError, match="not a board"):
        Board(file.fileno())
    with pytest.raises(ValueError, match="at least one"):
        Board(slots=0)
    with pytest.raises(ValueError, match="fewer than"):
        Board(cells=70000)


def test_two_objects_see_the_same(board):
    other = Board(os.dup(board.fd))
    assert (other.slots, other.cells) == (4, 6)
    other.set_state(3, DRAINING)
    other.beat(3, 9, 8, "POST /x")
    assert (board.state(3), board.requests(3), board.running(3), board.description(3)) == (DRAINING, 9, 8, "POST /x")
    other.close()
    assert board.state(3) == DRAINING


def test_another_process(board):
    program = (
        "import os, sys; from fastserve.transport._board import Board\n"
        "board = Board(int(sys.argv[1])); board.set_pid(5, os.getpid()); board.beat(5, 11, 2, 'GET /süß')\n"
        "board.set_slot_cell(2, 5)"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(board.fd)], pass_fds=[board.fd])
    assert child.wait(30) == 0
    assert (board.pid(5), board.requests(5), board.running(5)) == (child.pid, 11, 2)
    assert board.description(5) == "GET /süß"
    assert board.slot_cell(2) == 5


def test_a_text_is_never_seen_half_written(board):
    """Another process writes texts of one letter each as fast as it can."""
    program = (
        "import sys; from fastserve.transport._board import Board\n"
        "board = Board(int(sys.argv[1])); number = 0\n"
        "while not board.pid(1):\n"
        "    number += 1; board.beat(0, number, 0, 'abcdefgh'[number % 8] * (100 + number % 900))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(board.fd)], pass_fds=[board.fd])
    try:
        deadline = time.monotonic() + 20
        while not board.requests(0) and time.monotonic() < deadline:
            pass
        mixed = [text for _ in range(3000) if len(set(text := board.description(0))) > 1]
    finally:
        board.set_pid(1, 1)
        assert child.wait(30) == 0
    assert mixed == []
    assert len(set(board.description(0))) == 1
