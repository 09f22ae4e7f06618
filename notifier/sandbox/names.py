"""The names that a simulated world is made of, and the employer record that a number stands for.

Carriers are those that a benefits team really meets; employers are made up. An employer is derived from
its number whenever it is asked for, so that a hundred thousand of them cost no memory.
"""

from __future__ import annotations

import random
from typing import Any

#: Trade name and legal name.
CARRIERS = (
    ("Guardian", "The Guardian Life Insurance Company of America"),
    ("Aetna", "Aetna Life Insurance Company"),
    ("MetLife", "Metropolitan Life Insurance Company"),
    ("Principal", "Principal Life Insurance Company"),
    ("Unum", "Unum Life Insurance Company of America"),
    ("Delta Dental", "Delta Dental Plans Association"),
    ("VSP", "Vision Service Plan"),
    ("Cigna", "Cigna Health and Life Insurance Company"),
    ("Humana", "Humana Insurance Company"),
    ("Sun Life", "Sun Life Assurance Company of Canada"),
    ("Mutual of Omaha", "United of Omaha Life Insurance Company"),
    ("Kaiser Permanente", "Kaiser Foundation Health Plan, Inc."),
    ("Lincoln Financial", "The Lincoln National Life Insurance Company"),
    ("Anthem Blue Cross", "Blue Cross of California"),
    (None, "Beam Insurance Services LLC"),
)

_FIRST = (
    "Acme Corp", "Harbor Bakery", "Northwind Logistics", "Juniper & Sons Plumbing", "Bluebird Books",
    "Cedar Creek Dental", "Redwood Robotics", "Maple Street Market", "Summit Cycle Works", "Lakeside Vets",
    "Copper Kettle Coffee", "Granite Peak Roofing", "Sunrise Senior Care", "Willow Yoga", "Ironbridge Steel",
    "Café Lumière", "Pinecrest Nurseries", "Quarry Lane Studios", "Riverbend Builders", "Tidewater Marine",
)  # fmt: skip
_PLACES = (
    "Amber", "Birch", "Clover", "Dover", "Elm", "Falcon", "Glen", "Hazel", "Ivy", "Jasper", "Kestrel",
    "Linden", "Meadow", "Nimbus", "Orchard", "Prairie", "Quill", "Rowan", "Sable", "Thistle",
)  # fmt: skip
_TRADES = (
    "Analytics", "Brewing", "Catering", "Design", "Electric", "Farms", "Glassworks", "Hardware", "Imports",
    "Joinery", "Kitchens", "Landscaping", "Motors", "Networks", "Optics", "Printing", "Realty", "Solar",
    "Textiles", "Woodworks",
)  # fmt: skip
_CITIES = (
    ("Portland", "OR", "97201"), ("Austin", "TX", "78701"), ("Columbus", "OH", "43215"),
    ("Denver", "CO", "80202"), ("Raleigh", "NC", "27601"), ("Madison", "WI", "53703"),
)  # fmt: skip
_NAMELESS = 7  # every so manieth employer has no trade name


def employer_name(number: int) -> str:
    """The name of employer ``number``: no two employers have the same one."""
    if number < len(_FIRST):
        return _FIRST[number]
    rest, place = divmod(number - len(_FIRST), len(_PLACES))
    round_, trade = divmod(rest, len(_TRADES))
    return f"{_PLACES[place]} {_TRADES[trade]}" + (f" {round_ + 1}" if round_ else "")


def employer_record(id_: str, number: int, seed: int) -> dict[str, Any]:
    """Employer ``number`` as ``GET /employers/{id}`` answers it; the same for the same arguments."""
    rng = random.Random(f"{seed}/{number}")
    name = employer_name(number)
    slug = "".join(letter for letter in name.lower() if letter.isascii() and letter.isalnum())
    city, state, postal_code = rng.choice(_CITIES)
    return {
        "id": id_,
        "legal_name": f"{name}{rng.choice((', Inc.', ' LLC', ', LP'))}",
        "trade_name": None if number % _NAMELESS == _NAMELESS - 1 else name,
        "external_id": str(48213 + 17 * number),
        "federal_ein": federal_ein(rng),
        "phone_number": f"+1503555{rng.randrange(10_000):04}",
        "email": f"benefits@{slug}.example",
        "address": {
            "line_1": f"{rng.randrange(1, 9900)} {rng.choice(_PLACES)} Street",
            "line_2": None,
            "city": city,
            "state": state,
            "postal_code": postal_code,
        },
    }


def federal_ein(rng: random.Random) -> str:
    """A made-up employer identification number: ten characters with its hyphen."""
    return f"{rng.randrange(10, 100)}-{rng.randrange(10_000_000):07}"
