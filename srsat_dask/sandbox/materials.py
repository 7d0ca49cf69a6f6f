"""What the landscape is made of, and its colours."""

from dataclasses import dataclass
from enum import IntEnum, auto

import numpy as np
from numpy.typing import NDArray

from srsat_dask.sandbox.noise import Floats


class Material(IntEnum):
    """Everything that can lie uppermost."""

    ASPHALT = 0
    CONCRETE = auto()
    GRAVEL = auto()
    SOIL = auto()
    GRASS = auto()
    DRY_GRASS = auto()
    UNDERGROWTH = auto()
    WATER = auto()
    SLATE = auto()
    CHARCOAL = auto()
    BROWN_TILE = auto()
    RED_TILE = auto()
    BLUE_TILE = auto()
    GREY_METAL = auto()
    WHITE_METAL = auto()
    TEAL_METAL = auto()
    RUST_METAL = auto()
    PLASTIC = auto()
    PANEL = auto()
    PAINT = auto()
    RICE = auto()
    RIPE_RICE = auto()
    STUBBLE = auto()
    WET_SOIL = auto()
    CABBAGE = auto()
    WHEAT = auto()
    TEA = auto()
    CEDAR = auto()
    BROADLEAF = auto()
    LIGHT_LEAF = auto()
    AUTUMN_LEAF = auto()
    RED_CAR = auto()
    BLUE_CAR = auto()
    DARK_CAR = auto()


_COLOURS: dict[Material, tuple[int, int, int, float]] = {
    # red, green, blue in full sun; how blotchy (share of brightness)
    Material.ASPHALT: (112, 113, 116, 0.10),
    Material.CONCRETE: (171, 168, 160, 0.12),
    Material.GRAVEL: (164, 155, 139, 0.22),
    Material.SOIL: (142, 117, 89, 0.20),
    Material.GRASS: (105, 124, 71, 0.30),
    Material.DRY_GRASS: (148, 145, 101, 0.28),
    Material.UNDERGROWTH: (52, 66, 42, 0.40),
    Material.WATER: (50, 72, 74, 0.10),
    Material.SLATE: (105, 110, 118, 0.07),
    Material.CHARCOAL: (72, 73, 77, 0.07),
    Material.BROWN_TILE: (123, 95, 79, 0.08),
    Material.RED_TILE: (156, 91, 73, 0.08),
    Material.BLUE_TILE: (82, 104, 138, 0.08),
    Material.GREY_METAL: (158, 162, 166, 0.06),
    Material.WHITE_METAL: (214, 216, 215, 0.05),
    Material.TEAL_METAL: (104, 145, 140, 0.06),
    Material.RUST_METAL: (139, 106, 86, 0.14),
    Material.PLASTIC: (203, 209, 208, 0.08),
    Material.PANEL: (43, 52, 82, 0.04),
    Material.PAINT: (226, 226, 220, 0.08),
    Material.RICE: (98, 128, 70, 0.13),
    Material.RIPE_RICE: (172, 158, 88, 0.13),
    Material.STUBBLE: (166, 146, 108, 0.16),
    Material.WET_SOIL: (95, 84, 70, 0.18),
    Material.CABBAGE: (108, 140, 98, 0.14),
    Material.WHEAT: (194, 176, 114, 0.10),
    Material.TEA: (74, 103, 58, 0.16),
    Material.CEDAR: (57, 77, 48, 0.26),
    Material.BROADLEAF: (83, 108, 56, 0.26),
    Material.LIGHT_LEAF: (104, 122, 70, 0.24),
    Material.AUTUMN_LEAF: (122, 105, 66, 0.24),
    Material.RED_CAR: (176, 58, 52, 0.0),
    Material.BLUE_CAR: (70, 92, 140, 0.0),
    Material.DARK_CAR: (58, 60, 64, 0.0),
}

COLOURS = np.array([_COLOURS[each][:3] for each in Material], np.float32)
"""Red, green and blue of each material in full sun, shape (materials, 3), 0..255."""

BLOTCHES = np.array([_COLOURS[each][3] for each in Material], np.float32)
"""How far the brightness of each material strays from place to place, share of 1."""

CARS = np.array(
    [
        Material.PAINT, Material.PAINT, Material.WHITE_METAL, Material.GREY_METAL,
        Material.DARK_CAR, Material.DARK_CAR, Material.RED_CAR, Material.BLUE_CAR,
    ],
    np.uint8,
)  # fmt: skip
"""What to draw a car's colour from."""


@dataclass
class Surface:
    """What lies uppermost at n points. Painters write into it back to front."""

    material: NDArray[np.uint8]
    """A :class:`Material` each, shape (n,)."""

    shade: Floats
    """Brightness relative to the material's own, shape (n,)."""

    height: Floats
    """Above the ground, metres, shape (n,)."""

    @classmethod
    def bare(cls, size: int, material: Material) -> "Surface":
        """Cover n points with one material, flat."""
        return cls(
            np.full(size, material, np.uint8), np.ones(size, np.float32), np.zeros(size, np.float32)
        )

    def __getitem__(self, chosen: NDArray[np.bool_]) -> "Surface":
        return Surface(self.material[chosen], self.shade[chosen], self.height[chosen])

    def lay(self, at: NDArray[np.intp], part: "Surface") -> None:
        """Replace the points of the given indices by those of another surface."""
        self.material[at], self.shade[at] = part.material, part.shade
        self.height[at] = part.height

    def paint(
        self,
        where: NDArray[np.bool_],
        material: NDArray[np.uint8] | Material,
        shade: Floats | float = 1.0,
        height: Floats | float = 0.0,
    ) -> None:
        """Lay something over the points ``where`` is true at."""
        np.copyto(self.material, np.asarray(material, np.uint8), where=where)
        np.copyto(self.shade, np.asarray(shade, np.float32), where=where)
        np.copyto(self.height, np.asarray(height, np.float32), where=where)


def pick(choices: list[Material] | NDArray[np.uint8], chance: Floats) -> NDArray[np.uint8]:
    """Choose one of the materials for each number in [0, 1)."""
    table = np.array(choices, np.uint8)
    return table[(chance * len(table)).astype(np.intp)]
