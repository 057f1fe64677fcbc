import warnings
from collections.abc import Iterator

import pytest
from gpiozero import Device
from gpiozero.pins.mock import MockFactory, MockPin

from contract.positions import Position
from device.relays import RelayError, Relays

PINS = (17, 27)


class StuckLowPin(MockPin):  # type: ignore[misc]
    """GPIO 27 takes every write and stays low, as a pin with a short to ground does."""

    def _set_state(self, value: bool) -> None:
        super()._set_state(value and self._number != 27)


class BrokenPin(MockPin):  # type: ignore[misc]
    """GPIO 27 can be taken, but not driven high."""

    def _set_state(self, value: bool) -> None:
        if value and self._number == 27:
            raise ZeroDivisionError("a driver's own kind of error")
        super()._set_state(value)


class BusyPin(MockPin):  # type: ignore[misc]
    """GPIO 27 is held by another program. lgpio's own error has no parent but Exception."""

    def _set_function(self, value: str) -> None:
        if value == "output" and self._number == 27:
            raise Exception("'GPIO busy'")  # noqa: TRY002 - what lgpio does
        super()._set_function(value)


def use(pin_class: type[MockPin]) -> MockFactory:
    Device.pin_factory = MockFactory(pin_class=pin_class)
    return Device.pin_factory


@pytest.fixture
def factory() -> MockFactory:
    return use(MockPin)


@pytest.fixture(autouse=True)
def _no_factory_is_left_behind() -> Iterator[None]:
    yield
    if Device.pin_factory is not None:
        Device.pin_factory.reset()
    Device.pin_factory = None


def functions_of(factory: MockFactory) -> list[str]:
    return [factory.pin(number).function for number in PINS]


def test_R15_both_relays_are_open_at_the_start_and_have_not_moved(factory: MockFactory) -> None:
    for number in PINS:
        factory.pin(number).clear_states()

    relays = Relays(PINS)

    assert functions_of(factory) == ["output", "output"]
    for number in PINS:
        factory.pin(number).assert_states([False])
    relays.close()


def test_both_relays_move_together_and_only_when_told(factory: MockFactory) -> None:
    relays = Relays(PINS)

    for position in (Position.GRID, Position.GRID, Position.BATTERY, Position.BATTERY, Position.GRID):
        relays.write(position)
        assert {factory.pin(number).state for number in PINS} == {position is Position.GRID}

    for number in PINS:
        factory.pin(number).assert_states([False, True, False, True])
    relays.close()


def test_a_write_returns_what_the_pins_read_back(factory: MockFactory) -> None:
    relays = Relays(PINS)

    assert relays.write(Position.GRID) == (True, True)
    assert relays.write(Position.BATTERY) == (False, False)
    relays.close()


def test_a_disturbed_pin_is_put_right_by_the_next_write(factory: MockFactory) -> None:
    relays = Relays(PINS)
    relays.write(Position.GRID)

    factory.pin(17).state = False
    relays.write(Position.GRID)

    assert factory.pin(17).state
    relays.close()


def test_R9_a_relay_that_reads_back_otherwise_is_an_error() -> None:
    factory = use(StuckLowPin)
    relays = Relays(PINS)

    with pytest.raises(RelayError, match=r"relays told True, read back \[True, False\]") as caught:
        relays.write(Position.GRID)
    assert caught.value.levels == (True, False)
    relays.write(Position.BATTERY)

    assert not factory.pin(17).state
    relays.close()


def test_R8_a_write_that_raises_is_an_error_of_the_relays_and_the_next_one_still_opens_both() -> None:
    factory = use(BrokenPin)
    relays = Relays(PINS)

    with pytest.raises(RelayError, match="relays not written: a driver's own kind of error") as caught:
        relays.write(Position.GRID)
    assert caught.value.levels is None
    relays.write(Position.BATTERY)

    assert [factory.pin(number).state for number in PINS] == [False, False]
    relays.close()


def test_R15_relays_that_should_be_closed_are_closed_from_the_start(factory: MockFactory) -> None:
    relays = Relays(PINS, Position.GRID)

    for number in PINS:
        factory.pin(number).assert_states([False, True])
        assert factory.pin(number).states[-1].state
    relays.close()


