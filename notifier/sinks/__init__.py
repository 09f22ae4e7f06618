"""Where events and messages go. One file a kind of sink; all keep the contract of ``contract``."""
