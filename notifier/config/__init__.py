"""The configuration: YAML -> interpolated -> validated -> frozen models.

::

    document      text -> nodes that know their lines          interpolate   ${VAR} -> its value
    model, sinks, rules, templates, calendars, digests, owners, people, fields, urls, durations, words
                                                                what each key may hold
    references    what keys must be to each other              later         keys of later releases
    explain       errors -> problems in plain words            load          all of it, on a file
    advice        what is allowed and surely not meant         schema        for editors

Inert: a file can name values, and nothing in it can run, recurse or be read in two ways.
"""

from __future__ import annotations

from notifier.config.advice import warnings
from notifier.config.calendars import CalendarConfig
from notifier.config.digests import At, DigestConfig
from notifier.config.durations import BusinessDays, format_duration, parse_duration
from notifier.config.fields import Address, parse_listen
from notifier.config.load import ConfigFile, load
from notifier.config.model import Config, GuardsConfig, HttpConfig, SourceConfig
from notifier.config.owners import OwnersConfig
from notifier.config.rules import RuleConfig, Selection, Target, When, While, is_among, parse_target
from notifier.config.schema import json_schema
from notifier.config.sinks import (
    ConsoleConfig,
    MessageSettings,
    SinkConfig,
    SinkSettings,
    SlackConfig,
    WebhookConfig,
)
from notifier.config.words import EVENT_TYPES, REPORT_TYPES

__all__ = [
    "EVENT_TYPES",
    "REPORT_TYPES",
    "Address",
    "At",
    "BusinessDays",
    "CalendarConfig",
    "Config",
    "ConfigFile",
    "ConsoleConfig",
    "DigestConfig",
    "GuardsConfig",
    "HttpConfig",
    "MessageSettings",
    "OwnersConfig",
    "RuleConfig",
    "Selection",
    "SinkConfig",
    "SinkSettings",
    "SlackConfig",
    "SourceConfig",
    "Target",
    "WebhookConfig",
    "When",
    "While",
    "format_duration",
    "is_among",
    "json_schema",
    "load",
    "parse_duration",
    "parse_listen",
    "parse_target",
    "warnings",
]