def test_R9_pins_that_were_found_otherwise_are_put_right_three_times_and_then_given_up(
    factory: MockFactory, caplog: pytest.LogCaptureFixture
) -> None:
    relays = Relays(PINS, Position.GRID)
    relays.write(Position.GRID)
    assert not caplog.records

    for _ in range(3):
        factory.pin(27).state = False
        relays.write(Position.GRID)
    factory.pin(27).state = False
    with pytest.raises(
        RelayError, match=r"^relays put right 4 times; see that nothing else drives their pins$"
    ) as caught:
        relays.write(Position.GRID)
    assert caught.value.levels == (True, True)

    assert [record.getMessage() for record in caplog.records] == [
        "relays left True, found [True, False]; writing again"
    ] * 4
    relays.close()


class OnceBrokenPin(MockPin):  # type: ignore[misc]
    """GPIO 27 refuses to be driven high once."""

    left = 1

    def _set_state(self, value: bool) -> None:
        if value and self._number == 27 and OnceBrokenPin.left:
            OnceBrokenPin.left -= 1
            raise OSError("busy")
        super()._set_state(value)


def test_R8_a_write_that_fails_once_is_repeated_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    OnceBrokenPin.left = 1
    factory = use(OnceBrokenPin)
    relays = Relays(PINS)

    relays.write(Position.GRID)

    assert [factory.pin(number).state for number in PINS] == [True, True]
    assert [record.getMessage() for record in caplog.records] == ["relays not written: busy; writing again"]
    relays.close()


def test_R9_pins_that_cannot_be_read_are_written_and_complained_of(
    factory: MockFactory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    relays = Relays(PINS, Position.GRID)

    def unreadable(_pin: MockPin) -> bool:
        raise OSError("no answer")

    monkeypatch.setattr(MockPin, "_get_state", unreadable)
    with pytest.raises(RelayError, match=r"^relays not read: no answer$") as caught:
        relays.write(Position.BATTERY)
    assert caught.value.levels is None
    monkeypatch.undo()

    assert [factory.pin(number).state for number in PINS] == [False, False]
    assert caplog.records[0].getMessage() == "relays not read: no answer; writing again"
    relays.close()


@pytest.mark.filterwarnings("error")
def test_without_a_pi_the_gpio_librarys_own_warnings_are_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    Device.pin_factory = None
    monkeypatch.delenv("GPIOZERO_PIN_FACTORY", raising=False)

    with pytest.raises(RelayError) as caught:
        Relays(PINS)

    with pytest.raises(UserWarning):
        warnings.warn("somebody else's", UserWarning, stacklevel=1)
    assert "Falling back" not in str(caught.value)
    assert caught.value.__cause__ is not None


def test_closing_makes_inputs_of_both_pins(factory: MockFactory) -> None:
    relays = Relays(PINS)
    relays.write(Position.GRID)

    relays.close()
    relays.close()

    assert functions_of(factory) == ["input", "input"]


def test_closed_relays_cannot_be_written(factory: MockFactory) -> None:
    relays = Relays(PINS)
    relays.close()

    with pytest.raises(RelayError):
        relays.write(Position.GRID)

    assert functions_of(factory) == ["input", "input"]


def test_without_gpio_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Device.pin_factory = None
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "nonesuch")

    with pytest.raises(RelayError, match=r"GPIO 17 cannot be used: .*nonesuch.*see that this is a Pi.*group gpio"):
        Relays(PINS)


def test_a_pin_that_another_program_holds_is_named_and_the_first_one_is_let_go() -> None:
    factory = use(BusyPin)

    with pytest.raises(RelayError, match=r"GPIO 27 cannot be used: 'GPIO busy'; .*no other program holds the pin"):
        Relays(PINS)

    assert functions_of(factory) == ["input", "input"]


def test_R14_pins_that_this_process_holds_already_are_refused(factory: MockFactory) -> None:
    relays = Relays(PINS)
    relays.write(Position.GRID)

    with pytest.raises(RelayError, match="GPIO 17 cannot be used"):
        Relays(PINS)

    assert all(factory.pin(number).state for number in PINS)
    relays.close()
