"""What is wrong with rules with `while` and with calendars is told where it stands."""

from __future__ import annotations

import pytest

from tests.unit.test_config import RULE, assert_told

# (what is replaced in GOOD, by what, what is said)
# fmt: off
BAD = {
    "neither": ("    when: {}\n", "", ':20: rules[0]: needs "when" (a moment) or "while" (a condition), and has neither'),
    "both": ("when: {}", "when: {}\n    while: {entity: connection}", ':22: rules[0].while: "when" and "while" exclude each other'),
    "while_all": ("when: {}", "while: {}", ":21: rules[0].while.entity: required, and not there"),
    "while_key": ("when: {}", "while: {entity: connection, to: x}", 'rules[0].while.to: "to" is a key of "when"; "while" has "status" and "not_status"'),
    "while_unknown": ("when: {}", "while: {entity: connection, unchangd: 3d}", 'unchangd: unknown key; did you mean "unchanged"?'),
    "for": ("when: {}", "when: {}\n    for: 10m", ':22: rules[0].for: belongs to rules with "while"; this one has "when"'),
    "for_zero": ("when: {}", "while: {entity: connection}\n    for: 0bd", "rules[0].for: must be at least 1bd"),
    "for_days": ("when: {}", "while: {entity: connection}\n    for: 501bd", "rules[0].for: is more than 500 business days"),
    "active_program": ("type: console", "type: console\n    active: office", '"active" is for sinks for people; programs are told at any time'),
    "active_calendar": ('"#ops"', '"#ops"\n    active: office', 'sinks.ops.active: names a calendar, and there are none; add "calendars"'),
    "active_keys": ('"#ops"', '"#ops"\n    active: {calendar: ofice}', "sinks.ops.active.calendar: names a calendar, and there are none"),
    "active_except": ('"#ops"\n', '"#ops"\n    active: {calender: office}\n', 'sinks.ops.active.calender: unknown key; did you mean "calendar"?'),
    "existing": ("when: {}", "while: {entity: connection}\n    include_existing: none", 'rules[0].include_existing: unknown value "none"; did you mean "no"?'),
    "day_open": ("name: test", "name: test\ncalendars: {office: {timezone: UTC, days: mon-}}", 'unknown day of the week ""'),
    "hardly_open": ("name: test", 'name: test\ncalendars: {office: {timezone: UTC, days: sun, hours: "09:00-13:00"}}', "is open for less than five hours a week"),
    "for_open": (RULE, RULE.replace("when: {}", "while: {entity: connection}\n    calendar: office\n    for: 11d") + "calendars: {office: {timezone: UTC}}\n", 'rules[0].for: counts open hours of the calendar: at most 10d; use business days ("20bd")'),
    "unchanged_open": (RULE, RULE.replace("when: {}", "while: {entity: connection, unchanged: 11d}\n    calendar: office") + "calendars: {office: {timezone: UTC}}\n", "rules[0].while.unchanged: counts open hours of the calendar"),
    "no_calendar": ("when: {}", "while: {entity: connection}\n    calendar: office", 'rules[0].calendar: names a calendar, and there are none; add "calendars"'),
    "other_calendar": (RULE, RULE.replace("when: {}", "while: {entity: connection}\n    calendar: ofice") + "calendars: {office: {timezone: UTC}}\n", 'rules[0].calendar: unknown calendar "ofice"; did you mean "office"?'),
    "no_zone": ("name: test", "name: test\ncalendars: {office: {}}", ":2: calendars.office.timezone: required, and not there"),
    "zone": ("name: test", "name: test\ncalendars: {office: {timezone: America/NewYork}}", 'unknown time zone "America/NewYork"; did you mean "America/New_York"?'),
    "zone_path": ("name: test", "name: test\ncalendars: {office: {timezone: ../../etc/passwd}}", "unknown time zone"),
    "day": ("name: test", "name: test\ncalendars: {office: {timezone: UTC, days: mon-fry}}", 'days: unknown day of the week "fry"; did you mean "fri"?'),
    "days_back": ("name: test", "name: test\ncalendars: {office: {timezone: UTC, days: sat-mon}}", "goes backwards"),
    "hours": ("name: test", 'name: test\ncalendars: {office: {timezone: UTC, hours: "9-17"}}', "is not a span of hours; write 09:00-17:30"),
    "hours_day": ("name: test", 'name: test\ncalendars: {office: {timezone: UTC, hours: "09:00-24:30"}}', "names no time of day"),
    "hours_back": ("name: test", 'name: test\ncalendars: {office: {timezone: UTC, hours: "22:00-06:00"}}', "ends before it begins; for a night write [00:00-06:00, 22:00-24:00]"),
    "hours_twice": ("name: test", 'name: test\ncalendars: {office: {timezone: UTC, hours: ["09:00-12:00", "11:00-17:00"]}}', "holds spans that overlap"),
    "country": ("name: test", "name: test\ncalendars: {office: {timezone: UTC, holidays: USA}}", 'unknown country with public holidays "USA"; did you mean "US"?'),
    "country_code": ("name: test", "name: test\ncalendars: {office: {timezone: UTC, holidays: gbr}}", 'unknown country with public holidays "gbr"; did you mean "GB"?'),
    "zone_number": ("name: test", "name: test\ncalendars: {office: {timezone: EST5}}", 'unknown time zone "EST5"; did you mean "America/New_York"?'),
    "zone_pacific": ("name: test", "name: test\ncalendars: {office: {timezone: PT}}", 'unknown time zone "PT"; did you mean "America/Los_Angeles"?'),
    "zone_city": ("name: test", "name: test\ncalendars: {office: {timezone: New York}}", 'unknown time zone "New York"; did you mean "America/New_York"?'),
    "zone_small": ("name: test", "name: test\ncalendars: {office: {timezone: berlin}}", 'unknown time zone "berlin"; did you mean "Europe/Berlin"?'),
    "state": ("name: test", "name: test\ncalendars: {office: {timezone: UTC, holidays: US-XX}}", "unknown part of a country"),
    "date": ("name: test", "name: test\ncalendars: {office: {timezone: UTC, holidays: 2026-02-30}}", "is not a date; write 2026-12-24"),
    "status_in_when": ("when: {}", "when: {status: x}", 'rules[0].when.status: "status" is a key of "while"'),
}
# fmt: on


@pytest.mark.parametrize(("old", "new", "told"), BAD.values(), ids=BAD)
def test_tells_what_is_wrong_and_where(tmp_path, old, new, told):
    assert_told(tmp_path, old, new, told)
