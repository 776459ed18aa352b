"""NIRCam's filter and pupil wheels in imaging: which array, filter and pupil an exposure can have."""

from dataclasses import dataclass

__all__ = ["IN_PUPIL_WHEEL", "LONG_FILTERS", "SHORT_FILTERS", "Mismatch", "find_mismatch"]


SHORT_FILTERS = (
    "F070W", "F090W", "F115W", "F140M", "F150W", "F150W2", "F182M", "F187N", "F200W", "F210M", "F212N",
)  # fmt: skip
LONG_FILTERS = (
    "F250M", "F277W", "F300M", "F322W2", "F335M", "F356W", "F360M", "F410M", "F430M", "F444W", "F460M", "F480M",
)  # fmt: skip
IN_PUPIL_WHEEL = {
    "F162M": "F150W2", "F164N": "F150W2", "F323N": "F322W2", "F405N": "F444W", "F466N": "F444W", "F470N": "F444W",
}  # fmt: skip
"""Bands in the pupil wheel, and the filter that is used with each."""


@dataclass(frozen=True)
class Mismatch:
    """Why no exposure has an array, filter and pupil, and the fields that a user most likely meant."""

    reason: str
    meant: dict[str, str]

    def in_words(self, form: str = "{name}: {value}", join: str = ", ") -> str:
        """Reason and intended names, as a row of the table or as options."""
        fields = join.join(form.format(name=name, value=value) for name, value in self.meant.items())
        return self.reason + (f": {fields}" if fields else "")

    def as_options(self) -> str:
        """Reason and intended names, as options of the command."""
        return self.in_words("--{name} {value}", " ")


def find_mismatch(array: str, filter: str, pupil: str) -> Mismatch | None:
    """Find why no imaging exposure can have an array, filter and pupil; None where one can."""
    if filter in IN_PUPIL_WHEEL:
        return Mismatch(f"{filter} is in the pupil wheel", {"filter": IN_PUPIL_WHEEL[filter], "pupil": filter})
    mine, others = (LONG_FILTERS, SHORT_FILTERS) if array == "long" else (SHORT_FILTERS, LONG_FILTERS)
    if filter in others:
        name, arrays = ("short", "1, 2, 3 or 4") if array == "long" else ("long", "long")
        return Mismatch(f"{filter} is a filter of the {name}-wavelength arrays", {"array": arrays})
    if filter not in mine:
        return Mismatch(f"NIRCam has no filter {filter}; filters of array {array} are {', '.join(mine)}", {})
    if pupil == "CLEAR" or IN_PUPIL_WHEEL.get(pupil) == filter:
        return None
    if pupil in IN_PUPIL_WHEEL:
        return Mismatch(f"pupil {pupil} is used with another filter", {"filter": IN_PUPIL_WHEEL[pupil], "pupil": pupil})
    known = ", ".join(["CLEAR", *(name for name, wheel in IN_PUPIL_WHEEL.items() if wheel in mine)])
    return Mismatch(f"pupil {pupil} is not used in imaging; pupils of array {array} are {known}", {})
