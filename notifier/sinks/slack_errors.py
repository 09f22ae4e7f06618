"""What each of Slack's errors means for a delivery, and what a person can do. A table, pure.

The errors are those documented for chat.postMessage and for incoming webhooks (which answer in plain text).
``TEMPORARY``: later it may work. ``MESSAGE``: this message never will. ``SINK``: no message will until
somebody acts. ``CHANNEL``: the same for one channel; where a rule names another channel than the sink's own,
only what goes to that channel waits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum

from notifier.errors import DeliveryError, PermanentFailure, SinkFault, TemporaryFailure


class Fault(StrEnum):
    """Whose fault an error is."""

    TEMPORARY = "temporary"
    MESSAGE = "message"
    SINK = "sink"
    CHANNEL = "channel"


_TOKEN = "correct token: the Bot User OAuth Token of an installed app (xoxb-...)"  # noqa: S105
_ADMIN = "ask an administrator of the workspace to allow the app to post"
_CHANNEL = "correct the channel, or /invite the app to it if it is private"
_LATER = "Slack has trouble; it is tried again"
_OURS = "the message is not as Slack wants it; please report this"
_HOOK = "make a new incoming webhook and set webhook_url"

_TABLE: Mapping[Fault, Mapping[str, str]] = {
    Fault.TEMPORARY: {
        "rate_limited": "too many messages; it is tried again when Slack says so",
        "ratelimited": "too many messages; it is tried again when Slack says so",
        "message_limit_exceeded": "the workspace sends too many messages; see Slack's usage limits",
        "fatal_error": _LATER,
        "internal_error": _LATER,
        "service_unavailable": _LATER,
        "request_timeout": _LATER,
        "team_added_to_org": "the workspace moves to an Enterprise organization; it is tried again",
        "org_login_required": "the workspace moves to an Enterprise organization; it is tried again",
        "rollup_error": _LATER,
    },
    Fault.MESSAGE: {
        "invalid_blocks": _OURS,
        "invalid_blocks_format": _OURS,
        "msg_blocks_too_long": _OURS,
        "msg_too_long": _OURS,
        "no_text": _OURS,
        "missing_text_or_fallback_or_attachments": _OURS,
        "too_many_attachments": _OURS,
        "attachment_payload_limit_exceeded": _OURS,
        "too_many_contact_cards": _OURS,
        "markdown_text_conflict": _OURS,
        "missing_file_data": _OURS,
        "invalid_metadata_format": _OURS,
        "invalid_metadata_schema": _OURS,
        "metadata_too_large": _OURS,
        "metadata_must_be_sent_from_app": _OURS,
        "invalid_arguments": _OURS,
        "invalid_arg_name": _OURS,
        "invalid_array_arg": _OURS,
        "invalid_charset": _OURS,
        "invalid_form_data": _OURS,
        "invalid_post_type": _OURS,
        "missing_post_type": _OURS,
        "invalid_payload": _OURS,
        "as_user_not_supported": _OURS,
        "send_on_behalf_not_allowed": _OURS,
        "cannot_reply_to_message": _OURS,
        "draft_already_deleted": _OURS,
        "draft_already_sent": _OURS,
        "draft_has_conflict": _OURS,
        "draft_not_found": _OURS,
        "duplicate_channel_not_found": _OURS,
        "duplicate_message_not_found": _OURS,
        "slack_connect_canvas_sharing_blocked": _OURS,
        "slack_connect_file_link_sharing_blocked": _OURS,
        "slack_connect_lists_sharing_blocked": _OURS,
        "message_not_found": "somebody has deleted the message",
        "cant_update_message": "the message is not the app's own",
        "users_not_found": "nobody in the workspace has this e-mail address",
        "edit_window_closed": "the workspace lets nobody change a message that is so old",
        "thread_not_found": "somebody has deleted the message",
        "restricted_action_thread_locked": "the thread is locked",
        "restricted_action_non_threadable_channel": "the channel takes no replies in threads",
    },
    Fault.CHANNEL: {
        "channel_not_found": _CHANNEL,
        "not_in_channel": "/invite the app to the channel",
        "is_archived": "the channel is archived: unarchive it, or name another",
        "channel_is_archived": "the channel is archived: unarchive it, or name another",
        "restricted_action": _ADMIN,
        "restricted_action_read_only_channel": "the channel is read-only; " + _ADMIN,
        "restricted_action_thread_only_channel": "the channel takes threads only; name another",
        "messages_tab_disabled": "switch on the Messages tab under App Home, or name a channel",
        "user_not_found": "the user that the message goes to does not exist; correct the channel",
        "user_disabled": "the member's account is deactivated; name another",
        "cannot_dm_bot": "a bot takes no direct messages; name a person",
        "posting_to_general_channel_denied": "posting to #general is restricted; " + _ADMIN,
        "team_not_found": "with an organization's token, name the channel by its id (C...)",
    },
    Fault.SINK: {
        "invalid_auth": f"the token is wrong or revoked, or our IP address is not allowed: {_TOKEN}",
        "not_authed": f"no token arrived: {_TOKEN}",
        "account_inactive": f"the token belongs to a deleted user or workspace: {_TOKEN}",
        "token_revoked": f"the token was revoked or the app removed: {_TOKEN}",
        "token_expired": f"the token has expired: {_TOKEN}",
        "not_allowed_token_type": f"this kind of token cannot post: {_TOKEN}",
        "missing_scope": "give the app the scope chat:write, and install it again",
        "no_permission": "give the app the scope chat:write, and /invite it to the channel",
        "access_denied": _ADMIN,
        "accesslimited": "access is limited on this network; " + _ADMIN,
        "app_access_restricted": _ADMIN,
        "ekm_access_denied": "administrators have suspended posting (EKM); " + _ADMIN,
        "enterprise_is_restricted": "use the token of a workspace, not of an Enterprise",
        "team_access_not_granted": "install the app in the workspace, or use that workspace's token",
        "two_factor_setup_required": "two-factor authentication has to be set up first",
        "deprecated_endpoint": "this release is too old for Slack; update it",
        "method_deprecated": "this release is too old for Slack; update it",
        "action_prohibited": _ADMIN,
        "no_active_hooks": f"the incoming webhook is switched off: {_HOOK}",
        "no_service": f"the incoming webhook is disabled, removed or invalid: {_HOOK}",
        "no_service_id": f"the webhook's URL is incomplete: {_HOOK}",
        "no_team": f"the webhook's workspace is unknown or gone: {_HOOK}",
        "team_disabled": "the workspace is disabled",
        "invalid_token": f"the webhook's URL is wrong or revoked: {_HOOK}",
    },
}
_BY_ERROR = {error: (fault, advice) for fault, errors in _TABLE.items() for error, advice in errors.items()}
_ERROR = re.compile(r"[a-z][a-z0-9_]{0,79}", re.ASCII)

KNOWN = frozenset(_BY_ERROR)
MISSING_SCOPE = "missing_scope"
CANNOT_FIND_PEOPLE = (
    "the token may not look up e-mail addresses: give the app the scopes users:read and users:read.email, "
    "and install it again; until then nobody is mentioned or written to by an address"
)
#: Where a message that was posted cannot be changed or replied to; one can still be posted anew.
LOST = frozenset(
    {
        "message_not_found",
        "cant_update_message",
        "edit_window_closed",
        "thread_not_found",
        "cannot_reply_to_message",
        "restricted_action_thread_locked",
        "restricted_action_non_threadable_channel",
        *_TABLE[Fault.CHANNEL],
    }
)
#: Where a person cannot be written to; a scope that is missing for that may do for channels.
UNREACHABLE = frozenset({"missing_scope", "no_permission", *_TABLE[Fault.CHANNEL]})
_THROTTLED = frozenset({"ratelimited", "rate_limited"})  # said of all our messages, not of this one


def failure(
    error: str,
    *,
    status: int,
    detail: str = "",
    channel: str = "",
    is_own_channel: bool = True,
    retry_after: timedelta | None = None,
) -> DeliveryError:
    """The ``DeliveryError`` for an error that Slack names; ``detail`` is what Slack adds to it."""
    fault, advice = _BY_ERROR.get(error, (Fault.TEMPORARY, None))
    if advice is None:
        name = error if _ERROR.fullmatch(error) else "something unreadable"
        message = f"Slack answered {name}, which this release does not know; it is tried again"
        return TemporaryFailure("unknown_error", message, status=status, retry_after=retry_after)
    where = f" for {channel}" if channel and fault is Fault.CHANNEL else ""
    message = f"Slack answered {error}{where}: {advice}" + (f" ({detail})" if detail else "")
    if fault is Fault.MESSAGE:
        return PermanentFailure(error, message, status=status)
    if fault is Fault.SINK or (fault is Fault.CHANNEL and is_own_channel):
        return SinkFault(error, message, status=status)
    return TemporaryFailure(
        error, message, status=status, retry_after=retry_after, throttled=error in _THROTTLED
    )
