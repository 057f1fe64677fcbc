"""The steel box with the two solid-state relays, the Pi and a fan."""

from dataclasses import dataclass
from math import exp


@dataclass(frozen=True, slots=True)
class BoxSettings:
    """Two relays with about 1.2 V across each while they conduct (usual for a triac or a pair of thyristors)."""

    relays: int = 2
    relay_drop_v: float = 1.2
    electronics_w: float = 4.0
    heat_capacity_j_per_k: float = 8000.0
    still_loss_w_per_k: float = 0.95
    fan_loss_w_per_k: float = 7.0


class Box:
    """The box's temperature, degrees Celsius."""

    def __init__(self, settings: BoxSettings, temperature_c: float) -> None:
        self.settings = settings
        self.temperature_c = temperature_c

    def relay_heat_w(self, relay_current_a: float) -> float:
        """Heat that the relays make at this AC current, W."""
        return self.settings.relays * self.settings.relay_drop_v * relay_current_a

    def step(self, dt_s: float, relay_current_a: float, ambient_c: float, fan_working: bool) -> None:
        """Warm or cool for `dt_s` towards where heat and loss are equal."""
        loss_w_per_k = self.settings.fan_loss_w_per_k if fan_working else self.settings.still_loss_w_per_k
        heat_w = self.settings.electronics_w + self.relay_heat_w(relay_current_a)
        settled_c = ambient_c + heat_w / loss_w_per_k
        remaining = exp(-dt_s * loss_w_per_k / self.settings.heat_capacity_j_per_k)
        self.temperature_c = settled_c + (self.temperature_c - settled_c) * remaining
